package application

import (
	"bytes"
	"context"
	"encoding/json"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/token"
)

// AgentRequest asks for an agent to be made or changed; nil leaves a field as it is.
type AgentRequest struct {
	Name           *string         `json:"name"`
	Type           *string         `json:"type"`
	Description    *string         `json:"description"`
	Runner         *RunnerRequest  `json:"runner"`
	InputSchema    json.RawMessage `json:"input_schema"`
	TimeoutSeconds *int            `json:"timeout_seconds"`
	Retry          *agent.Retry    `json:"retry"`
	MaxConcurrency *int            `json:"max_concurrency"`
}

// RunnerRequest is a runner with the credential for it, which is kept apart. nil keeps the
// credential that there is, "" removes it.
type RunnerRequest struct {
	agent.Runner
	APIKey *string `json:"api_key"` // of the kind openai
	Token  *string `json:"token"`   // of the kind a2a
}

// credential gives what the request says about the credential.
func (r *RunnerRequest) credential() (*string, error) {
	if r == nil {
		return nil, nil
	}
	fields := map[string]*string{agent.CredentialField(agent.RunnerOpenAI): r.APIKey, agent.CredentialField(agent.RunnerA2A): r.Token}
	own := agent.CredentialField(r.Kind)
	wrong := map[string]string{}
	for field, given := range fields {
		if field != own && given != nil && *given != "" {
			wrong[field] = "does not belong to a runner of the kind " + r.Kind
		}
	}
	return fields[own], fault.Fields(wrong)
}

