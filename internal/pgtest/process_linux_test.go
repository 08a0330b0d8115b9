package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

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
