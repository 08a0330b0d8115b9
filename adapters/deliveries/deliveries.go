// Package deliveries keeps how far each subscription has been delivered. A row is leased by one
// process at a time and has a revision: whoever held it before cannot change it any more, so
// that a late report neither moves a subscription back nor past what was not sent.
package deliveries

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/subscription"
)

// Deliveries is those of a store.
type Deliveries struct {
	db  *database.DB
	now func() time.Time
}

// New makes the deliveries of a store. now is the clock by which a failed one is tried again;
// leases go by the database's.
func New(db *database.DB, now func() time.Time) *Deliveries { return &Deliveries{db, now} }

const selected = "SELECT s.state, d.position, d.version, d.next_at, d.progress, d.revision FROM subscriptions s LEFT JOIN subscription_deliveries d ON d.subscription_id = s.id WHERE "

type row struct {
	State    string  `db:"state"`
	Position *int64  `db:"position"`
	Version  *int64  `db:"version"`
	NextAt   *int64  `db:"next_at"`
	Progress *string `db:"progress"`
	Revision *int64  `db:"revision"`
}

func (r row) delivery() (application.SubscriptionDelivery, error) {
	var d application.SubscriptionDelivery
	if err := json.Unmarshal([]byte(r.State), &d.Subscription); err != nil {
		return d, fmt.Errorf("read a subscription: %w", err)
	}
	d.Position, d.Version = d.Subscription.StartAfter, d.Subscription.Version
	if r.Position == nil {
		return d, nil
	}
	d.Position, d.Version, d.Revision = eventlog.Position(*r.Position), *r.Version, *r.Revision
	if err := json.Unmarshal([]byte(*r.Progress), &d.Progress); err != nil {
		return d, fmt.Errorf("read how subscription %s goes: %w", d.Subscription.ID, err)
	}
	return d, nil
}

// Waiting lists what may be delivered now.
func (s *Deliveries) Waiting(ctx context.Context, owner string, now time.Time) ([]application.SubscriptionDelivery, time.Time, error) {
	var rows []row
	var next time.Time
	err := s.db.Select(ctx, &rows, selected+"s.active AND (d.owner = ? OR coalesce(d.lease_until, 0) < "+s.db.Dialect.Now+
		") AND coalesce(d.position, 0) < (SELECT coalesce(max(position), 0) FROM events) ORDER BY coalesce(d.served_at, 0), s.id", owner)
	if err != nil {
		return nil, next, s.db.Failure("look for what to deliver", err)
	}
	waiting := make([]application.SubscriptionDelivery, 0, len(rows))
	for _, r := range rows {
		d, err := r.delivery()
		if err != nil {
			return nil, next, err
		}
		if at := database.TimeOrNil(r.NextAt); at != nil && d.Version == d.Subscription.Version && at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = *at
			}
			continue
		}
		waiting = append(waiting, d)
	}
	return waiting, next, nil
}

// Get gives the delivery of a subscription that is not deleted.
func (s *Deliveries) Get(ctx context.Context, workspace, id string) (application.SubscriptionDelivery, bool, error) {
	return s.get(ctx, "s.id = ? AND s.workspace_id = ? AND NOT s.deleted", id, workspace)
}

func (s *Deliveries) get(ctx context.Context, where string, args ...any) (application.SubscriptionDelivery, bool, error) {
	var r row
	err := s.db.Get(ctx, &r, selected+where, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return application.SubscriptionDelivery{}, false, nil
	}
	if err != nil {
		return application.SubscriptionDelivery{}, false, s.db.Failure("read a delivery", err)
	}
	d, err := r.delivery()
	return d, true, err
}

