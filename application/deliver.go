package application

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/subscription"
)

// ErrDeliveryTaken says that a delivery was changed or taken over by somebody else.
var ErrDeliveryTaken = errors.New("the delivery has another owner now")

// SubscriptionDelivery is how far a subscription has been delivered.
type SubscriptionDelivery struct {
	Subscription subscription.Subscription
	// Position is that up to which all that fits has been delivered or skipped.
	Position eventlog.Position
	Progress subscription.Progress
	// Version is that of the subscription under which the failing event failed.
	Version int64
	// Revision changes with each change of a delivery: nobody saves an old one.
	Revision int64
}

// Deliveries keeps how far each subscription has been delivered, and who delivers it.
type Deliveries interface {
	// Waiting lists the active subscriptions that nobody but the owner delivers and that have events
	// before them which may be sent at that time, those first that were not served for longest.
	// next is when a failing one comes due; zero when none does.
	Waiting(ctx context.Context, owner string, now time.Time) (waiting []SubscriptionDelivery, next time.Time, err error)
	// Get gives one that is not deleted.
	Get(ctx context.Context, workspace, id string) (SubscriptionDelivery, bool, error)
	// Claim takes a delivery for an owner, for as long as the lease is renewed. Error:
	// ErrDeliveryTaken.
	Claim(ctx context.Context, d SubscriptionDelivery, owner string, lease time.Duration) (SubscriptionDelivery, error)
	// Save keeps a claimed delivery, and with release gives it back. Error: ErrDeliveryTaken.
	Save(ctx context.Context, d SubscriptionDelivery, release bool) (SubscriptionDelivery, error)
	// Change alters a delivery and takes it from whoever has it.
	Change(ctx context.Context, s subscription.Subscription, edit func(*SubscriptionDelivery) error) error
	Renew(ctx context.Context, owner string, lease time.Duration) error
	// Release gives back all that an owner has.
	Release(ctx context.Context, owner string) error
	// Current tells at which version a subscription is; false when it is not active any more.
	Current(ctx context.Context, id string) (version int64, active bool, err error)
	// Pending reads up to limit events behind a position that fit a subscription, in order, and
	// tells how far it has looked.
	Pending(ctx context.Context, s subscription.Subscription, after eventlog.Position, limit int) (events []eventlog.Recorded, read eventlog.Position, err error)
	Event(ctx context.Context, workspace, id string) (eventlog.Recorded, bool, error)
	Drop(ctx context.Context, id string) error
}

// EventSender posts events to their receivers.
type EventSender interface {
	// Send makes one attempt. An error is one of ours, or that of ctx; what the receiver did wrong
	// is in the answer.
	Send(ctx context.Context, o Outgoing) (subscription.Answer, error)
}

// Outgoing is one request to a receiver.
type Outgoing struct {
	URL         string
	ID          string // of the event, by which receivers know what they have had
	ContentType string
	Body        []byte
	Secrets     []string // to sign with, the current one first
	Attempt     int      // from 1; 0 when somebody asked for it
	TraceParent string
}

// cloudEvent is the JSON of a structured CloudEvent.
type cloudEvent struct {
	SpecVersion   string          `json:"specversion"`
	ID            string          `json:"id"`
	Source        string          `json:"source"`
	Type          string          `json:"type"`
	Subject       string          `json:"subject"`
	Time          time.Time       `json:"time"`
	ContentType   string          `json:"datacontenttype"`
	Sequence      string          `json:"sequence"`
	PartitionKey  string          `json:"partitionkey"`
	TraceParent   string          `json:"traceparent,omitempty"`
	StreamVersion int64           `json:"streamversion"`
	SchemaVersion int             `json:"schemaversion"`
	Actor         eventlog.Actor  `json:"actor"`
	RequestID     string          `json:"requestid,omitempty"`
	CausationID   string          `json:"causationid,omitempty"`
	CorrelationID string          `json:"correlationid,omitempty"`
	Data          json.RawMessage `json:"data"`
}

// CloudEvent writes an event as a structured CloudEvent 1.0.
func CloudEvent(e eventlog.Recorded) ([]byte, error) {
	kind := strings.ReplaceAll(e.Stream.Kind(), "_", "-")
	return json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: "/workspaces/" + e.WorkspaceID + "/" + kind + "s/" + e.Stream.ID(), Type: e.Type, Subject: string(e.Stream),
		Time: e.At, ContentType: "application/json", Sequence: strconv.FormatInt(int64(e.Position), 10), PartitionKey: string(e.Stream),
		TraceParent: e.Meta.TraceParent, StreamVersion: e.Version, SchemaVersion: e.Schema, Actor: e.Meta.Actor, RequestID: e.Meta.RequestID,
		CausationID: e.Meta.CausationID, CorrelationID: e.Meta.CorrelationID, Data: e.Data,
	})
}

