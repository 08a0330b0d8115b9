package application

import (
	"encoding/json"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
)

// TriggerView is a trigger as the API shows it.
type TriggerView struct {
	ID          string          `json:"id"`
	WorkspaceID string          `json:"workspace_id"`
	AgentID     string          `json:"agent_id"`
	Name        string          `json:"name"`
	TokenPrefix string          `json:"token_prefix"`
	IsActive    bool            `json:"is_active"`
	HasSecret   bool            `json:"has_secret"`
	LastUsedAt  *time.Time      `json:"last_used_at,omitempty"`
	CreatedByID string          `json:"created_by_id,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
	URL         string          `json:"url"`
	Options     trigger.Options `json:"options"`
	// NextRuns are the next ShownRuns times of the schedule, if the trigger is active and has one.
	NextRuns []time.Time `json:"next_runs,omitempty"`
	Deleted  bool        `json:"deleted,omitempty"` // only in a view of the past
	Version  int64       `json:"version"`
}

// ShownRuns is how many runs of a schedule are told ahead.
const ShownRuns = 5

// NewTriggerView shows a trigger.
func NewTriggerView(t trigger.Trigger, lastUsed *time.Time, publicURL string) TriggerView {
	view := TriggerView{
		ID: t.ID, WorkspaceID: t.WorkspaceID, AgentID: t.AgentID, Name: t.Name, IsActive: t.Active, HasSecret: t.HasSecret(),
		LastUsedAt: lastUsed, CreatedByID: t.CreatedByID, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
		URL: publicURL + "/api/v1/webhook/trigger", Options: t.Options, Deleted: t.Deleted, Version: t.Version,
	}
	if len(t.Tokens) > 0 {
		view.TokenPrefix = t.Tokens[0].Prefix
	}
	return view
}

// AgentView is an agent as the API shows it.
type AgentView struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	agent.Settings
	// HasCredential tells that the agent is called with a key or token, of which CredentialHint
	// is the end.
	HasCredential  bool      `json:"has_credential"`
	CredentialHint string    `json:"credential_hint,omitempty"`
	Status         string    `json:"status"` // active or archived
	CreatedByID    string    `json:"created_by_id,omitempty"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
	Version        int64     `json:"version"`
}

// NewAgentView shows an agent.
func NewAgentView(a agent.Agent) AgentView {
	status := "active"
	if a.Archived {
		status = "archived"
	}
	view := AgentView{
		ID: a.ID, WorkspaceID: a.WorkspaceID, Settings: a.Settings, Status: status, CreatedByID: a.CreatedByID,
		CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, Version: a.Version,
	}
	if a.Credential != nil {
		view.HasCredential, view.CredentialHint = true, a.Credential.Hint
	}
	return view
}

// APIKeyView is an API key as the API shows it.
type APIKeyView struct {
	ID          string         `json:"id"`
	WorkspaceID string         `json:"workspace_id"`
	Name        string         `json:"name"`
	Prefix      string         `json:"prefix"`
	Scopes      []apikey.Scope `json:"scopes"`
	ExpiresAt   *time.Time     `json:"expires_at,omitempty"`
	CreatedByID string         `json:"created_by_id,omitempty"`
	CreatedAt   time.Time      `json:"created_at"`
	Revoked     bool           `json:"revoked,omitempty"` // only in a view of the past
}

// NewAPIKeyView shows an API key.
func NewAPIKeyView(k apikey.APIKey) APIKeyView {
	return APIKeyView{
		ID: k.ID, WorkspaceID: k.WorkspaceID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, ExpiresAt: k.ExpiresAt,
		CreatedByID: k.CreatedByID, CreatedAt: k.CreatedAt, Revoked: k.Revoked,
	}
}

