package hooktrail

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// APIKeys are the keys to the key's workspace. They need the scope admin.
type APIKeys struct{ c *Client }

// APIKey is a key to the management API, without its text.
type APIKey struct {
	ID          string     `json:"id"`
	WorkspaceID string     `json:"workspace_id"`
	Name        string     `json:"name"`
	Prefix      string     `json:"prefix"` // the first characters, to recognise it by
	Scopes      []string   `json:"scopes"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	CreatedByID string     `json:"created_by_id,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	Revoked     bool       `json:"revoked,omitempty"` // only in the past
}

// IssuedAPIKey is a key with its text, which is shown only once.
type IssuedAPIKey struct {
	APIKey
	Key Secret `json:"key"`
}

// CreateAPIKey says what a new key is. Name and Scopes are required.
type CreateAPIKey struct {
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"` // none that one's own key lacks
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// ListAPIKeys says which part of the keys is wanted.
type ListAPIKeys struct{ ListOptions }

const apiKeysPath = "/api-keys"

func (f ListAPIKeys) query() url.Values {
	query := url.Values{}
	f.addTo(query)
	return query
}

// Create makes a key, which is shown in this answer only.
func (k *APIKeys) Create(ctx context.Context, key CreateAPIKey, options ...RequestOption) (*IssuedAPIKey, error) {
	return result[IssuedAPIKey](ctx, k.c, http.MethodPost, apiKeysPath, key, options)
}

// List gives a part of the keys that are not revoked, the newest first.
func (k *APIKeys) List(ctx context.Context, filter ListAPIKeys, options ...RequestOption) (*List[APIKey], error) {
	return list[APIKey](ctx, k.c, apiKeysPath, filter.query(), options)
}

// All gives all keys that are not revoked, the newest first.
func (k *APIKeys) All(ctx context.Context, filter ListAPIKeys) iter.Seq2[APIKey, error] {
	return all[APIKey](ctx, k.c, apiKeysPath, filter.query())
}

// Get gives a key that is not revoked, without its text.
func (k *APIKeys) Get(ctx context.Context, id string, options ...RequestOption) (*APIKey, error) {
	return one[APIKey](ctx, k.c, http.MethodGet, apiKeysPath, id, "", nil, options)
}

// Delete revokes a key. It ends at once.
func (k *APIKeys) Delete(ctx context.Context, id string, options ...RequestOption) error {
	return gone(ctx, k.c, apiKeysPath, id, "", options)
}

// Me is who is calling.
type Me struct {
	WorkspaceID string `json:"workspace_id"`
	APIKey      APIKey `json:"api_key"`
	Actor       string `json:"actor"` // what events that this key causes have as their actor
}

// Me gives who is calling. It takes any valid key.
func (c *Client) Me(ctx context.Context, options ...RequestOption) (*Me, error) {
	return result[Me](ctx, c, http.MethodGet, "/me", nil, options)
}
