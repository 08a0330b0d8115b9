package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// secondAgent answers as echo does, but for every tenth call, to which it adds a field, and every
// hundredth behind those, which it refuses.
type secondAgent struct {
	url      string
	calls    atomic.Int64
	unmarked atomic.Int64 // calls that were not said to be in shadow
	mu       sync.Mutex
	ids      map[string]bool
}

func newSecondAgent(t testing.TB) *secondAgent {
	a := &secondAgent{ids: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller was killed
		}
		if r.Header.Get("Hooktrail-Shadow") != "true" {
			a.unmarked.Add(1)
		}
		a.mu.Lock()
		a.ids[r.Header.Get("Idempotency-Key")] = true
		a.mu.Unlock()
		a.calls.Add(1)
		var input struct{ N int }
		_ = json.Unmarshal(body, &input)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case input.N%100 == 1:
			w.WriteHeader(http.StatusUnprocessableEntity)
		case input.N%10 == 0:
			_, _ = fmt.Fprintf(w, `{"more": true, "n": %d}`, input.N)
		default:
			_, _ = fmt.Fprintf(w, `{ "n" : %d }`, input.N) // the same value in other bytes
		}
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// different is how many ids the agent has seen.
func (a *secondAgent) different() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids)
}

type backtestData struct {
	ID, Status string
	Tally      struct {
		Total, Done, Same, Differs, Failed, Skipped int
		Durations                                   *struct{ Calls int }
	}
}

type backtestResultData struct {
	ExecutionID string `json:"execution_id"`
	Verdict     string
	Original    struct{ Output struct{ N int } }
	Shadow      struct {
		Status     string
		DurationMS *float64 `json:"duration_ms"`
	}
	Difference []struct{ Op, Path string }
}

