package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"hooktrail/adapters/database"
)

const benchKey = "htk_benchmark_key_not_a_secret_0000"

// bed is a server under test with a database of its own, empty at first.
type bed struct {
	*process

	host        *host
	binary      string
	environment []string
	url         string // of the database, "" for the embedded store
	dir         string // of the embedded store
	pprof       string // address of the server's profiles, "" for none
	profile     string // beginning of the names of the files for them
	drop        func() error

	accepted int   // calls answered with 202
	refused  int   // calls answered with 503
	runs     int   // calls answered with 202 whose agent runs
	from     int64 // position behind which these calls are in the log
}

func (b *bed) start(ctx context.Context) (err error) {
	b.process, err = launch(ctx, b.addressed(), "/readyz", b.environment, b.binary, "serve")
	return err
}

func (b *bed) addressed() string {
	for _, variable := range b.environment {
		if addr, found := strings.CutPrefix(variable, "HOOKTRAIL_ADDR="); found {
			return addr
		}
	}
	return ""
}

// remove ends the server and gives its disk space back. What goes wrong here is left to the
// end of the whole run, which removes all of it.
func (b *bed) remove() {
	if b.process != nil {
		b.stop()
	}
	if err := b.drop(); err != nil {
		progress("%v", err)
	}
}

// open opens the server's database for what has no API.
func (b *bed) open(ctx context.Context) (*database.DB, error) {
	if b.url != "" {
		return database.OpenPostgres(ctx, b.url)
	}
	return database.OpenSQLite(b.file())
}

// file is the embedded store.
func (b *bed) file() string { return filepath.Join(b.dir, "hooktrail.db") }

// run sends calls and keeps count for the ledger.
func (b *bed) run(ctx context.Context, l load) (outcome, error) {
	l.addr, l.status = b.addr, http.StatusAccepted
	o, err := l.run(ctx)
	b.accepted += o.done
	b.refused += o.refused
	return o, err
}

func (b *bed) commits(ctx context.Context) (commits, appends float64, err error) {
	if commits, err = metric(ctx, b.addr, "hooktrail_commit_appends_count"); err != nil {
		return 0, 0, err
	}
	appends, err = metric(ctx, b.addr, "hooktrail_commit_appends_sum")
	return commits, appends, err
}

func (b *bed) api(ctx context.Context, method, path, body string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, slack)
	defer cancel()
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
	expected := http.StatusOK
	if method == http.MethodPost {
		expected = http.StatusCreated
	}
	if response.StatusCode != expected {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, content)
	}
	return json.Unmarshal(content, &struct{ Data any }{into})
}

// head gives the position of the last event.
func (b *bed) head(ctx context.Context) (int64, error) {
	var last []struct{ Position int64 }
	if err := b.api(ctx, http.MethodGet, "/api/v1/events?limit=1", "", &last); err != nil {
		return 0, err
	}
	if len(last) == 0 {
		return 0, nil
	}
	return last[0].Position, nil
}

type made struct{ ID, Token, Secret string }

// create makes an agent with a runner and a number of triggers on it.
func (b *bed) create(ctx context.Context, runner string, triggers int, signed bool) ([]made, error) {
	var agent made
	if err := b.api(ctx, http.MethodPost, "/api/v1/agents", fmt.Sprintf(`{"name": %q, "runner": {"kind": %q}}`, runner, runner), &agent); err != nil {
		return nil, err
	}
	list := make([]made, triggers)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range list {
		group.Go(func() error {
			body := fmt.Sprintf(`{"agent_id": %q, "name": "bench %d"}`, agent.ID, i)
			if signed {
				body = fmt.Sprintf(`{"agent_id": %q, "name": "bench %d", "secret": %q}`, agent.ID, i, benchSecret)
			}
			return b.api(ctx, http.MethodPost, "/api/v1/webhook-triggers", body, &list[i])
		})
	}
	return list, group.Wait()
}

func (b *bed) requests(list []made, signature string) [][]byte {
	body := benchBody()
	rendered := make([][]byte, len(list))
	for i, m := range list {
		rendered[i] = request(b.addr, m.Token, signature, body)
	}
	return rendered
}

// checkLedger stops the server and compares its answers with its log: every 202 must be one
// recorded call, and every call to an agent that runs one completed execution. Calls that
// were answered with 503 may have been recorded, where the outcome of a commit was unknown.
func (r *report) checkLedger(ctx context.Context, b *bed) error {
	b.stop()
	db, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var counts []struct {
		Type  string `db:"type"`
		Count int    `db:"count"`
	}
	if err := db.Select(ctx, &counts, "SELECT type, count(*) AS count FROM events WHERE position > ? GROUP BY type", b.from); err != nil {
		return fmt.Errorf("count the log: %w", err)
	}
	recorded := map[string]int{}
	for _, c := range counts {
		recorded[c.Type] = c.Count
	}
	invoked, completed := recorded["trigger.invoked"], recorded["execution.completed"]
	r.say("ledger: %d calls answered 202, %d answered 503, %d calls recorded; %d of an agent that runs, %d completed", b.accepted, b.refused, invoked, b.runs, completed)
	if invoked < b.accepted || invoked > b.accepted+b.refused || completed != b.runs {
		return errors.New("the log does not hold what was answered")
	}
	return nil
}

// startProfile writes a CPU profile of the server while a cell is measured; what it returns
// waits for it.
func (b *bed) startProfile(ctx context.Context, name string, duration time.Duration) (wait func()) {
	if b == nil || b.pprof == "" {
		return func() {}
	}
	done := make(chan error, 1)
	go func() { done <- b.saveProfile(ctx, name, max(int(duration.Seconds())-1, 1)) }()
	return func() {
		if err := <-done; err != nil {
			progress("no profile: %v", err)
		}
	}
}

func (b *bed) saveProfile(ctx context.Context, name string, seconds int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", b.pprof, seconds), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	file, err := os.Create(b.profile + strings.NewReplacer(" ", "-", ",", "-", "/", "-").Replace(name) + ".pprof")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
