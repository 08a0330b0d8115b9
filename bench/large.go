package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	rebuildName   = "projections rebuild, events/s"
	verifyName    = "audit verify, events/s"
	startName     = "start-up, large log"
	largeName     = "hmac, 64 conn., large log"
	bareLargeName = "bare fiber handler, beside these two"
	emptyName     = "hmac, 64 conn., empty store"
	listName      = "GET " // and the path
)

// large measures what must not grow with the log, on a store of its own.
func (r *report) large(ctx context.Context, s settings, h *host) error {
	b, err := h.bed(ctx, "large")
	if err != nil {
		return err
	}
	defer b.remove()
	b.stop() // its tables are made now
	began := time.Now()
	f, err := b.fill(ctx, s.events, s.triggers)
	if err != nil {
		return fmt.Errorf("fill the log: %w", err)
	}
	r.say("filled a store with %d events, %d triggers and %d executions of %d bytes each in %s", s.events, len(f.triggers), f.calls, len(fillBody), time.Since(began).Round(time.Second))
	if err := r.beside(ctx, s, h, func() ([]cell, error) { return b.rebuild(ctx) }); err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	size, err := b.size(ctx)
	if err != nil {
		return err
	}
	r.say("%.1f GiB on disk, %.0f bytes an event with its share of the read models", float64(size)/(1<<30), float64(size)/float64(s.events))
	if err := r.beside(ctx, s, h, func() ([]cell, error) { return b.startUp(ctx) }); err != nil {
		return err
	}
	if b.from, err = b.head(ctx); err != nil {
		return err
	}
	lists, err := b.lists(ctx, f)
	if err != nil {
		return err
	}
	if err := r.beside(ctx, s, h, func() ([]cell, error) { return b.reads(ctx, lists) }); err != nil {
		return err
	}
	if err := r.beside(ctx, s, h, func() ([]cell, error) { return b.verify(ctx) }); err != nil {
		return err
	}
	if err := r.largeBesideEmpty(ctx, s, h, b); err != nil {
		return err
	}
	return r.checkLedger(ctx, b)
}

// largeBesideEmpty calls by turns on the large store and on one that was made just now.
func (r *report) largeBesideEmpty(ctx context.Context, s settings, h *host, large *bed) error {
	empty, err := h.bed(ctx, "empty")
	if err != nil {
		return err
	}
	defer empty.remove()
	var subjects []*subject
	for _, one := range []struct {
		name string
		bed  *bed
	}{{emptyName, empty}, {largeName, large}} {
		list, err := one.bed.create(ctx, "none", 1, true)
		if err != nil {
			return err
		}
		requests := one.bed.requests(list, signature())
		if _, err := one.bed.run(ctx, load{connections: 16, duration: 300 * time.Millisecond, requests: requests}); err != nil {
			return err
		}
		subjects = append(subjects, one.bed.calls(one.name, 64, requests))
	}
	if err := r.alternate(ctx, s, h, bareLargeName, subjects); err != nil {
		return err
	}
	return r.checkLedger(ctx, empty)
}

// settle does to PostgreSQL's tables what its autovacuum would have done long ago, had they
// grown over months; otherwise it would do so while we measure.
func (b *bed) settle(ctx context.Context) error {
	if b.url == "" {
		return nil
	}
	progress("vacuum and checkpoint, as would have been done over months")
	return onDatabase(ctx, b.url, func(conn *pgx.Conn) error {
		for _, statement := range []string{"VACUUM (ANALYZE)", "CHECKPOINT"} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
}

// size is what the store takes on the disk.
func (b *bed) size(ctx context.Context) (int64, error) {
	if b.url == "" {
		file, err := os.Stat(b.file())
		if err != nil {
			return 0, err
		}
		return file.Size(), nil
	}
	var size int64
	err := onDatabase(ctx, b.url, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&size)
	})
	return size, err
}

// commandAtMost ends a command that would keep the run from ending.
const commandAtMost = time.Hour

var rebuilt = regexp.MustCompile(`rebuilt all read models from (?P<events>\d+) events in (?P<took>\S+) \((?P<rate>\d+) events/s\)`)

// rebuild measures the making of the read models from the log.
func (b *bed) rebuild(ctx context.Context) ([]cell, error) {
	return b.command(ctx, rebuildName, rebuilt, "projections", "rebuild")
}

var verifiedLog = regexp.MustCompile(`read (?P<events>\d+) events in (?P<took>\S+) \((?P<rate>\d+) events/s\)`)

// verify measures the making of the audit trail's tree from the log.
func (b *bed) verify(ctx context.Context) ([]cell, error) {
	return b.command(ctx, verifyName, verifiedLog, "audit", "verify")
}