// trail is a digest of all that was on record before a backtest, and must be so behind it.
func (s *store) trail(t testing.TB) string {
	t.Helper()
	db := s.open(t)
	defer db.Close()
	sum := sha256.New()
	for _, query := range []string{
		"SELECT * FROM events WHERE stream NOT LIKE 'backtest-%' ORDER BY position", "SELECT * FROM executions ORDER BY position",
		"SELECT * FROM execution_queue ORDER BY id", "SELECT * FROM trigger_statistics ORDER BY trigger_id",
	} {
		rows, err := db.Read.QueryxContext(t.Context(), query)
		require.NoError(t, err)
		n := 0
		for ; rows.Next(); n++ {
			row, err := rows.SliceScan()
			require.NoError(t, err)
			_, _ = fmt.Fprintln(sum, row...)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		_, _ = fmt.Fprintln(sum, n)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// TestBacktest tries a second agent on many calls, kills the server meanwhile, and holds what the
// comparison says against what is known of the agent.
func TestBacktest(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		calls := 1000
		if s.dialect == onSQLite {
			calls = 10_000
		}
		env := quickTakeover.with(reachable)
		service := s.serve(t, env)
		trigger := service.echoTrigger()
		agent := newSecondAgent(t)
		second := service.newAgent(`{"name": "second", "runner": {"kind": "http", "url": "` + agent.url + `"}}`)

		var made atomic.Int64
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for n := made.Add(1); n <= int64(calls); n = made.Add(1) {
					a, err := service.try(http.MethodPost, hookPath, fmt.Sprintf(`{"n": %d}`, n), "Authorization", "Bearer "+trigger.Token)
					if err != nil || a.status != http.StatusAccepted {
						t.Errorf("call %d: %v %v", n, a, err)
						return
					}
				}
			})
		}
		callers.Wait()
		service.awaitIdle()
		db := s.open(t)
		awaitCounted(t, service, db, trigger.ID, int64(calls))
		require.NoError(t, db.Close())
		service.awaitIdle()
		before := s.trail(t)

		since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
		request := `{"trigger_id": "` + trigger.ID + `", "agent_id": "` + second.ID + `", "since": "` + since + `", "concurrency": 16`
		counted := read[struct{ Invocations int }](t, service.api(http.StatusOK, http.MethodPost, "/api/v1/backtests", request+`, "dry_run": true}`))
		require.Equal(t, calls, counted.Invocations)
		require.Zero(t, agent.calls.Load(), "a dry run runs nothing")

		begun := read[backtestData](t, service.api(http.StatusCreated, http.MethodPost, "/api/v1/backtests", request+`}`))
		awaitCount(t, &agent.calls, int64(calls/3))
		service.kill()
		service = s.serve(t, env)
		var seen backtestData
		eventually(t, func() bool {
			seen = read[backtestData](t, service.get("/api/v1/backtests/"+begun.ID))
			return seen.Status != "running"
		}, "the backtest does not end: %+v", &seen)
		require.Equal(t, "completed", seen.Status)
		require.Equal(t, calls, seen.Tally.Total)
		require.Equal(t, calls, seen.Tally.Done)
		require.Equal(t, calls/10, seen.Tally.Differs)
		require.Equal(t, calls/100, seen.Tally.Failed)
		require.Equal(t, calls-calls/10-calls/100, seen.Tally.Same)
		require.Zero(t, seen.Tally.Skipped)
		require.Equal(t, calls-calls/100, seen.Tally.Durations.Calls)
		require.Equal(t, calls, agent.different(), "one that is run once more has the id that it had")
		require.Zero(t, agent.unmarked.Load(), "calls that were not said to be in shadow")
		t.Logf("%d of %d shadow runs were made twice", agent.calls.Load()-int64(calls), calls)
		require.Less(t, agent.calls.Load(), int64(calls+calls/2), "it goes on where it was")
		for _, r := range all[backtestResultData](&service.client, "/api/v1/backtests/"+begun.ID+"/results?verdict=differs") {
			require.Zero(t, r.Original.Output.N%10, "%+v", r)
			require.Equal(t, []struct{ Op, Path string }{{"add", "/more"}}, r.Difference)
			require.NotNil(t, r.Shadow.DurationMS)
		}
		require.Equal(t, before, s.trail(t), "what was on record is as it was")

		slow := read[backtestData](t, service.api(http.StatusCreated, http.MethodPost, "/api/v1/backtests", request+`, "rate": 100}`))
		ran := agent.calls.Load()
		awaitCount(t, &agent.calls, ran+20)
		cancelled := read[backtestData](t, service.api(http.StatusOK, http.MethodPost, "/api/v1/backtests/"+slow.ID+"/cancel", `{"reason": "seen enough"}`))
		require.Equal(t, "cancelled", cancelled.Status)
		db = s.open(t)
		defer db.Close()
		eventually(t, func() bool {
			var working int
			require.NoError(t, db.Get(t.Context(), &working, "SELECT count(*) FROM backtest_work"))
			return working == 0
		}, "somebody works on a backtest that was cancelled")
		ran = agent.calls.Load()

		c := newCLI(t, service.base, service.key)
		said := c.run(0, "backtest", "--trigger", trigger.ID, "--filter", "payload.n > 500", "--since", "7d", "--limit", "100", "--yes")
		require.Contains(t, said.stderr, "the latest 100 of more invocations")
		require.Contains(t, said.stderr, "100 of 100 done")
		require.Contains(t, said.stdout, "Same      100 (100.0 %)")
		require.Regexp(t, `tokens +not reported`, said.stdout)
		require.Equal(t, ran, agent.calls.Load(), "it is run on after it was cancelled")
		filtered := data[backtestData](c, "backtest", "--trigger", trigger.ID, "--filter", "payload.n % 2 == 0", "--since", "7d", "--limit", "100", "--yes")
		results := all[backtestResultData](&service.client, "/api/v1/backtests/"+filtered.ID+"/results?x=")
		require.Len(t, results, 100)
		odd := 0
		// How many of the latest 100 are odd is not known before: eight callers made them at once.
		for _, r := range results {
			require.Equal(t, r.Original.Output.N%2 != 0, r.Verdict == "differs", "%+v", r)
			odd += r.Original.Output.N % 2
		}
		require.Equal(t, odd, filtered.Tally.Differs)
		require.Contains(t, c.run(0, "backtest", "--trigger", trigger.ID, "--agent", second.ID, "--since", "7d", "--dry-run").stdout, fmt.Sprintf("Invocations  %d\n", calls))
		interrupted := start(t, c.env, "backtest", "--trigger", trigger.ID, "--agent", second.ID, "--since", "7d", "--rate", "10", "--yes")
		awaitCount(t, &agent.calls, ran+5)
		interrupted.signal(syscall.SIGINT)
		require.Equal(t, 1, interrupted.awaitExit())
		require.Contains(t, interrupted.stderr.String(), "was cancelled: interrupted")
		require.Equal(t, "cancelled", all[backtestData](&service.client, "/api/v1/backtests?x=")[0].Status)
		require.Equal(t, before, s.trail(t), "what was on record is as it was")
		require.Equal(t, 5, strings.Count(service.get("/api/v1/events?type=backtest.requested").body, `"type":"backtest.requested"`))
		service.stop()
	})
}
