package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
)

// readModels are the tables that are made from the log.
var readModels = []string{"triggers", "agents", "api_keys", "executions", "trigger_statistics"}

// TestRebuildProjections makes the read models anew while the service runs: first as they
// are, then after all their rows are gone.
func TestRebuildProjections(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		paths := variedHistory(t, service)
		db := s.open(t)
		invoked := service.total("/api/v1/events?type=trigger.invoked")
		eventually(t, func() bool {
			var counted int
			require.NoError(t, db.Get(t.Context(), &counted, "SELECT coalesce(sum(invocations), 0) FROM trigger_statistics"))
			return counted == invoked
		}, "the statistics do not come to %d calls", invoked)
		before := snapshot(service, paths)
		for _, a := range before {
			require.NotContains(t, a, `"data":[]`, "an empty list shows nothing")
		}
		events := service.total("/api/v1/events?")

		// Twice, since the second one finds the tables of the first.
		for range 2 {
			rebuild(t, s, events)
			requireSame(t, before, snapshot(service, paths))
		}

		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
			for _, table := range readModels {
				tx.Exec("DELETE FROM " + table)
			}
			return nil
		}))
		require.Zero(t, service.total("/api/v1/executions?"))
		require.Zero(t, service.total("/api/v1/agents?"))
		rebuild(t, s, events)
		requireSame(t, before, snapshot(service, paths))

		// Calls go on meanwhile, and none is lost on the way into the new tables; who reads finds
		// every row at every moment.
		busy := service.echoTrigger()
		book := newLedger(busy.Token, at(service.base))
		stop := book.run(t, 2)
		awaitCount(t, &book.accepted, 1)
		reads := readMeanwhile(t, service, book, paths)
		for range 3 {
			awaitCount(t, &book.accepted, book.accepted.Load()+50)
			awaitCount(t, &reads.made, reads.made.Load()+50)
			ran := s.command(t, "projections", "rebuild")
			require.Zero(t, ran.code, ran.stderr)
		}
		awaitCount(t, &book.accepted, book.accepted.Load()+50)
		reads.stop()
		stop()
		require.Empty(t, book.faults)
		require.Zero(t, book.unavailable.Load())
		ofBusy := "/api/v1/executions?trigger_id=" + busy.ID
		eventually(t, func() bool { return service.total(ofBusy+"&status=completed") == int(book.accepted.Load()) }, "executions do not end")
		require.Equal(t, int(book.accepted.Load()), service.total(ofBusy))
		awaitCounted(t, service, db, busy.ID, book.accepted.Load())
		live := readModelRows(t, db)
		ran := s.command(t, "projections", "rebuild")
		require.Zero(t, ran.code, ran.stderr)
		require.Equal(t, live, readModelRows(t, db), "the live tables, row by row")
		service.stop()
	})
}

// readers read while something else happens.
type readers struct {
	made atomic.Int64
	stop func()
}

// readMeanwhile reads an accepted execution and one of the paths by turns. Each must be there, and
// nothing can be less than it was.
func readMeanwhile(t testing.TB, service *service, book *ledger, paths []string) *readers {
	done := make(chan struct{})
	r := &readers{}
	var reading sync.WaitGroup
	c := service.client
	reading.Go(func() {
		for total, n := 0, 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			for _, path := range []string{"/api/v1/executions/" + book.anyAccepted(), paths[n%len(paths)]} {
				if a, err := c.try(http.MethodGet, path, "", "X-API-Key", c.key); err != nil || a.status != http.StatusOK {
					book.fault("GET %s: %d %v %s", path, a.status, err, a.body)
				}
			}
			var page struct{ Meta struct{ Total int } }
			a, err := c.try(http.MethodGet, "/api/v1/executions?limit=1", "", "X-API-Key", c.key)
			if err == nil {
				err = json.Unmarshal([]byte(a.body), &page)
			}
			if err != nil || page.Meta.Total < total {
				book.fault("there were %d executions, now %v %s", total, err, a.body)
			}
			total = page.Meta.Total
			r.made.Add(1)
		}
	})
	var once sync.Once
	r.stop = func() { once.Do(func() { close(done) }); reading.Wait() }
	t.Cleanup(r.stop)
	return r
}

