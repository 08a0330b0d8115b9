package application

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hooktrail/domain/apikey"
	"hooktrail/domain/clientip"
	"hooktrail/domain/fault"
	"hooktrail/domain/label"
	"hooktrail/domain/token"
)

// Rejection is a webhook call that was refused, or many of them that were refused alike.
type Rejection struct {
	// TriggerID is "" where the token was not proven, or the call was refused before it was
	// looked at.
	TriggerID string `json:"trigger_id,omitempty"`
	// WorkspaceID is the trigger's; "" with it.
	WorkspaceID string     `json:"workspace_id,omitempty"`
	Reason      fault.Code `json:"reason"`
	Message     string     `json:"message"`
	// TokenPrefix recognises what was presented; "" when that did not look like a token.
	TokenPrefix string `json:"token_prefix,omitempty"`
	// ClientIP is the address, for IPv6 its /64, or "" for the calls of many clients.
	ClientIP string `json:"client_ip,omitempty"`
	// Count is how many calls within one minute were refused alike.
	Count   int       `json:"count"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
	// RequestID is the last call's.
	RequestID string `json:"request_id,omitempty"`
}

// RejectionFilter narrows the rejections; zero values do not narrow.
type RejectionFilter struct {
	WorkspaceID string
	// Unproven adds the rejections of calls that belong to no workspace.
	Unproven     bool
	TriggerID    string
	Reason       fault.Code
	Since, Until time.Time
}

// RejectionLog remembers refused calls, counted and within bounds. It is no part of the event log,
// which nobody can fill without a token.
type RejectionLog interface {
	// Note counts one refusal. It does not wait for the database, and a process that is killed
	// forgets what it noted in the last second.
	Note(r Rejection)
	// List gives the latest first. The cursor of the page is a time, in microseconds.
	List(ctx context.Context, f RejectionFilter, p Paging) (Page[Rejection], error)
}

// maxRejectionMessage is in bytes.
const maxRejectionMessage = 300

// NoteRejection counts a refused webhook call, so that "why did my webhook not run?" has an answer. What
// is not the sender's doing is not counted.
func (app *Application) NoteRejection(presented *Presented, client netip.Addr, requestID string, refused error) {
	r := Rejection{Reason: fault.CodeOf(refused), ClientIP: clientip.Key(client), Count: 1, FirstAt: app.Now(), RequestID: shorten(requestID, maxRejectionMessage)}
	if r.Reason == "" || slices.Contains([]fault.Code{fault.Internal, fault.Unavailable, fault.Overloaded}, r.Reason) {
		return
	}
	r.LastAt = r.FirstAt
	r.Message = shorten(fault.MessageOf(refused), maxRejectionMessage)
	r.TokenPrefix = token.Display(presented.text)
	if presented.valid && r.Reason != fault.Unauthorized {
		if bound := app.peek(presented); bound != nil && bound.trigger.Proven(bound.tokenID, r.FirstAt) {
			r.TriggerID, r.WorkspaceID = bound.trigger.ID, bound.trigger.WorkspaceID
		}
	}
	if !presented.valid {
		r.TokenPrefix = "" // it may be any secret, sent here by mistake
	}
	app.Rejections.Note(r)
}

// shorten gives a text that any database can hold.
func shorten(text string, most int) string {
	return label.Shorten(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD"), most)
}

// ListRejections shows refused calls, the latest first: those of the workspace's triggers and, to
// an administrator of the default workspace, those that nobody's token was proven for.
func (app *Application) ListRejections(ctx context.Context, caller Caller, f RejectionFilter, p Paging) (Page[Rejection], error) {
	f.WorkspaceID = caller.WorkspaceID
	f.Unproven = caller.WorkspaceID == app.config.WorkspaceID && caller.Key.May(apikey.Admin)
	page, err := app.Rejections.List(ctx, f, p)
	return page, refusal(err)
}
