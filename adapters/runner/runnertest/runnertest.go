// Package runnertest is the contract that every application.AgentRunner keeps.
package runnertest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/payload"
)

// Subject is a runner together with agents for it.
type Subject struct {
	Runner application.AgentRunner
	// Echoing is an agent whose output is its input.
	Echoing agent.Runner
	// Text gives the text in an output, for a runner whose agents answer with text that goes
	// into an object; their echo is of the input's text. nil for others.
	Text func(t testing.TB, output []byte) string
	// Stuck gives an agent that never ends by itself and sends on started once it runs; nil
	// for a runner that has no such agents.
	Stuck func(t *testing.T) (stuck agent.Runner, started <-chan struct{})
}

// promptly is what a runner may take to return once its context has ended: a program's two
// seconds between SIGTERM and SIGKILL, and room for a slow machine.
const promptly = 10 * time.Second

// Test runs the contract.
func Test(t *testing.T, s Subject) {
	t.Run("JSON comes through to the byte", s.keepsJSON)
	t.Run("a run of an ended context fails", s.refusesEndedContext)
	t.Run("many runs at once do not mix", s.runsConcurrently)
	if s.Stuck != nil {
		t.Run("cancelling ends a run", s.endsWhenCancelled)
		t.Run("a deadline ends a run", s.endsAtDeadline)
	}
}

func outputOf(result application.Result, err error) ([]byte, error) { return result.Output, err }

func (s Subject) run(runner agent.Runner, input string) application.Run {
	return application.Run{
		ExecutionID: "2xZkqTq8HfJw5y1rVd3nLmPc7Ba", AgentID: "2xZkqTq8HfJw5y1rVd3nLmPc7Bb",
		WorkspaceID: "2xZkqTq8HfJw5y1rVd3nLmPc7Bc", TriggerID: "2xZkqTq8HfJw5y1rVd3nLmPc7Bd",
		Attempt: 1, Runner: runner, Input: []byte(input),
	}
}

func (s Subject) keepsJSON(t *testing.T) {
	for _, input := range []string{
		`{"event":"push","n":1}`, `{}`, `[]`, `[1,2,{"a":null}]`, `"text"`, `""`, `true`, `null`, `0`,
		`{"big":12345678901234567890123456789,"exact":1.10,"small":1e-7}`,
		`{"escapes":"\u0000\ud800\u00e9\/","raw":"é😀<>&"}`,
		"{\n  \"spaced\" : [ 1 ,\t2 ]\n}",
		strings.Repeat("[", 100) + strings.Repeat("]", 100),
		`"` + strings.Repeat("x", 1<<20) + `"`,
	} {
		if s.Text != nil && len(input) > 1<<16 {
			continue // to count a model's tokens takes too long
		}
		run := s.run(s.Echoing, input)
		output, err := outputOf(s.Runner.Run(t.Context(), run))
		require.NoError(t, err, "input %.60s", input)
		if s.Text != nil {
			require.Equal(t, input, s.Text(t, output))
		} else {
			require.Equal(t, input, string(output))
		}
		_, err = payload.CheckJSON(output)
		require.NoError(t, err)
		require.True(t, bytes.Equal([]byte(input), run.Input), "the input was changed")
	}
	output, err := outputOf(s.Runner.Run(t.Context(), s.run(s.Echoing, "")))
	require.NoError(t, err)
	if s.Text == nil {
		require.Equal(t, "null", string(output), "no output is null")
	}
	output, err = outputOf(s.Runner.Run(t.Context(), s.run(s.Echoing, "not\xff JSON {")))
	require.NoError(t, err)
	_, err = payload.CheckJSON(output)
	require.NoError(t, err, "output %q", output)
}

func (s Subject) refusesEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	output, err := outputOf(s.Runner.Run(ctx, s.run(s.Echoing, `{}`)))
	require.Nil(t, output)
	requireEnded(t, err, application.RunCancelled, context.Canceled)

	ctx, cancel = context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	_, err = s.Runner.Run(ctx, s.run(s.Echoing, `{}`))
	requireEnded(t, err, application.RunTimedOut, context.DeadlineExceeded)
}

func (s Subject) runsConcurrently(t *testing.T) {
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for turn := range 5 {
				input := fmt.Sprintf(`{"worker":%d,"turn":%d}`, worker, turn)
				output, err := outputOf(s.Runner.Run(t.Context(), s.run(s.Echoing, input)))
				text := string(output)
				if s.Text != nil && err == nil {
					text = s.Text(t, output)
				}
				if err != nil || text != input {
					t.Errorf("input %s gave %s, %v", input, output, err)
				}
			}
		})
	}
	all.Wait()
}

func (s Subject) endsWhenCancelled(t *testing.T) {
	stuck, started := s.Stuck(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := s.Runner.Run(ctx, s.run(stuck, `{}`))
		failed <- err
	}()
	await(t, started, "the agent to start")
	cancel()
	requireEnded(t, await(t, failed, "the run to return"), application.RunCancelled, context.Canceled)
}

func (s Subject) endsAtDeadline(t *testing.T) {
	stuck, started := s.Stuck(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := s.Runner.Run(ctx, s.run(stuck, `{}`))
		failed <- err
	}()
	requireEnded(t, await(t, failed, "the run to return"), application.RunTimedOut, context.DeadlineExceeded)
	await(t, started, "the agent to have started")
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(promptly):
		require.FailNow(t, "waited in vain for "+what)
		panic("not reached")
	}
}

func requireEnded(t *testing.T, err error, code string, cause error) {
	t.Helper()
	var failed *application.RunError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, code, failed.Code)
	require.False(t, failed.Final, "another attempt may have more time")
	require.ErrorIs(t, err, cause)
}
