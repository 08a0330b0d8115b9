package trigger

import (
	"net/netip"
	"reflect"
	"time"

	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/label"
)

// MinSecretBytes and MaxSecretBytes bound a signing secret that a person brings.
const (
	MinSecretBytes = 16
	MaxSecretBytes = 256
)

// Draft is what a person asks a new trigger to be.
type Draft struct {
	AgentID, Name string
	Active        bool
	TokenID       string
	TokenPrefix   string
	SecretID      string // "" for a trigger whose calls need no signature
	Options       Options
}

// Create decides the first event of a trigger.
func Create(d Draft) ([]eventlog.Event, error) {
	wrong := map[string]string{}
	if why := label.CheckName(d.Name); why != "" {
		wrong["name"] = why
	}
	if d.AgentID == "" {
		wrong["agent_id"] = "is required"
	}
	if err := fault.Fields(wrong); err != nil {
		return nil, err
	}
	if err := d.Options.Validate(); err != nil {
		return nil, err
	}
	if d.SecretID == "" {
		if err := d.Options.secretFault("send generate_secret or your own as secret as well"); err != nil {
			return nil, err
		}
	}
	return []eventlog.Event{Created{
		AgentID: d.AgentID, Name: d.Name, Active: d.Active, TokenID: d.TokenID, TokenPrefix: d.TokenPrefix,
		SecretID: d.SecretID, Options: d.Options,
	}}, nil
}

// exists is the first check of every decision on a trigger.
func (t Trigger) exists() error {
	if t.Version == 0 || t.Deleted {
		return fault.New(fault.NotFound, "there is no such trigger")
	}
	return nil
}

// Change is what a person asks to be different; nil leaves a field as it is.
type Change struct {
	Name    *string
	Active  *bool
	AgentID *string
	Options *Options
}

// Update decides one event for each field that changes; asking for what is so already
// changes nothing.
func (t Trigger) Update(c Change) ([]eventlog.Event, error) {
	if err := t.exists(); err != nil {
		return nil, err
	}
	var events []eventlog.Event
	if c.Name != nil && *c.Name != t.Name {
		if why := label.CheckName(*c.Name); why != "" {
			return nil, fault.Field("name", "%s", why)
		}
		events = append(events, Renamed{Name: *c.Name})
	}
	if c.Options != nil && !reflect.DeepEqual(*c.Options, t.Options) {
		if err := c.Options.Validate(); err != nil {
			return nil, err
		}
		if !t.HasSecret() {
			if err := c.Options.secretFault("set it by rotate-secret first"); err != nil {
				return nil, err
			}
		}
		events = append(events, Configured{Options: *c.Options})
	}
	if c.AgentID != nil && *c.AgentID != t.AgentID {
		if *c.AgentID == "" {
			return nil, fault.Field("agent_id", "must not be empty")
		}
		events = append(events, Rebound{AgentID: *c.AgentID})
	}
	if c.Active != nil && *c.Active != t.Active {
		if *c.Active {
			events = append(events, Activated{})
		} else {
			events = append(events, Deactivated{})
		}
	}
	return events, nil
}

// RotateToken decides on a new token and names the credentials that end at once.
func (t Trigger) RotateToken(tokenID, prefix string, grace time.Duration, now time.Time) ([]eventlog.Event, []string, error) {
	if err := t.exists(); err != nil {
		return nil, nil, err
	}
	until, err := credential.GraceEnd(grace, now)
	if err != nil {
		return nil, nil, err
	}
	event := TokenRotated{TokenID: tokenID, TokenPrefix: prefix, PreviousUntil: until}
	return []eventlog.Event{event}, credential.Dropped(t.Tokens, credential.Replace(t.Tokens, credential.Credential{ID: tokenID}, until, now, maxGrace)), nil
}

// SetSecret decides on a first or new signing secret and names those that end at once.
func (t Trigger) SetSecret(secretID string, grace time.Duration, now time.Time) ([]eventlog.Event, []string, error) {
	if err := t.exists(); err != nil {
		return nil, nil, err
	}
	until, err := credential.GraceEnd(grace, now)
	if err != nil {
		return nil, nil, err
	}
	if !t.HasSecret() {
		until = nil
	}
	event := SecretSet{SecretID: secretID, PreviousUntil: until}
	return []eventlog.Event{event}, credential.Dropped(t.Secrets, credential.Replace(t.Secrets, credential.Credential{ID: secretID}, until, now, maxGrace)), nil
}

// RemoveSecret decides that calls need no signature any more.
func (t Trigger) RemoveSecret() ([]eventlog.Event, []string, error) {
	if err := t.exists(); err != nil {
		return nil, nil, err
	}
	if !t.HasSecret() {
		return nil, nil, fault.New(fault.NotFound, "the trigger has no secret")
	}
	if err := t.Options.secretFault("set options.signature to null, or to a scheme that needs none, first"); err != nil {
		return nil, nil, err
	}
	return []eventlog.Event{SecretRemoved{}}, credential.IDs(t.Secrets), nil
}

// Delete decides the end of a trigger and of all its credentials.
func (t Trigger) Delete() ([]eventlog.Event, []string, error) {
	if err := t.exists(); err != nil {
		return nil, nil, err
	}
	ids := append(credential.IDs(t.Tokens), credential.IDs(t.Secrets)...)
	if id := t.Options.VerifyTokenID(); id != "" {
		ids = append(ids, id)
	}
	return []eventlog.Event{Deleted{}}, ids, nil
}

// Proven reports whether a call that holds the token of that id is the trigger's own.
func (t Trigger) Proven(tokenID string, now time.Time) bool {
	if t.exists() != nil {
		return false
	}
	for _, c := range t.Tokens {
		if c.ID == tokenID {
			return c.WorksAt(now)
		}
	}
	return false
}

// SecretsAt names the secrets of which one must have signed a call.
func (t Trigger) SecretsAt(now time.Time) []string {
	var ids []string
	for _, c := range t.Secrets {
		if c.WorksAt(now) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// Open checks that the trigger takes calls now from that client.
func (t Trigger) Open(client netip.Addr, now time.Time) error {
	switch {
	case !t.Options.Allows(client):
		return fault.New(fault.Forbidden, "calls from this address are not allowed")
	case !t.Active:
		return fault.New(fault.TriggerInactive, "the trigger is inactive")
	case t.Options.ExpiresAt != nil && !now.Before(*t.Options.ExpiresAt):
		return fault.New(fault.TriggerInactive, "the trigger has expired")
	}
	return nil
}
