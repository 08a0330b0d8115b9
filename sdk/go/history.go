package hooktrail

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

// History is what happened to something between two moments.
type History struct {
	Stream string `json:"stream"` // "<kind>-<id>"
	// From and To are positions in the log: what happened behind From, up to and with To.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Changes are the differences between the two moments, whatever was in between.
	Changes []Change `json:"changes"`
	// Events are in the order in which they happened.
	Events []HistoryEvent `json:"events"`
	// NextFrom, as HistoryRange.From, gives the rest; 0 when that is all.
	NextFrom int64 `json:"next_from,omitempty"`
}

// HistoryEvent is an event with who caused it and what it changed.
type HistoryEvent struct {
	Position  int64     `json:"position"`
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`
	Type      string    `json:"type"`    // "trigger.deactivated"
	Summary   string    `json:"summary"` // "switched off"
	Actor     Actor     `json:"actor"`
	RequestID string    `json:"request_id,omitempty"`
	Version   int64     `json:"version"` // of the stream
	Changes   []Change  `json:"changes"`
}

// Actor is who caused an event.
type Actor struct {
	ID     string `json:"id"`               // "api_key:<id>"
	Kind   string `json:"kind"`             // api_key, trigger, worker or system
	Name   string `json:"name,omitempty"`   // of an API key or a trigger
	Prefix string `json:"prefix,omitempty"` // the first characters of an API key
}

// Change is a field that differs. Before and After are JSON; nil when the field was not there.
type Change struct {
	Field  string          `json:"field"` // with its parents: "options.rate_limit"
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// HistoryRange says which part of a history is wanted.
type HistoryRange struct {
	// From and To are positions in the log or times by RFC 3339; empty are the beginning and now.
	From, To string
	// Limit is how many events are told: 1 to 100, default 100.
	Limit int
}

func (r HistoryRange) query() url.Values {
	query := url.Values{}
	set(query, "from", r.From)
	set(query, "to", r.To)
	if r.Limit != 0 {
		query.Set("limit", strconv.Itoa(r.Limit))
	}
	return query
}

func history(ctx context.Context, c *Client, collection, id string, r HistoryRange, options []RequestOption) (*History, error) {
	path, err := at(collection, id, "/history")
	if err != nil {
		return nil, err
	}
	var out History
	if err := c.manage(ctx, "GET", path, r.query(), nil, &out, options); err != nil {
		return nil, err
	}
	return &out, nil
}

// History tells who did what to a trigger, also to one that was deleted. Calls are not part of it:
// they are among its Events.
func (t *WebhookTriggers) History(ctx context.Context, id string, r HistoryRange, options ...RequestOption) (*History, error) {
	return history(ctx, t.c, triggersPath, id, r, options)
}

// History tells who did what to an agent, also to one that was archived.
func (a *Agents) History(ctx context.Context, id string, r HistoryRange, options ...RequestOption) (*History, error) {
	return history(ctx, a.c, agentsPath, id, r, options)
}

// History tells what became of an execution.
func (e *Executions) History(ctx context.Context, id string, r HistoryRange, options ...RequestOption) (*History, error) {
	return history(ctx, e.c, executionsPath, id, r, options)
}

// History tells who did what to an API key, also to one that was revoked.
func (k *APIKeys) History(ctx context.Context, id string, r HistoryRange, options ...RequestOption) (*History, error) {
	return history(ctx, k.c, apiKeysPath, id, r, options)
}

// History tells who did what to a subscription, also to one that was deleted.
func (s *Subscriptions) History(ctx context.Context, id string, r HistoryRange, options ...RequestOption) (*History, error) {
	return history(ctx, s.c, subscriptionsPath, id, r, options)
}

// GetAsOf gives an agent as it was at a time by RFC 3339, or just behind a position in the log.
func (a *Agents) GetAsOf(ctx context.Context, id, moment string, options ...RequestOption) (*Agent, error) {
	return a.Get(ctx, id, append(options, WithQuery("as_of", moment))...)
}

// GetAsOf gives an execution as it was at a time by RFC 3339, or just behind a position in the log.
func (e *Executions) GetAsOf(ctx context.Context, id, moment string, options ...RequestOption) (*Execution, error) {
	return e.Get(ctx, id, append(options, WithQuery("as_of", moment))...)
}

// GetAsOf gives an API key as it was at a time by RFC 3339, or just behind a position in the log.
func (k *APIKeys) GetAsOf(ctx context.Context, id, moment string, options ...RequestOption) (*APIKey, error) {
	return k.Get(ctx, id, append(options, WithQuery("as_of", moment))...)
}

// GetAsOf gives a subscription as it was at a time by RFC 3339, or just behind a position in the
// log. How far its deliveries were is not known then.
func (s *Subscriptions) GetAsOf(ctx context.Context, id, moment string, options ...RequestOption) (*Subscription, error) {
	return s.Get(ctx, id, append(options, WithQuery("as_of", moment))...)
}
