// Package apikey is the key to the management API: what it may do and until when.
package apikey

import (
	"slices"
	"strings"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/label"
)

// Scope is one thing a key may do.
type Scope string

// The scopes. Admin includes every other.
const (
	TriggersRead    Scope = "webhook_triggers:read"
	TriggersWrite   Scope = "webhook_triggers:write"
	AgentsRead      Scope = "agents:read"
	AgentsWrite     Scope = "agents:write"
	AgentsExecute   Scope = "agents:execute"
	ExecutionsRead  Scope = "executions:read"
	ExecutionsWrite Scope = "executions:write"
	EventsRead      Scope = "events:read"
	Admin           Scope = "admin"
)

// Scopes lists all of them.
var Scopes = []Scope{
	TriggersRead, TriggersWrite, AgentsRead, AgentsWrite, AgentsExecute, ExecutionsRead, ExecutionsWrite, EventsRead, Admin,
}

// APIKey is the state that the events of one stream add up to.
type APIKey struct {
	ID          string     `json:"id"`
	WorkspaceID string     `json:"workspace_id"`
	Name        string     `json:"name"`
	Prefix      string     `json:"prefix"`
	Scopes      []Scope    `json:"scopes"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	Revoked     bool       `json:"revoked,omitempty"`
	CreatedByID string     `json:"created_by_id,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	Version     int64      `json:"version"`
}

// Created is the first event of a key.
type Created struct {
	eventlog.Base
	Name      string     `json:"name"`
	Prefix    string     `json:"prefix"`
	Scopes    []Scope    `json:"scopes"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Revoked ends a key.
type Revoked struct{ eventlog.Base }

// Codec stores the events of this package.
var Codec = eventlog.NewCodec(
	eventlog.Type[Created]("api_key.created"),
	eventlog.Type[Revoked]("api_key.revoked"),
)

// Evolve gives the state after one more recorded event.
func (k APIKey) Evolve(recorded eventlog.Recorded, event eventlog.Event) APIKey {
	switch e := event.(type) {
	case Created:
		k = APIKey{
			ID: recorded.Stream.ID(), WorkspaceID: recorded.WorkspaceID, Name: e.Name, Prefix: e.Prefix, Scopes: e.Scopes,
			ExpiresAt: e.ExpiresAt, CreatedByID: recorded.Meta.Actor.ID(), CreatedAt: recorded.At,
		}
	case Revoked:
		k.Revoked = true
	}
	k.Version = recorded.Version
	return k
}

// Create decides the first event of a key.
func Create(name, prefix string, scopes []Scope, expiresAt *time.Time, now time.Time) ([]eventlog.Event, error) {
	wrong := map[string]string{}
	if why := label.CheckName(name); why != "" {
		wrong["name"] = why
	}
	switch {
	case len(scopes) == 0:
		wrong["scopes"] = "must name at least one scope"
	case len(scopes) > len(Scopes):
		wrong["scopes"] = "names a scope twice"
	}
	for _, scope := range scopes {
		if !slices.Contains(Scopes, scope) {
			wrong["scopes"] = "has an unknown scope; the scopes are " + join(Scopes)
		}
	}
	if expiresAt != nil && !expiresAt.After(now) {
		wrong["expires_at"] = "must be in the future"
	}
	if err := fault.Fields(wrong); err != nil {
		return nil, err
	}
	if expiresAt != nil {
		utc := expiresAt.UTC()
		expiresAt = &utc
	}
	return []eventlog.Event{Created{Name: name, Prefix: prefix, Scopes: scopes, ExpiresAt: expiresAt}}, nil
}

func join(scopes []Scope) string {
	names := make([]string, len(scopes))
	for i, scope := range scopes {
		names[i] = string(scope)
	}
	return strings.Join(names, ", ")
}

// Revoke decides the end of a key.
func (k APIKey) Revoke() ([]eventlog.Event, error) {
	if k.Version == 0 || k.Revoked {
		return nil, fault.New(fault.NotFound, "there is no such API key")
	}
	return []eventlog.Event{Revoked{}}, nil
}

// WorksAt reports whether the key may be used.
func (k APIKey) WorksAt(now time.Time) bool {
	return k.Version > 0 && !k.Revoked && (k.ExpiresAt == nil || now.Before(*k.ExpiresAt))
}

// May reports whether the key has a scope.
func (k APIKey) May(scope Scope) bool {
	return slices.Contains(k.Scopes, scope) || slices.Contains(k.Scopes, Admin)
}

// StreamVersion is the version of the last decision that the state includes.
func (k APIKey) StreamVersion() int64 { return k.Version }
