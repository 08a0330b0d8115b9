// Bench measures the webhook call, the executions behind it and the read side on both
// stores, beside references taken in the same run: machines are noisy, ratios are not.
package main

import (
	"context"
	"encoding/json"
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

	"hooktrail/internal/pgtest"
)

// settings are what the command line decides.
type settings struct {
	short    bool
	duration time.Duration
	stores   []string
	only     string
	events   int
	out      string
	binary   string
	profile  string
	postgres string
}

func main() {
	var s settings
	var stores, bare string
	flag.BoolVar(&s.short, "short", false, "everyday run, under a minute")
	flag.DurationVar(&s.duration, "duration", 0, "time for each cell (default 8s, 2s with -short)")
	flag.StringVar(&stores, "stores", "postgres,sqlite", "stores to measure")
	flag.StringVar(&s.only, "only", "", "run only the cells whose name has this part")
	flag.IntVar(&s.events, "events", 1_000_000, "events of the large log (0 leaves it out; 10000000 for the whole claim)")
	flag.StringVar(&s.out, "json", "", "write the results to this file, to compare two runs")
	flag.StringVar(&s.binary, "binary", "", "hooktrail binary (default: built from this checkout)")
	flag.StringVar(&s.profile, "profile", "", "write CPU profiles of the server to files that begin with this")
	flag.StringVar(&s.postgres, "postgres", "", "URL of an empty database to use instead of a private server, such as one with pg_stat_statements")
	flag.StringVar(&bare, "bare", "", "serve the bare reference handler on this address (used by the program itself)")
	flag.Parse()
	if bare != "" {
		log.Fatal(serveBare(bare))
	}
	if s.duration == 0 {
		s.duration = 8 * time.Second
		if s.short {
			s.duration = 2 * time.Second
		}
	}
	if s.short && !set("events") {
		s.events = 0
	}
	s.stores = strings.Split(stores, ",")
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s)
	cancel()
	if err != nil {
		log.Fatal(err)
	}
}

func set(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func run(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp("", "hooktrail-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the database's user must reach its directory
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
	fmt.Printf("%d cores, %s, %s a cell\n", runtime.NumCPU(), runtime.Version(), s.duration)
	if err := r.bareHandler(ctx, s); err != nil {
		return err
	}
	for _, store := range s.stores {
		if err := r.measureStore(ctx, s, store, dir); err != nil {
			return fmt.Errorf("%s: %w", store, err)
		}
	}
	r.ratios()
	if s.out == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(r.Cells, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.out, encoded, 0o644) //nolint:gosec // results are for everybody
}

// report gathers the results and prints them as they come.
type report struct {
	Cells   []cell
	started time.Time
	store   string
	section string
}

// cell is one measurement.
type cell struct {
	Store       string  `json:"store"`
	Name        string  `json:"name"`
	PerSecond   float64 `json:"per_second"`
	P50         float64 `json:"p50_ms,omitempty"`
	P99         float64 `json:"p99_ms,omitempty"`
	P999        float64 `json:"p999_ms,omitempty"`
	Refused     int     `json:"refused,omitempty"`
	ServerCPU   float64 `json:"server_cpu_us,omitempty"`   // microseconds a call
	DatabaseCPU float64 `json:"database_cpu_us,omitempty"` // microseconds a call
	LoadCPU     float64 `json:"load_cpu_us,omitempty"`     // microseconds a call
	ServerRSS   float64 `json:"server_rss_mib,omitempty"`
	DatabaseRSS float64 `json:"database_rss_mib,omitempty"`
	Commits     float64 `json:"commits_per_second,omitempty"`
	Batch       float64 `json:"appends_per_commit,omitempty"`
	Note        string  `json:"note,omitempty"`
}

func (r *report) add(c cell) {
	c.Store = r.store
	r.Cells = append(r.Cells, c)
	if r.section != c.Store {
		r.section = c.Store
		fmt.Printf("\n%-34s %10s %8s %8s %8s %7s %7s %7s %7s %8s %7s\n", r.section, "per s", "p50 ms", "p99 ms", "p99.9", "srv µs", "db µs", "gen µs", "RSS MiB", "commit/s", "batch")
	}
	fmt.Printf("%-34s %10.0f %8s %8s %8s %7s %7s %7s %7s %8s %7s %s\n", c.Name, c.PerSecond, number(c.P50), number(c.P99), number(c.P999),
		number(c.ServerCPU), number(c.DatabaseCPU), number(c.LoadCPU), number(c.ServerRSS), number(c.Commits), number(c.Batch), c.Note)
}

func number(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *report) find(store, name string) (cell, bool) {
	for _, c := range r.Cells {
		if c.Store == store && c.Name == name {
			return c, true
		}
	}
	return cell{}, false
}

// ratios prints what the project promises, from this run alone.
func (r *report) ratios() {
	fmt.Printf("\nratios of this run (%s in all)\n", time.Since(r.started).Round(time.Second))
	line := func(what string, a, b cell, okA, okB bool) {
		if okA && okB && b.PerSecond > 0 {
			fmt.Printf("  %-78s %.2f\n", what, a.PerSecond/b.PerSecond)
		}
	}
	bare, okBare := r.find("reference", bareName)
	for _, store := range []string{"postgres", "sqlite"} {
		signed, ok := r.find(store, "hmac, 64 connections")
		line(store+": call with HMAC, 64 connections / bare handler with HMAC", signed, bare, ok, okBare)
		one, okOne := r.find(store, insertName)
		line(store+": call with HMAC, 64 connections / one INSERT a transaction", signed, one, ok, okOne)
		hot, okHot := r.find(store, "bearer, 64 connections")
		spread, okSpread := r.find(store, "bearer, 1000 triggers")
		line(store+": one hot trigger / 1,000 triggers", hot, spread, okHot, okSpread)
		alone, okAlone := r.find(store, "hmac, 1 connection")
		single, okSingle := r.find(store, insertAloneName)
		if okAlone && okSingle {
			fmt.Printf("  %-78s %.2f\n", store+": time of a lone call / time of one INSERT alone", alone.P50/single.P50)
		}
	}
}

// postgres starts a private server: fsync on, defaults otherwise.
func postgres(ctx context.Context) (*pgtest.Server, error) {
	return pgtest.Start(ctx, pgtest.Options{Durable: true})
}
