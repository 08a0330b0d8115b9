package hooktrail

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// WebhookTriggers are the triggers of the key's workspace.
type WebhookTriggers struct{ c *Client }

// Trigger binds a token, and perhaps a signing secret, to one agent.
type Trigger struct {
	ID          string     `json:"id"`
	WorkspaceID string     `json:"workspace_id"`
	AgentID     string     `json:"agent_id"`
	Name        string     `json:"name"`
	TokenPrefix string     `json:"token_prefix"`
	IsActive    bool       `json:"is_active"`
	HasSecret   bool       `json:"has_secret"`             // calls must be signed
	LastUsedAt  *time.Time `json:"last_used_at,omitempty"` // nil until it was first called
	CreatedByID string     `json:"created_by_id,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	URL         string     `json:"url"` // where to send calls with the token as Authorization
	// Options narrow or widen what the trigger takes: rate_limit, allowed_ips, inactive_status,
	// expires_at, max_body_bytes, schedule and whatever else the server knows.
	Options json.RawMessage `json:"options,omitempty"`
	// NextRuns are the next times of the schedule, up to five.
	NextRuns []time.Time `json:"next_runs,omitempty"`
	Deleted  bool        `json:"deleted,omitempty"` // only in a view of the past
	Version  int64       `json:"version"`
}

// IssuedTrigger is a trigger with what is shown only once.
type IssuedTrigger struct {
	Trigger
	Token Secret `json:"token,omitempty"`
	// HookURL is for senders that cannot set a header: it holds the token.
	HookURL Secret `json:"hook_url,omitempty"`
	// Secret is the key of signatures, if there is one.
	Secret Secret `json:"secret,omitempty"`
}

// CreateTrigger says what a new trigger is. AgentID and Name are required.
type CreateTrigger struct {
	AgentID string `json:"agent_id"`
	Name    string `json:"name"`
	// GenerateSecret has a signing secret made; calls must be signed then.
	GenerateSecret bool `json:"generate_secret,omitempty"`
	// Secret is a signing secret of one's own, 16 to 256 bytes.
	Secret Secret `json:"secret,omitempty"`
	// IsActive is true when nil.
	IsActive *bool `json:"is_active,omitempty"`
	// Options is anything that encodes as a JSON object, such as {"schedule": Schedule{…}}.
	Options any `json:"options,omitempty"`
}

// Schedule is the option "schedule": it makes a trigger fire by itself.
type Schedule struct {
	// Cron is an expression of five fields: minute, hour, day of month, month, day of week.
	Cron string `json:"cron"`
	// TimeZone is a name of the IANA database; empty is UTC.
	TimeZone string `json:"time_zone,omitempty"`
	// Payload is the agent's input, anything that encodes as JSON; nil is {}.
	Payload any `json:"payload,omitempty"`
	// Missed says what happens to runs whose time passed while no server could make them: "once"
	// (the default), "skip" or "all".
	Missed string `json:"missed,omitempty"`
}

// UpdateTrigger says what changes; nil leaves a field as it is.
type UpdateTrigger struct {
	Name     *string `json:"name,omitempty"`
	IsActive *bool   `json:"is_active,omitempty"`
	AgentID  *string `json:"agent_id,omitempty"`
	// Options are merged key by key; null removes one.
	Options any `json:"options,omitempty"`
}

// RotateToken says how the new token takes over.
type RotateToken struct {
	// GracePeriod is how many seconds the old one works too: nil is the server's default, a day;
	// 0 ends it at once.
	GracePeriod *int `json:"grace_period,omitempty"`
}

// RotateSecret says how the new signing secret takes over.
type RotateSecret struct {
	// GracePeriod is how many seconds signatures by the old one pass too: nil is the server's
	// default, a day; 0 ends it at once.
	GracePeriod *int `json:"grace_period,omitempty"`
	// Secret is one's own; empty means that one is made.
	Secret Secret `json:"secret,omitempty"`
}

// RunTrigger is a run of a trigger's agent as its schedule would make it.
type RunTrigger struct {
	// Payload is the agent's input, anything that encodes as JSON; nil is that of the schedule,
	// else {}.
	Payload any `json:"payload,omitempty"`
}

// TestTrigger is a call to try: one that is given, with Payload, or one on record, with
// ExecutionID.
type TestTrigger struct {
	// Payload is the body of the call, anything that encodes as JSON.
	Payload any `json:"payload,omitempty"`
	// Headers and Query are those of the call; of one on record, what is not on record of it.
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
	// Signature is that of the payload, as X-Webhook-Signature would have it. It covers the
	// payload as it is sent: without white space between its parts.
	Signature string `json:"signature,omitempty"`
	// ExecutionID is that of the call on record; of one that was filtered its event's id.
	ExecutionID string `json:"execution_id,omitempty"`
	// Options take the place of the trigger's, key by key; anything that encodes as a JSON object.
	Options any `json:"options,omitempty"`
}

// TestSince has all calls tried that are on record since a time, the newest first.
type TestSince struct {
	Since time.Time `json:"since"`
	// Limit is how many are tried, 1 to 1000; 0 is the server's default, 100.
	Limit int `json:"limit,omitempty"`
	// Options take the place of the trigger's, key by key; anything that encodes as a JSON object.
	Options any `json:"options,omitempty"`
	// Headers and Query are what is not on record of the calls.
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
}

// TestOutcome is what would become of a call.
type TestOutcome struct {
	Status string `json:"status"` // "accepted", "filtered" or "refused"
	// Signature is "not_required", "valid", "invalid", "not_given", or "not_checked" for a call
	// on record, whose signature is not kept.
	Signature string            `json:"signature"`
	IsActive  bool              `json:"is_active"`       // an inactive trigger refuses all calls
	Event     string            `json:"event,omitempty"` // the sender's name for what happened
	Headers   map[string]string `json:"headers,omitempty"`
	Query     map[string]string `json:"query,omitempty"`
	Input     json.RawMessage   `json:"input,omitempty"` // what the agent would get
	Error     *TestError        `json:"error,omitempty"` // why it would be refused
}

// TestError says why a call would be refused.
type TestError struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
}

// TestSummary is what would become of the calls on record.
type TestSummary struct {
	Since    time.Time     `json:"since"`
	Until    *time.Time    `json:"until,omitempty"` // when the oldest came that was tried
	Examined int           `json:"examined"`
	Complete bool          `json:"complete"` // false when there are more than Limit, or than there was time for
	Accepted int           `json:"accepted"`
	Filtered int           `json:"filtered"`
	Refused  int           `json:"refused"`
	Erased   int           `json:"erased"`  // their bodies are gone
	Changed  int           `json:"changed"` // of these something else would become than did
	Examples []TestExample `json:"examples"`
	Reasons  []TestReason  `json:"reasons,omitempty"` // the most frequent first
}

// TestExample is one call of which something else would become than did.
type TestExample struct {
	ExecutionID string          `json:"execution_id"` // the event's id, when the call was filtered
	CreatedAt   time.Time       `json:"created_at"`
	Was         string          `json:"was"`
	Would       string          `json:"would"`
	Event       string          `json:"event,omitempty"`
	Input       json.RawMessage `json:"input,omitempty"` // left out above 4 KiB
	Error       *TestError      `json:"error,omitempty"`
}

// TestReason is why so many calls would be refused.
type TestReason struct {
	Message string `json:"message"`
	Calls   int    `json:"calls"`
}

// ListTriggers narrows a list of triggers.
type ListTriggers struct {
	AgentID  string
	IsActive *bool
	Name     string // a part of the name, in any case
	ListOptions
}

func (f ListTriggers) query() url.Values {
	query := url.Values{}
	set(query, "agent_id", f.AgentID)
	set(query, "name", f.Name)
	if f.IsActive != nil {
		query.Set("is_active", strconv.FormatBool(*f.IsActive))
	}
	f.addTo(query)
	return query
}

const triggersPath = "/webhook-triggers"

// Create makes a trigger. Its token and secret are shown in this answer only.
func (t *WebhookTriggers) Create(ctx context.Context, trigger CreateTrigger, options ...RequestOption) (*IssuedTrigger, error) {
	return result[IssuedTrigger](ctx, t.c, http.MethodPost, triggersPath, trigger, options)
}

// List gives a part of the triggers, the newest first.
func (t *WebhookTriggers) List(ctx context.Context, filter ListTriggers, options ...RequestOption) (*List[Trigger], error) {
	return list[Trigger](ctx, t.c, triggersPath, filter.query(), options)
}

// All gives all triggers, the newest first.
func (t *WebhookTriggers) All(ctx context.Context, filter ListTriggers) iter.Seq2[Trigger, error] {
	return all[Trigger](ctx, t.c, triggersPath, filter.query())
}

// Get gives a trigger.
func (t *WebhookTriggers) Get(ctx context.Context, id string, options ...RequestOption) (*Trigger, error) {
	return one[Trigger](ctx, t.c, http.MethodGet, triggersPath, id, "", nil, options)
}

// GetAsOf gives a trigger as it was at a time by RFC 3339, or just behind a position in the log.
func (t *WebhookTriggers) GetAsOf(ctx context.Context, id, moment string, options ...RequestOption) (*Trigger, error) {
	return t.Get(ctx, id, append(options, WithQuery("as_of", moment))...)
}

// Update changes a trigger. Once IsActive false is answered, no later call is accepted.
func (t *WebhookTriggers) Update(ctx context.Context, id string, changes UpdateTrigger, options ...RequestOption) (*Trigger, error) {
	return one[Trigger](ctx, t.c, http.MethodPatch, triggersPath, id, "", changes, options)
}

// RotateToken puts a new token in place, which is shown in this answer only.
func (t *WebhookTriggers) RotateToken(ctx context.Context, id string, rotation RotateToken, options ...RequestOption) (*IssuedTrigger, error) {
	return one[IssuedTrigger](ctx, t.c, http.MethodPost, triggersPath, id, "/rotate-token", rotation, options)
}

// RotateSecret puts a first or new signing secret in place, which is shown in this answer only.
func (t *WebhookTriggers) RotateSecret(ctx context.Context, id string, rotation RotateSecret, options ...RequestOption) (*IssuedTrigger, error) {
	return one[IssuedTrigger](ctx, t.c, http.MethodPost, triggersPath, id, "/rotate-secret", rotation, options)
}

// RemoveSecret has calls taken unsigned from now on.
func (t *WebhookTriggers) RemoveSecret(ctx context.Context, id string, options ...RequestOption) error {
	return gone(ctx, t.c, triggersPath, id, "/secret", options)
}

// Run has a trigger run its agent now, with or without a schedule. The execution is pending when
// this returns.
func (t *WebhookTriggers) Run(ctx context.Context, id string, run RunTrigger, options ...RequestOption) (*Execution, error) {
	return one[Execution](ctx, t.c, http.MethodPost, triggersPath, id, "/run", run, options)
}

// Test says what would become of a call. Nothing is run and nothing recorded.
func (t *WebhookTriggers) Test(ctx context.Context, id string, call TestTrigger, options ...RequestOption) (*TestOutcome, error) {
	return one[TestOutcome](ctx, t.c, http.MethodPost, triggersPath, id, "/test", call, options)
}

// TestSince says what would become of the calls on record, such as under other options. Nothing
// is run and nothing recorded.
func (t *WebhookTriggers) TestSince(ctx context.Context, id string, calls TestSince, options ...RequestOption) (*TestSummary, error) {
	return one[TestSummary](ctx, t.c, http.MethodPost, triggersPath, id, "/test", calls, options)
}

// Delete ends a trigger, its tokens and its secrets. Its past stays readable.
func (t *WebhookTriggers) Delete(ctx context.Context, id string, options ...RequestOption) error {
	return gone(ctx, t.c, triggersPath, id, "", options)
}

// Events gives a part of a trigger's events, also of one that was deleted. The filter's Stream
// is not used.
func (t *WebhookTriggers) Events(ctx context.Context, id string, filter ListEvents, options ...RequestOption) (*List[Event], error) {
	path, err := at(triggersPath, id, "/events")
	if err != nil {
		return nil, err
	}
	return list[Event](ctx, t.c, path, filter.query(), options)
}

// AllEvents gives all events of a trigger.
func (t *WebhookTriggers) AllEvents(ctx context.Context, id string, filter ListEvents) iter.Seq2[Event, error] {
	path, err := at(triggersPath, id, "/events")
	if err != nil {
		return failing[Event](err)
	}
	return all[Event](ctx, t.c, path, filter.query())
}

func result[T any](ctx context.Context, c *Client, method, path string, in any, options []RequestOption) (*T, error) {
	var out T
	if err := c.manage(ctx, method, path, nil, in, &out, options); err != nil {
		return nil, err
	}
	return &out, nil
}

func one[T any](ctx context.Context, c *Client, method, collection, id, action string, in any, options []RequestOption) (*T, error) {
	path, err := at(collection, id, action)
	if err != nil {
		return nil, err
	}
	return result[T](ctx, c, method, path, in, options)
}

func gone(ctx context.Context, c *Client, collection, id, part string, options []RequestOption) error {
	path, err := at(collection, id, part)
	if err != nil {
		return err
	}
	return c.manage(ctx, http.MethodDelete, path, nil, nil, nil, options)
}
