package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hooktrail/domain/trigger"
)

const benchKey = "htk_benchmark_key_not_a_secret_0000"

// bed is a server under test with its database.
type bed struct {
	*process
	database int // pid of the database server, 0 for the embedded store
	url      string
	pprof    string // address of the server's profiles, "" for none
	profile  string // beginning of the names of the files for them
}

func (r *report) measureStore(ctx context.Context, s settings, store, dir string) error {
	r.store = store
	environment := []string{
		"HOOKTRAIL_API_KEY=" + benchKey, "HOOKTRAIL_RATE_LIMIT=0", "HOOKTRAIL_LOG_LEVEL=warn",
		"HOOKTRAIL_DATA_DIR=" + filepath.Join(dir, store), "HOOKTRAIL_WORKER_CONCURRENCY=256",
	}
	b := &bed{profile: s.profile}
	if s.profile != "" {
		var err error
		if b.pprof, err = freeAddr(); err != nil {
			return err
		}
		environment = append(environment, "HOOKTRAIL_PPROF_ADDR="+b.pprof)
	}
	if store == "postgres" {
		b.url = s.postgres
		if b.url == "" {
			server, err := postgres(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = server.Stop() }()
			b.database, b.url = server.PID(), server.DSN("postgres")
		}
		if err := r.inserts(ctx, s, b.url, b.database); err != nil {
			return err
		}
		master := make([]byte, 32)
		if _, err := rand.Read(master); err != nil {
			return err
		}
		environment = append(environment, "HOOKTRAIL_DATABASE_URL="+b.url, "HOOKTRAIL_MASTER_KEY="+base64.StdEncoding.EncodeToString(master))
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	if b.process, err = launch(ctx, addr, "/readyz", append(environment, "HOOKTRAIL_ADDR="+addr), s.binary, "serve"); err != nil {
		return err
	}
	defer func() { b.stop() }()
	if err := r.calls(ctx, s, b); err != nil {
		return err
	}
	if err := r.executions(ctx, s, b); err != nil {
		return err
	}
	if s.events == 0 {
		return nil
	}
	return r.large(ctx, s, b, environment, filepath.Join(dir, store))
}

type made struct{ ID, Token, Secret string }

// create makes an agent with a runner and a number of triggers on it.
func (b *bed) create(ctx context.Context, runner string, triggers int, signed bool) ([]made, error) {
	var agent made
	if err := b.api(ctx, http.MethodPost, "/api/v1/agents", fmt.Sprintf(`{"name": %q, "runner": {"kind": %q}}`, runner, runner), &agent); err != nil {
		return nil, err
	}
	list := make([]made, triggers)
	for i := range list {
		body := fmt.Sprintf(`{"agent_id": %q, "name": "bench %d"}`, agent.ID, i)
		if signed {
			body = fmt.Sprintf(`{"agent_id": %q, "name": "bench %d", "secret": %q}`, agent.ID, i, benchSecret)
		}
		if err := b.api(ctx, http.MethodPost, "/api/v1/webhook-triggers", body, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (b *bed) api(ctx context.Context, method, path, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+b.addr+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-API-Key", benchKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, content)
	}
	return json.Unmarshal(content, &struct{ Data any }{into})
}

func (b *bed) requests(list []made, signature string) [][]byte {
	body := benchBody()
	rendered := make([][]byte, len(list))
	for i, m := range list {
		rendered[i] = request(b.addr, m.Token, signature, body)
	}
	return rendered
}

func (r *report) calls(ctx context.Context, s settings, b *bed) error {
	plain, err := b.create(ctx, "none", 1, false)
	if err != nil {
		return err
	}
	signed, err := b.create(ctx, "none", 1, true)
	if err != nil {
		return err
	}
	spread, err := b.create(ctx, "none", 1000, false)
	if err != nil {
		return err
	}
	signature := trigger.Sign([]byte(benchSecret), benchBody())
	cells := []struct {
		name        string
		connections int
		requests    [][]byte
	}{
		{"hmac, 1 connection", 1, b.requests(signed, signature)},
		{"hmac, 64 connections", 64, b.requests(signed, signature)},
		{"bearer, 64 connections", 64, b.requests(plain, "")},
		{"bearer, 1000 triggers", 64, b.requests(spread, "")},
		{"bearer, 16 connections", 16, b.requests(plain, "")},
		{"bearer, 256 connections", 256, b.requests(plain, "")},
	}
	for _, c := range cells {
		if s.only != "" && !strings.Contains(c.name, s.only) {
			continue
		}
		// Every trigger is loaded once before it is measured.
		warm := load{addr: b.addr, connections: 16, duration: 300 * time.Millisecond, status: 202, requests: c.requests}
		if _, err := warm.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		l := load{addr: b.addr, connections: c.connections, duration: s.duration, status: 202, requests: c.requests}
		if err := r.measure(ctx, c.name, l, b.process, b.database, b); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	best, found := r.find(r.store, "hmac, 64 connections")
	if !found {
		return nil
	}
	half := load{addr: b.addr, connections: 64, duration: s.duration, rate: int(best.PerSecond / 2), status: 202, requests: b.requests(signed, signature)}
	return r.measure(ctx, "hmac, half of the highest", half, b.process, b.database, b)
}

func summarise(name string, o outcome) cell {
	return cell{Name: name, PerSecond: o.perSecond(), P50: o.quantile(.5), P99: o.quantile(.99), P999: o.quantile(.999), Refused: o.refused}
}

func perCall(cpu time.Duration, calls int) float64 {
	return float64(cpu.Microseconds()) / float64(max(calls, 1))
}

func (r *report) measure(ctx context.Context, name string, l load, p *process, database int, b *bed) error {
	server, db, own := usageOf(p.cmd.Process.Pid), usageOf(database), usageOf(os.Getpid())
	var commits, appends float64
	if b != nil {
		commits, appends = metric(ctx, b.addr, "hooktrail_commit_appends_count"), metric(ctx, b.addr, "hooktrail_commit_appends_sum")
	}
	if b != nil && b.pprof != "" {
		profiled := b.saveProfile(ctx, r.store+" "+name, l.duration)
		defer func() {
			if err := <-profiled; err != nil {
				fmt.Println("  no profile:", err)
			}
		}()
	}
	o, err := l.run(ctx)
	if err != nil {
		return err
	}
	after := usageOf(p.cmd.Process.Pid)
	c := summarise(name, o)
	c.ServerCPU, c.ServerRSS = perCall(after.cpu-server.cpu, o.done), after.rss
	afterDB := usageOf(database)
	c.DatabaseCPU, c.DatabaseRSS = perCall(afterDB.cpu-db.cpu, o.done), afterDB.rss
	c.LoadCPU = perCall(usageOf(os.Getpid()).cpu-own.cpu, o.done)
	if b != nil {
		count := metric(ctx, b.addr, "hooktrail_commit_appends_count") - commits
		c.Commits = count / o.took.Seconds()
		if count > 0 {
			c.Batch = (metric(ctx, b.addr, "hooktrail_commit_appends_sum") - appends) / count
		}
	}
	if o.refused > 0 {
		c.Note = fmt.Sprintf("%d refused with 503", o.refused)
	}
	r.add(c)
	return nil
}

// saveProfile writes a CPU profile of the server while a cell is measured.
func (b *bed) saveProfile(ctx context.Context, name string, duration time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", b.pprof, max(int(duration.Seconds())-1, 1)), nil)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			file, err := os.Create(b.profile + strings.Map(func(r rune) rune {
				if r == ' ' || r == ',' || r == '/' {
					return '-'
				}
				return r
			}, name) + ".pprof")
			if err != nil {
				return err
			}
			_, err = io.Copy(file, response.Body)
			return errors.Join(err, file.Close())
		}()
	}()
	return done
}

