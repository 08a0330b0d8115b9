package application

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
	"hooktrail/domain/subscription"
	"hooktrail/domain/token"
	"hooktrail/domain/trigger"
)

// Codecs are those of all events that there are.
var Codecs = []*eventlog.Codec{trigger.Codec, agent.Codec, execution.Codec, apikey.Codec, subscription.Codec, backtest.Codec}

// EventTypes lists the types of all events that there are, in order.
var EventTypes = eventTypes()

func eventTypes() []string {
	var names []string
	for _, codec := range Codecs {
		names = slices.AppendSeq(names, maps.Keys(codec.Names()))
	}
	slices.Sort(names)
	return names
}

// SubscriptionRequest asks for a subscription to be made or changed; nil leaves a field as it is.
type SubscriptionRequest struct {
	Name      *string   `json:"name"`
	URL       *string   `json:"url"`
	Types     *[]string `json:"types"`
	Streams   *[]string `json:"streams"`
	TriggerID *string   `json:"trigger_id"`
	AgentID   *string   `json:"agent_id"`
	Format    *string   `json:"format"`
	IsActive  *bool     `json:"is_active"`
	// From is where the first delivery begins: "now", "beginning" or a position.
	From json.RawMessage `json:"from"`
}

func (r SubscriptionRequest) apply(s subscription.Settings) subscription.Settings {
	set(&s.Name, r.Name)
	set(&s.URL, r.URL)
	set(&s.Types, r.Types)
	set(&s.Streams, r.Streams)
	set(&s.TriggerID, r.TriggerID)
	set(&s.AgentID, r.AgentID)
	set(&s.Format, r.Format)
	return s.Defaults()
}

// SubscriptionView is a subscription as the API shows it.
type SubscriptionView struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	subscription.Settings
	IsActive       bool       `json:"is_active"`
	DisabledAt     *time.Time `json:"disabled_at,omitempty"`
	DisabledCode   string     `json:"disabled_code,omitempty"`
	DisabledReason string     `json:"disabled_reason,omitempty"`
	// Position is that up to which all that fits has been delivered or skipped.
	Position    eventlog.Position `json:"position"`
	Failing     *DeliveryView     `json:"failing,omitempty"`
	LastSuccess *DeliveryView     `json:"last_success,omitempty"`
	CreatedByID string            `json:"created_by_id,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	Version     int64             `json:"version"`
}

// DeliveryView is the delivery of one event.
type DeliveryView struct {
	Position eventlog.Position `json:"position"`
	EventID  string            `json:"event_id"`
	Type     string            `json:"type"`
	Stream   eventlog.StreamID `json:"stream"`
	Status   string            `json:"status"` // pending, failing, delivered, skipped; failed for one sent by request
	// Attempts is how many failed.
	Attempts int        `json:"attempts,omitempty"`
	Since    *time.Time `json:"failing_since,omitempty"`
	LastAt   *time.Time `json:"last_attempt_at,omitempty"`
	NextAt   *time.Time `json:"next_attempt_at,omitempty"`
	// ResponseStatus is that of the receiver's last answer; 0 when there was none.
	ResponseStatus int    `json:"response_status,omitempty"`
	Error          string `json:"error,omitempty"`
	// Rejected says that the receiver will not take the event, by its answer: skip it, or mend
	// the receiver.
	Rejected bool `json:"rejected,omitempty"`
}

// NewSubscriptionView shows a subscription and how its deliveries go.
func NewSubscriptionView(s subscription.Subscription, position eventlog.Position, p subscription.Progress) SubscriptionView {
	view := SubscriptionView{
		ID: s.ID, WorkspaceID: s.WorkspaceID, Settings: s.Settings, IsActive: s.Active(), DisabledAt: s.DisabledAt, DisabledCode: s.Disabled.Code,
		DisabledReason: s.Disabled.Reason, Position: position, CreatedByID: s.CreatedByID, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, Version: s.Version,
	}
	if p.Failing != nil {
		view.Failing = failureView(*p.Failing)
	}
	if p.LastSuccess != nil {
		view.LastSuccess = successView(*p.LastSuccess)
	}
	return view
}

func failureView(f subscription.Failure) *DeliveryView {
	status := f.End
	if status == "" {
		status = "failing"
	}
	return &DeliveryView{
		Position: f.Position, EventID: f.EventID, Type: f.Type, Stream: f.Stream, Status: status, Attempts: f.Attempts, Since: &f.Since,
		LastAt: &f.LastAt, NextAt: f.NextAt, ResponseStatus: f.Status, Error: f.Error, Rejected: f.Rejected(),
	}
}

func successView(s subscription.Success) *DeliveryView {
	return &DeliveryView{
		Position: s.Position, EventID: s.EventID, Type: s.Type, Stream: s.Stream, Status: subscription.EndDelivered, LastAt: &s.At, ResponseStatus: s.Status,
	}
}

// IssuedSubscription is a subscription with the secret that is shown only once.
type IssuedSubscription struct {
	SubscriptionView
	// Secret verifies deliveries by Standard Webhooks.
	Secret string `json:"secret,omitempty"`
}

// startAfter reads where deliveries begin: behind the position that is returned.
func (app *Application) startAfter(ctx context.Context, from json.RawMessage) (eventlog.Position, error) {
	head, err := app.Store.Head(ctx)
	if err != nil {
		return 0, refusal(err)
	}
	switch text := strings.Trim(string(from), `"`); text {
	case "", "null", "now":
		return head, nil
	case "beginning":
		return 0, nil
	default:
		position, err := strconv.ParseInt(text, 10, 64)
		if err != nil || position < 1 || position > int64(head)+1 {
			return 0, fault.Field("from", `must be "now", "beginning", or the position of the first event to deliver, from 1 to %d`, head+1)
		}
		return eventlog.Position(position) - 1, nil
	}
}

