// Package trigger binds a token, and if wished a signing secret, to one agent.
package trigger

import (
	"time"

	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
)

// maxGrace is how many replaced tokens, and how many secrets, work beside the current one.
const maxGrace = 5

// Trigger is the state that the decisions of one stream add up to.
type Trigger struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	AgentID     string `json:"agent_id"`
	Name        string `json:"name"`
	Active      bool   `json:"is_active"`
	Deleted     bool   `json:"deleted,omitempty"`
	// Tokens and Secrets have the current one first, then those in their grace period.
	Tokens      []credential.Credential `json:"tokens"`
	Secrets     []credential.Credential `json:"secrets,omitempty"`
	Options     Options                 `json:"options"`
	CreatedByID string                  `json:"created_by_id,omitempty"`
	CreatedAt   time.Time               `json:"created_at"`
	UpdatedAt   time.Time               `json:"updated_at"`
	Version     int64                   `json:"version"`
}

// HasSecret reports whether calls must be signed.
func (t Trigger) HasSecret() bool { return len(t.Secrets) > 0 }

// Evolve gives the state after one more recorded event.
func (t Trigger) Evolve(recorded eventlog.Recorded, event eventlog.Event) Trigger {
	switch e := event.(type) {
	case Created:
		t = Trigger{
			ID: recorded.Stream.ID(), WorkspaceID: recorded.WorkspaceID, AgentID: e.AgentID, Name: e.Name, Active: e.Active,
			Tokens: []credential.Credential{{ID: e.TokenID, Prefix: e.TokenPrefix}}, Options: e.Options,
			CreatedByID: recorded.Meta.Actor.ID(), CreatedAt: recorded.At,
		}
		if e.SecretID != "" {
			t.Secrets = []credential.Credential{{ID: e.SecretID}}
		}
	case Renamed:
		t.Name = e.Name
	case Configured:
		t.Options = e.Options
	case Rebound:
		t.AgentID = e.AgentID
	case Activated:
		t.Active = true
	case Deactivated:
		t.Active = false
	case TokenRotated:
		t.Tokens = credential.Replace(t.Tokens, credential.Credential{ID: e.TokenID, Prefix: e.TokenPrefix}, e.PreviousUntil, recorded.At, maxGrace)
	case SecretSet:
		t.Secrets = credential.Replace(t.Secrets, credential.Credential{ID: e.SecretID}, e.PreviousUntil, recorded.At, maxGrace)
	case SecretRemoved:
		t.Secrets = nil
	case Deleted:
		t.Deleted, t.Active, t.Tokens, t.Secrets = true, false, nil, nil
	case Invoked, Received, Filtered, Handshaken, ScheduleMissed:
		return t // facts: they leave no trace in what later decisions depend on
	}
	t.UpdatedAt, t.Version = recorded.At, recorded.Version
	return t
}

// StreamVersion is the version of the last decision that the state includes.
func (t Trigger) StreamVersion() int64 { return t.Version }
