package hooktrail

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Agents are the agents of the key's workspace.
type Agents struct{ c *Client }

// Agent is what triggers run.
type Agent struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	Name        string `json:"name"`
	Type        string `json:"type,omitempty"` // a label of one's own
	Description string `json:"description,omitempty"`
	// Runner says how the agent is run: {"kind": "http", "url": "https://…"}.
	Runner json.RawMessage `json:"runner,omitempty"`
	// InputSchema is a JSON Schema (2020-12) that inputs must fit, if there is one.
	InputSchema    json.RawMessage `json:"input_schema,omitempty"`
	TimeoutSeconds int             `json:"timeout_seconds"` // of one attempt
	Retry          Retry           `json:"retry"`
	MaxConcurrency int             `json:"max_concurrency"` // over all replicas; 0 is no bound
	// HasCredential says that the agent is called with a key or token, which is never shown.
	HasCredential bool `json:"has_credential"`
	// CredentialHint is how it ends: its last four characters, if it has at least 16.
	CredentialHint string    `json:"credential_hint,omitempty"`
	Status         string    `json:"status"` // active or archived
	CreatedByID    string    `json:"created_by_id,omitempty"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
	Version        int64     `json:"version"`
}

// Retry says how often, and when, a failed attempt is made again. 0 stands for the default.
type Retry struct {
	MaxAttempts    int     `json:"max_attempts,omitempty"`
	InitialSeconds float64 `json:"initial_seconds,omitempty"`
	MaxSeconds     float64 `json:"max_seconds,omitempty"`
	Factor         float64 `json:"factor,omitempty"`
}

// IssuedAgent is an agent with what is shown only once.
type IssuedAgent struct {
	Agent
	// SigningSecret is there for the runner http: with it the agent verifies our requests, by
	// Standard Webhooks.
	SigningSecret Secret `json:"signing_secret,omitempty"`
}

// CreateAgent says what a new agent is. Name is required.
type CreateAgent struct {
	Name        string `json:"name"`
	Type        string `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
	// Runner is anything that encodes as a JSON object with a kind; nil is the server's default.
	Runner any `json:"runner,omitempty"`
	// InputSchema is anything that encodes as a JSON Schema.
	InputSchema    any    `json:"input_schema,omitempty"`
	TimeoutSeconds int    `json:"timeout_seconds,omitempty"`
	Retry          *Retry `json:"retry,omitempty"`
	MaxConcurrency int    `json:"max_concurrency,omitempty"`
}

// UpdateAgent says what changes; nil leaves a field as it is.
type UpdateAgent struct {
	Name        *string `json:"name,omitempty"`
	Type        *string `json:"type,omitempty"`
	Description *string `json:"description,omitempty"`
	Runner      any     `json:"runner,omitempty"`
	// InputSchema set to json.RawMessage("null") removes the schema.
	InputSchema    any    `json:"input_schema,omitempty"`
	TimeoutSeconds *int   `json:"timeout_seconds,omitempty"`
	Retry          *Retry `json:"retry,omitempty"`
	MaxConcurrency *int   `json:"max_concurrency,omitempty"`
}

// ExecuteAgent is one run of an agent without a trigger.
type ExecuteAgent struct {
	// Input is anything that encodes as JSON; raw JSON is sent as it is. nil is {}.
	Input any `json:"input,omitempty"`
	// Sync waits for the result, at most 60 s. Executions.Wait waits longer.
	Sync      bool              `json:"sync,omitempty"`
	SessionID string            `json:"session_id,omitempty"`
	UserID    string            `json:"user_id,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

func (e ExecuteAgent) wait() time.Duration {
	if e.Sync {
		return time.Minute
	}
	return 0
}

// ListAgents narrows a list of agents.
type ListAgents struct {
	Name string // a part of the name, in any case
	ListOptions
}

func (f ListAgents) query() url.Values {
	query := url.Values{}
	set(query, "name", f.Name)
	f.addTo(query)
	return query
}

const agentsPath = "/agents"

// Create registers an agent. Its signing secret is shown in this answer only.
func (a *Agents) Create(ctx context.Context, agent CreateAgent, options ...RequestOption) (*IssuedAgent, error) {
	return result[IssuedAgent](ctx, a.c, http.MethodPost, agentsPath, agent, options)
}

// List gives a part of the agents, the newest first.
func (a *Agents) List(ctx context.Context, filter ListAgents, options ...RequestOption) (*List[Agent], error) {
	return list[Agent](ctx, a.c, agentsPath, filter.query(), options)
}

// All gives all agents, the newest first.
func (a *Agents) All(ctx context.Context, filter ListAgents) iter.Seq2[Agent, error] {
	return all[Agent](ctx, a.c, agentsPath, filter.query())
}

// Get gives an agent.
func (a *Agents) Get(ctx context.Context, id string, options ...RequestOption) (*Agent, error) {
	return one[Agent](ctx, a.c, http.MethodGet, agentsPath, id, "", nil, options)
}

// Update changes an agent. When it becomes one of the runner http, its signing secret is shown
// in this answer only.
func (a *Agents) Update(ctx context.Context, id string, changes UpdateAgent, options ...RequestOption) (*IssuedAgent, error) {
	return one[IssuedAgent](ctx, a.c, http.MethodPatch, agentsPath, id, "", changes, options)
}

// Delete archives an agent: its triggers accept no more calls.
func (a *Agents) Delete(ctx context.Context, id string, options ...RequestOption) error {
	return gone(ctx, a.c, agentsPath, id, "", options)
}

// Execute runs an agent. Unless Sync is set, the execution is pending when this returns.
func (a *Agents) Execute(ctx context.Context, id string, run ExecuteAgent, options ...RequestOption) (*Execution, error) {
	return one[Execution](ctx, a.c, http.MethodPost, agentsPath, id, "/execute", run, options)
}
