package e2e_test

import (
	"context"
	"errors"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// TestNoConnectionsLeft lets others take all connections that the database has.
func TestNoConnectionsLeft(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		server := ownPostgres(t)
		admin := connect(t, server.DSN("postgres"))
		for _, statement := range []string{"CREATE ROLE hooktrail LOGIN", "CREATE DATABASE hooktrail OWNER hooktrail", "CREATE ROLE others LOGIN"} {
			execute(t, admin, statement)
		}
		s := postgresStore(as(t, "hooktrail", server.DSN("hooktrail")))
		service := s.serve(t, quickTakeover)
		book := newLedger(service.echoTrigger().Token, at(service.base))
		unseen := service.echoTrigger() // by the process, which has to look for it
		stop := book.run(t, 4)
		for range 2 {
			awaitCount(t, &book.accepted, book.accepted.Load()+100)
			others := takeConnections(t, service, admin, as(t, "others", server.DSN("postgres")))
			awaitCount(t, &book.unavailable, book.unavailable.Load()+50)
			during := book.accepted.Load()
			book.call(&service.client, unseen.Token)
			requireAway(t, service)
			require.Equal(t, during, book.accepted.Load(), "calls are accepted without a connection")
			for _, conn := range others {
				require.NoError(t, conn.Close(t.Context()))
			}
			given := time.Now()
			awaitCount(t, &book.accepted, during+100)
			t.Logf("100 calls were accepted %s after %d connections were given back", time.Since(given), len(others))
		}
		stop()
		awaitReady(t, service)
		book.check(t, service)
		require.Zero(t, book.unanswered.Load(), "the process goes on: every call has an answer")
		service.stop()
	})
}

// as gives the address of a database for another user, who needs no password here.
func as(t testing.TB, user, address string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	parsed.User = url.User(user)
	return parsed.String()
}

// takeConnections ends those of a service and takes all that there are, while the service
// stands still: otherwise it might be quicker. One that the service was about to open has a
// place already but no session that could be ended; it gets on when the service does.
func takeConnections(t testing.TB, service *service, admin *pgx.Conn, address string) []*pgx.Conn {
	t.Helper()
	var all int
	require.NoError(t, admin.QueryRow(t.Context(), `SELECT current_setting('max_connections')::int
		- current_setting('superuser_reserved_connections')::int - 1`).Scan(&all), "but for that of the administrator")
	var taken []*pgx.Conn
	eventually(t, func() bool {
		service.signal(syscall.SIGSTOP)
		defer service.signal(syscall.SIGCONT)
		eventually(t, func() bool {
			var left int
			require.NoError(t, admin.QueryRow(t.Context(), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'hooktrail'").Scan(&left))
			taken = append(taken, connectUntilRefused(t, address)...)
			return left == 0
		}, "sessions of the service stay")
		return len(taken) == all
	}, "others did not get all %d connections", all)
	return taken
}

func connectUntilRefused(t testing.TB, address string) (taken []*pgx.Conn) {
	t.Helper()
	for {
		conn, err := pgx.Connect(t.Context(), address)
		var refusal *pgconn.PgError
		if errors.As(err, &refusal) && refusal.Code == "53300" {
			return taken
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		taken = append(taken, conn)
	}
}