// checkNarrowing looks whether what a subscription is narrowed to is there.
func (app *Application) checkNarrowing(ctx context.Context, workspace string, s subscription.Settings) error {
	wrong := map[string]string{}
	if s.TriggerID != "" {
		_, there, err := app.Views.Trigger(ctx, workspace, s.TriggerID)
		if err != nil {
			return refusal(err)
		}
		if !there {
			wrong["trigger_id"] = "names no trigger"
		}
	}
	if s.AgentID != "" {
		_, there, err := app.Views.Agent(ctx, workspace, s.AgentID)
		if err != nil {
			return refusal(err)
		}
		if !there {
			wrong["agent_id"] = "names no agent"
		}
	}
	return fault.Fields(wrong)
}

func (app *Application) subscriptionSecret(workspace string, owner eventlog.StreamID) (string, eventlog.Credential, error) {
	secret, err := token.NewStandardWebhooksSecret(app.Random)
	if err != nil {
		return "", eventlog.Credential{}, err
	}
	sealed, err := app.seal(workspace, owner, secret)
	return secret, sealed, err
}

// CreateSubscription makes a subscription.
func (app *Application) CreateSubscription(ctx context.Context, caller Caller, r SubscriptionRequest) (IssuedSubscription, error) {
	settings := r.apply(subscription.Settings{})
	if err := settings.Validate(EventTypes); err != nil {
		return IssuedSubscription{}, err
	}
	if err := app.checkNarrowing(ctx, caller.WorkspaceID, settings); err != nil {
		return IssuedSubscription{}, err
	}
	after, err := app.startAfter(ctx, r.From)
	if err != nil {
		return IssuedSubscription{}, err
	}
	stream := eventlog.Stream(eventlog.SubscriptionStream, app.NewID())
	secret, sealed, err := app.subscriptionSecret(caller.WorkspaceID, stream)
	if err != nil {
		return IssuedSubscription{}, err
	}
	state, err := change(ctx, app, subscription.Codec, caller.WorkspaceID, stream, caller.metadata(), func(subscription.Subscription) (decision, error) {
		events, err := subscription.Create(settings, EventTypes, after, sealed.ID)
		if err == nil && r.IsActive != nil && !*r.IsActive {
			events = append(events, subscription.Disabled{Code: subscription.Requested, Reason: "disabled by request"})
		}
		return decision{events: events, keep: []eventlog.Credential{sealed}}, err
	})
	if err != nil {
		return IssuedSubscription{}, err
	}
	return IssuedSubscription{SubscriptionView: NewSubscriptionView(state, after, subscription.Progress{}), Secret: secret}, nil
}