const (
	cloudEventsJSON = "application/cloudevents+json"
	attemptTimeout  = 15 * time.Second
	deliverBatch    = 100
	// saveEvery bounds what is sent again after a crash.
	saveEvery = 200 * time.Millisecond
	// scanUnsaved is how many events that do not fit are passed over before that is saved.
	scanUnsaved = 2000
)

// Deliverer delivers events for one process.
type Deliverer struct {
	app   *Application
	owner string
	lease time.Duration

	mu      sync.Mutex
	renewed time.Time
	scanned map[string]scan // by subscription
}

// scan is how far the log holds nothing for a subscription behind what was saved.
type scan struct {
	revision, version int64
	read              eventlog.Position
}

// NewDeliverer makes a deliverer; owner is unique to the process. It must renew its lease.
func (app *Application) NewDeliverer(owner string, lease time.Duration) *Deliverer {
	return &Deliverer{app: app, owner: owner, lease: lease, scanned: map[string]scan{}}
}

// Renew extends the lease on all that is being delivered.
func (d *Deliverer) Renew(ctx context.Context) error {
	at := d.app.Now()
	if err := d.app.Deliveries.Renew(ctx, d.owner, d.lease); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renewed = at
	return nil
}

// leased reports whether nobody can have taken over yet.
func (d *Deliverer) leased() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.app.Now().Sub(d.renewed) < d.lease
}

// Close gives back what is being delivered.
func (d *Deliverer) Close(ctx context.Context) error { return d.app.Deliveries.Release(ctx, d.owner) }

// Waiting lists what may be delivered, and tells when more may be. What this process delivers at
// the moment is among it: it also has what it could not give back.
func (d *Deliverer) Waiting(ctx context.Context) ([]SubscriptionDelivery, time.Time, error) {
	return d.app.Deliveries.Waiting(ctx, d.owner, d.app.Now())
}

// position is from where on a delivery has to be looked for.
func (d *Deliverer) position(of SubscriptionDelivery) eventlog.Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.scanned[of.Subscription.ID]; s.revision == of.Revision && s.version == of.Subscription.Version {
		return max(of.Position, s.read)
	}
	return of.Position
}

func (d *Deliverer) remember(of SubscriptionDelivery, read eventlog.Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scanned[of.Subscription.ID] = scan{of.Revision, of.Subscription.Version, read}
}

// Deliver sends what waits for a subscription, in order, until there is no more, one event fails,
// or others should have their turn. more says that there may be something left to send at once.
func (d *Deliverer) Deliver(ctx context.Context, of SubscriptionDelivery) (more bool, err error) {
	if !d.leased() {
		return false, nil // the next poll finds it when the lease has been renewed
	}
	after := d.position(of)
	events, read, err := d.app.Deliveries.Pending(ctx, of.Subscription, after, deliverBatch)
	if err != nil {
		return false, err
	}
	if len(events) == 0 {
		d.remember(of, read)
		if read-of.Position < scanUnsaved {
			return false, nil
		}
	}
	if of, err = d.app.Deliveries.Claim(ctx, of, d.owner, d.lease); err != nil {
		if errors.Is(err, ErrDeliveryTaken) {
			return false, nil
		}
		return false, err
	}
	if of.Version != of.Subscription.Version {
		// Somebody has done something about it: what failed before is tried anew.
		of.Version, of.Progress.Failing = of.Subscription.Version, nil
	}
	of, more, err = d.send(ctx, of, events)
	if errors.Is(err, ErrDeliveryTaken) {
		return true, nil
	}
	if err == nil && (len(events) == 0 || of.Position == events[len(events)-1].Position) {
		of.Position = max(of.Position, read)
		more = true
	}
	// What was delivered is saved also when this process has been told to stop.
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, failed := d.app.Deliveries.Save(saving, of, true)
	if errors.Is(failed, ErrDeliveryTaken) {
		return more, err
	}
	return more, errors.Join(err, failed)
}

