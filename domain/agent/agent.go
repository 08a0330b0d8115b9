// Package agent is what a trigger runs: a name, a runner, and the rules of a run.
package agent

import (
	"encoding/json"
	"time"

	"hooktrail/domain/eventlog"
)

// The kinds of runners.
const (
	RunnerHTTP    = "http"
	RunnerOpenAI  = "openai"
	RunnerA2A     = "a2a"
	RunnerCommand = "command"
	RunnerNone    = "none"
	RunnerEcho    = "echo"
)

// Runner says how an agent is run. Each field belongs to some kinds only; Validate says which.
type Runner struct {
	Kind    string            `json:"kind"`
	URL     string            `json:"url,omitempty"` // of a2a: what the agent card is found at
	Headers map[string]string `json:"headers,omitempty"`
	Command []string          `json:"command,omitempty"`
	// BaseURL is the address of an API like OpenAI's, up to and with its version.
	BaseURL string `json:"base_url,omitempty"`
	Model   string `json:"model,omitempty"`
	System  string `json:"system,omitempty"`
	// Prompt may have placeholders for the input, see Prompt; "" is the input alone.
	Prompt              string   `json:"prompt,omitempty"`
	Temperature         *float64 `json:"temperature,omitempty"`           // 0 to 2
	MaxTokens           int      `json:"max_tokens,omitempty"`            // 0 leaves it to the model
	MaxCompletionTokens int      `json:"max_completion_tokens,omitempty"` // the newer name of the same
	ResponseFormat      string   `json:"response_format,omitempty"`
}

// The response formats; "" is text.
const (
	FormatText = "text"
	FormatJSON = "json_object"
)

// Credential is the key or token with which an agent is called. The secret itself is kept
// sealed, outside the log.
type Credential struct {
	ID string `json:"id"`
	// Hint is the end of the secret, by which its owner can tell it from others.
	Hint string `json:"hint,omitempty"`
}

// Retry says how often and when a failed attempt is made again.
type Retry struct {
	MaxAttempts    int     `json:"max_attempts"`    // 1 to 20
	InitialSeconds float64 `json:"initial_seconds"` // wait after the first failure, 0.1 to 3600
	MaxSeconds     float64 `json:"max_seconds"`     // longest wait before it is spread, up to 86400
	Factor         float64 `json:"factor"`          // growth of the wait per attempt, 1 to 10
}

// DefaultRetry makes five attempts within an hour: after 10 s, 50 s, 4 min and 21 min.
func DefaultRetry() Retry {
	return Retry{MaxAttempts: 5, InitialSeconds: 10, MaxSeconds: 1800, Factor: 5}
}

// Delay is the wait after the failed attempt of that number (from 1). jitter, from 0 up to
// 1, spreads it over 80 to 120 % so that many failures do not come back at one moment.
func (r Retry) Delay(attempt int, jitter float64) time.Duration {
	seconds := r.InitialSeconds
	for range attempt - 1 {
		if seconds *= r.Factor; seconds >= r.MaxSeconds {
			break
		}
	}
	seconds = min(seconds, r.MaxSeconds) * (0.8 + 0.4*jitter)
	return time.Duration(seconds * float64(time.Second))
}

// Settings is what a person decides about an agent.
type Settings struct {
	Name        string          `json:"name"`
	Type        string          `json:"type,omitempty"`
	Description string          `json:"description,omitempty"`
	Runner      Runner          `json:"runner"`
	InputSchema json.RawMessage `json:"input_schema,omitempty"`
	// TimeoutSeconds bounds one attempt, 1 to 86400.
	TimeoutSeconds int   `json:"timeout_seconds"`
	Retry          Retry `json:"retry"`
	// MaxConcurrency bounds the runs at one time over all replicas; 0 is no bound.
	MaxConcurrency int `json:"max_concurrency"`
}

// Agent is the state that the events of one stream add up to.
type Agent struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	Settings
	// SigningSecretID names the sealed secret with which the http runner signs.
	SigningSecretID string `json:"signing_secret_id,omitempty"`
	// Credential is nil for an agent that is called without one.
	Credential  *Credential `json:"credential,omitempty"`
	Archived    bool        `json:"archived,omitempty"`
	CreatedByID string      `json:"created_by_id,omitempty"`
	CreatedAt   time.Time   `json:"created_at"`
	UpdatedAt   time.Time   `json:"updated_at"`
	Version     int64       `json:"version"`
}

// Evolve gives the state after one more recorded event.
func (a Agent) Evolve(recorded eventlog.Recorded, event eventlog.Event) Agent {
	switch e := event.(type) {
	case Registered:
		a = Agent{
			ID: recorded.Stream.ID(), WorkspaceID: recorded.WorkspaceID, Settings: e.Settings,
			SigningSecretID: e.SigningSecretID, Credential: e.Credential, CreatedByID: recorded.Meta.Actor.ID(), CreatedAt: recorded.At,
		}
	case Updated:
		a.Settings, a.Credential = e.Settings, e.Credential
		if e.SigningSecretID != "" {
			a.SigningSecretID = e.SigningSecretID
		}
	case Archived:
		a.Archived = true
	}
	a.UpdatedAt, a.Version = recorded.At, recorded.Version
	return a
}

// StreamVersion is the version of the last decision that the state includes.
func (a Agent) StreamVersion() int64 { return a.Version }
