package application

import (
	"context"
	"time"

	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/token"
)

// CreateAPIKey asks for a new key.
type CreateAPIKey struct {
	Name      string         `json:"name"`
	Scopes    []apikey.Scope `json:"scopes"`
	ExpiresAt *time.Time     `json:"expires_at"`
}

// IssuedAPIKey is a key with its text, which is shown only once.
type IssuedAPIKey struct {
	APIKeyView
	Key string `json:"key"`
}

// CreateAPIKey makes a key. Nobody can give away more than they have.
func (app *Application) CreateAPIKey(ctx context.Context, caller Caller, c CreateAPIKey) (IssuedAPIKey, error) {
	for _, scope := range c.Scopes {
		if !caller.Key.May(scope) {
			return IssuedAPIKey{}, fault.New(fault.Forbidden, "your key does not have the scope %s itself", scope)
		}
	}
	issued, credential, err := app.issueToken(caller.WorkspaceID, token.KeyPrefix)
	if err != nil {
		return IssuedAPIKey{}, err
	}
	return app.keepAPIKey(ctx, caller.WorkspaceID, caller.metadata(), c, issued, credential)
}

func (app *Application) keepAPIKey(ctx context.Context, workspace string, meta eventlog.Metadata, c CreateAPIKey, issued string, credential eventlog.Credential) (IssuedAPIKey, error) {
	id := app.NewID()
	stream := eventlog.Stream(eventlog.APIKeyStream, id)
	credential.Owner = stream
	state, err := change(ctx, app, apikey.Codec, workspace, stream, meta, func(apikey.APIKey) (decision, error) {
		events, err := apikey.Create(c.Name, token.Display(issued), c.Scopes, c.ExpiresAt, app.Now())
		return decision{events: events, keep: []eventlog.Credential{credential}}, err
	})
	if err != nil {
		return IssuedAPIKey{}, err
	}
	return IssuedAPIKey{APIKeyView: NewAPIKeyView(state), Key: issued}, nil
}

// RevokeAPIKey ends a key at once.
func (app *Application) RevokeAPIKey(ctx context.Context, caller Caller, id string) error {
	_, err := change(ctx, app, apikey.Codec, caller.WorkspaceID, eventlog.Stream(eventlog.APIKeyStream, id), caller.metadata(), func(k apikey.APIKey) (decision, error) {
		if k.WorkspaceID != caller.WorkspaceID {
			return decision{}, fault.New(fault.NotFound, "there is no such API key")
		}
		events, err := k.Revoke()
		return decision{events: events}, err
	})
	return err
}

// Authenticate finds the key behind a text; every reason to refuse it is told the same way.
func (app *Application) Authenticate(ctx context.Context, text string) (apikey.APIKey, error) {
	refused := fault.New(fault.Unauthorized, "a valid API key is required, as X-API-Key or Authorization: Bearer")
	if text == "" || len(text) > maxKeyText {
		return apikey.APIKey{}, refused
	}
	credential, found, err := app.Store.CredentialByHash(ctx, app.Secrets.HashAPIKey(text))
	if err != nil {
		return apikey.APIKey{}, refusal(err)
	}
	if !found || credential.Owner.Kind() != eventlog.APIKeyStream {
		return apikey.APIKey{}, refused
	}
	key, err := fold[apikey.APIKey](ctx, app.Store, apikey.Codec, credential.Owner, 0)
	if err != nil {
		return apikey.APIKey{}, refusal(err)
	}
	if !key.WorksAt(app.Now()) {
		return apikey.APIKey{}, refused
	}
	return key, nil
}

const maxKeyText = 512

// EnsureAPIKey makes sure that a first key exists: the one the operator brings, or, when
// there is none at all, a new one, whose text is returned to be printed once.
func (app *Application) EnsureAPIKey(ctx context.Context, brought string) (string, error) {
	meta := eventlog.Metadata{Actor: eventlog.System}
	bootstrap := CreateAPIKey{Name: "bootstrap", Scopes: []apikey.Scope{apikey.Admin}}
	if brought != "" {
		return "", app.bringAPIKey(ctx, meta, bootstrap, brought)
	}
	existing, err := app.Views.CountAPIKeys(ctx)
	if err != nil || existing > 0 {
		return "", refusal(err)
	}
	issued, credential, err := app.issueToken(app.config.WorkspaceID, token.KeyPrefix)
	if err != nil {
		return "", err
	}
	_, err = app.keepAPIKey(ctx, app.config.WorkspaceID, meta, bootstrap, issued, credential)
	return issued, err
}

const minKeyText = 20

// bringAPIKey makes the key of a text that is brought, unless it is there already.
func (app *Application) bringAPIKey(ctx context.Context, meta eventlog.Metadata, c CreateAPIKey, brought string) error {
	if len(brought) < minKeyText || len(brought) > maxKeyText {
		return fault.Field("HOOKTRAIL_API_KEY", "must have from %d to %d characters", minKeyText, maxKeyText)
	}
	hash := app.Secrets.HashAPIKey(brought)
	_, known, err := app.Store.CredentialByHash(ctx, hash)
	if err != nil {
		return refusal(err)
	}
	if !known {
		_, err := app.keepAPIKey(ctx, app.config.WorkspaceID, meta, c, brought, eventlog.Credential{ID: app.NewID(), WorkspaceID: app.config.WorkspaceID, Hash: hash})
		if err == nil {
			return nil
		}
		// Another replica may have brought the same key at this moment.
		if _, known, _ = app.Store.CredentialByHash(ctx, hash); !known {
			return err
		}
	}
	_, err = app.Authenticate(ctx, brought)
	if fault.CodeOf(err) == fault.Unauthorized {
		return fault.Field("HOOKTRAIL_API_KEY", "names a key that was revoked or has expired; bring another one")
	}
	return err
}