// readModelRows gives all rows of the read models.
func readModelRows(t testing.TB, db *database.DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, table := range readModels {
		rows, err := db.Read.QueryContext(t.Context(), "SELECT * FROM "+table)
		require.NoError(t, err)
		columns, err := rows.Columns()
		require.NoError(t, err)
		values, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			places[i] = &values[i]
		}
		for rows.Next() {
			require.NoError(t, rows.Scan(places...))
			all[table] = append(all[table], fmt.Sprintf("%q %q", columns, values))
		}
		require.NoError(t, rows.Err())
		require.NotEmpty(t, all[table])
		slices.Sort(all[table])
	}
	return all
}

func rebuild(t testing.TB, s *store, events int) {
	t.Helper()
	ran := s.command(t, "projections", "rebuild")
	require.Zero(t, ran.code, ran.stderr)
	require.Contains(t, ran.stdout, fmt.Sprintf("rebuilt all read models from %d events", events))
}

// awaitCounted waits until the statistics, which follow behind the log, have all calls, and
// each once.
func awaitCounted(t testing.TB, service *service, db *database.DB, triggerID string, calls int64) {
	t.Helper()
	var counted int64
	count := func() int64 {
		require.NoError(t, db.Get(t.Context(), &counted, "SELECT coalesce(max(invocations), 0) FROM trigger_statistics WHERE trigger_id = ?", triggerID))
		return counted
	}
	eventually(t, func() bool { return count() >= calls }, "the statistics of %s have less than %d calls", triggerID, calls)
	// What follows in the log is counted behind it, so a double count would show by now.
	after := service.echoTrigger()
	service.accepted(after.Token, `{}`)
	eventually(t, func() bool {
		return read[triggerData](t, service.get("/api/v1/webhook-triggers/"+after.ID)).LastUsedAt != ""
	}, "last_used_at does not appear")
	require.Equal(t, calls, count())
}

