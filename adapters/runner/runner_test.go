package runner_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"hooktrail/adapters/runner"
	"hooktrail/adapters/runner/runnertest"
	"hooktrail/application"
	"hooktrail/domain/agent"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == programArgument {
		os.Exit(program(os.Args[2], os.Args[3:]))
	}
	// Nobody listens there: a runner that asked a proxy would reach nothing.
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Setenv(name, "http://127.0.0.1:9")
	}
	os.Setenv("HOOKTRAIL_MASTER_KEY", "must not reach a program")
	goleak.VerifyTestMain(m)
}

// requireRunError gives err as what every runner must fail with.
func requireRunError(t *testing.T, err error, code string, isFinal bool) *application.RunError {
	t.Helper()
	var failed *application.RunError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, code, failed.Code, failed.Message)
	require.Equal(t, isFinal, failed.Final, failed.Message)
	return failed
}

func TestEchoKeepsTheContract(t *testing.T) {
	runnertest.Test(t, runnertest.Subject{Runner: runner.Echo{}, Echoing: agent.Runner{Kind: agent.RunnerEcho}})
}

func TestSetKeepsTheContract(t *testing.T) {
	t.Parallel()
	runnertest.Test(t, runnertest.Subject{
		Runner: runner.Set{
			agent.RunnerEcho:    runner.Echo{},
			agent.RunnerCommand: runner.NewCommand(runner.CommandConfig{}),
		},
		Echoing: agent.Runner{Kind: agent.RunnerEcho},
		Stuck: func(t *testing.T) (agent.Runner, <-chan struct{}) {
			stuck, started := stuckProgram(t, "stuck")
			return stuck, started
		},
	})
}

func TestSetRefusesKindsThatItDoesNotHold(t *testing.T) {
	set := runner.Set{agent.RunnerEcho: runner.Echo{}, agent.RunnerHTTP: nil}
	for kind, want := range map[string]string{
		agent.RunnerCommand: "HOOKTRAIL_ALLOW_COMMAND_RUNNER=true",
		agent.RunnerNone:    "a subscriber does its work",
		agent.RunnerHTTP:    `"http" is not available`,
		"telepathy":         `"telepathy" is not available`,
		"":                  "HOOKTRAIL_DEFAULT_RUNNER",
	} {
		run := application.Run{Runner: agent.Runner{Kind: kind, Command: []string{"true"}}, Input: []byte(`{}`)}
		output, err := outputOf(set.Run(t.Context(), run))
		require.Nil(t, output)
		failed := requireRunError(t, err, application.RunRunnerNotAllowed, true)
		require.Contains(t, failed.Message, want, "kind %q", kind)
	}
}
