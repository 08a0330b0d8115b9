package hooktrail

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// Rejections are the webhook calls of the key's workspace that were refused.
type Rejections struct{ c *Client }

// Rejection stands for the calls of one minute that were refused alike. Which fields tell them
// apart depends on how far a call came: one without a known token has no trigger.
type Rejection struct {
	TriggerID   string `json:"trigger_id,omitempty"`
	WorkspaceID string `json:"workspace_id,omitempty"`
	Reason      string `json:"reason"`  // the code that the calls were refused with: "invalid_signature"
	Message     string `json:"message"` // what the last of them was told
	// TokenPrefix is how the token that was presented begins, if it could be one.
	TokenPrefix string `json:"token_prefix,omitempty"`
	// ClientIP is the address, for IPv6 its /64; empty for the calls of many clients.
	ClientIP  string    `json:"client_ip,omitempty"`
	Count     int64     `json:"count"`
	FirstAt   time.Time `json:"first_at"`
	LastAt    time.Time `json:"last_at"`
	RequestID string    `json:"request_id,omitempty"` // the last call's
}

// ListRejections narrows a list of rejections.
type ListRejections struct {
	TriggerID    string
	Reason       string // a code, such as "invalid_signature"
	Since, Until time.Time
	ListOptions
}

func (f ListRejections) query() url.Values {
	query := url.Values{}
	set(query, "trigger_id", f.TriggerID)
	set(query, "reason", f.Reason)
	setTime(query, "since", f.Since)
	setTime(query, "until", f.Until)
	f.addTo(query)
	return query
}

const rejectionsPath = "/rejections"

// List gives a part of the rejections, the latest first.
func (r *Rejections) List(ctx context.Context, filter ListRejections, options ...RequestOption) (*List[Rejection], error) {
	return list[Rejection](ctx, r.c, rejectionsPath, filter.query(), options)
}

// All gives all rejections, the latest first.
func (r *Rejections) All(ctx context.Context, filter ListRejections) iter.Seq2[Rejection, error] {
	return all[Rejection](ctx, r.c, rejectionsPath, filter.query())
}
