package e2e_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// disk is a file system of its own, in memory, that can be filled up.
type disk struct{ dir string }

// newDisk mounts a file system of some size, which takes root.
func newDisk(t testing.TB, size string) *disk {
	t.Helper()
	dir, err := os.MkdirTemp("", "hooktrail-disk-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.Remove(dir)) })
	err = syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NODEV|syscall.MS_NOSUID, "mode=0755,size="+size)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("a disk of a size of its own takes the right to mount one: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return &disk{dir}
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes all the space that is left.
func (d *disk) fill(t testing.TB) {
	t.Helper()
	file, err := os.Create(d.ballast())
	require.NoError(t, err)
	defer file.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = file.Write(block)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
}

// free gives the space back that fill took.
func (d *disk) free(t testing.TB) {
	t.Helper()
	require.NoError(t, os.Remove(d.ballast()))
}

// TestFullDisk fills the disk that the store is on, and gives the space back.
func TestFullDisk(t *testing.T) {
	const callers = 8
	t.Parallel()
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		d := newDisk(t, "24m")
		s := &store{dialect: onSQLite, env: environment{"HOOKTRAIL_DATA_DIR": filepath.Join(d.dir, "data")}}
		service := s.serve(t, noLimit)
		book := newLedger(service.echoTrigger().Token, at(service.base))
		book.padding = strings.Repeat("x", 2000)
		stop := book.run(t, callers)
		awaitCount(t, &book.accepted, 100)
		d.fill(t)
		requireRefusals(t, book, callers)
		during := book.accepted.Load()
		requireFull(t, service)
		service.get("/api/v1/executions?status=completed") // what is there can be read
		require.Equal(t, during, book.accepted.Load(), "calls are accepted without space for them")
		d.free(t)
		requireAccepted(t, book, during+100)
		stop()
		book.check(t, service)
		require.Zero(t, book.unanswered.Load(), "the process goes on: every call has an answer")

		// Nothing of it is in the memory of the process alone.
		service.kill()
		again := s.serve(t, noLimit)
		book.check(t, again)
		again.stop()
	})
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		d := newDisk(t, "128m")
		server := startPostgres(t, pgtest.Options{Durable: true, Dir: d.dir})
		s := postgresStore(server.DSN("postgres"))
		service := s.serve(t, quickTakeover)
		book := newLedger(service.echoTrigger().Token, at(service.base))
		book.padding = strings.Repeat("x", 2000)
		stop := book.run(t, callers)
		awaitCount(t, &book.accepted, 100)

		// Without room for rows the server refuses, and goes on.
		pid := server.PID()
		d.fill(t)
		requireRefusals(t, book, callers)
		requireFull(t, service)
		d.free(t)
		requireAccepted(t, book, book.accepted.Load()+100)
		require.Equal(t, pid, server.PID())

		// Without room for its write-ahead log it ends, until somebody makes room and starts it.
		d.fill(t)
		_, _ = connect(t, server.DSN("postgres")).Exec(t.Context(), "SELECT pg_switch_wal()") // which the server may not live to answer
		eventually(t, func() bool {
			return service.send(http.MethodGet, "/readyz", "").status == http.StatusServiceUnavailable
		}, "PostgreSQL goes on without a log")
		requireRefusals(t, book, callers)
		during := book.accepted.Load()
		requireAway(t, service)
		require.Equal(t, during, book.accepted.Load(), "calls are accepted without a database")
		d.free(t)
		freed := time.Now()
		restarts := 0
		eventually(t, func() bool {
			if server.PID() == 0 {
				restarts++
				restart(t, server)
			}
			return book.accepted.Load() >= during+100
		}, "nothing is accepted though there is space again")
		t.Logf("100 accepted after %s and %d restarts of PostgreSQL", time.Since(freed), restarts)
		stop()
		awaitReady(t, service)
		book.check(t, service)
		require.Zero(t, book.unanswered.Load(), "the process goes on: every call has an answer")
		server.Kill9()
		restart(t, server)
		awaitReady(t, service)
		book.check(t, service)
		service.stop()
	})
}

func requireRefusals(t testing.TB, book *ledger, more int64) {
	t.Helper()
	began := time.Now()
	awaitCount(t, &book.unavailable, book.unavailable.Load()+more)
	t.Logf("%d refusals after %s", more, time.Since(began))
}

func requireAccepted(t testing.TB, book *ledger, total int64) {
	t.Helper()
	began := time.Now()
	awaitCount(t, &book.accepted, total)
	t.Logf("calls are accepted again after %s", time.Since(began))
}

// requireFull checks that changes are refused in a way that says what to do. A few small ones
// may still find room in pages that the database has already.
func requireFull(t testing.TB, service *service) {
	t.Helper()
	var a answer
	eventually(t, func() bool {
		a = service.send(http.MethodPost, "/api/v1/agents", `{"name": "one more"}`, "X-API-Key", service.key)
		return a.status != http.StatusCreated
	}, "changes are never refused")
	require.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
	require.Contains(t, a.body, `"unavailable"`)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, service.send(http.MethodGet, "/healthz", "").status)
}

func restart(t testing.TB, server *pgtest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, server.Restart(ctx))
}
