//go:build unix

package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ServerVariable names the environment variable with the postgres:// URL of a server to use
// in place of one of our own. Its user must be allowed to create databases.
const ServerVariable = "HOOKTRAIL_TEST_POSTGRES_URL"

const patience = time.Minute

// shared is the server of this test binary: started by the first test that needs it.
var shared struct {
	sync.Mutex

	server *Server
	err    error
}

var insideMain atomic.Bool

// Main is the body of a TestMain in a package that calls [Database]: it runs the tests, stops
// the server and exits.
func Main(m *testing.M) {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		_ = stopShared()
		os.Exit(130)
	}()
	insideMain.Store(true)
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Database gives the URL of an empty database that exists for as long as t runs. All tests of
// a binary share one server; its package needs a TestMain that calls [Main]. The test fails,
// and is never skipped, when there is no PostgreSQL.
func Database(t testing.TB) string {
	t.Helper()
	address, err := serverURL()
	if err != nil {
		t.Fatalf("this test needs PostgreSQL: %v", err)
	}
	name := "hooktrail_test_" + strings.ToLower(rand.Text())
	if err := execute(address, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		t.Fatalf("create a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(address, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	dsn, err := withDatabase(address, name)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// serverURL gives the URL of a database from which others can be created.
func serverURL() (string, error) {
	if address := os.Getenv(ServerVariable); address != "" {
		return address, nil
	}
	if !insideMain.Load() {
		return "", errors.New("the package's TestMain must call pgtest.Main, which stops the server when the tests are done")
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		shared.server, shared.err = Start(ctx, Options{})
	}
	if shared.err != nil {
		return "", shared.err
	}
	return shared.server.DSN("postgres"), nil
}

func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	return shared.server.Stop()
}

func withDatabase(address, name string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil || (parsed.Scheme != "postgres" && parsed.Scheme != "postgresql") {
		return "", fmt.Errorf("%s must be a postgres:// URL", ServerVariable)
	}
	parsed.Path = "/" + name
	return parsed.String(), nil
}

func execute(address, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	connection, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer connection.Close(ctx)
	if _, err := connection.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
