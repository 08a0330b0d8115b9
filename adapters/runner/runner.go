// Package runner runs agents: over HTTP, as a language model, by the Agent2Agent protocol, as a
// command of this machine, or as an echo.
package runner

import (
	"context"
	"errors"
	"fmt"

	"hooktrail/application"
	"hooktrail/domain/agent"
)

// Set picks the runner by the kind in the agent's settings ("http", "openai" …). A
// kind that is not in it is refused for good, with the setting that would allow it.
type Set map[string]application.AgentRunner

// Run runs the attempt with the runner of its kind.
func (s Set) Run(ctx context.Context, run application.Run) (application.Result, error) {
	if runner := s[run.Runner.Kind]; runner != nil {
		return runner.Run(ctx, run)
	}
	refused := &application.RunError{Code: application.RunRunnerNotAllowed, Final: true}
	switch run.Runner.Kind {
	case agent.RunnerCommand:
		refused.Message = "the command runner is switched off; the operator can allow it with HOOKTRAIL_ALLOW_COMMAND_RUNNER=true"
	case agent.RunnerNone:
		refused.Message = "an agent with the runner none is not run here: a subscriber does its work"
	case "":
		refused.Message = "the agent has no runner; give it one, or set HOOKTRAIL_DEFAULT_RUNNER for agents made without"
	default:
		refused.Message = fmt.Sprintf("the runner %q is not available on this server", run.Runner.Kind)
	}
	return application.Result{}, refused
}

// Echo gives the input back as the output.
type Echo struct{}

// Run fails only when ctx has ended.
func (Echo) Run(ctx context.Context, run application.Run) (application.Result, error) {
	if ctx.Err() != nil {
		return application.Result{}, ended(ctx)
	}
	return application.Result{Output: jsonOutput(run.Input)}, nil
}

// ended is the error of a run whose context is over: the attempt's time is, or someone
// cancelled it.
func ended(ctx context.Context) *application.RunError {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &application.RunError{
			Code: application.RunTimedOut, Cause: ctx.Err(),
			Message: "the agent did not finish within the time of one attempt",
		}
	}
	return &application.RunError{Code: application.RunCancelled, Message: "the run was cancelled", Cause: ctx.Err()}
}

func final(code, format string, args ...any) *application.RunError {
	return &application.RunError{Code: code, Message: fmt.Sprintf(format, args...), Final: true}
}

func tooLarge(limit int64) *application.RunError {
	return final(application.RunOutputTooLarge, "the agent's output is larger than %d bytes", limit)
}
