package application

import (
	"context"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/execution"
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
	// Shadow says that the run is a trial, whose output nobody will use: the agent is told, so that
	// it can leave undone what has effects elsewhere.
	Shadow bool
	// Credential is the key or token that the agent is called with; "" is none.
	Credential string
}

// Result is what a run gave.
type Result struct {
	// Output is one JSON value that CheckJSON of package payload takes.
	Output []byte
	// TokenUsage is nil where nothing counts tokens.
	TokenUsage *execution.TokenUsage
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
	RunInvalidOutput    = "invalid_output"     // the agent's answer is not of the form that it must have
	RunOutputTruncated  = "output_truncated"   // a model's answer was cut off at its most tokens
	RunContentFiltered  = "content_filtered"   // a model's answer was withheld by its provider, or refused
	RunInputRequired    = "input_required"     // the agent asks something back, which nobody can answer
	RunAuthRequired     = "auth_required"      // the agent asks for a credential
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

// AgentRunner runs an attempt. Every error is a *RunError. It returns promptly once ctx ends, and then
// errors.Is(err, ctx.Err()) holds; the context's cause is ErrCancelled when somebody cancelled
// the execution, so that nobody will pick up what the agent still works on. It may be called
// for many runs at the same time.
type AgentRunner interface {
	Run(ctx context.Context, run Run) (Result, error)
}