// ExecutionView is an execution as the API shows it.
type ExecutionView struct {
	ID             string            `json:"id"`
	ExecutionID    string            `json:"execution_id"`
	AgentID        string            `json:"agent_id"`
	AgentVersionID string            `json:"agent_version_id,omitempty"`
	TriggerID      string            `json:"trigger_id,omitempty"`
	WorkspaceID    string            `json:"workspace_id"`
	UserID         string            `json:"user_id,omitempty"`
	SessionID      string            `json:"session_id,omitempty"`
	Status         execution.Status  `json:"status"`
	Input          json.RawMessage   `json:"input,omitempty"`
	Output         json.RawMessage   `json:"output,omitempty"`
	Error          string            `json:"error,omitempty"`
	ErrorCode      string            `json:"error_code,omitempty"`
	Metadata       map[string]string `json:"metadata,omitempty"`
	// TokenUsage is of the attempt that succeeded, where a model counts tokens.
	TokenUsage    *execution.TokenUsage `json:"token_usage,omitempty"`
	DurationMS    *int64                `json:"duration_ms,omitempty"`
	TraceID       string                `json:"trace_id,omitempty"`
	RetryOf       string                `json:"retry_of,omitempty"`
	CreatedAt     time.Time             `json:"created_at"`
	StartedAt     *time.Time            `json:"started_at,omitempty"`
	CompletedAt   *time.Time            `json:"completed_at,omitempty"`
	NextAttemptAt *time.Time            `json:"next_attempt_at,omitempty"`
	Attempt       int                   `json:"attempt"`
	Attempts      []AttemptView         `json:"attempts,omitempty"`
	Version       int64                 `json:"version"`
	Position      eventlog.Position     `json:"position"`
}

// AttemptView is one attempt at an execution.
type AttemptView struct {
	Attempt   int              `json:"attempt"`
	Status    execution.Status `json:"status"`
	Worker    string           `json:"worker,omitempty"`
	StartedAt *time.Time       `json:"started_at,omitempty"`
	EndedAt   *time.Time       `json:"ended_at,omitempty"`
	Error     string           `json:"error,omitempty"`
	ErrorCode string           `json:"error_code,omitempty"`
	RetryAt   *time.Time       `json:"retry_at,omitempty"`
}

// EventView is an event as the API shows it.
type EventView struct {
	Position      eventlog.Position `json:"position"`
	ID            string            `json:"id"`
	Stream        eventlog.StreamID `json:"stream"`
	Version       int64             `json:"version"`
	Type          string            `json:"type"`
	SchemaVersion int               `json:"schema_version"`
	Time          time.Time         `json:"time"`
	WorkspaceID   string            `json:"workspace_id"`
	Actor         eventlog.Actor    `json:"actor"`
	RequestID     string            `json:"request_id,omitempty"`
	TraceParent   string            `json:"traceparent,omitempty"`
	CausationID   string            `json:"causation_id,omitempty"`
	CorrelationID string            `json:"correlation_id,omitempty"`
	Data          json.RawMessage   `json:"data"`
}

// NewEventView shows an event.
func NewEventView(e eventlog.Recorded) EventView {
	return EventView{
		Position: e.Position, ID: e.ID, Stream: e.Stream, Version: e.Version, Type: e.Type, SchemaVersion: e.Schema, Time: e.At,
		WorkspaceID: e.WorkspaceID, Actor: e.Meta.Actor, RequestID: e.Meta.RequestID, TraceParent: e.Meta.TraceParent,
		CausationID: e.Meta.CausationID, CorrelationID: e.Meta.CorrelationID, Data: json.RawMessage(e.Data),
	}
}

// Paging says which part of a list is wanted: a page from 1, or what follows a cursor.
type Paging struct {
	Page   int
	Limit  int // 1 to 100
	Cursor eventlog.Position
}

// Offset is how many entries are before the page.
func (p Paging) Offset() int {
	if p.Cursor > 0 || p.Page < 2 {
		return 0
	}
	return (p.Page - 1) * p.Limit
}

// CountBound is where counting the entries of a list ends: a total of that size means "at
// least so many".
const CountBound = 10_000

// Page is a part of a list, newest first.
type Page[V any] struct {
	Items []V
	// Total is the number of entries in the whole list, up to CountBound.
	Total int
	// Next is where the following part begins; 0 when there is none.
	Next eventlog.Position
}

// TriggerFilter narrows a list of triggers; zero values do not narrow.
type TriggerFilter struct {
	AgentID  string
	Name     string // a part of the name, in any case
	IsActive *bool
}

// AgentFilter narrows a list of agents.
type AgentFilter struct{ Name string }

// ExecutionFilter narrows a list of executions.
type ExecutionFilter struct {
	AgentID, TriggerID, SessionID string
	Status                        execution.Status
	Since, Until                  time.Time
}
