package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that should happen soon.
const patience = 30 * time.Second

// environment is what a process gets: these variables and no others of ours.
type environment map[string]string

func (e environment) with(more environment) environment {
	all := maps.Clone(e)
	if all == nil {
		all = environment{}
	}
	maps.Copy(all, more)
	return all
}

func (e environment) entries(dir string) []string {
	entries := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	for _, name := range slices.Sorted(maps.Keys(e)) {
		entries = append(entries, name+"="+e[name])
	}
	return entries
}

// output is what a process writes; others may wait for a part of it.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{}
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.grown
}

func (o *output) String() string {
	text, _ := o.read()
	return text
}

// process is a program that this test started, and ends.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	exited chan struct{}
	code   int // when exited is closed; -1 after a signal
}

// start runs the binary in a directory of its own.
func start(t testing.TB, env environment, args ...string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{t: t, stdout: newOutput(), stderr: newOutput(), exited: make(chan struct{})}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Dir, p.cmd.Env = dir, env.entries(dir)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = dieWithParent()
	p.cmd.WaitDelay = 5 * time.Second
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread that is the process's parent lives as long as the process
		defer close(p.exited)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in ProcessState
			p.code = p.cmd.ProcessState.ExitCode()
		}
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %s wrote to stdout:\n%s\nand to stderr:\n%s", binary, strings.Join(args, " "), tail(p.stdout.String()), tail(p.stderr.String()))
		}
	})
	return p
}

func tail(text string) string {
	const most = 6000
	return text[max(0, len(text)-most):]
}

// await waits until the process has written something to stdout and gives the groups of the
// match.
func (p *process) await(pattern string) []string {
	p.t.Helper()
	expression := regexp.MustCompile(pattern)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		text, grown := p.stdout.read()
		if found := expression.FindStringSubmatch(text); found != nil {
			return found
		}
		select {
		case <-grown:
		case <-p.exited:
			if found := expression.FindStringSubmatch(p.stdout.String()); found != nil {
				return found
			}
			require.FailNow(p.t, "the process ended", "with code %d, before it wrote %q:\n%s\n%s", p.code, pattern, p.stdout, p.stderr)
		case <-deadline.C:
			require.FailNow(p.t, "the process did not write what was awaited", "%q; it wrote:\n%s\n%s", pattern, p.stdout, p.stderr)
		}
	}
}

// logged gives the lines of the log that hold a text.
func (p *process) logged(part string) string {
	var lines strings.Builder
	for line := range strings.Lines(p.stderr.String()) {
		if part != "" && strings.Contains(line, part) {
			lines.WriteString("\n" + strings.TrimSpace(line))
		}
	}
	return lines.String()
}

// kill ends the process as a crash would and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// awaitExit waits for the end and gives the exit code.
func (p *process) awaitExit() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.code
	case <-time.After(patience):
		require.FailNow(p.t, "the process does not end", "it wrote:\n%s\n%s", p.stdout, tail(p.stderr.String()))
		return 0
	}
}

// stop asks the process to end, which it must do well.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	require.Zero(p.t, p.awaitExit(), "the exit code after SIGTERM; stderr:\n%s", tail(p.stderr.String()))
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// command runs the binary to its end.
func command(t testing.TB, env environment, args ...string) result {
	t.Helper()
	p := start(t, env, args...)
	code := p.awaitExit()
	return result{code, p.stdout.String(), p.stderr.String()}
}

// program runs another program to its end, in a directory of its own.
func program(t testing.TB, env environment, stdin, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, env.entries(dir), dieWithParent()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
