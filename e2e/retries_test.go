package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type retriedData struct {
	Retried, Already int
	More             bool
}

// TestRetryOfManyKill9 kills the server while it retries many: asked again under the same key it
// goes on, and each is retried once.
func TestRetryOfManyKill9(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		const calls = 600
		var mended atomic.Bool
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if !mended.Load() {
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
		}))
		t.Cleanup(server.Close)
		env := quickTakeover.with(reachable)
		service := s.serve(t, env)
		trigger := service.newTrigger(service.newAgent(`{"name": "broken", "runner": {"kind": "http", "url": "`+server.URL+`"}}`).ID, "")
		for n := range calls {
			service.accepted(trigger.Token, `{"n": `+strconv.Itoa(n)+`}`)
		}
		service.awaitIdle()
		require.Equal(t, calls, service.total("/api/v1/executions?status=failed&trigger_id="+trigger.ID))
		mended.Store(true)

		db := s.open(t)
		defer db.Close()
		count := func(query string) (n int) {
			require.NoError(t, db.Get(t.Context(), &n, query))
			return n
		}
		const retries = "SELECT count(*) FROM executions WHERE retry_of IS NOT NULL"
		request := `{"trigger_id": "` + trigger.ID + `", "status": "failed", "since": "` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + `"}`
		key := []string{"X-API-Key", s.key, "Idempotency-Key", "mended"}
		unanswered := make(chan error, 1)
		go func() {
			_, err := service.try(http.MethodPost, "/api/v1/executions/retry", request, key...)
			unanswered <- err
		}()
		eventually(t, func() bool { return count(retries) > 20 }, "nothing is retried")
		service.kill()
		require.Error(t, <-unanswered, "the server was killed too late for this test")
		made := count(retries)
		require.Less(t, made, calls)

		service = s.serve(t, env)
		again := read[retriedData](t, service.send(http.MethodPost, "/api/v1/executions/retry", request, key...))
		require.Equal(t, retriedData{Retried: calls - made, Already: made}, again)
		require.Equal(t, calls, count(retries))
		require.Equal(t, calls, count("SELECT count(DISTINCT retry_of) FROM executions WHERE retry_of IS NOT NULL"))
		require.Equal(t, retriedData{Already: calls}, read[retriedData](t, service.send(http.MethodPost, "/api/v1/executions/retry", request, key...)))
		service.awaitIdle()
		require.Equal(t, calls, service.total("/api/v1/executions?status=completed&trigger_id="+trigger.ID))

		c := newCLI(t, service.base, service.key)
		require.Contains(t, c.run(0, "executions", "retry", "--trigger", trigger.ID, "--status", "failed", "--since", "1d", "--limit", "5", "--dry-run").stdout,
			"Would be retried  5, the latest of more")
		require.Equal(t, 3, data[retriedData](c, "executions", "retry", "--trigger", trigger.ID, "--since", "1d", "--limit", "3", "--yes").Retried)
		require.Equal(t, calls+3, count(retries))
		service.stop()
	})
}
