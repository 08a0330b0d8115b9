package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// python is an interpreter that has the library of the page's snippet.
var python struct {
	sync.Mutex
	path string
	err  error
}

// pythonWithRequests gives the path of a Python 3 that can import requests, made once for all
// tests, beside the binary.
func pythonWithRequests(t testing.TB) string {
	t.Helper()
	python.Lock()
	defer python.Unlock()
	if python.path == "" && python.err == nil {
		python.path, python.err = makePython(filepath.Join(filepath.Dir(binary), "python"))
	}
	require.NoError(t, python.err)
	return python.path
}

func makePython(dir string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	python3, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("this test needs python3 (Debian and Ubuntu: apt-get install python3 python3-venv) and found none on the PATH")
	}
	// What the machine has already is not fetched.
	if exec.CommandContext(ctx, python3, "-c", "import requests").Run() == nil {
		return python3, nil
	}
	made := filepath.Join(dir, "bin", "python")
	for _, step := range [][]string{
		{python3, "-m", "venv", dir},
		{made, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "requests==2.32.5"},
	} {
		if output, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("this test needs a Python with the library requests: %v: %w\n%s", step, err, output)
		}
	}
	return made, nil
}
