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

// Subscriptions are the receivers that the events of the key's workspace are posted to. To change
// them needs the scope admin.
type Subscriptions struct{ c *Client }

// Subscription is a receiver of events.
type Subscription struct {
	ID          string   `json:"id"`
	WorkspaceID string   `json:"workspace_id"`
	Name        string   `json:"name"`
	URL         string   `json:"url"`
	Types       []string `json:"types,omitempty"`   // of events, or beginnings that end in *; none is all
	Streams     []string `json:"streams,omitempty"` // or beginnings that end in *; none is all
	TriggerID   string   `json:"trigger_id,omitempty"`
	AgentID     string   `json:"agent_id,omitempty"`
	Format      string   `json:"format"` // cloudevents
	IsActive    bool     `json:"is_active"`
	// DisabledAt and what follows say since when and why it is not active. DisabledCode is
	// requested, gone, rejected or unreachable.
	DisabledAt     *time.Time `json:"disabled_at,omitempty"`
	DisabledCode   string     `json:"disabled_code,omitempty"`
	DisabledReason string     `json:"disabled_reason,omitempty"`
	// Position is that up to which all that fits has been delivered or skipped; nil in the past.
	Position *int64 `json:"position,omitempty"`
	// Failing is the event that holds back those behind it.
	Failing     *Delivery `json:"failing,omitempty"`
	LastSuccess *Delivery `json:"last_success,omitempty"`
	CreatedByID string    `json:"created_by_id,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	Deleted     bool      `json:"deleted,omitempty"` // only in the past
	Version     int64     `json:"version"`
}

// Delivery is the delivery of one event.
type Delivery struct {
	Position int64  `json:"position"`
	EventID  string `json:"event_id"`
	Type     string `json:"type"`
	Stream   string `json:"stream"`
	// Status is pending, failing, delivered or skipped; failed for one sent again by request.
	Status        string     `json:"status"`
	Attempts      int        `json:"attempts,omitempty"` // that failed
	FailingSince  *time.Time `json:"failing_since,omitempty"`
	LastAttemptAt *time.Time `json:"last_attempt_at,omitempty"`
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty"`
	// ResponseStatus is that of the receiver's last answer; 0 when there was none.
	ResponseStatus int    `json:"response_status,omitempty"`
	Error          string `json:"error,omitempty"`
	// Rejected says that the receiver will not take the event, by its answer.
	Rejected bool `json:"rejected,omitempty"`
}

// IssuedSubscription is a subscription with what is shown only once.
type IssuedSubscription struct {
	Subscription
	// Secret verifies deliveries, by Standard Webhooks.
	Secret Secret `json:"secret,omitempty"`
}

// RedeliveredSubscription is a subscription with what came of the event that was sent again.
type RedeliveredSubscription struct {
	Subscription
	Redelivery *Delivery `json:"redelivery,omitempty"`
}

// CreateSubscription says what a new subscription is. Name and URL are required.
type CreateSubscription struct {
	Name      string   `json:"name"`
	URL       string   `json:"url"`
	Types     []string `json:"types,omitempty"`
	Streams   []string `json:"streams,omitempty"`
	TriggerID string   `json:"trigger_id,omitempty"`
	AgentID   string   `json:"agent_id,omitempty"`
	// IsActive defaults to true.
	IsActive *bool `json:"is_active,omitempty"`
	// From is where deliveries begin: "now" (the default), "beginning", or the position of the
	// first event to deliver.
	From string `json:"from,omitempty"`
}

// UpdateSubscription says what changes; nil leaves a field as it is. Lists are replaced as a whole.
type UpdateSubscription struct {
	Name      *string   `json:"name,omitempty"`
	URL       *string   `json:"url,omitempty"`
	Types     *[]string `json:"types,omitempty"`
	Streams   *[]string `json:"streams,omitempty"`
	TriggerID *string   `json:"trigger_id,omitempty"`
	AgentID   *string   `json:"agent_id,omitempty"`
	IsActive  *bool     `json:"is_active,omitempty"`
}

// ListSubscriptions narrows a list of subscriptions.
type ListSubscriptions struct {
	IsActive *bool
	ListOptions
}

func (f ListSubscriptions) query() url.Values {
	query := url.Values{}
	if f.IsActive != nil {
		query.Set("is_active", strconv.FormatBool(*f.IsActive))
	}
	f.addTo(query)
	return query
}

const subscriptionsPath = "/subscriptions"

// Create makes a subscription. Its secret is shown in this answer only.
func (s *Subscriptions) Create(ctx context.Context, subscription CreateSubscription, options ...RequestOption) (*IssuedSubscription, error) {
	return result[IssuedSubscription](ctx, s.c, http.MethodPost, subscriptionsPath, subscription, options)
}

// List gives a part of the subscriptions, the newest first.
func (s *Subscriptions) List(ctx context.Context, filter ListSubscriptions, options ...RequestOption) (*List[Subscription], error) {
	return list[Subscription](ctx, s.c, subscriptionsPath, filter.query(), options)
}

