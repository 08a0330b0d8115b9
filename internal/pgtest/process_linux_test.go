package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestNoServerOutlivesAKilledTest(t *testing.T) {
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=holds a server")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	var pid int
	var dir string
	_, err = fmt.Fscan(stdout, &pid, &dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	backends := childrenOf(pid)
	require.NotEmpty(t, backends, "PostgreSQL has background processes")

	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	awaitGone(append(backends, pid)) // hangs, and the test times out, if the server stays
}

func TestSuspendAndResume(t *testing.T) {
	server := start(t, Options{})
	connection := connect(t, server.DSN("postgres"))
	server.Suspend()
	hasty, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := pgx.Connect(hasty, server.DSN("postgres"))
	require.Error(t, err, "nobody answers")
	server.Resume()
	require.Equal(t, "1", ask(t, connection, "SELECT '1'"), "the session goes on")
	require.Equal(t, "1", ask(t, connect(t, server.DSN("postgres")), "SELECT '1'"))

	server.Suspend()
	began := time.Now()
	require.NoError(t, server.Stop())
	require.Less(t, time.Since(began), stopPatience, "a suspended server ends when it should")
	server.Suspend() // there is none
	server.Resume()
}
