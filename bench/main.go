// Bench measures the webhook call, the executions behind it and the read side on both
// stores, beside references taken in the same run and in turns with what they are compared
// to: machines are noisy, ratios are less so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// settings are what the command line decides.
type settings struct {
	short    bool
	duration time.Duration // for each cell, all its slices together
	rounds   int           // slices of a cell
	stores   []string
	only     string
	events   int
	triggers int
	soak     time.Duration
	out      string
	compare  string
	binary   string
	profile  string
	postgres string
}

func main() {
	var s settings
	var stores, bare string
	flag.BoolVar(&s.short, "short", false, "everyday run, under a minute: fewer cells, no large log, no overload")
	flag.DurationVar(&s.duration, "duration", 0, "time for each cell (default 8s, 800ms with -short)")
	flag.StringVar(&stores, "stores", "postgres,sqlite", "stores to measure")
	flag.StringVar(&s.only, "only", "", "run only the cells whose name has this part")
	flag.IntVar(&s.events, "events", 10_000_000, "events of the large log, 0 leaves it out (default 0 with -short)")
	flag.IntVar(&s.triggers, "triggers", 100_000, "triggers of the large log")
	flag.DurationVar(&s.soak, "soak", 0, "instead of all else call at full load for this time, such as 10m, and check the log against the answers")
	flag.StringVar(&s.out, "json", "", "write the results to this file, to compare two runs")
	flag.StringVar(&s.compare, "compare", "", "compare with the results in this file")
	flag.StringVar(&s.binary, "binary", "", "hooktrail binary (default: built from this checkout)")
	flag.StringVar(&s.profile, "profile", "", "write CPU profiles of the server to files that begin with this; the cells are not divided into slices then")
	flag.StringVar(&s.postgres, "postgres", "", "URL of a server to use instead of a private one; its user must be allowed to create databases")
	flag.StringVar(&bare, "bare", "", "serve the bare reference handler on this address (used by the program itself)")
	flag.Parse()
	if bare != "" {
		log.Fatal(serveBare(bare))
	}
	s.stores = strings.Split(stores, ",")
	s.complete()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s)
	cancel()
	if err != nil {
		log.Fatal(err)
	}
}

// complete fills in what depends on other settings.
func (s *settings) complete() {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if s.short && !given["events"] {
		s.events = 0
	}
	if s.duration <= 0 {
		s.duration = 8 * time.Second
		if s.short {
			s.duration = 800 * time.Millisecond
		}
	}
	s.rounds = int(min(max(s.duration/(2*time.Second), 2), 8))
	if s.profile != "" {
		s.rounds = 1
	}
}

// wants reports whether a cell is to be measured.
func (s settings) wants(cell string) bool { return strings.Contains(cell, s.only) }

func run(ctx context.Context, s settings) (err error) {
	var earlier *results
	if s.compare != "" { // first, so that a wrong name costs no run
		if earlier, err = readResults(s.compare); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "hooktrail-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := enoughDisk(dir, s); err != nil {
		return err
	}
	if s.binary == "" {
		s.binary = filepath.Join(dir, "hooktrail")
		build := exec.CommandContext(ctx, "go", "build", "-o", s.binary, "hooktrail/cmd/hooktrail")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build the server: %w", err)
		}
	}
	r := &report{started: time.Now()}
	fmt.Printf("%d cores, %s, %s a cell in %d slices that alternate with those of the other cells\n", runtime.NumCPU(), runtime.Version(), s.duration, s.rounds)
	for _, store := range s.stores {
		if err := r.measureStore(ctx, s, store, dir); err != nil {
			return fmt.Errorf("%s: %w", store, errors.Join(context.Cause(ctx), err))
		}
	}
	r.judge(s.stores)
	if earlier != nil {
		r.compare(earlier)
	}
	fmt.Printf("\n%s in all\n", time.Since(r.started).Round(time.Second))
	return r.write(s.out)
}

// measureStore measures all that is to be measured of one store.
func (r *report) measureStore(ctx context.Context, s settings, store, dir string) (err error) {
	r.store = store
	h, err := newHost(ctx, s, store, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if s.soak > 0 {
		return r.soak(ctx, s, h)
	}
	if err := r.small(ctx, s, h); err != nil {
		return err
	}
	if !s.short && s.wants(shedName) {
		if err := r.shed(ctx, s, h); err != nil {
			return fmt.Errorf("%s: %w", shedName, err)
		}
	}
	if s.events == 0 {
		return nil
	}
	return r.large(ctx, s, h)
}

// small measures calls and executions on a store that holds little else.
func (r *report) small(ctx context.Context, s settings, h *host) error {
	b, err := h.bed(ctx, "small")
	if err != nil {
		return err
	}
	defer b.remove()
	if err := r.calls(ctx, s, h, b); err != nil {
		return err
	}
	if err := r.executions(ctx, s, h, b); err != nil {
		return err
	}
	return r.checkLedger(ctx, b)
}