// variedHistory does what changes read models and gives the paths that show the outcome.
func variedHistory(t testing.TB, service *service) []string {
	t.Helper()
	c := &service.client
	echo := c.newAgent(`{"name": "echo \u0130", "description": "two", "runner": {"kind": "echo"}, "max_concurrency": 3}`)
	nobody := c.newAgent(`{"name": "nobody", "runner": {"kind": "none"}, "type": "x"}`)
	private := c.newAgent(`{"name": "private", "runner": {"kind": "http", "url": "http://127.0.0.2:1/"}}`)
	archived := c.newAgent(`{"name": "archived", "runner": {"kind": "echo"}}`)
	c.api(http.StatusOK, http.MethodPatch, "/api/v1/agents/"+nobody.ID, `{"description": "changed", "retry": {"max_attempts": 2}}`)
	c.api(http.StatusNoContent, http.MethodDelete, "/api/v1/agents/"+archived.ID, "")

	plain := c.newTrigger(echo.ID, `, "options": {"rate_limit": 7, "allowed_ips": ["127.0.0.0/8"]}`)
	signed := c.newTrigger(nobody.ID, `, "generate_secret": true`)
	failing := c.newTrigger(private.ID, "")
	deleted := c.newTrigger(echo.ID, "")
	for range 3 {
		c.accepted(plain.Token, `{"text": "\u0000 \ud800", "n": 1e300}`)
	}
	form := read[executionData](t, c.fire(plain.Token, "a=1&a=2&b=x", "Content-Type", "application/x-www-form-urlencoded"))
	refused := c.accepted(failing.Token, `{}`)
	c.accepted(deleted.Token, `{"of": "a deleted trigger"}`)
	cancelled := c.accepted(signed.Token, `{"a": 1}`, "X-Webhook-Signature", sign(signed.Secret, `{"a": 1}`))
	reported := c.accepted(signed.Token, `{"b": 1}`, "X-Webhook-Signature", sign(signed.Secret, `{"b": 1}`), "Idempotency-Key", "once")
	c.api(http.StatusOK, http.MethodPost, "/api/v1/executions/"+cancelled+"/cancel", `{"reason": "not needed"}`)
	c.api(http.StatusOK, http.MethodPost, "/api/v1/executions/"+reported+"/report", `{"output": {"done": true}}`)
	c.awaitExecution(refused, "failed")
	retried := read[executionData](t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/executions/"+refused+"/retry", ""))
	direct := read[executionData](t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/agents/"+echo.ID+"/execute",
		`{"input": {"x": 1}, "session_id": "s", "user_id": "u", "metadata": {"k": "v"}, "sync": true}`))
	waiting := c.accepted(signed.Token, `{"c": 1}`, "X-Webhook-Signature", sign(signed.Secret, `{"c": 1}`))

	path := "/api/v1/webhook-triggers/"
	for _, change := range []string{`{"name": "renamed"}`, `{"is_active": false}`, `{"is_active": true}`, `{"options": {"rate_limit": null, "inactive_status": 410}}`} {
		c.api(http.StatusOK, http.MethodPatch, path+plain.ID, change)
	}
	c.api(http.StatusOK, http.MethodPost, path+plain.ID+"/rotate-token", `{"grace_period": 3600}`)
	c.api(http.StatusOK, http.MethodPost, path+signed.ID+"/rotate-secret", `{}`)
	c.api(http.StatusOK, http.MethodPatch, path+signed.ID, `{"is_active": false}`)
	c.api(http.StatusNoContent, http.MethodDelete, path+deleted.ID, "")
	for range 2 {
		c.api(http.StatusCreated, http.MethodPost, "/api/v1/api-keys", `{"name": "reader", "scopes": ["events:read", "agents:read"], "expires_at": "2999-01-01T00:00:00+01:00"}`)
	}
	revoked := read[agentData](t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/api-keys", `{"name": "revoked", "scopes": ["admin"]}`))
	c.api(http.StatusNoContent, http.MethodDelete, "/api/v1/api-keys/"+revoked.ID, "")

	for _, id := range []string{form.ID, retried.ID, direct.ID} {
		eventually(t, func() bool { status := c.execution(id).Status; return status != "pending" && status != "running" }, "%s does not end", id)
	}
	eventually(t, func() bool {
		return c.total("/api/v1/executions?status=pending") == 1 && c.total("/api/v1/executions?status=running") == 0
	},
		"executions do not end")

	paths := []string{
		"/api/v1/webhook-triggers", "/api/v1/webhook-triggers?limit=1&page=2", "/api/v1/webhook-triggers?is_active=false", "/api/v1/webhook-triggers?name=RENAMED",
		"/api/v1/triggers?agent_id=" + nobody.ID, "/api/v1/agents", "/api/v1/agents?name=echo", "/api/v1/api-keys", "/api/v1/me",
		"/api/v1/executions?limit=100", "/api/v1/executions?limit=2&page=2", "/api/v1/executions?trigger_id=" + plain.ID, "/api/v1/executions?agent_id=" + echo.ID,
		"/api/v1/executions?session_id=s", "/api/v1/events?after=0&limit=100", path + plain.ID + "/events",
	}
	for _, status := range []string{"pending", "completed", "failed", "cancelled"} {
		paths = append(paths, "/api/v1/executions?status="+status)
	}
	for _, id := range []string{plain.ID, signed.ID, failing.ID} {
		paths = append(paths, path+id, path+id+"?as_of=20")
	}
	for _, id := range []string{echo.ID, nobody.ID, private.ID} {
		paths = append(paths, "/api/v1/agents/"+id)
	}
	for _, x := range all[executionData](c, "/api/v1/executions?") {
		paths = append(paths, "/api/v1/executions/"+x.ID)
	}
	require.Contains(t, paths, "/api/v1/executions/"+waiting)
	return paths
}

// snapshot reads all paths, and every further page of the first lists.
func snapshot(service *service, paths []string) map[string]string {
	service.tb.Helper()
	answers := map[string]string{}
	for _, path := range paths {
		answers[path] = service.get(path).body
	}
	for _, list := range []string{"/api/v1/webhook-triggers?", "/api/v1/executions?", "/api/v1/events?", "/api/v1/agents?"} {
		for i, entry := range all[json.RawMessage](&service.client, list) {
			answers[fmt.Sprintf("%s #%d", list, i)] = string(entry)
		}
	}
	return answers
}

func requireSame(t testing.TB, before, after map[string]string) {
	t.Helper()
	require.Len(t, after, len(before))
	for path, body := range before {
		require.Equal(t, body, after[path], path)
	}
}
