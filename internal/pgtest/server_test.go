//go:build unix

package pgtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func start(t *testing.T, options Options) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close(context.Background()) })
	return connection
}

func ask(t *testing.T, connection *pgx.Conn, query string) string {
	t.Helper()
	var answer string
	require.NoError(t, connection.QueryRow(t.Context(), query).Scan(&answer))
	return answer
}

func TestServerOnASocket(t *testing.T) {
	t.Setenv("PGPORT", "1") // the developer's settings do not reach the server
	server := start(t, Options{})
	connection := connect(t, server.DSN("postgres"))
	require.Empty(t, ask(t, connection, "SHOW listen_addresses"))
	require.Equal(t, "100", ask(t, connection, "SHOW max_connections"))
	require.Equal(t, "off", ask(t, connection, "SHOW fsync"))
	require.Equal(t, "UTF8", ask(t, connection, "SHOW server_encoding"))
	require.FileExists(t, server.LogFile())

	info, err := os.Stat(server.dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "no other user may reach a socket that trusts everyone")
}

func TestServerOnTCPAsksForItsPassword(t *testing.T) {
	server := start(t, Options{TCP: true, Durable: true})
	dsn := server.DSN("postgres")
	connection := connect(t, dsn)
	require.Equal(t, "127.0.0.1", ask(t, connection, "SHOW listen_addresses"))
	require.Equal(t, "on", ask(t, connection, "SHOW fsync"))
	require.Equal(t, "on", ask(t, connection, "SHOW synchronous_commit"))

	_, err := pgx.Connect(t.Context(), strings.Replace(dsn, server.password, "wrong", 1))
	require.ErrorContains(t, err, "password authentication failed")
}

func TestStopRemovesEverything(t *testing.T) {
	server := start(t, Options{})
	require.NotZero(t, server.PID())
	require.NoError(t, server.Stop())
	require.Zero(t, server.PID())
	require.NoDirExists(t, server.dir)
	require.NoError(t, server.Stop(), "a second call")
}

func TestKill9AndRestart(t *testing.T) {
	for name, options := range map[string]Options{"socket": {Durable: true}, "tcp": {Durable: true, TCP: true}} {
		t.Run(name, func(t *testing.T) {
			server := start(t, options)
			dsn := server.DSN("postgres")
			connection := connect(t, dsn)
			_, err := connection.Exec(t.Context(), "CREATE TABLE kept (n integer); INSERT INTO kept SELECT generate_series(1, 1000)")
			require.NoError(t, err)
			busy := make(chan error, 1)
			other := connect(t, dsn)
			go func() {
				_, err := other.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 100000000000)")
				busy <- err
			}()

			require.Error(t, server.Restart(t.Context()), "it is still running")
			before := server.PID()
			server.Kill9()
			require.Zero(t, server.PID())
			require.Error(t, <-busy, "a backend in the middle of a query dies too")
			_, err = pgx.Connect(t.Context(), dsn)
			require.Error(t, err)
			server.Kill9() // nothing to kill

			require.NoError(t, server.Restart(t.Context()))
			require.NotEqual(t, before, server.PID())
			require.Equal(t, "1000", ask(t, connect(t, dsn), "SELECT count(*)::text FROM kept"), "same address, same data")
			log, err := os.ReadFile(server.LogFile())
			require.NoError(t, err)
			require.Contains(t, string(log), "automatic recovery in progress")
		})
	}
}

func TestStartHonoursItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, Options{})
	require.Error(t, err)
}

func TestStartShowsTheLogOfAServerThatFails(t *testing.T) {
	server := start(t, Options{})
	server.Kill9()
	require.NoError(t, os.WriteFile(filepath.Join(server.dataDir(), "postgresql.conf"), []byte("no_such_setting = 1\n"), 0o600))
	err := server.Restart(t.Context())
	require.ErrorContains(t, err, "no_such_setting")
	require.Zero(t, server.PID())
}

func TestStartUsesAShortDirectory(t *testing.T) {
	long := filepath.Join("/tmp", strings.Repeat("long", 30))
	t.Setenv("TMPDIR", long)
	server := start(t, Options{})
	require.NotContains(t, server.dir, long)
}

func TestStartUsesTheDirectoryThatIsNamed(t *testing.T) {
	dir, err := os.MkdirTemp("", "hooktrail-pgtest-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.Remove(dir), "nothing is left in it") })
	require.NoError(t, os.Chmod(dir, 0o755))
	server := start(t, Options{Dir: dir})
	require.Equal(t, dir, filepath.Dir(server.dir))
	require.NotEmpty(t, ask(t, connect(t, server.DSN("postgres")), "SHOW data_directory"))
}
