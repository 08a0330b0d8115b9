package application

import (
	"context"
	"encoding/json"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/token"
	"hooktrail/domain/trigger"
)

// CreateTrigger asks for a new trigger.
type CreateTrigger struct {
	AgentID        string          `json:"agent_id"`
	Name           string          `json:"name"`
	GenerateSecret bool            `json:"generate_secret"`
	Secret         string          `json:"secret"`
	IsActive       *bool           `json:"is_active"`
	Options        json.RawMessage `json:"options"`
}

// IssuedTrigger is a trigger with what is shown only once.
type IssuedTrigger struct {
	TriggerView
	Token   string `json:"token,omitempty"`
	HookURL string `json:"hook_url,omitempty"`
	Secret  string `json:"secret,omitempty"`
}

// CreateTrigger makes a trigger with a token and, if asked for, a signing secret.
func (app *Application) CreateTrigger(ctx context.Context, caller Caller, c CreateTrigger) (IssuedTrigger, error) {
	patch, verifyToken, err := trigger.TakeVerifyToken(c.Options)
	if err != nil {
		return IssuedTrigger{}, err
	}
	options, err := trigger.Options{}.Merge(patch)
	if err != nil {
		return IssuedTrigger{}, err
	}
	if err := checkExpressions(options); err != nil {
		return IssuedTrigger{}, err
	}
	issued, credential, err := app.issueToken(caller.WorkspaceID, token.TriggerPrefix)
	if err != nil {
		return IssuedTrigger{}, err
	}
	id := app.NewID()
	stream := eventlog.Stream(eventlog.TriggerStream, id)
	credential.Owner = stream
	keep := []eventlog.Credential{credential}
	if verifyToken != "" {
		kept, err := app.seal(caller.WorkspaceID, stream, verifyToken)
		if err != nil {
			return IssuedTrigger{}, err
		}
		keep, options = append(keep, kept), options.WithVerifyToken(kept.ID)
	}
	draft := trigger.Draft{
		AgentID: c.AgentID, Name: c.Name, Active: c.IsActive == nil || *c.IsActive,
		TokenID: credential.ID, TokenPrefix: token.Display(issued), Options: options,
	}
	secret := c.Secret
	if c.GenerateSecret || secret != "" {
		var sealed eventlog.Credential
		if secret, sealed, err = app.sealSecret(caller.WorkspaceID, stream, app.senderOf(options.Signature), secret); err != nil {
			return IssuedTrigger{}, err
		}
		draft.SecretID = sealed.ID
		keep = append(keep, sealed)
	}
	state, err := change(ctx, app, trigger.Codec, caller.WorkspaceID, stream, caller.metadata(), func(trigger.Trigger) (decision, error) {
		events, err := trigger.Create(draft)
		if err != nil {
			return decision{}, err
		}
		guard, err := app.guardAgent(ctx, caller.WorkspaceID, c.AgentID)
		return decision{events: events, guards: guard, keep: keep}, err
	})
	if err != nil {
		return IssuedTrigger{}, err
	}
	view := NewTriggerView(state, nil, app.config.PublicURL)
	if _, scheduled := state.Scheduled(); scheduled {
		if view, err = app.triggerView(ctx, state); err != nil {
			return IssuedTrigger{}, err
		}
	}
	return IssuedTrigger{
		TriggerView: view, Token: issued, Secret: secret,
		HookURL: app.config.PublicURL + "/api/v1/hooks/" + issued,
	}, nil
}

// guardAgent demands that an agent exists in the workspace and is not archived meanwhile.
func (app *Application) guardAgent(ctx context.Context, workspace, id string) ([]eventlog.Guard, error) {
	stream := eventlog.Stream(eventlog.AgentStream, id)
	state, err := fold[agent.Agent](ctx, app.Store, agent.Codec, stream, 0)
	if err != nil {
		return nil, refusal(err)
	}
	if state.Version == 0 || state.Archived || state.WorkspaceID != workspace {
		return nil, fault.Field("agent_id", "names no agent of this workspace")
	}
	return []eventlog.Guard{{Stream: stream, Version: state.Version}}, nil
}

