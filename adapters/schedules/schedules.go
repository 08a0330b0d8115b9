// Package schedules hands out the times of schedules. What is due is read and seen to in one
// transaction under the append lock, in which the events move the schedule on: however many
// replicas look, each time is handed out once, and a replica that is killed takes nothing with it.
package schedules

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
)

// Schedules is all schedules of a store.
type Schedules struct {
	db    *database.DB
	store *eventstore.Store
}

// New makes the schedules of a store.
func New(db *database.DB, store *eventstore.Store) *Schedules { return &Schedules{db, store} }

// atOnce bounds how long one turn keeps other appends waiting.
const atOnce = 20

// Fire lets decide see to some of the schedules that are due, the longest due first.
func (s *Schedules) Fire(ctx context.Context, now time.Time, decide func(application.DueSchedule) (eventlog.Append, error)) error {
	_, err := s.store.AppendLocked(ctx, func(ctx context.Context, tx *database.Tx) ([]eventlog.Append, error) {
		var due []application.DueSchedule
		tx.Query(func(scan database.Scan) error {
			var at int64
			var trigger, agent string
			if err := scan(&at, &trigger, &agent); err != nil {
				return err
			}
			d := application.DueSchedule{At: database.Time(at)}
			if err := json.Unmarshal([]byte(trigger), &d.Trigger); err != nil {
				return fmt.Errorf("read a scheduled trigger: %w", err)
			}
			if err := json.Unmarshal([]byte(agent), &d.Agent); err != nil {
				return fmt.Errorf("read the agent of trigger %s: %w", d.Trigger.ID, err)
			}
			due = append(due, d)
			return nil
		}, "SELECT s.next_at, t.state, a.state FROM schedules s JOIN triggers t ON t.id = s.trigger_id JOIN agents a ON a.id = t.agent_id"+
			" WHERE s.next_at <= ? ORDER BY s.next_at, s.trigger_id LIMIT ?", database.Micros(now), atOnce)
		if err := tx.Flush(ctx); err != nil {
			return nil, err
		}
		appends := make([]eventlog.Append, len(due))
		for i, d := range due {
			var err error
			if appends[i], err = decide(d); err != nil {
				return nil, err
			}
		}
		return appends, nil
	})
	return err
}

// Next gives the time that is due first; false when none is.
func (s *Schedules) Next(ctx context.Context) (time.Time, bool, error) {
	var at *int64
	err := s.db.Get(ctx, &at, "SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL")
	if err != nil || at == nil {
		return time.Time{}, false, s.db.Failure("look for the next schedule", err)
	}
	return database.Time(*at), true, nil
}
