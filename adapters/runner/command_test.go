//go:build unix

package runner_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/runner"
	"hooktrail/adapters/runner/runnertest"
	"hooktrail/application"
	"hooktrail/domain/agent"
)

// programArgument makes the test binary act as an agent's program.
const programArgument = "act-as-program"

func program(name string, args []string) int {
	switch name {
	case "environment":
		_ = json.NewEncoder(os.Stdout).Encode(os.Environ())
	case "arguments":
		_ = json.NewEncoder(os.Stdout).Encode(args)
	case "exit":
		code, _ := strconv.Atoi(args[0])
		fmt.Fprint(os.Stdout, "output before the failure")
		fmt.Fprint(os.Stderr, strings.Join(args[1:], " "))
		return code
	case "endless-output":
		for {
			if _, err := os.Stdout.Write(make([]byte, 4096)); err != nil {
				return 1
			}
		}
	case "stuck": // until SIGTERM
		report(args[0])
		select {}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		report(args[0])
		select {}
	case "tidy": // says goodbye on SIGTERM
		terminated := make(chan os.Signal, 1)
		signal.Notify(terminated, syscall.SIGTERM)
		connection := report(args[0])
		<-terminated
		fmt.Fprintln(connection, "goodbye")
	case "tidy-family":
		signal.Ignore(syscall.SIGTERM)
		return family("tidy", args[0], func(child *exec.Cmd) { _ = child.Wait() })
	case "stuck-family":
		return family("stubborn", args[0], func(child *exec.Cmd) { _ = child.Wait() })
	case "orphaning": // ends at once and leaves a child that holds the output open
		return family("stubborn", args[0], func(*exec.Cmd) { fmt.Print(`{"done":true}`) })
	}
	return 0
}

// report connects to the test and keeps the connection for as long as this process lives.
func report(address string) net.Conn {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		os.Exit(99)
	}
	fmt.Fprintln(connection, "started")
	go func() {
		_, _ = io.Copy(io.Discard, connection)
		os.Exit(98) // the test is gone, so must we be
	}()
	return connection
}

func family(member, address string, then func(child *exec.Cmd)) int {
	child := exec.Command(os.Args[0], programArgument, member, address)
	child.Stdout = os.Stdout
	if err := child.Start(); err != nil {
		return 97
	}
	then(child)
	return 0
}

func programRunner(name string, args ...string) agent.Runner {
	return agent.Runner{Kind: agent.RunnerCommand, Command: append([]string{os.Args[0], programArgument, name}, args...)}
}

// reporter is where programs report to.
type reporter struct {
	address string
	started chan struct{}
	dead    chan string // gets the last words of a process that has started when it is gone
}

func newReporter(t *testing.T) reporter {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := reporter{listener.Addr().String(), make(chan struct{}, 8), make(chan string, 8)}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			reader := bufio.NewReader(connection)
			if _, err := reader.ReadString('\n'); err != nil {
				t.Errorf("a program connected and said nothing: %v", err)
			}
			r.started <- struct{}{}
			words, _ := io.ReadAll(reader)
			_ = connection.Close()
			r.dead <- string(words)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-accepting
	})
	return r
}

func stuckProgram(t *testing.T, name string) (agent.Runner, <-chan struct{}) {
	r := newReporter(t)
	return programRunner(name, r.address), r.started
}

func runCommand(t *testing.T, r agent.Runner, input string) ([]byte, error) {
	return outputOf(runner.NewCommand(runner.CommandConfig{}).Run(t.Context(), application.Run{
		ExecutionID: "execution-1", AgentID: "agent-1", TriggerID: "trigger-1", Attempt: 3,
		Runner: r, Input: []byte(input),
	}))
}

func TestCommandKeepsTheContract(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stuck", "stubborn", "stuck-family"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runnertest.Test(t, runnertest.Subject{
				Runner:  runner.NewCommand(runner.CommandConfig{}),
				Echoing: agent.Runner{Kind: agent.RunnerCommand, Command: []string{"cat"}},
				Stuck: func(t *testing.T) (agent.Runner, <-chan struct{}) {
					return stuckProgram(t, name)
				},
			})
		})
	}
}

func TestCommandKillsTheWholeFamily(t *testing.T) {
	t.Parallel()
	for name, lastWords := range map[string]string{
		"stuck": "", "stubborn": "", "stuck-family": "", "tidy": "goodbye\n", "tidy-family": "goodbye\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReporter(t)
			ctx, cancel := context.WithCancel(t.Context())
			returned := make(chan error, 1)
			go func() {
				_, err := runner.NewCommand(runner.CommandConfig{}).Run(ctx,
					application.Run{Runner: programRunner(name, r.address), Input: []byte(`{}`)})
				returned <- err
			}()
			<-r.started
			cancel()
			requireRunError(t, <-returned, application.RunCancelled, false)
			require.Equal(t, lastWords, <-r.dead)
		})
	}
}

func TestCommandDoesNotWaitForWhatItsProgramLeftBehind(t *testing.T) {
	t.Parallel()
	r := newReporter(t)
	output, err := runCommand(t, programRunner("orphaning", r.address), `{}`)
	require.NoError(t, err)
	require.Equal(t, `{"done":true}`, string(output))
	<-r.started
	<-r.dead
}