// issueToken makes a token or API key and the keyed hash to keep.
func (app *Application) issueToken(workspace, prefix string) (string, eventlog.Credential, error) {
	issued, err := token.New(prefix, app.Random)
	if err != nil {
		return "", eventlog.Credential{}, err
	}
	hash := app.Secrets.HashToken
	if prefix == token.KeyPrefix {
		hash = app.Secrets.HashAPIKey
	}
	return issued, eventlog.Credential{ID: app.NewID(), WorkspaceID: workspace, Hash: hash(issued)}, nil
}

// sealSecret seals the signing secret that was brought, or a new one, of a form that the sender
// takes.
func (app *Application) sealSecret(workspace string, owner eventlog.StreamID, sender Sender, brought string) (string, eventlog.Credential, error) {
	secret := brought
	if secret == "" {
		var err error
		if secret, err = sender.NewSecret(app.Random); err != nil {
			return "", eventlog.Credential{}, err
		}
	} else if len(secret) < trigger.MinSecretBytes || len(secret) > trigger.MaxSecretBytes {
		return "", eventlog.Credential{}, fault.Field("secret", "must have from %d to %d bytes", trigger.MinSecretBytes, trigger.MaxSecretBytes)
	} else if why := sender.CheckSecret(secret); why != "" {
		return "", eventlog.Credential{}, fault.Field("secret", "%s", why)
	}
	sealed, err := app.seal(workspace, owner, secret)
	return secret, sealed, err
}

// seal makes the credential of a secret that must be read again.
func (app *Application) seal(workspace string, owner eventlog.StreamID, secret string) (eventlog.Credential, error) {
	id := app.NewID()
	sealed, err := app.Secrets.Seal([]byte(secret), id)
	return eventlog.Credential{ID: id, WorkspaceID: workspace, Owner: owner, Sealed: sealed}, err
}

// changeTrigger is change for a trigger of the caller's workspace that is at a version, if
// the caller asked for one; 0 is any.
func (app *Application) changeTrigger(ctx context.Context, caller Caller, id string, version int64, decide func(trigger.Trigger) (decision, error)) (trigger.Trigger, error) {
	there := func(t trigger.Trigger) bool { return !t.Deleted && t.WorkspaceID == caller.WorkspaceID }
	return changeOwn(ctx, app, trigger.Codec, caller, eventlog.Stream(eventlog.TriggerStream, id), "trigger", version, there, decide)
}

// UpdateTrigger asks for changes; nil leaves a field as it is.
type UpdateTrigger struct {
	Name     *string         `json:"name"`
	IsActive *bool           `json:"is_active"`
	AgentID  *string         `json:"agent_id"`
	Options  json.RawMessage `json:"options"`
}

// UpdateTrigger changes a trigger; ifVersion, unless 0, is the version it must be at.
func (app *Application) UpdateTrigger(ctx context.Context, caller Caller, id string, u UpdateTrigger, ifVersion int64) (TriggerView, error) {
	patch, verifyToken, err := trigger.TakeVerifyToken(u.Options)
	if err != nil {
		return TriggerView{}, err
	}
	state, err := app.changeTrigger(ctx, caller, id, ifVersion, func(t trigger.Trigger) (decision, error) {
		var d decision
		c := trigger.Change{Name: u.Name, Active: u.IsActive, AgentID: u.AgentID}
		if len(patch) > 0 {
			options, err := t.Options.Merge(patch)
			if err != nil {
				return d, err
			}
			if err := app.checkScheme(ctx, t, options); err != nil {
				return d, err
			}
			if err := app.setVerifyToken(&d, t, &options, verifyToken); err != nil {
				return d, err
			}
			if err := checkExpressions(options); err != nil {
				return decision{}, err
			}
			c.Options = &options
		}
		var err error
		if d.events, err = t.Update(c); err != nil || u.AgentID == nil || *u.AgentID == t.AgentID {
			return d, err
		}
		d.guards, err = app.guardAgent(ctx, caller.WorkspaceID, *u.AgentID)
		return d, err
	})
	if err != nil {
		return TriggerView{}, err
	}
	return app.triggerView(ctx, state)
}

