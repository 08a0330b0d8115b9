// Package trigger binds a token, and if wished a signing secret, to one agent.
package trigger

import (
	"slices"
	"time"

	"hooktrail/domain/eventlog"
)

// Credential names a token or secret that is kept elsewhere, and how long it works.
type Credential struct {
	ID string `json:"id"`
	// Prefix is the first characters of a token, to recognise it by.
	Prefix string `json:"prefix,omitempty"`
	// ExpiresAt ends the grace period of a credential that was replaced; nil for the current one.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// WorksAt reports whether the credential is current or in its grace period.
func (c Credential) WorksAt(now time.Time) bool {
	return c.ExpiresAt == nil || now.Before(*c.ExpiresAt)
}

// Trigger is the state that the decisions of one stream add up to.
type Trigger struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	AgentID     string `json:"agent_id"`
	Name        string `json:"name"`
	Active      bool   `json:"is_active"`
	Deleted     bool   `json:"deleted,omitempty"`
	// Tokens and Secrets have the current one first, then those in their grace period.
	Tokens      []Credential `json:"tokens"`
	Secrets     []Credential `json:"secrets,omitempty"`
	Options     Options      `json:"options"`
	CreatedByID string       `json:"created_by_id,omitempty"`
	CreatedAt   time.Time    `json:"created_at"`
	UpdatedAt   time.Time    `json:"updated_at"`
	Version     int64        `json:"version"`
}

// HasSecret reports whether calls must be signed.
func (t Trigger) HasSecret() bool { return len(t.Secrets) > 0 }

// Evolve gives the state after one more recorded event.
func (t Trigger) Evolve(recorded eventlog.Recorded, event eventlog.Event) Trigger {
	switch e := event.(type) {
	case Created:
		t = Trigger{
			ID: recorded.Stream.ID(), WorkspaceID: recorded.WorkspaceID, AgentID: e.AgentID, Name: e.Name, Active: e.Active,
			Tokens: []Credential{{ID: e.TokenID, Prefix: e.TokenPrefix}}, Options: e.Options,
			CreatedByID: recorded.Meta.Actor.ID(), CreatedAt: recorded.At,
		}
		if e.SecretID != "" {
			t.Secrets = []Credential{{ID: e.SecretID}}
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
		t.Tokens = replace(t.Tokens, Credential{ID: e.TokenID, Prefix: e.TokenPrefix}, e.PreviousUntil, recorded.At)
	case SecretSet:
		t.Secrets = replace(t.Secrets, Credential{ID: e.SecretID}, e.PreviousUntil, recorded.At)
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

// replace puts a new credential first and keeps the older ones for at most as long as
// their own grace period or the new one, whichever ends first.
func replace(old []Credential, current Credential, previousUntil *time.Time, now time.Time) []Credential {
	kept := []Credential{current}
	if previousUntil == nil {
		return kept
	}
	for _, c := range old {
		if c.ExpiresAt == nil || c.ExpiresAt.After(*previousUntil) {
			c.ExpiresAt = previousUntil
		}
		if c.WorksAt(now) && len(kept) <= maxGraceCredentials {
			kept = append(kept, c)
		}
	}
	return kept
}

// IDs lists the ids of credentials.
func IDs(credentials []Credential) []string {
	ids := make([]string, len(credentials))
	for i, c := range credentials {
		ids[i] = c.ID
	}
	return ids
}

// dropped lists the ids that are in before but not in after.
func dropped(before, after []Credential) []string {
	return slices.DeleteFunc(IDs(before), func(id string) bool {
		return slices.ContainsFunc(after, func(c Credential) bool { return c.ID == id })
	})
}

// StreamVersion is the version of the last decision that the state includes.
func (t Trigger) StreamVersion() int64 { return t.Version }