// update changes one row if it is at the delivery's revision.
func (s *Deliveries) update(ctx context.Context, d application.SubscriptionDelivery, set string, args ...any) (application.SubscriptionDelivery, error) {
	changed := false
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		changed = false
		if d.Revision == 0 { // else it was deleted if it is not there
			tx.Exec("INSERT INTO subscription_deliveries (subscription_id, position, version, progress, revision, owner, lease_until, served_at)"+
				" VALUES (?, ?, ?, '{}', 0, '', 0, 0) ON CONFLICT (subscription_id) DO NOTHING", d.Subscription.ID, int64(d.Position), d.Version)
		}
		tx.Query(func(scan database.Scan) error {
			changed = true
			return scan(&d.Revision)
		}, "UPDATE subscription_deliveries SET revision = revision + 1, "+set+" AND subscription_id = ? AND revision = ? RETURNING revision",
			append(args, d.Subscription.ID, d.Revision)...)
		return nil
	})
	if err == nil && !changed {
		err = application.ErrDeliveryTaken
	}
	return d, s.db.Failure("change a delivery", err)
}

// Claim takes a delivery.
func (s *Deliveries) Claim(ctx context.Context, d application.SubscriptionDelivery, owner string, lease time.Duration) (application.SubscriptionDelivery, error) {
	now := s.db.Dialect.Now
	return s.update(ctx, d, "owner = ?, lease_until = "+now+" + ? WHERE (owner = ? OR lease_until < "+now+")", owner, lease.Microseconds(), owner)
}

// Save keeps a delivery.
func (s *Deliveries) Save(ctx context.Context, d application.SubscriptionDelivery, release bool) (application.SubscriptionDelivery, error) {
	progress, err := json.Marshal(d.Progress)
	if err != nil {
		return d, fmt.Errorf("write how subscription %s goes: %w", d.Subscription.ID, err)
	}
	var next *int64
	if d.Progress.Failing != nil {
		next = database.MicrosOrNil(d.Progress.Failing.NextAt)
	}
	released := ""
	if release {
		released = ", owner = '', lease_until = 0"
	}
	return s.update(ctx, d, "position = ?, version = ?, next_at = ?, progress = ?, served_at = ?"+released+" WHERE TRUE",
		int64(d.Position), d.Version, next, string(progress), database.Micros(s.now()))
}

// maxTries is how often a change is tried while whoever delivers saves at the same time.
const maxTries = 20

// Change alters a delivery.
func (s *Deliveries) Change(ctx context.Context, of subscription.Subscription, edit func(*application.SubscriptionDelivery) error) error {
	for tries := 1; ; tries++ {
		d, there, err := s.Get(ctx, of.WorkspaceID, of.ID)
		if err != nil {
			return err
		}
		if !there {
			return application.ErrDeliveryTaken
		}
		if err := edit(&d); err != nil {
			return err
		}
		if _, err = s.Save(ctx, d, true); err == nil || !errors.Is(err, application.ErrDeliveryTaken) || tries == maxTries {
			return err
		}
	}
}

func (s *Deliveries) exec(ctx context.Context, what, query string, args ...any) error {
	return s.db.Failure(what, s.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec(query, args...)
		return nil
	}))
}

// Renew extends the lease on all that an owner has.
func (s *Deliveries) Renew(ctx context.Context, owner string, lease time.Duration) error {
	return s.exec(ctx, "keep the lease on deliveries", "UPDATE subscription_deliveries SET lease_until = "+s.db.Dialect.Now+" + ? WHERE owner = ? AND owner <> ''", lease.Microseconds(), owner)
}

// Release gives back all that an owner has.
func (s *Deliveries) Release(ctx context.Context, owner string) error {
	return s.exec(ctx, "end the lease on deliveries", "UPDATE subscription_deliveries SET owner = '', lease_until = 0 WHERE owner = ? AND owner <> ''", owner)
}

// ReleaseAll gives back what everybody has, where it is known that nobody is left.
func (s *Deliveries) ReleaseAll(ctx context.Context) error {
	return s.exec(ctx, "end all leases on deliveries", "UPDATE subscription_deliveries SET owner = '', lease_until = 0 WHERE owner <> ''")
}

// Drop forgets the delivery of a deleted subscription.
func (s *Deliveries) Drop(ctx context.Context, id string) error {
	return s.exec(ctx, "forget a delivery", "DELETE FROM subscription_deliveries WHERE subscription_id = ?", id)
}

// Current tells at which version a subscription is.
func (s *Deliveries) Current(ctx context.Context, id string) (int64, bool, error) {
	d, there, err := s.get(ctx, "s.id = ?", id)
	return d.Subscription.Version, there && d.Subscription.Active(), err
}

