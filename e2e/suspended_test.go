package e2e_test

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// TestSuspendedProcess stops a process without ending it, as a hanging machine would be, while
// it runs agents and holds the lock that every append of every process waits for.
func TestSuspendedProcess(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		const runs = 4
		s := postgresStore(pgtest.Database(t))
		agent := newAgentServer(t)
		settings := reachable.with(quickTakeover)
		first := s.serve(t, settings)
		made := slowTrigger(first, agent)
		book := newLedger(first.echoTrigger().Token, at(first.base))
		early := map[string]agentCall{} // by execution
		for range runs {
			_, answered := book.call(&first.client, made.Token)
			require.True(t, answered)
			call := agent.next(t) // by the only process there is
			early[call.header.Get("Idempotency-Key")] = call
		}
		require.Len(t, early, runs)
		other := s.serve(t, settings)
		book.targets = append(book.targets, at(other.base))
		stop := book.run(t, 6)
		awaitCount(t, &book.accepted, 200)

		suspendInAppend(t, first, connect(t, s.env["HOOKTRAIL_DATABASE_URL"]), func() { book.call(&first.client, book.token) })
		began := time.Now()
		a, _ := book.call(&other.client, book.token)
		require.Equal(t, http.StatusAccepted, a.status, "the other process goes on when the database has ended the session: %s", a.body)
		t.Logf("the other process was held up for %s", time.Since(began))
		awaitCount(t, &book.accepted, book.accepted.Load()+200)

		// The other one takes over, before the lost one has come back.
		taken := map[string]agentCall{}
		for range runs {
			call := agent.next(t)
			require.Equal(t, "2", call.header.Get("Hooktrail-Attempt"))
			taken[call.header.Get("Idempotency-Key")] = call
		}
		require.Len(t, taken, runs)
		for id, call := range early {
			require.Contains(t, taken, id)
			call.answer(http.StatusOK, `{"by": "the first"}`)
		}
		first.signal(syscall.SIGCONT)
		for id := range early {
			eventually(t, func() bool { return first.logged(id) != "" }, "nothing is told of the late result of %s: %s", id, first.stderr)
			require.Contains(t, first.logged(id), "a late result does not count")
		}
		for _, call := range taken {
			call.answer(http.StatusOK, `{"by": "the other"}`)
		}

		// It works on as one of two.
		eventually(t, func() bool {
			a, _ := book.call(&first.client, book.token)
			return a.status == http.StatusAccepted
		}, "the process that was stopped accepts nothing any more")
		awaitCount(t, &book.accepted, book.accepted.Load()+200)
		stop()
		book.check(t, first, other)
		require.Zero(t, book.unanswered.Load(), "both processes go on: every call has an answer")
		for id := range early {
			execution := other.execution(id)
			require.JSONEq(t, `{"by": "the other"}`, string(execution.Output))
			require.Len(t, execution.Attempts, 2)
			require.Equal(t, "worker_lost", execution.Attempts[0].ErrorCode)
			require.Equal(t, "completed", execution.Attempts[1].Status)
		}
		agent.none(t)
		first.stop()
		other.stop()
	})
}

// suspendInAppend stops a process at a moment at which its transaction holds the append lock,
// which takes a few tries. goOn lets it do something between two of them.
func suspendInAppend(t testing.TB, service *service, conn *pgx.Conn, goOn func()) {
	t.Helper()
	// A session that waits this long for its process, lock in hand, is that of a stopped one.
	const holding = `SELECT count(*) FROM pg_locks JOIN pg_stat_activity AS a USING (pid)
		WHERE locktype = 'advisory' AND objid = $1 AND granted AND a.datname = current_database()
		AND a.state = 'idle in transaction' AND a.state_change < clock_timestamp() - interval '500 milliseconds'`
	tries := 0
	eventually(t, func() bool {
		tries++
		service.signal(syscall.SIGSTOP)
		poll := time.NewTicker(20 * time.Millisecond)
		defer poll.Stop()
		for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); <-poll.C {
			var held int
			require.NoError(t, conn.QueryRow(t.Context(), holding, appendLock).Scan(&held))
			if held == 1 {
				return true
			}
		}
		service.signal(syscall.SIGCONT)
		goOn()
		return false
	}, "the process is never met in the middle of an append")
	t.Logf("stopped in the middle of an append at try %d", tries)
}