// command measures a command that reads the whole log, by what it says of itself.
func (b *bed) command(ctx context.Context, name string, says *regexp.Regexp, args ...string) ([]cell, error) {
	ctx, cancel := context.WithTimeout(ctx, commandAtMost)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Env = append(os.Environ(), b.environment...)
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var said []string
	told := time.Now()
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if found := says.FindStringSubmatch(lines.Text()); found != nil {
			said = found
		} else if time.Since(told) > 5*time.Second {
			told = time.Now()
			progress("%s: %s", strings.Join(args, " "), lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil || said == nil {
		return nil, fmt.Errorf("%s did not say that it is done: %w", strings.Join(args, " "), errors.Join(context.Cause(ctx), err))
	}
	rate, err := strconv.ParseFloat(said[says.SubexpIndex("rate")], 64)
	return []cell{{Name: name, PerSecond: rate, Note: said[says.SubexpIndex("events")] + " events in " + said[says.SubexpIndex("took")]}}, err
}

// startUp measures the time until the server says that it is ready, three times, and leaves
// it running.
func (b *bed) startUp(ctx context.Context) ([]cell, error) {
	var o outcome
	for range 3 {
		b.stop()
		at := time.Now()
		if err := b.start(ctx); err != nil {
			return nil, err
		}
		o.times = append(o.times, time.Since(at))
	}
	slices.Sort(o.times)
	return []cell{{Name: startName, P50: o.quantile(.5), P99: o.quantile(1), Note: "the slowest of three under p99"}}, nil
}

type list struct{ name, path string }

// lists are the first pages of everything, and a trigger as it was.
func (b *bed) lists(ctx context.Context, f *filler) ([]list, error) {
	var execution struct {
		CreatedAt time.Time `json:"created_at"`
	}
	if err := b.api(ctx, http.MethodGet, "/api/v1/executions/"+f.execution, "", &execution); err != nil {
		return nil, fmt.Errorf("the filled log was not projected: %w", err)
	}
	trig := f.triggers[len(f.triggers)/2]
	one, at := "/webhook-triggers/"+trig, execution.CreatedAt.UTC().Format(time.RFC3339Nano)
	return []list{
		{"/webhook-triggers", "/webhook-triggers"},
		{"/webhook-triggers?agent_id", "/webhook-triggers?agent_id=" + f.agent},
		{"/webhook-triggers?name", "/webhook-triggers?name=filled"},
		{"/agents", "/agents"},
		{"/api-keys", "/api-keys"},
		{"/executions", "/executions"},
		{"/executions?status=completed", "/executions?status=completed"},
		{"/executions?status=failed", "/executions?status=failed"},
		{"/executions?status=pending", "/executions?status=pending"},
		{"/executions?agent_id", "/executions?agent_id=" + f.agent},
		{"/executions?trigger_id", "/executions?trigger_id=" + trig},
		{"/events", "/events"},
		{"/events?stream", "/events?stream=trigger-" + trig},
		{"/events?type=trigger.invoked", "/events?type=trigger.invoked"},
		{"/events?type=agent.registered", "/events?type=agent.registered"},
		{"/events?actor", "/events?actor=trigger:" + trig},
		{"/events?since", "/events?since=" + at},
		{"/webhook-triggers/{id}/events", one + "/events"},
		{"/webhook-triggers/{id}", one},
		{"/webhook-triggers/{id}?as_of=position", one + "?as_of=" + strconv.FormatInt(b.from, 10)},
		{"/webhook-triggers/{id}?as_of=time", one + "?as_of=" + at},
	}, nil
}

// Each path is read so often that the 99th percentile is the second worst; a slow one less
// often, so that the run ends.
const (
	readsEach   = 200
	readsAtMost = 10 * time.Second
)

// reads measures single requests one after the other. A refused one, such as for taking too
// long, is a result and not the end of the run.
func (b *bed) reads(ctx context.Context, lists []list) ([]cell, error) {
	progress("lists, %d times each", readsEach)
	cells := make([]cell, 0, len(lists))
	for _, l := range lists {
		var o outcome
		note := ""
		for began := time.Now(); len(o.times) < readsEach && time.Since(began) < readsAtMost; {
			var ignored json.RawMessage
			at := time.Now()
			err := b.api(ctx, http.MethodGet, "/api/v1"+l.path, "", &ignored)
			o.times = append(o.times, time.Since(at))
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				note = "FAILED: " + err.Error()
				break
			}
		}
		slices.Sort(o.times)
		if note == "" && len(o.times) < readsEach {
			note = fmt.Sprintf("only %d times", len(o.times))
		}
		cells = append(cells, cell{Name: listName + l.name, P50: o.quantile(.5), P99: o.quantile(.99), Failed: strings.HasPrefix(note, "FAILED"), Note: note})
	}
	return cells, nil
}