const (
	window     = 5000 // positions that are looked through at once
	maxWindows = 20
)

// Pending reads the events that fit a subscription.
func (s *Deliveries) Pending(ctx context.Context, of subscription.Subscription, after eventlog.Position, limit int) ([]eventlog.Recorded, eventlog.Position, error) {
	// First: all up to the head is then in what is read.
	var head eventlog.Position
	if err := s.db.Get(ctx, &head, "SELECT coalesce(max(position), 0) FROM events"); err != nil {
		return nil, after, s.db.Failure("read the end of the log", err)
	}
	where, narrowed := s.conditions(of)
	read := after
	for range maxWindows {
		if read >= head {
			break
		}
		until := min(read+window, head)
		var rows []eventstore.Row
		err := s.db.Select(ctx, &rows, "SELECT "+eventstore.Columns+" FROM events WHERE position > ? AND position <= ?"+where+" ORDER BY position LIMIT ?",
			append(append([]any{int64(read), int64(until)}, narrowed...), limit)...)
		if err != nil {
			return nil, after, s.db.Failure("read what to deliver", err)
		}
		read = until
		if len(rows) == 0 {
			continue
		}
		events := make([]eventlog.Recorded, len(rows))
		for i, r := range rows {
			if events[i], err = r.Recorded(); err != nil {
				return nil, after, err
			}
		}
		if len(events) == limit {
			read = events[limit-1].Position
		}
		return events, read, nil
	}
	return nil, read, nil
}

func (s *Deliveries) conditions(of subscription.Subscription) (string, []any) {
	where, args := " AND workspace_id = ?", []any{of.WorkspaceID}
	add := func(condition string, values ...any) { where, args = where+" AND "+condition, append(args, values...) }
	for _, by := range []struct {
		column   string
		patterns []string
	}{{"type", of.Types}, {"stream", of.Streams}} {
		if len(by.patterns) == 0 {
			continue
		}
		var whole []string
		either, values := []string{}, []any{}
		for _, pattern := range by.patterns {
			if begin, open := strings.CutSuffix(pattern, "*"); open {
				either, values = append(either, "substr("+by.column+", 1, ?) = ?"), append(values, len(begin), begin)
			} else {
				whole = append(whole, pattern)
			}
		}
		if len(whole) > 0 {
			either, values = append(either, s.db.Dialect.In(by.column)), append(values, s.db.Dialect.List(whole))
		}
		add("("+strings.Join(either, " OR ")+")", values...)
	}
	// The id of an execution is that of the event that began it, if a trigger did.
	const ofExecution = "EXISTS (SELECT 1 FROM executions x WHERE x.id = substr(events.stream, 11) AND substr(events.stream, 1, 10) = 'execution-' AND "
	if of.TriggerID != "" {
		add("(stream = ? OR "+ofExecution+"x.trigger_id = ?))", string(eventlog.Stream(eventlog.TriggerStream, of.TriggerID)), of.TriggerID)
	}
	if of.AgentID != "" {
		add("(stream = ? OR "+ofExecution+"x.agent_id = ?) OR type = 'trigger.invoked' AND EXISTS (SELECT 1 FROM executions y WHERE y.id = events.event_id AND y.agent_id = ?))",
			string(eventlog.Stream(eventlog.AgentStream, of.AgentID)), of.AgentID, of.AgentID)
	}
	return where, args
}

// Event gives an event of a workspace.
func (s *Deliveries) Event(ctx context.Context, workspace, id string) (eventlog.Recorded, bool, error) {
	var r eventstore.Row
	err := s.db.Get(ctx, &r, "SELECT "+eventstore.Columns+" FROM events WHERE event_id = ? AND workspace_id = ?", id, workspace)
	if errors.Is(err, sql.ErrNoRows) {
		return eventlog.Recorded{}, false, nil
	}
	if err != nil {
		return eventlog.Recorded{}, false, s.db.Failure("read an event", err)
	}
	e, err := r.Recorded()
	return e, err == nil, err
}