func (d *Deliverer) send(ctx context.Context, of SubscriptionDelivery, events []eventlog.Recorded) (_ SubscriptionDelivery, again bool, err error) {
	if len(events) == 0 {
		return of, false, nil
	}
	app := d.app
	secrets, err := app.signingSecrets(ctx, of.Subscription)
	if err != nil {
		return of, false, err
	}
	saved := app.Now()
	for _, e := range events {
		version, active, err := app.Deliveries.Current(ctx, of.Subscription.ID)
		if err != nil {
			return of, false, err
		}
		if !active || version != of.Subscription.Version || !d.leased() {
			return of, active, nil
		}
		attempt := 1
		if of.Progress.Failing != nil {
			attempt = of.Progress.Failing.Attempts + 1
		}
		answer, err := app.attemptDelivery(ctx, of.Subscription, secrets, e, attempt)
		if err != nil {
			if ctx.Err() == nil && errors.Is(err, errInterrupted) {
				return of, false, nil // it was disabled
			}
			return of, false, err
		}
		now := app.Now()
		if answer.Error != "" {
			var why *subscription.Disabled
			if of.Progress, why = of.Progress.Failed(e, answer, app.Jitter(), now); why != nil {
				err = app.giveUp(ctx, of.Subscription, *why)
			}
			return of, false, err
		}
		of.Position, of.Progress = e.Position, of.Progress.Delivered(e, answer.Status, now)
		if now.Sub(saved) >= saveEvery {
			saved = now
			if of, err = app.Deliveries.Save(ctx, of, false); err != nil {
				return of, false, err
			}
		}
	}
	return of, true, nil
}

// giveUp disables a subscription, unless somebody has done something about it.
func (app *Application) giveUp(ctx context.Context, s subscription.Subscription, why subscription.Disabled) error {
	app.Logger.Warn("a subscription is disabled: its receiver does not take events", "subscription_id", s.ID, "code", why.Code, "position", why.Position)
	_, err := change(ctx, app, subscription.Codec, s.WorkspaceID, eventlog.Stream(eventlog.SubscriptionStream, s.ID), eventlog.Metadata{Actor: eventlog.System, CausationID: why.EventID},
		func(now subscription.Subscription) (decision, error) {
			if now.Version != s.Version {
				return decision{}, nil
			}
			events, err := now.GiveUp(why)
			return decision{events: events}, err
		})
	return err
}

type signingSecret struct {
	text string
	of   credential.Credential
}

func (app *Application) signingSecrets(ctx context.Context, s subscription.Subscription) ([]signingSecret, error) {
	var secrets []signingSecret
	for _, of := range s.Secrets {
		if !of.WorksAt(app.Now()) {
			continue
		}
		text, there, err := app.openSecret(ctx, of.ID)
		if err != nil {
			return nil, fmt.Errorf("open the secret of subscription %s: %w", s.ID, err)
		}
		if there { // else it was replaced meanwhile
			secrets = append(secrets, signingSecret{text, of})
		}
	}
	return secrets, nil
}

// attemptDelivery sends an event once. Its error is errInterrupted when the subscription was
// disabled meanwhile.
func (app *Application) attemptDelivery(ctx context.Context, s subscription.Subscription, secrets []signingSecret, e eventlog.Recorded, attempt int) (subscription.Answer, error) {
	body, err := CloudEvent(e)
	if err != nil {
		return subscription.Answer{}, fmt.Errorf("write event %d as a CloudEvent: %w", e.Position, err)
	}
	started := app.Now()
	o := Outgoing{URL: s.URL, ID: e.ID, ContentType: cloudEventsJSON, Body: body, Attempt: attempt, TraceParent: e.Meta.TraceParent}
	for _, secret := range secrets {
		if secret.of.WorksAt(started) {
			o.Secrets = append(o.Secrets, secret.text)
		}
	}
	if len(o.Secrets) == 0 {
		// The receiver is used to signed requests: it gets no other.
		return subscription.Answer{}, errInterrupted
	}
	sending, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer app.attempts.add(s.ID, cancel)()
	sending, timeout := context.WithTimeout(sending, attemptTimeout)
	defer timeout()
	answer, err := app.Sender.Send(sending, o)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return answer, ctx.Err()
	case errors.Is(context.Cause(sending), errInterrupted):
		return answer, errInterrupted
	case errors.Is(context.Cause(sending), context.DeadlineExceeded):
		answer = subscription.Answer{Error: fmt.Sprintf("the receiver did not answer within %s", attemptTimeout)}
	default:
		return answer, err
	}
	outcome := "delivered"
	if answer.Error != "" {
		outcome = "failed"
	}
	app.Observe.Delivered(outcome, app.Now().Sub(started))
	return answer, nil
}

var errInterrupted = errors.New("the subscription was disabled")

// attemptSet knows the attempts under way in this process, to end them when their subscription is
// disabled.
type attemptSet struct {
	mu    sync.Mutex
	next  int
	under map[string]map[int]context.CancelCauseFunc // by subscription
}

func (s *attemptSet) add(id string, cancel context.CancelCauseFunc) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under == nil {
		s.under = map[string]map[int]context.CancelCauseFunc{}
	}
	if s.under[id] == nil {
		s.under[id] = map[int]context.CancelCauseFunc{}
	}
	s.next++
	key := s.next
	s.under[id][key] = cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.under[id], key); len(s.under[id]) == 0 {
			delete(s.under, id)
		}
	}
}

func (s *attemptSet) interrupt(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.under[id] {
		cancel(errInterrupted)
	}
}