func TestCommandGetsOnlyTheEnvironmentItShould(t *testing.T) {
	t.Setenv("TZ", "Europe/Berlin")
	output, err := runCommand(t, programRunner("environment"), `{}`)
	require.NoError(t, err)
	var got []string
	require.NoError(t, json.Unmarshal(output, &got))
	require.Subset(t, got, []string{
		"HOOKTRAIL_EXECUTION_ID=execution-1", "HOOKTRAIL_AGENT_ID=agent-1", "HOOKTRAIL_TRIGGER_ID=trigger-1",
		"HOOKTRAIL_ATTEMPT=3", "TZ=Europe/Berlin", "PATH=" + os.Getenv("PATH"),
	})
	allowed := map[string]bool{
		"HOOKTRAIL_EXECUTION_ID": true, "HOOKTRAIL_AGENT_ID": true, "HOOKTRAIL_TRIGGER_ID": true,
		"HOOKTRAIL_ATTEMPT": true, "TZ": true, "PATH": true, "HOME": true, "LANG": true,
	}
	for _, variable := range got {
		name, _, _ := strings.Cut(variable, "=")
		require.True(t, allowed[name], variable)
	}
}

func TestCommandUsesNoShell(t *testing.T) {
	args := []string{"$HOME", "a b", "`id`", "; exit 1", "*", ""}
	output, err := runCommand(t, programRunner("arguments", args...), `{}`)
	require.NoError(t, err)
	var got []string
	require.NoError(t, json.Unmarshal(output, &got))
	require.Equal(t, args, got)
}

func TestCommandOutputThatIsNoJSONBecomesAString(t *testing.T) {
	output, err := runCommand(t, agent.Runner{Command: []string{"printf", `two\nlines`}}, `{}`)
	require.NoError(t, err)
	require.Equal(t, `"two\nlines"`, string(output))
	output, err = runCommand(t, agent.Runner{Command: []string{"true"}}, strings.Repeat(" ", 1<<20)+`{}`)
	require.NoError(t, err, "a program need not read its input")
	require.Equal(t, `null`, string(output))
}

func TestCommandExitCodes(t *testing.T) {
	for code, isFinal := range map[int]bool{1: false, 2: false, 64: false, 65: true, 75: false, 78: true, 126: false, 127: true, 255: false} {
		output, err := runCommand(t, programRunner("exit", fmt.Sprint(code), "because of", "this"), `{}`)
		require.Nil(t, output)
		failed := requireRunError(t, err, application.RunAgentFailed, isFinal)
		require.Contains(t, failed.Message, fmt.Sprintf("exit status %d: because of this", code))
		require.NotContains(t, failed.Message, "output before")
	}
	_, err := runCommand(t, agent.Runner{Command: []string{"sh", "-c", "kill -9 $$"}}, `{}`)
	require.Contains(t, requireRunError(t, err, application.RunAgentFailed, false).Message, "signal: killed")
}

func TestCommandErrorHoldsTheEndOfTheComplaint(t *testing.T) {
	const complain = `i=0; while [ $i -lt 2000 ]; do printf 'first '; i=$((i+1)); done >&2; printf '\377\000the end\n' >&2; exit 1`
	_, err := runCommand(t, agent.Runner{Command: []string{"sh", "-c", complain}}, `{}`)
	message := requireRunError(t, err, application.RunAgentFailed, false).Message
	require.True(t, strings.HasSuffix(message, "first \uFFFDthe end"), message[len(message)-40:])
	require.LessOrEqual(t, len(message), 4<<10)
	require.Greater(t, len(message), 3<<10)
}

func TestCommandThatCannotBeStartedIsFinal(t *testing.T) {
	dir := t.TempDir()
	notExecutable := filepath.Join(dir, "data")
	require.NoError(t, os.WriteFile(notExecutable, []byte("data"), 0o600))
	noProgram := filepath.Join(dir, "nonsense")
	require.NoError(t, os.WriteFile(noProgram, []byte("\x00nonsense"), 0o700))
	for name, c := range map[string]struct {
		command []string
		code    string
		want    string
	}{
		"none":           {nil, application.RunInvalidRunner, "is empty"},
		"empty":          {[]string{""}, application.RunInvalidRunner, "is empty"},
		"unknown":        {[]string{"no-such-program-here"}, application.RunAgentFailed, `"no-such-program-here" was not found`},
		"missing path":   {[]string{dir + "/missing"}, application.RunAgentFailed, `"missing" was not found`},
		"not executable": {[]string{notExecutable}, application.RunAgentFailed, "not one that can be run"},
		"a directory":    {[]string{dir}, application.RunAgentFailed, "not one that can be run"},
		"no program":     {[]string{noProgram}, application.RunAgentFailed, "not one that can be run"},
		"NUL":            {[]string{"echo", "a\x00b"}, application.RunAgentFailed, "not one that can be run"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runCommand(t, agent.Runner{Command: c.command}, `{}`)
			require.Contains(t, requireRunError(t, err, c.code, true).Message, c.want)
		})
	}
}

func TestCommandOutputIsBounded(t *testing.T) {
	limited := runner.NewCommand(runner.CommandConfig{MaxOutput: 10_000})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := limited.Run(ctx, application.Run{Runner: programRunner("endless-output")})
	failed := requireRunError(t, err, application.RunOutputTooLarge, true)
	require.Contains(t, failed.Message, "10000 bytes")

	cat := agent.Runner{Command: []string{"cat"}}
	fits := []byte(`"` + strings.Repeat("x", 9_998) + `"`)
	output, err := outputOf(limited.Run(ctx, application.Run{Runner: cat, Input: fits}))
	require.NoError(t, err)
	require.Equal(t, fits, output)
	_, err = limited.Run(ctx, application.Run{Runner: cat, Input: append(fits, ' ')})
	requireRunError(t, err, application.RunOutputTooLarge, true)
}
