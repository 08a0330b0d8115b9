package hooktrail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Executions are the executions of the key's workspace.
type Executions struct{ c *Client }

// The statuses of an execution. The last three are final.
const (
	StatusPending   = "pending"
	StatusRunning   = "running"
	StatusCompleted = "completed"
	StatusFailed    = "failed"
	StatusCancelled = "cancelled"
)

// Execution is a run of an agent on an input.
type Execution struct {
	ID             string `json:"id"`
	ExecutionID    string `json:"execution_id"` // the same as ID
	AgentID        string `json:"agent_id"`
	AgentVersionID string `json:"agent_version_id,omitempty"`
	TriggerID      string `json:"trigger_id,omitempty"`
	WorkspaceID    string `json:"workspace_id,omitempty"`
	UserID         string `json:"user_id,omitempty"`
	SessionID      string `json:"session_id,omitempty"`
	Status         string `json:"status"`
	// Input and Output are the exact JSON. Lists leave out what is over 64 KiB.
	Input     json.RawMessage `json:"input,omitempty"`
	Output    json.RawMessage `json:"output,omitempty"`
	Error     string          `json:"error,omitempty"` // why it failed
	ErrorCode string          `json:"error_code,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	// TokenUsage is there where a model counted.
	TokenUsage *TokenUsage `json:"token_usage,omitempty"`
	// Cost is there when the agent reported it.
	Cost          json.RawMessage `json:"cost,omitempty"`
	DurationMS    *int64          `json:"duration_ms,omitempty"`
	TraceID       string          `json:"trace_id,omitempty"`
	RetryOf       string          `json:"retry_of,omitempty"` // the execution that this one repeats
	CreatedAt     time.Time       `json:"created_at"`
	StartedAt     *time.Time      `json:"started_at,omitempty"`
	CompletedAt   *time.Time      `json:"completed_at,omitempty"`
	NextAttemptAt *time.Time      `json:"next_attempt_at,omitempty"`
	Attempt       int             `json:"attempt"` // number of the last attempt that was started
	Attempts      []Attempt       `json:"attempts,omitempty"`
	Version       int64           `json:"version"`
	Position      int64           `json:"position,omitempty"` // of the event that created it
}

// TokenUsage is what a model counted for the attempt that succeeded.
type TokenUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
}

// Ended reports whether the status is final.
func (e *Execution) Ended() bool {
	return e.Status == StatusCompleted || e.Status == StatusFailed || e.Status == StatusCancelled
}

// Attempt is one attempt at an execution.
type Attempt struct {
	Attempt   int        `json:"attempt"`
	Status    string     `json:"status"`
	Worker    string     `json:"worker,omitempty"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Error     string     `json:"error,omitempty"`
	ErrorCode string     `json:"error_code,omitempty"`
	RetryAt   *time.Time `json:"retry_at,omitempty"` // when the next one is made
}

// ListExecutions narrows a list of executions.
type ListExecutions struct {
	AgentID, TriggerID, SessionID string
	Status                        string
	Since, Until                  time.Time
	ListOptions
}

func (f ListExecutions) query() url.Values {
	query := url.Values{}
	set(query, "agent_id", f.AgentID)
	set(query, "trigger_id", f.TriggerID)
	set(query, "session_id", f.SessionID)
	set(query, "status", f.Status)
	setTime(query, "since", f.Since)
	setTime(query, "until", f.Until)
	f.addTo(query)
	return query
}

// Report is the result of work that was done outside: an output or an error.
type Report struct {
	Output any            `json:"output,omitempty"`
	Error  *ReportedError `json:"error,omitempty"`
}

// ReportedError says why work failed.
type ReportedError struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

const executionsPath = "/executions"

// List gives a part of the executions, the newest first.
func (e *Executions) List(ctx context.Context, filter ListExecutions, options ...RequestOption) (*List[Execution], error) {
	return list[Execution](ctx, e.c, executionsPath, filter.query(), options)
}

// All gives all executions, the newest first.
func (e *Executions) All(ctx context.Context, filter ListExecutions) iter.Seq2[Execution, error] {
	return all[Execution](ctx, e.c, executionsPath, filter.query())
}

// Get gives an execution with its attempts.
func (e *Executions) Get(ctx context.Context, id string, options ...RequestOption) (*Execution, error) {
	return one[Execution](ctx, e.c, http.MethodGet, executionsPath, id, "", nil, options)
}

// Cancel ends an execution that has not ended; else the error is ErrConflict. The reason may be
// empty.
func (e *Executions) Cancel(ctx context.Context, id, reason string, options ...RequestOption) (*Execution, error) {
	return one[Execution](ctx, e.c, http.MethodPost, executionsPath, id, "/cancel", struct {
		Reason string `json:"reason,omitempty"`
	}{reason}, options)
}

// ErasePayloads erases the input and the output of an execution that has ended, for good; one that has
// not is ErrConflict. The reason, which may be empty, goes on record.
func (e *Executions) ErasePayloads(ctx context.Context, id, reason string, options ...RequestOption) (*Execution, error) {
	path := "/payloads"
	if reason != "" {
		path += "?" + url.Values{"reason": {reason}}.Encode()
	}
	return one[Execution](ctx, e.c, http.MethodDelete, executionsPath, id, path, nil, options)
}

// Retry runs an execution that has ended once more, as a new one; else the error is ErrConflict.
func (e *Executions) Retry(ctx context.Context, id string, options ...RequestOption) (*Execution, error) {
	return one[Execution](ctx, e.c, http.MethodPost, executionsPath, id, "/retry", nil, options)
}

// Report ends an execution of an agent whose runner is none.
func (e *Executions) Report(ctx context.Context, id string, report Report, options ...RequestOption) (*Execution, error) {
	return one[Execution](ctx, e.c, http.MethodPost, executionsPath, id, "/report", report, options)
}

// ErrStillRunning is the error of Wait when its time has passed.
var ErrStillRunning = errors.New("hooktrail: the execution has not ended yet")

// WaitOptions say how long to wait for an execution, and how often to look.
type WaitOptions struct {
	// Timeout is when to give up with ErrStillRunning; 0 leaves it to the context.
	Timeout time.Duration
	// Interval is the time between two looks. Default: from 50 ms, growing to 2 s.
	Interval time.Duration
}

// Wait waits until an execution has ended and gives it, however it ended: look at its Status.
// It waits on while the server is away. When the time has passed, the error is ErrStillRunning
// and the execution is as it was seen last.
func (e *Executions) Wait(ctx context.Context, id string, wait WaitOptions, options ...RequestOption) (*Execution, error) {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if wait.Timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, wait.Timeout)
	}
	defer cancel()
	interval, growing := wait.Interval, wait.Interval <= 0
	if growing {
		interval = 50 * time.Millisecond
	}
	var last *Execution
	for {
		seen, err := e.Get(limited, id, options...)
		switch {
		case err == nil:
			last = seen
			if last.Ended() {
				return last, nil
			}
		case limited.Err() != nil:
		case last == nil || !absent(err):
			return last, err
		}
		if !sleep(limited, interval) {
			if ctx.Err() != nil {
				return last, givenUp(ctx, "waiting for execution "+id)
			}
			return last, fmt.Errorf("%w: %s after %s", ErrStillRunning, id, wait.Timeout)
		}
		if growing {
			interval = min(interval*3/2, 2*time.Second)
		}
	}
}

// absent reports whether the server is away for a while, as in a restart.
func absent(err error) bool {
	return errors.Is(err, ErrConnection) || errors.Is(err, ErrServer) || errors.Is(err, ErrRateLimited)
}
