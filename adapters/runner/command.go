package runner

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"hooktrail/application"
)

const (
	// terminationGrace is how long a program has between SIGTERM and SIGKILL.
	terminationGrace = 2 * time.Second
	// stderrTail (bytes) leaves room for the words before it in a message of 4 KiB.
	stderrTail = 4<<10 - 256
)

// Exit codes that another attempt would not change: the first two from sysexits.h, the last
// one a shell's.
const (
	exitDataError       = 65
	exitConfigError     = 78
	exitCommandNotFound = 127
)

// inherited are the variables of our own environment that a program gets. All others may
// hold secrets of ours.
var inherited = []string{"PATH", "HOME", "LANG", "TZ"}

// CommandConfig sets up the command runner; its zero value is ready for use.
type CommandConfig struct {
	// MaxOutput bounds standard output (bytes); 0 is DefaultMaxOutput.
	MaxOutput int64
}

// Command runs agents that are programs of this machine, without a shell: input on standard
// input, output from standard output, HOOKTRAIL_… variables that name the execution. It is
// for operators who trust those that register agents.
type Command struct{ maxOutput int64 }

// NewCommand makes the command runner.
func NewCommand(config CommandConfig) *Command {
	if config.MaxOutput <= 0 {
		config.MaxOutput = DefaultMaxOutput
	}
	return &Command{maxOutput: config.MaxOutput}
}

// Run runs the program to its end. Exit code 0 is success; 65 (EX_DATAERR), 78 (EX_CONFIG),
// 127 and a program that cannot be started at all are final; every other end is worth
// another attempt. When ctx ends, the program and what it has started get SIGTERM and, two
// seconds later, SIGKILL. What it has started does not outlive it, unless it has made itself
// a session of its own.
func (c *Command) Run(ctx context.Context, run application.Run) (application.Result, error) {
	if len(run.Runner.Command) == 0 || run.Runner.Command[0] == "" {
		return application.Result{}, final(application.RunInvalidRunner, "the agent's command is empty")
	}
	if ctx.Err() != nil {
		return application.Result{}, ended(ctx)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	output := &limitedBuffer{limit: c.maxOutput, onOverflow: stop}
	complaint := &tailBuffer{limit: stderrTail}

	program := exec.CommandContext(running, run.Runner.Command[0], run.Runner.Command[1:]...) //nolint:gosec // starting what the operator allowed agents to name is its purpose
	program.Stdin = bytes.NewReader(run.Input)
	program.Stdout, program.Stderr = output, complaint
	program.Env = environment(run)
	program.WaitDelay = terminationGrace
	killGroup := inOwnGroup(program)

	name := filepath.Base(run.Runner.Command[0])
	if err := program.Start(); err != nil {
		if ctx.Err() != nil {
			return application.Result{}, ended(ctx)
		}
		return application.Result{}, notStarted(name, err)
	}
	err := program.Wait()
	killGroup()

	switch {
	case output.overflowed.Load():
		return application.Result{}, tooLarge(c.maxOutput)
	case err == nil:
		return application.Result{Output: jsonOutput(output.kept.Bytes())}, nil
	case ctx.Err() != nil:
		return application.Result{}, ended(ctx)
	case errors.Is(err, exec.ErrWaitDelay) && program.ProcessState.Success():
		// The program is done; something that it left behind held its output open.
		return application.Result{Output: jsonOutput(output.kept.Bytes())}, nil
	}
	return application.Result{}, exited(name, program.ProcessState, complaint.String())
}

func environment(run application.Run) []string {
	env := []string{
		"HOOKTRAIL_EXECUTION_ID=" + run.ExecutionID,
		"HOOKTRAIL_AGENT_ID=" + run.AgentID,
		"HOOKTRAIL_ATTEMPT=" + strconv.Itoa(run.Attempt),
		"HOOKTRAIL_TRIGGER_ID=" + run.TriggerID,
	}
	if run.Shadow {
		env = append(env, "HOOKTRAIL_SHADOW=true")
	}
	for _, name := range inherited {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func notStarted(name string, err error) *application.RunError {
	failed := &application.RunError{
		Code: application.RunAgentFailed, Cause: err,
		Message: "the program " + strconv.Quote(name) + " could not be started",
	}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		failed.Message, failed.Final = "the program "+strconv.Quote(name)+" was not found", true
	case errors.Is(err, fs.ErrPermission), errors.Is(err, exec.ErrDot), errors.Is(err, syscall.ENOEXEC),
		errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.E2BIG):
		failed.Message, failed.Final = "the program "+strconv.Quote(name)+" is not one that can be run here", true
	}
	return failed
}

func exited(name string, state *os.ProcessState, complaint string) *application.RunError {
	failed := &application.RunError{
		Code:    application.RunAgentFailed,
		Message: "the program " + strconv.Quote(name) + " ended with " + state.String(),
	}
	switch state.ExitCode() {
	case exitDataError, exitConfigError, exitCommandNotFound:
		failed.Final = true
	}
	if complaint != "" {
		failed.Message += ": " + complaint
	}
	return failed
}

// limitedBuffer keeps up to limit bytes and calls onOverflow when more arrive. It does not
// embed its buffer, whose ReadFrom would be used in place of Write, past the limit.
type limitedBuffer struct {
	kept       bytes.Buffer
	limit      int64
	onOverflow func()
	overflowed atomic.Bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if int64(b.kept.Len()+len(p)) > b.limit {
		b.overflowed.Store(true)
		b.onOverflow()
		return 0, errors.New("output limit exceeded")
	}
	return b.kept.Write(p)
}

// tailBuffer keeps the last limit bytes.
type tailBuffer struct {
	kept  []byte
	limit int
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[max(0, len(p)-b.limit):]...)
	if surplus := len(b.kept) - b.limit; surplus > 0 {
		b.kept = append(b.kept[:0], b.kept[surplus:]...)
	}
	return len(p), nil
}

// String is what was kept, with invalid UTF-8 replaced and NULs left out.
func (b *tailBuffer) String() string {
	text := strings.ToValidUTF8(string(b.kept), "\uFFFD")
	return strings.TrimSpace(strings.ReplaceAll(text, "\x00", ""))
}
