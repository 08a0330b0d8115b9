//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// childVariable makes this binary play another role; see TestMain.
const childVariable = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "holds a server":
		holdServer()
	case "without main":
		os.Exit(m.Run())
	default:
		Main(m)
	}
}

// holdServer is the child of TestNoServerOutlivesAKilledTest.
func holdServer() {
	server, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.PID(), server.dir)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until we are killed, or our parent is
	_ = server.Stop()
	os.Exit(0)
}

func TestDatabaseIsEmptyAndItsOwn(t *testing.T) {
	first := connect(t, Database(t))
	second := connect(t, Database(t))
	_, err := first.Exec(t.Context(), "CREATE TABLE mine (n integer)")
	require.NoError(t, err)
	const tables = "SELECT count(*)::text FROM information_schema.tables WHERE table_schema = 'public'"
	require.Equal(t, "1", ask(t, first, tables))
	require.Equal(t, "0", ask(t, second, tables))
	require.Equal(t, ask(t, first, "SELECT pg_postmaster_start_time()::text"),
		ask(t, second, "SELECT pg_postmaster_start_time()::text"), "one server for all")
}

func TestDatabaseIsDroppedEvenWhenInUse(t *testing.T) {
	outer := t
	var name string
	var user *pgx.Conn
	t.Run("inner", func(t *testing.T) {
		dsn := Database(t)
		user = connect(outer, dsn)
		name = ask(t, user, "SELECT current_database()")
	})
	require.Error(t, user.Ping(t.Context()), "the server ended its connection")
	admin := connect(t, Database(t))
	require.Equal(t, "0", ask(t, admin, fmt.Sprintf("SELECT count(*)::text FROM pg_database WHERE datname = '%s'", name)))
}

func TestDatabaseOnAServerFromTheEnvironment(t *testing.T) {
	server := start(t, Options{TCP: true})
	t.Setenv(ServerVariable, server.DSN("postgres"))
	connection := connect(t, Database(t))
	require.Equal(t, "127.0.0.1", ask(t, connection, "SHOW listen_addresses"))
	require.Contains(t, ask(t, connection, "SELECT current_database()"), "hooktrail_test_")
}

// A test without PostgreSQL has to fail; only another process can show that.
func TestDatabaseFailsWithoutPostgres(t *testing.T) {
	for name, test := range map[string]struct {
		environment []string
		says        string
	}{
		"no binaries":  {[]string{"PGBIN=" + t.TempDir(), childVariable + "="}, "apt-get install"},
		"no TestMain":  {[]string{childVariable + "=without main"}, "pgtest.Main"},
		"not a server": {[]string{ServerVariable + "=postgres://127.0.0.1:1/none", childVariable + "="}, "connect"},
	} {
		t.Run(name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDatabaseIsEmptyAndItsOwn$", "-test.v")
			child.Env = append(os.Environ(), test.environment...)
			output, err := child.CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(output), "--- FAIL: TestDatabaseIsEmptyAndItsOwn")
			require.Contains(t, string(output), test.says)
			require.NotContains(t, string(output), "SKIP")
		})
	}
}