const executionsName = "executions, echo (call to end)"

// executions measures how fast a backlog is worked off, and how soon a lone call's agent
// starts.
func (r *report) executions(ctx context.Context, s settings, b *bed) error {
	if s.only != "" && !strings.Contains(executionsName, s.only) {
		return nil
	}
	list, err := b.create(ctx, "echo", 1, false)
	if err != nil {
		return err
	}
	requests := b.requests(list, "")
	server, db := usageOf(b.cmd.Process.Pid), usageOf(b.database)
	completed := func() float64 { return metric(ctx, b.addr, "hooktrail_execution_attempt_seconds_count") }
	before, began := completed(), time.Now()
	l := load{addr: b.addr, connections: 64, duration: s.duration, status: 202, requests: requests}
	o, err := l.run(ctx)
	if err != nil {
		return err
	}
	for completed()-before < float64(o.done) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(began) > s.duration*20+time.Minute {
			return fmt.Errorf("executions are not worked off: %.0f of %d", completed()-before, o.done)
		}
	}
	took := time.Since(began)
	r.add(cell{
		Name: executionsName, PerSecond: float64(o.done) / took.Seconds(),
		ServerCPU: perCall(usageOf(b.cmd.Process.Pid).cpu-server.cpu, o.done), DatabaseCPU: perCall(usageOf(b.database).cpu-db.cpu, o.done),
		ServerRSS: usageOf(b.cmd.Process.Pid).rss, Note: fmt.Sprintf("calls came in at %.0f/s", o.perSecond()),
	})
	return r.startDelay(ctx, s, b, requests)
}