func (app *Application) changeSubscription(ctx context.Context, caller Caller, id string, ifVersion int64, decide func(subscription.Subscription) (decision, error)) (subscription.Subscription, error) {
	there := func(s subscription.Subscription) bool { return !s.Deleted && s.WorkspaceID == caller.WorkspaceID }
	return changeOwn(ctx, app, subscription.Codec, caller, eventlog.Stream(eventlog.SubscriptionStream, id), "subscription", ifVersion, there, decide)
}

// UpdateSubscription changes a subscription; ifVersion, unless 0, is the version it must be at.
// What has failed is tried anew.
func (app *Application) UpdateSubscription(ctx context.Context, caller Caller, id string, r SubscriptionRequest, ifVersion int64) (SubscriptionView, error) {
	if len(r.From) > 0 && string(r.From) != "null" {
		return SubscriptionView{}, fault.Field("from", "is for new subscriptions only; move this one with POST /api/v1/subscriptions/%s/redeliver", id)
	}
	state, err := app.changeSubscription(ctx, caller, id, ifVersion, func(s subscription.Subscription) (decision, error) {
		settings := r.apply(s.Settings)
		if r.TriggerID != nil || r.AgentID != nil {
			if err := app.checkNarrowing(ctx, caller.WorkspaceID, settings); err != nil {
				return decision{}, err
			}
		}
		events, err := s.Update(settings, EventTypes, r.IsActive)
		return decision{events: events}, err
	})
	if err != nil {
		return SubscriptionView{}, err
	}
	if !state.Active() {
		app.attempts.interrupt(id)
	}
	return app.GetSubscription(ctx, caller, id)
}

// RotateSubscriptionSecret puts a new secret in place; while the grace period lasts deliveries are
// signed with the one before as well.
func (app *Application) RotateSubscriptionSecret(ctx context.Context, caller Caller, id string, grace time.Duration) (IssuedSubscription, error) {
	secret, sealed, err := app.subscriptionSecret(caller.WorkspaceID, eventlog.Stream(eventlog.SubscriptionStream, id))
	if err != nil {
		return IssuedSubscription{}, err
	}
	_, err = app.changeSubscription(ctx, caller, id, 0, func(s subscription.Subscription) (decision, error) {
		events, forget, err := s.SetSecret(sealed.ID, grace, app.Now())
		return decision{events: events, keep: []eventlog.Credential{sealed}, forget: forget}, err
	})
	if err != nil {
		return IssuedSubscription{}, err
	}
	view, err := app.GetSubscription(ctx, caller, id)
	return IssuedSubscription{SubscriptionView: view, Secret: secret}, err
}

// DeleteSubscription ends a subscription; ifVersion, unless 0, is the version it must be at.
func (app *Application) DeleteSubscription(ctx context.Context, caller Caller, id string, ifVersion int64) error {
	_, err := app.changeSubscription(ctx, caller, id, ifVersion, func(s subscription.Subscription) (decision, error) {
		events, forget, err := s.Delete()
		return decision{events: events, forget: forget}, err
	})
	if err != nil {
		return err
	}
	app.attempts.interrupt(id)
	if err := app.Deliveries.Drop(ctx, id); err != nil {
		app.Logger.Warn("the place of a deleted subscription is still kept", "subscription_id", id, "error", err)
	}
	return nil
}

