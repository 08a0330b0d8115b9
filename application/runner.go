package application

import (
	"context"
	"time"

	"hooktrail/domain/agent"
)

// Run is one attempt at an execution.
type Run struct {
	ExecutionID, AgentID, WorkspaceID, TriggerID string
	// Attempt counts from 1.
	Attempt int
	Runner  agent.Runner
	// Input is one JSON value.
	Input []byte
	// Metadata may hold traceparent and tracestate (W3C Trace Context), which are passed on.
	Metadata map[string]string
	// SigningSecret is the agent's secret by Standard Webhooks (whsec_…); "" sends unsigned.
	SigningSecret string
}

// The codes of a RunError.
const (
	RunTimedOut         = "timeout"            // the run's time was over
	RunCancelled        = "cancelled"          // the run's context was cancelled
	RunInvalidRunner    = "invalid_runner"     // the agent's runner cannot be run as it is set up
	RunRunnerNotAllowed = "runner_not_allowed" // the operator has not switched this kind of runner on
	RunAddressRefused   = "address_refused"    // the agent's host has a private address that is not allowed
	RunRedirectRefused  = "redirect_refused"   // the agent answered with a redirect that is not followed
	RunUnreachable      = "agent_unreachable"  // no connection to the agent, or it broke
	RunAgentFailed      = "agent_failed"       // the agent answered, or ended, with a failure
	RunOutputTooLarge   = "output_too_large"   // the agent's output exceeds the limit
)

// RunError is a failed attempt. Its text is shown to users and holds no secret of ours: no
// signature, header value, user info or query of the agent's URL.
type RunError struct {
	Code, Message string
	// Final says that another attempt would fail as well.
	Final bool
	// RetryAfter is how long the agent asked to be left alone; 0 when it did not.
	RetryAfter time.Duration
	// Cause is for errors.Is; its text may hold addresses and is not for users.
	Cause error
}

// Error gives the code and the message.
func (e *RunError) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the cause.
func (e *RunError) Unwrap() error { return e.Cause }

// AgentRunner runs an attempt and gives its output: one JSON value that CheckJSON of package
// payload takes. Every error is a *RunError. It returns promptly once ctx ends, and then
// errors.Is(err, ctx.Err()) holds. It may be called for many runs at the same time.
type AgentRunner interface {
	Run(ctx context.Context, run Run) (output []byte, err error)
}
