package readmodel

import (
	"encoding/json"
	"fmt"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trigger"
)

// scheduleTable has a row for every active trigger that fires by itself.
type scheduleTable struct{ name string }

// follow brings the row of a trigger up to date with its state after a decision.
func (t *scheduleTable) follow(tx *database.Tx, state []byte, recorded eventlog.Recorded) error {
	var after trigger.Trigger
	if err := json.Unmarshal(state, &after); err != nil {
		return fmt.Errorf("read the state of %s: %w", recorded.Stream, err)
	}
	schedule, on := after.Scheduled()
	if !on {
		if recorded.Version > 1 {
			tx.Exec("DELETE FROM "+t.name+" WHERE trigger_id = ?", after.ID)
		}
		return nil
	}
	var next *int64
	if at, found := schedule.Next(recorded.At); found && (after.Options.ExpiresAt == nil || at.Before(*after.Options.ExpiresAt)) {
		next = database.MicrosOrNil(&at)
	}
	spec, err := json.Marshal([]any{schedule.Cron, schedule.TimeZone, after.Options.ExpiresAt})
	if err != nil {
		return fmt.Errorf("encode the schedule of %s: %w", recorded.Stream, err)
	}
	tx.Exec("INSERT INTO "+t.name+" (trigger_id, spec, version, next_at) VALUES (?, ?, ?, ?) ON CONFLICT (trigger_id) DO UPDATE SET"+
		" spec = excluded.spec, version = excluded.version, next_at = excluded.next_at WHERE "+t.name+".spec <> excluded.spec",
		after.ID, string(spec), recorded.Version, next)
	return nil
}

// scheduleMove is a fact of a schedule, and where the schedule goes on behind it.
type scheduleMove struct {
	recorded *eventlog.Recorded
	next     *time.Time
}

// movedBy gives where a schedule goes on behind a fact; false for one that is not of a schedule.
func movedBy(recorded *eventlog.Recorded) (next *time.Time, is bool, err error) {
	event, err := trigger.Codec.Decode(*recorded)
	switch e := event.(type) {
	case trigger.Invoked:
		return e.NextRunAt, e.ScheduledFor != nil, err
	case trigger.ScheduleMissed:
		return e.NextRunAt, true, err
	}
	return nil, false, err
}

// move takes over where schedules go on, unless a later decision has begun one anew.
func (t *scheduleTable) move(tx *database.Tx, moves []scheduleMove) {
	for _, m := range moves {
		tx.Exec("UPDATE "+t.name+" SET next_at = ? WHERE trigger_id = ? AND version <= ?", database.MicrosOrNil(m.next), m.recorded.Stream.ID(), m.recorded.Version)
	}
}
