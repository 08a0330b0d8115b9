package e2e_test

import (
	"context"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// killSeconds is how long the kill tests go on.
func killSeconds(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv("HOOKTRAIL_TEST_KILL_SECONDS")
	if text == "" {
		return 6 * time.Second
	}
	seconds, err := strconv.Atoi(text)
	require.NoError(t, err, "HOOKTRAIL_TEST_KILL_SECONDS is a whole number of seconds")
	return time.Duration(seconds) * time.Second
}

// quickTakeover lets another process take over what a killed one ran without a long wait.
var quickTakeover = noLimit.with(environment{"HOOKTRAIL_WORKER_LEASE": "2s"})

// TestKill9 kills serving processes in the middle of their work, again and again.
func TestKill9(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		killUnderLoad(t, postgresStore(pgtest.Database(t)), 2)
	})
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		killUnderLoad(t, sqliteStore(t), 1)
	})
}

func killUnderLoad(t *testing.T, s *store, replicas int) {
	const callers, betweenKills = 4, 150
	services := make([]*service, replicas)
	targets := make([]*target, replicas)
	for i := range replicas {
		services[i] = s.serve(t, quickTakeover)
		targets[i] = at(services[i].base)
	}
	book := newLedger(services[0].echoTrigger().Token, targets...)
	stop := book.run(t, callers)

	kills := 0
	for deadline := time.Now().Add(killSeconds(t)); kills < 3 || time.Now().Before(deadline); kills++ {
		awaitCount(t, &book.accepted, book.accepted.Load()+betweenKills)
		i := kills % replicas
		services[i].kill()
		services[i] = s.serve(t, quickTakeover)
		targets[i].move(services[i].base)
	}
	awaitCount(t, &book.accepted, book.accepted.Load()+betweenKills)
	stop()
	book.check(t, services...)
	t.Logf("%d kills", kills)
	require.Positive(t, book.unanswered.Load(), "no call was under way when a process was killed")
	require.GreaterOrEqual(t, book.accepted.Load(), int64(kills*betweenKills))
	for _, service := range services {
		service.stop()
	}
}

// TestDatabaseKill9 kills the database while the processes go on.
func TestDatabaseKill9(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		server := ownPostgres(t)
		s := postgresStore(server.DSN("postgres"))
		services := []*service{s.serve(t, quickTakeover), s.serve(t, quickTakeover)}
		book := newLedger(services[0].echoTrigger().Token, at(services[0].base), at(services[1].base))
		stop := book.run(t, 4)

		outages := 0
		for deadline := time.Now().Add(killSeconds(t)); outages < 2 || time.Now().Before(deadline); outages++ {
			awaitCount(t, &book.accepted, book.accepted.Load()+200)
			server.Kill9()
			awaitCount(t, &book.unavailable, book.unavailable.Load()+50)
			during := book.accepted.Load()
			for _, service := range services {
				require.Equal(t, http.StatusServiceUnavailable, service.send(http.MethodGet, "/readyz", "").status)
				require.Equal(t, http.StatusOK, service.send(http.MethodGet, "/healthz", "").status)
			}
			a := services[0].send(http.MethodGet, "/api/v1/executions", "", "X-API-Key", s.key)
			require.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
			require.Equal(t, during, book.accepted.Load(), "calls are accepted without a database")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			require.NoError(t, server.Restart(ctx))
			cancel()
		}
		awaitCount(t, &book.accepted, book.accepted.Load()+200)
		stop()
		for _, service := range services {
			eventually(t, func() bool { return service.send(http.MethodGet, "/readyz", "").status == http.StatusOK }, "%s is not ready again", service.base)
		}
		book.check(t, services...)
		require.Zero(t, book.unanswered.Load(), "the processes go on: every call has an answer")
		t.Logf("%d outages", outages)
		for _, service := range services {
			service.stop()
		}
	})
}

// ownPostgres starts a server for one test, with commits that survive it.
func ownPostgres(t testing.TB) *pgtest.Server {
	t.Helper()
	return startPostgres(t, pgtest.Options{Durable: true})
}

func startPostgres(t testing.TB, options pgtest.Options) *pgtest.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := pgtest.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}