// GetSubscription shows a subscription.
func (app *Application) GetSubscription(ctx context.Context, caller Caller, id string) (SubscriptionView, error) {
	view, there, err := app.Views.Subscription(ctx, caller.WorkspaceID, id)
	return found(view, there, err, "subscription")
}

// SubscriptionFilter narrows a list of subscriptions.
type SubscriptionFilter struct{ IsActive *bool }

// ListSubscriptions shows subscriptions, the newest first.
func (app *Application) ListSubscriptions(ctx context.Context, caller Caller, f SubscriptionFilter, p Paging) (Page[SubscriptionView], error) {
	page, err := app.Views.Subscriptions(ctx, caller.WorkspaceID, f, p)
	return page, refusal(err)
}

// shownPending bounds the events that are shown as waiting.
const shownPending = 20

// ListDeliveries shows what waits, what failed of late and what was taken last, by position from
// the last on.
func (app *Application) ListDeliveries(ctx context.Context, caller Caller, id string) (Page[DeliveryView], error) {
	d, err := app.delivery(ctx, caller, id)
	if err != nil {
		return Page[DeliveryView]{}, err
	}
	views := map[string]DeliveryView{}
	if s := d.Progress.LastSuccess; s != nil {
		views[s.EventID] = *successView(*s)
	}
	waiting, _, err := app.Deliveries.Pending(ctx, d.Subscription, d.Position, shownPending)
	if err != nil {
		return Page[DeliveryView]{}, refusal(err)
	}
	for _, e := range waiting {
		views[e.ID] = DeliveryView{Position: e.Position, EventID: e.ID, Type: e.Type, Stream: e.Stream, Status: "pending"}
	}
	for _, f := range slices.Backward(d.Progress.Recent) {
		views[f.EventID] = *failureView(f)
	}
	if f := d.Progress.Failing; f != nil {
		views[f.EventID] = *failureView(*f)
	}
	page := Page[DeliveryView]{Items: slices.Collect(maps.Values(views)), Total: len(views)}
	slices.SortFunc(page.Items, func(a, b DeliveryView) int { return int(b.Position - a.Position) })
	return page, nil
}

func (app *Application) delivery(ctx context.Context, caller Caller, id string) (SubscriptionDelivery, error) {
	d, there, err := app.Deliveries.Get(ctx, caller.WorkspaceID, id)
	return found(d, there, err, "subscription")
}

// note records what somebody did about deliveries.
func (app *Application) note(ctx context.Context, caller Caller, id string, event eventlog.Event) error {
	_, err := app.changeSubscription(ctx, caller, id, 0, func(subscription.Subscription) (decision, error) {
		return decision{events: []eventlog.Event{event}}, nil
	})
	return err
}

// SkipDelivery gives up the event that is failing, so that those behind it are delivered. eventID,
// unless "", is the event that must be the failing one.
func (app *Application) SkipDelivery(ctx context.Context, caller Caller, id, eventID string) (SubscriptionView, error) {
	d, err := app.delivery(ctx, caller, id)
	if err != nil {
		return SubscriptionView{}, err
	}
	failing := d.Progress.Failing
	if failing == nil {
		return SubscriptionView{}, fault.New(fault.Conflict, "no event is failing, so there is none to skip")
	}
	other := fault.New(fault.Conflict, "another event is failing: %s at position %d", failing.EventID, failing.Position)
	if eventID != "" && eventID != failing.EventID {
		return SubscriptionView{}, other
	}
	if err := app.note(ctx, caller, id, subscription.Skipped{Position: failing.Position, EventID: failing.EventID}); err != nil {
		return SubscriptionView{}, err
	}
	err = app.Deliveries.Change(ctx, d.Subscription, func(d *SubscriptionDelivery) error {
		if d.Progress.Failing == nil || d.Progress.Failing.EventID != failing.EventID {
			return fault.New(fault.Conflict, "the event %s is not failing any more", failing.EventID)
		}
		d.Position, d.Progress = failing.Position, d.Progress.Skipped()
		return nil
	})
	if err != nil {
		return SubscriptionView{}, refusal(err)
	}
	app.Appended.Send()
	return app.GetSubscription(ctx, caller, id)
}

