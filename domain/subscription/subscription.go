// Package subscription is a downstream service that is told what happens: where its events are
// posted, which those are, and from where on in the log.
package subscription

import (
	"time"

	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
)

// CloudEvents is the format of structured CloudEvents 1.0 in JSON.
const CloudEvents = "cloudevents"

// Settings is what a person decides about a subscription.
type Settings struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Types are types of events, or beginnings of them that end in *; none means all.
	Types []string `json:"types,omitempty"`
	// Streams are names of streams, or beginnings of them that end in *; none means all.
	Streams []string `json:"streams,omitempty"`
	// TriggerID narrows to a trigger and the executions that it caused.
	TriggerID string `json:"trigger_id,omitempty"`
	// AgentID narrows to an agent, its executions and the invocations that began them.
	AgentID string `json:"agent_id,omitempty"`
	Format  string `json:"format"`
}

// Subscription is the state that the events of one stream add up to.
type Subscription struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	Settings
	// StartAfter is the position behind which the first delivery begins.
	StartAfter eventlog.Position `json:"start_after"`
	// Secrets have the current one first, then those in their grace period.
	Secrets     []credential.Credential `json:"secrets"`
	DisabledAt  *time.Time              `json:"disabled_at,omitempty"`
	Disabled    Disabled                `json:"disabled"`
	Deleted     bool                    `json:"deleted,omitempty"`
	CreatedByID string                  `json:"created_by_id,omitempty"`
	CreatedAt   time.Time               `json:"created_at"`
	UpdatedAt   time.Time               `json:"updated_at"`
	Version     int64                   `json:"version"`
}

// Active reports whether events are delivered.
func (s Subscription) Active() bool { return s.Version > 0 && s.DisabledAt == nil && !s.Deleted }

// Evolve gives the state after one more recorded event.
func (s Subscription) Evolve(recorded eventlog.Recorded, event eventlog.Event) Subscription {
	switch e := event.(type) {
	case Created:
		s = Subscription{
			ID: recorded.Stream.ID(), WorkspaceID: recorded.WorkspaceID, Settings: e.Settings, StartAfter: e.StartAfter,
			Secrets: []credential.Credential{{ID: e.SecretID}}, CreatedByID: recorded.Meta.Actor.ID(), CreatedAt: recorded.At,
		}
	case Updated:
		s.Settings = e.Settings
	case SecretSet:
		s.Secrets = credential.Replace(s.Secrets, credential.Credential{ID: e.SecretID}, e.PreviousUntil, recorded.At, maxGrace)
	case Disabled:
		at := recorded.At
		s.DisabledAt, s.Disabled = &at, e
	case Enabled:
		s.DisabledAt, s.Disabled = nil, Disabled{}
	case Deleted:
		s.Deleted, s.Secrets = true, nil
	case Skipped, Rewound, Redelivered:
		return s // facts: no later decision depends on them
	}
	s.UpdatedAt, s.Version = recorded.At, recorded.Version
	return s
}

// maxGrace bounds the signatures of one delivery, beside that of the current secret.
const maxGrace = 2

// StreamVersion is the version of the last decision that the state includes.
func (s Subscription) StreamVersion() int64 { return s.Version }
