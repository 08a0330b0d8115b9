// Package execution is one run of an agent on an input, from waiting to its end.
package execution

import (
	"strings"
	"time"
	"unicode/utf8"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/jsonobject"
	"hooktrail/domain/trigger"
)

// Status is where an execution stands.
type Status string

// The statuses. The last three are final.
const (
	Pending   Status = "pending"
	Running   Status = "running"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// Statuses lists all of them.
var Statuses = []Status{Pending, Running, Completed, Failed, Cancelled}

// Final reports whether nothing more happens after this status.
func (s Status) Final() bool { return s == Completed || s == Failed || s == Cancelled }

// Execution is what decisions on an execution depend on.
type Execution struct {
	ID          string
	WorkspaceID string
	AgentID     string
	TriggerID   string
	Status      Status
	Attempt     int // the number of the last attempt that started, from 1; 0 before
	Worker      string
	StartedAt   time.Time // of the last attempt
	Version     int64
}

// Error says why an attempt failed.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// The most bytes that are kept of an error.
const (
	MaxErrorCode    = 100
	MaxErrorMessage = 4096
)

// NewError makes an error of texts from outside: cut to what is kept, and without what a
// database cannot store as text, NUL and bytes that are not UTF-8.
func NewError(code, message string) Error {
	return Error{Code: storable(code, MaxErrorCode), Message: storable(message, MaxErrorMessage)}
}

// storable cuts a text between characters.
func storable(text string, most int) string {
	const replacement = "\uFFFD"
	text = strings.ReplaceAll(strings.ToValidUTF8(text, replacement), "\x00", replacement)
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// Requested creates an execution without a trigger: by the API, or to retry another.
type Requested struct {
	eventlog.Base
	AgentID   string            `json:"agent_id"`
	Runs      bool              `json:"runs"`
	Input     trigger.Digest    `json:"input"`
	MediaType string            `json:"media_type,omitempty"`
	SessionID string            `json:"session_id,omitempty"`
	UserID    string            `json:"user_id,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	RetryOf   string            `json:"retry_of,omitempty"`
	TriggerID string            `json:"trigger_id,omitempty"` // of the execution that is retried
}

// Started begins an attempt.
type Started struct {
	eventlog.Base
	Attempt int    `json:"attempt"`
	Worker  string `json:"worker"`
}

// JSON writes the event.
func (e Started) JSON() []byte {
	return jsonobject.New(80).Int("attempt", e.Attempt).Text("worker", e.Worker).End()
}

// AttemptFailed ends an attempt that will be made again.
type AttemptFailed struct {
	eventlog.Base
	Attempt int       `json:"attempt"`
	Error   Error     `json:"error"`
	RetryAt time.Time `json:"retry_at"`
}

// TokenUsage is what a language model counted for the attempt that succeeded.
type TokenUsage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// Succeeded ends an execution with an output.
type Succeeded struct {
	eventlog.Base
	Attempt    int            `json:"attempt"`
	Output     trigger.Digest `json:"output"`
	TokenUsage *TokenUsage    `json:"token_usage,omitempty"`
}

// JSON writes the event.
func (e Succeeded) JSON() []byte {
	o := e.Output.AddTo(jsonobject.New(128).Int("attempt", e.Attempt), "output")
	if u := e.TokenUsage; u != nil {
		o = o.Begin("token_usage").Int("prompt_tokens", u.PromptTokens).Int("completion_tokens", u.CompletionTokens).Int("total_tokens", u.TotalTokens).End()
	}
	return o.End()
}

// GaveUp ends an execution without one: the dead letter.
type GaveUp struct {
	eventlog.Base
	Attempt int   `json:"attempt"`
	Error   Error `json:"error"`
}

// WasCancelled ends an execution on somebody's word.
type WasCancelled struct {
	eventlog.Base
	Reason string `json:"reason,omitempty"`
}

// PayloadsErased says that the input and the output of an execution that has ended are gone, and
// which they were. Nothing is decided on it.
type PayloadsErased struct {
	eventlog.Base
	Reason   string     `json:"reason,omitempty"`
	Payloads []KeptWith `json:"payloads"`
}

// KeptWith is a payload that is kept with an event.
type KeptWith struct {
	Position eventlog.Position `json:"position"` // of the event
	Payload  trigger.Digest    `json:"payload"`
}

// Codec stores the events of this package.
var Codec = eventlog.NewCodec(
	eventlog.Type[Requested]("execution.requested"),
	eventlog.Type[Started]("execution.started"),
	eventlog.Type[AttemptFailed]("execution.attempt_failed"),
	eventlog.Type[Succeeded]("execution.completed", eventlog.Unchanged), // v2 may have the token usage
	eventlog.Type[GaveUp]("execution.failed"),
	eventlog.Type[WasCancelled]("execution.cancelled"),
	eventlog.FactType[PayloadsErased]("execution.payloads_erased"),
)

// FromInvoked gives the execution that an accepted webhook call creates.
func FromInvoked(recorded eventlog.Recorded, e trigger.Invoked) Execution {
	return Execution{
		ID: e.ExecutionID, WorkspaceID: recorded.WorkspaceID, AgentID: e.AgentID,
		TriggerID: recorded.Stream.ID(), Status: Pending,
	}
}

// Evolve gives the state after one more recorded event of its own stream.
func (x Execution) Evolve(recorded eventlog.Recorded, event eventlog.Event) Execution {
	switch e := event.(type) {
	case Requested:
		x = Execution{
			ID: recorded.Stream.ID(), WorkspaceID: recorded.WorkspaceID, AgentID: e.AgentID, TriggerID: e.TriggerID, Status: Pending,
		}
	case Started:
		x.Status, x.Attempt, x.Worker, x.StartedAt = Running, e.Attempt, e.Worker, recorded.At
	case AttemptFailed:
		x.Status, x.Worker = Pending, ""
	case Succeeded:
		x.Status, x.Worker = Completed, ""
	case GaveUp:
		x.Status, x.Worker = Failed, ""
	case WasCancelled:
		x.Status, x.Worker = Cancelled, ""
	}
	x.Version = recorded.Version
	return x
}

// StreamVersion is the version of the last decision that the state includes.
func (x Execution) StreamVersion() int64 { return x.Version }