// RewindSubscription goes on with deliveries from a position, "beginning" or "now".
func (app *Application) RewindSubscription(ctx context.Context, caller Caller, id string, from json.RawMessage) (SubscriptionView, error) {
	d, err := app.delivery(ctx, caller, id)
	if err != nil {
		return SubscriptionView{}, err
	}
	after, err := app.startAfter(ctx, from)
	if err != nil {
		return SubscriptionView{}, err
	}
	if err := app.note(ctx, caller, id, subscription.Rewound{After: after}); err != nil {
		return SubscriptionView{}, err
	}
	err = app.Deliveries.Change(ctx, d.Subscription, func(d *SubscriptionDelivery) error {
		d.Position, d.Progress.Failing = after, nil
		return nil
	})
	if err != nil {
		return SubscriptionView{}, refusal(err)
	}
	app.Appended.Send()
	return app.GetSubscription(ctx, caller, id)
}

// RedeliveredSubscription is a subscription with what came of one event that was sent again.
type RedeliveredSubscription struct {
	SubscriptionView
	Redelivery *DeliveryView `json:"redelivery"`
}

// RedeliverEvent sends one event once more, now, beside the others, and tells what came of it.
func (app *Application) RedeliverEvent(ctx context.Context, caller Caller, id, eventID string) (RedeliveredSubscription, error) {
	view, err := app.redeliver(ctx, caller, id, eventID)
	if err != nil {
		return RedeliveredSubscription{}, err
	}
	after, err := app.GetSubscription(ctx, caller, id)
	return RedeliveredSubscription{SubscriptionView: after, Redelivery: &view}, err
}

func (app *Application) redeliver(ctx context.Context, caller Caller, id, eventID string) (DeliveryView, error) {
	d, err := app.delivery(ctx, caller, id)
	if err != nil {
		return DeliveryView{}, err
	}
	if !d.Subscription.Active() {
		return DeliveryView{}, fault.New(fault.Conflict, "the subscription is disabled; enable it first with is_active true")
	}
	e, there, err := app.Deliveries.Event(ctx, caller.WorkspaceID, eventID)
	if err != nil {
		return DeliveryView{}, refusal(err)
	}
	if !there {
		return DeliveryView{}, fault.Field("event_id", "names no event")
	}
	if err := app.note(ctx, caller, id, subscription.Redelivered{Position: e.Position, EventID: e.ID}); err != nil {
		return DeliveryView{}, err
	}
	secrets, err := app.signingSecrets(ctx, d.Subscription)
	if err != nil {
		return DeliveryView{}, refusal(err)
	}
	answer, err := app.attemptDelivery(ctx, d.Subscription, secrets, e, 0)
	if err != nil {
		return DeliveryView{}, err
	}
	now := app.Now().UTC()
	view := DeliveryView{
		Position: e.Position, EventID: e.ID, Type: e.Type, Stream: e.Stream, Status: subscription.EndDelivered, LastAt: &now,
		ResponseStatus: answer.Status, Error: answer.Error,
	}
	if answer.Error != "" {
		view.Status, view.Attempts, view.Rejected = "failed", 1, subscription.Failure{Status: answer.Status}.Rejected()
		return view, nil
	}
	if failing := d.Progress.Failing; failing != nil && failing.EventID == e.ID {
		// It was what held the others back.
		err = app.Deliveries.Change(ctx, d.Subscription, func(d *SubscriptionDelivery) error {
			if d.Progress.Failing != nil && d.Progress.Failing.EventID == e.ID {
				d.Position, d.Progress = e.Position, d.Progress.Delivered(e, answer.Status, now)
			}
			return nil
		})
		app.Appended.Send()
	}
	return view, refusal(err)
}