// All gives all subscriptions, the newest first.
func (s *Subscriptions) All(ctx context.Context, filter ListSubscriptions) iter.Seq2[Subscription, error] {
	return all[Subscription](ctx, s.c, subscriptionsPath, filter.query())
}

// Get gives a subscription and how its deliveries go.
func (s *Subscriptions) Get(ctx context.Context, id string, options ...RequestOption) (*Subscription, error) {
	return one[Subscription](ctx, s.c, http.MethodGet, subscriptionsPath, id, "", nil, options)
}

// Update changes a subscription. An event that fails is tried again at once.
func (s *Subscriptions) Update(ctx context.Context, id string, changes UpdateSubscription, options ...RequestOption) (*Subscription, error) {
	return one[Subscription](ctx, s.c, http.MethodPatch, subscriptionsPath, id, "", changes, options)
}

// Pause ends deliveries until Resume.
func (s *Subscriptions) Pause(ctx context.Context, id string, options ...RequestOption) (*Subscription, error) {
	active := false
	return s.Update(ctx, id, UpdateSubscription{IsActive: &active}, options...)
}

// Resume lets deliveries go on where they ended.
func (s *Subscriptions) Resume(ctx context.Context, id string, options ...RequestOption) (*Subscription, error) {
	active := true
	return s.Update(ctx, id, UpdateSubscription{IsActive: &active}, options...)
}

// RotateSecret puts a new secret in place, which is shown in this answer only. Deliveries are signed
// with both until the grace period is over.
func (s *Subscriptions) RotateSecret(ctx context.Context, id string, rotation RotateToken, options ...RequestOption) (*IssuedSubscription, error) {
	return one[IssuedSubscription](ctx, s.c, http.MethodPost, subscriptionsPath, id, "/rotate-secret", rotation, options)
}

// Deliveries gives what waits, what failed of late and what was taken last, by position from the
// last on.
func (s *Subscriptions) Deliveries(ctx context.Context, id string, options ...RequestOption) (*List[Delivery], error) {
	path, err := at(subscriptionsPath, id, "/deliveries")
	if err != nil {
		return nil, err
	}
	return list[Delivery](ctx, s.c, path, url.Values{}, options)
}

// Redeliver sends one event once more, now, beside the others, and tells what came of it.
func (s *Subscriptions) Redeliver(ctx context.Context, id, eventID string, options ...RequestOption) (*RedeliveredSubscription, error) {
	return one[RedeliveredSubscription](ctx, s.c, http.MethodPost, subscriptionsPath, id, "/redeliver", struct {
		EventID string `json:"event_id"`
	}{eventID}, options)
}

// Rewind goes on with deliveries from "beginning", "now", or a position.
func (s *Subscriptions) Rewind(ctx context.Context, id, from string, options ...RequestOption) (*Subscription, error) {
	return one[Subscription](ctx, s.c, http.MethodPost, subscriptionsPath, id, "/redeliver", struct {
		From string `json:"from"`
	}{from}, options)
}

// Skip gives up the event that is failing, so that those behind it are delivered. eventID, unless
// empty, is the event that must be the failing one; else the error is ErrConflict.
func (s *Subscriptions) Skip(ctx context.Context, id, eventID string, options ...RequestOption) (*Subscription, error) {
	return one[Subscription](ctx, s.c, http.MethodPost, subscriptionsPath, id, "/skip", struct {
		EventID string `json:"event_id,omitempty"`
	}{eventID}, options)
}

// Delete ends a subscription for good.
func (s *Subscriptions) Delete(ctx context.Context, id string, options ...RequestOption) error {
	return gone(ctx, s.c, subscriptionsPath, id, "", options)
}

// Received is what a webhook call brought.
type Received struct {
	EventID   string `json:"event_id"`
	Type      string `json:"type"` // of the event
	MediaType string `json:"media_type"`
	SHA256    string `json:"sha256"` // of the body, in hex
	Size      int    `json:"size"`   // of the body, in bytes
	// Body is the body as it was sent; nil when it was erased.
	Body *string `json:"body,omitempty"`
	// Event is the sender's name for what happened.
	Event   string            `json:"event,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
	// Mapped says that the agent's input is what the trigger's mapping made of the body.
	Mapped bool `json:"mapped"`
	// Raw is the answer, with fields that this version does not know.
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the text beside its fields.
func (r *Received) UnmarshalJSON(text []byte) error {
	type plain Received
	if err := json.Unmarshal(text, (*plain)(r)); err != nil {
		return err
	}
	r.Raw = append(json.RawMessage(nil), text...)
	return nil
}

// Received gives what a webhook call brought, by the id of its execution or, for a call that was
// filtered, of its event.
func (e *Executions) Received(ctx context.Context, id string, options ...RequestOption) (*Received, error) {
	return one[Received](ctx, e.c, http.MethodGet, executionsPath, id, "/received", nil, options)
}
