// Package e2e_test runs the built binary as its users do: over HTTP, on both databases, with
// processes and databases that are killed, stopped and starved, and with clients that misbehave.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hooktrail/internal/pgtest"
)

// binary is the program under test.
var binary string

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "hooktrail-e2e-")
	if err != nil {
		return 1, err
	}
	var once sync.Once
	cleanUp := func() error {
		var failed error
		once.Do(func() { failed = os.RemoveAll(dir) })
		return failed
	}
	defer func() { err = errors.Join(err, cleanUp()) }()

	binary = filepath.Join(dir, "hooktrail")
	if output, err := exec.Command("go", "build", "-o", binary, "hooktrail/cmd/hooktrail").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the binary: %w\n%s", err, output)
	}
	stop, err := providePostgres()
	if err != nil {
		return 1, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		_ = stop()
		_ = cleanUp()
		os.Exit(130)
	}()
	code = m.Run()
	return code, stop()
}

// providePostgres starts the server that pgtest.Database makes its databases on, unless the
// environment names one. The server that pgtest would start itself is faster than it is safe,
// which doctor rightly calls ill.
func providePostgres() (stop func() error, err error) {
	if os.Getenv(pgtest.ServerVariable) != "" {
		return func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := pgtest.Start(ctx, pgtest.Options{Durable: true})
	if err != nil {
		return nil, fmt.Errorf("these tests need PostgreSQL: %w", err)
	}
	return server.Stop, os.Setenv(pgtest.ServerVariable, server.DSN("postgres"))
}