func (app *Application) triggerView(ctx context.Context, state trigger.Trigger) (TriggerView, error) {
	if _, scheduled := state.Scheduled(); scheduled {
		view, there, err := app.Views.Trigger(ctx, state.WorkspaceID, state.ID)
		return found(view, there, err, "trigger")
	}
	lastUsed, err := app.Views.LastUsed(ctx, state.ID)
	if err != nil {
		return TriggerView{}, refusal(err)
	}
	return NewTriggerView(state, lastUsed, app.config.PublicURL), nil
}

// RotateTriggerToken puts a new token in place; the old one works for the grace period.
func (app *Application) RotateTriggerToken(ctx context.Context, caller Caller, id string, grace time.Duration) (IssuedTrigger, error) {
	issued, credential, err := app.issueToken(caller.WorkspaceID, token.TriggerPrefix)
	if err != nil {
		return IssuedTrigger{}, err
	}
	credential.Owner = eventlog.Stream(eventlog.TriggerStream, id)
	state, err := app.changeTrigger(ctx, caller, id, 0, func(t trigger.Trigger) (decision, error) {
		events, forget, err := t.RotateToken(credential.ID, token.Display(issued), grace, app.Now())
		return decision{events: events, keep: []eventlog.Credential{credential}, forget: forget}, err
	})
	if err != nil {
		return IssuedTrigger{}, err
	}
	view, err := app.triggerView(ctx, state)
	return IssuedTrigger{TriggerView: view, Token: issued, HookURL: app.config.PublicURL + "/api/v1/hooks/" + issued}, err
}

// RotateTriggerSecret puts a first or new signing secret in place, brought or made; while
// the grace period lasts the old one passes too.
func (app *Application) RotateTriggerSecret(ctx context.Context, caller Caller, id, brought string, grace time.Duration) (IssuedTrigger, error) {
	var secret string
	state, err := app.changeTrigger(ctx, caller, id, 0, func(t trigger.Trigger) (decision, error) {
		var sealed eventlog.Credential
		var err error
		secret, sealed, err = app.sealSecret(caller.WorkspaceID, eventlog.Stream(eventlog.TriggerStream, id), app.senderOf(t.Options.Signature), brought)
		if err != nil {
			return decision{}, err
		}
		events, forget, err := t.SetSecret(sealed.ID, grace, app.Now())
		return decision{events: events, keep: []eventlog.Credential{sealed}, forget: forget}, err
	})
	if err != nil {
		return IssuedTrigger{}, err
	}
	view, err := app.triggerView(ctx, state)
	return IssuedTrigger{TriggerView: view, Secret: secret}, err
}

// RemoveTriggerSecret ends the need to sign.
func (app *Application) RemoveTriggerSecret(ctx context.Context, caller Caller, id string) error {
	_, err := app.changeTrigger(ctx, caller, id, 0, func(t trigger.Trigger) (decision, error) {
		events, forget, err := t.RemoveSecret()
		return decision{events: events, forget: forget}, err
	})
	return err
}

// DeleteTrigger ends a trigger; ifVersion, unless 0, is the version it must be at.
func (app *Application) DeleteTrigger(ctx context.Context, caller Caller, id string, ifVersion int64) error {
	_, err := app.changeTrigger(ctx, caller, id, ifVersion, func(t trigger.Trigger) (decision, error) {
		events, forget, err := t.Delete()
		return decision{events: events, forget: forget}, err
	})
	return err
}