// startDelay measures, at 500 calls a second, the time from a call's acceptance to the
// start of its agent, as the log has it.
func (r *report) startDelay(ctx context.Context, s settings, b *bed, requests [][]byte) error {
	var head []struct{ Position int64 }
	if err := b.api(ctx, http.MethodGet, "/api/v1/events?limit=1", "", &head); err != nil {
		return err
	}
	l := load{addr: b.addr, connections: 16, duration: s.duration, rate: 500, status: 202, requests: requests}
	o, err := l.run(ctx)
	if err != nil {
		return err
	}
	var delays []float64
	invoked := map[string]time.Time{}
	after := head[0].Position
	deadline := time.Now().Add(time.Minute)
	for len(delays) < o.done && time.Now().Before(deadline) {
		var events []struct {
			Position     int64
			Type, Stream string
			Time         time.Time
			Data         struct {
				ExecutionID string `json:"execution_id"`
			}
		}
		if err := b.api(ctx, http.MethodGet, fmt.Sprintf("/api/v1/events?limit=100&after=%d", after), "", &events); err != nil {
			return err
		}
		for _, e := range events {
			after = e.Position
			switch e.Type {
			case "trigger.invoked":
				invoked[e.Data.ExecutionID] = e.Time
			case "execution.started":
				delays = append(delays, float64(e.Time.Sub(invoked[strings.TrimPrefix(e.Stream, "execution-")]))/float64(time.Millisecond))
			}
		}
	}
	slices.Sort(delays)
	at := func(q float64) float64 { return delays[min(int(q*float64(len(delays))), len(delays)-1)] }
	r.add(cell{Name: "accept to agent started, 500/s", PerSecond: o.perSecond(), P50: at(.5), P99: at(.99), P999: at(.999)})
	return nil
}

// large measures what must not grow with the log.
func (r *report) large(ctx context.Context, s settings, b *bed, environment []string, dir string) error {
	began := time.Now()
	b.stop()
	if err := b.fill(ctx, s, dir); err != nil {
		return err
	}
	if err := r.rebuild(ctx, s, environment); err != nil {
		return err
	}
	fmt.Printf("  (filled to %d events in %s)\n", s.events, time.Since(began).Round(time.Second))
	restarted := time.Now()
	process, err := launch(ctx, b.addr, "/readyz", append(environment, "HOOKTRAIL_ADDR="+b.addr), s.binary, "serve")
	if err != nil {
		return err
	}
	b.process = process
	name := func(what string) string { return fmt.Sprintf("%s, %.0e events", what, float64(s.events)) }
	r.add(cell{Name: name("start-up"), P50: float64(time.Since(restarted)) / float64(time.Millisecond)})
	signed, err := b.create(ctx, "none", 1, true)
	if err != nil {
		return err
	}
	l := load{addr: b.addr, connections: 64, duration: s.duration, status: 202, requests: b.requests(signed, trigger.Sign([]byte(benchSecret), benchBody()))}
	if err := r.measure(ctx, name("hmac, 64 conn."), l, b.process, b.database, b); err != nil {
		return err
	}
	for _, path := range []string{
		"/api/v1/webhook-triggers", "/api/v1/agents", "/api/v1/executions", "/api/v1/executions?status=failed", "/api/v1/executions?trigger_id=" + signed[0].ID,
		"/api/v1/events", "/api/v1/webhook-triggers/" + signed[0].ID + "/events", "/api/v1/webhook-triggers/" + signed[0].ID + "?as_of=" + fmt.Sprint(s.events+10),
	} {
		var times []time.Duration
		for range 20 {
			at := time.Now()
			var ignored json.RawMessage
			if err := b.api(ctx, http.MethodGet, path, "", &ignored); err != nil && !bytes.Contains([]byte(err.Error()), []byte("404")) {
				return err
			}
			times = append(times, time.Since(at))
		}
		slices.Sort(times)
		shown, _, _ := strings.Cut(strings.ReplaceAll(path, signed[0].ID, "{id}"), "?as_of")
		r.add(cell{Name: "GET " + strings.TrimPrefix(shown, "/api/v1"), P50: ms(times[10]), P99: ms(times[19])})
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