func (r AgentRequest) apply(s agent.Settings) agent.Settings {
	set(&s.Name, r.Name)
	set(&s.Type, r.Type)
	set(&s.Description, r.Description)
	if r.Runner != nil {
		s.Runner = r.Runner.Runner
	}
	set(&s.TimeoutSeconds, r.TimeoutSeconds)
	set(&s.Retry, r.Retry)
	set(&s.MaxConcurrency, r.MaxConcurrency)
	switch {
	case len(r.InputSchema) == 0:
	case bytes.Equal(bytes.TrimSpace(r.InputSchema), []byte("null")):
		s.InputSchema = nil
	default:
		s.InputSchema = r.InputSchema
	}
	return s
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// IssuedAgent is an agent with the secret that is shown only once.
type IssuedAgent struct {
	AgentView
	// SigningSecret verifies our requests by Standard Webhooks; for the http runner only.
	SigningSecret string `json:"signing_secret,omitempty"`
}

// CreateAgent registers an agent.
func (app *Application) CreateAgent(ctx context.Context, caller Caller, r AgentRequest) (IssuedAgent, error) {
	settings := r.apply(agent.Settings{}).Defaults(app.config.DefaultRunner)
	stream := eventlog.Stream(eventlog.AgentStream, app.NewID())
	secret, keep, err := app.agentSecret(caller.WorkspaceID, stream, settings.Runner.Kind)
	if err != nil {
		return IssuedAgent{}, err
	}
	signing := credentialID(keep)
	credential, sealed, err := app.agentCredential(caller.WorkspaceID, stream, r.Runner)
	if err != nil {
		return IssuedAgent{}, err
	}
	if credential != nil && credential.ID == "" {
		credential = nil
	}
	keep = append(keep, sealed...)
	state, err := change(ctx, app, agent.Codec, caller.WorkspaceID, stream, caller.metadata(), func(agent.Agent) (decision, error) {
		events, err := agent.Register(settings, app.config.AllowCommandRunner, signing, credential)
		return decision{events: events, keep: keep}, err
	})
	if err != nil {
		return IssuedAgent{}, err
	}
	return IssuedAgent{AgentView: NewAgentView(state), SigningSecret: secret}, nil
}

func credentialID(keep []eventlog.Credential) string {
	if len(keep) == 0 {
		return ""
	}
	return keep[0].ID
}

// agentSecret makes the secret with which the http runner signs; other runners have none.
func (app *Application) agentSecret(workspace string, owner eventlog.StreamID, kind string) (string, []eventlog.Credential, error) {
	if kind != agent.RunnerHTTP {
		return "", nil, nil
	}
	secret, err := token.NewStandardWebhooksSecret(app.Random)
	if err != nil {
		return "", nil, err
	}
	sealed, err := app.seal(workspace, owner, secret)
	return secret, []eventlog.Credential{sealed}, err
}

// agentCredential seals the credential that a request brings. It is nil when the request says
// nothing about it, and has no id when it is to be removed.
func (app *Application) agentCredential(workspace string, owner eventlog.StreamID, r *RunnerRequest) (*agent.Credential, []eventlog.Credential, error) {
	secret, err := r.credential()
	if err != nil || secret == nil {
		return nil, nil, err
	}
	if *secret == "" {
		return &agent.Credential{}, nil, nil
	}
	sealed, err := app.seal(workspace, owner, *secret)
	if err != nil {
		return nil, nil, err
	}
	credential, err := agent.NewCredential(agent.CredentialField(r.Kind), sealed.ID, *secret)
	return credential, []eventlog.Credential{sealed}, err
}

func (app *Application) changeAgent(ctx context.Context, caller Caller, id string, ifVersion int64, decide func(agent.Agent) (decision, error)) (agent.Agent, error) {
	there := func(a agent.Agent) bool { return !a.Archived && a.WorkspaceID == caller.WorkspaceID }
	return changeOwn(ctx, app, agent.Codec, caller, eventlog.Stream(eventlog.AgentStream, id), "agent", ifVersion, there, decide)
}

// UpdateAgent changes an agent; ifVersion, unless 0, is the version it must be at.
func (app *Application) UpdateAgent(ctx context.Context, caller Caller, id string, r AgentRequest, ifVersion int64) (IssuedAgent, error) {
	var secret string
	state, err := app.changeAgent(ctx, caller, id, ifVersion, func(a agent.Agent) (decision, error) {
		secret = "" // of a decision that met a conflict; it is not kept
		settings := r.apply(a.Settings).Defaults(app.config.DefaultRunner)
		var keep []eventlog.Credential
		if a.SigningSecretID == "" {
			var err error
			if secret, keep, err = app.agentSecret(caller.WorkspaceID, eventlog.Stream(eventlog.AgentStream, id), settings.Runner.Kind); err != nil {
				return decision{}, err
			}
		}
		signing := credentialID(keep)
		credential, sealed, err := app.agentCredential(caller.WorkspaceID, eventlog.Stream(eventlog.AgentStream, id), r.Runner)
		if err != nil {
			return decision{}, err
		}
		events, forget, err := a.Update(settings, app.config.AllowCommandRunner, signing, credential)
		d := decision{events: events, keep: append(keep, sealed...)}
		if forget != "" {
			d.forget = []string{forget}
		}
		return d, err
	})
	if err != nil {
		return IssuedAgent{}, err
	}
	return IssuedAgent{AgentView: NewAgentView(state), SigningSecret: secret}, nil
}

// ArchiveAgent ends an agent that no trigger runs any more.
func (app *Application) ArchiveAgent(ctx context.Context, caller Caller, id string, ifVersion int64) error {
	_, err := app.changeAgent(ctx, caller, id, ifVersion, func(a agent.Agent) (decision, error) {
		triggers, err := app.Views.ActiveTriggersOf(ctx, id)
		if err != nil {
			return decision{}, refusal(err)
		}
		events, err := a.Archive(triggers)
		var forget []string
		if a.SigningSecretID != "" && triggers == 0 {
			forget = append(forget, a.SigningSecretID)
		}
		if a.Credential != nil && triggers == 0 {
			forget = append(forget, a.Credential.ID)
		}
		return decision{events: events, forget: forget}, err
	})
	return err
}
