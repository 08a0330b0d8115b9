package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// TestOverload sends more calls than may wait while the database takes none.
func TestOverload(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		const callers, shed, growth = 48, 1000, 64
		s := postgresStore(pgtest.Database(t))
		service := s.serve(t, quickTakeover.with(environment{"HOOKTRAIL_QUEUE_LENGTH": "16"}))
		book := newLedger(service.echoTrigger().Token, at(service.base))
		book.padding = strings.Repeat("x", 10_000)
		other := connect(t, s.env["HOOKTRAIL_DATABASE_URL"])

		// As many as may wait, and no more, are let in; the others are sent away at once.
		stop := book.run(t, callers)
		awaitCount(t, &book.accepted, 200)
		before := service.mebibytes()
		execute(t, other, "BEGIN")
		_, err := other.Exec(t.Context(), "SELECT pg_advisory_xact_lock($1)", appendLock)
		require.NoError(t, err)
		held, appended := time.Now(), countEvents(t, other)
		awaitCount(t, &book.overloaded, book.overloaded.Load()+shed)
		require.Equal(t, appended, countEvents(t, other), "somebody appends without the lock")
		during := service.mebibytes()
		took := time.Since(held)
		execute(t, other, "ROLLBACK")
		awaitCount(t, &book.accepted, book.accepted.Load()+200)
		stop()
		book.check(t, service)
		require.Zero(t, book.unanswered.Load())
		t.Logf("%d calls shed within %s; %.0f MiB before, %.0f MiB meanwhile, %.0f MiB behind", shed, took, before, during, service.mebibytes())
		require.Less(t, during, before+growth, "memory grows with the calls that are sent away")
		service.stop()
	})
}

func countEvents(t testing.TB, conn *pgx.Conn) (count int) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM events").Scan(&count))
	return count
}

// TestHangingDatabase stops the database where it stands: connections stay, and nothing comes
// back on them.
func TestHangingDatabase(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		// A call waits for 10 s at most to be counted and as long to be appended; the rest is for a
		// busy machine.
		const callers, bound = 8, 25 * time.Second
		server := ownPostgres(t)
		s := postgresStore(server.DSN("postgres"))
		// One counts calls in the database before it appends, the other does not.
		limited := s.serve(t, quickTakeover.with(environment{"HOOKTRAIL_RATE_LIMIT": "1000000"}))
		service := s.serve(t, quickTakeover)
		book := newLedger(service.echoTrigger().Token, at(service.base), at(limited.base))
		unseen := service.echoTrigger() // by any process, until the database hangs
		stop := book.run(t, callers)
		awaitCount(t, &book.accepted, 200)

		server.Suspend()
		began := time.Now()
		for _, c := range []*client{&service.client, &limited.client} {
			require.Equal(t, http.StatusServiceUnavailable, c.send(http.MethodGet, "/readyz", "").status)
			require.Equal(t, http.StatusOK, c.send(http.MethodGet, "/healthz", "").status)
		}
		require.Less(t, time.Since(began), bound)
		book.call(&service.client, unseen.Token)
		awaitCount(t, &book.unavailable, callers+1)
		t.Logf("every caller was refused within %s", time.Since(began))
		during := book.accepted.Load()
		server.Resume()
		resumed := time.Now()
		awaitCount(t, &book.accepted, during+200)
		t.Logf("200 calls were accepted within %s of its return", time.Since(resumed))
		awaitReady(t, service, limited)
		stop()
		book.check(t, service, limited)
		require.Zero(t, book.unanswered.Load(), "the processes go on: every call has an answer")
		require.Less(t, book.slowest, bound)
		service.stop()
		limited.stop()
	})
}
