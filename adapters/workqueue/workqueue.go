// Package workqueue hands out executions to workers. A claim is made under the append
// lock, in the transaction that records the start: no two workers can make the same one.
// A lease belongs to a worker, not to an execution, so that keeping it costs one row.
package workqueue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// Queue is the queue of executions.
type Queue struct {
	db    *database.DB
	store *eventstore.Store
	now   func() time.Time
}

// New makes a queue on the executions of a store. now is the clock by which retries become
// due; leases go by the database's. A first attempt is due as soon as it is in the log: its
// time is the log's, which may be ahead of this machine's clock (set back, or slower than
// another replica's).
func New(db *database.DB, store *eventstore.Store, now func() time.Time) *Queue {
	return &Queue{db: db, store: store, now: now}
}

// logTime is when the last event was recorded.
const logTime = "(SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1)"

const dueColumns = "x.position, x.id, x.workspace_id, x.agent_id, x.trigger_id, x.status, x.attempt, x.version, x.media_type, x.created_at, a.state"

type due struct {
	application.Due
	position  int64
	mediaType *string
	createdAt int64
}

// Claim starts up to limit executions.
func (q *Queue) Claim(ctx context.Context, limit int, decide func(application.Due) (eventlog.Append, error)) ([]application.Claimed, error) {
	var picked []due
	_, err := q.store.AppendLocked(ctx, func(ctx context.Context, tx *database.Tx) ([]eventlog.Append, error) {
		var err error
		if picked, err = q.pick(ctx, tx, limit); err != nil {
			return nil, err
		}
		appends := make([]eventlog.Append, 0, len(picked))
		kept := picked[:0]
		for _, d := range picked {
			a, err := decide(d.Due)
			if err != nil {
				return nil, err
			}
			appends = append(appends, a)
			for _, proposed := range a.Events {
				recorded := eventlog.Recorded{Stream: a.Stream, WorkspaceID: a.WorkspaceID, Type: proposed.Type, Schema: proposed.Schema, Data: proposed.Data, Event: proposed.Event, Version: d.Execution.Version + 1}
				event, err := execution.Codec.Decode(recorded)
				if err != nil {
					return nil, err
				}
				d.Execution = d.Execution.Evolve(recorded, event)
			}
			if d.Execution.Status == execution.Running {
				kept = append(kept, d)
			}
		}
		picked = kept
		return appends, nil
	})
	if err != nil {
		return nil, err
	}
	// They are on record as started by this worker, which goes on living: if they were lost on
	// the way back, nobody would run them.
	again := backoff.NewExponentialBackOff()
	again.InitialInterval = 20 * time.Millisecond
	return backoff.Retry(ctx, func() ([]application.Claimed, error) {
		claimed, err := q.withInputs(ctx, picked)
		if err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
			err = backoff.Permanent(err)
		}
		return claimed, err
	}, backoff.WithBackOff(again), backoff.WithMaxElapsedTime(0))
}

// pick reads what may be started: first what is due, the longest waiting first, then what
// lost workers left behind. An agent gets no more than its concurrency leaves.
func (q *Queue) pick(ctx context.Context, tx *database.Tx, limit int) ([]due, error) {
	agents := map[string]agent.Agent{}
	busy := map[string]int{}
	tx.Query(func(scan database.Scan) error {
		var id string
		var running int
		err := scan(&id, &running)
		busy[id] = running
		return err
	}, "SELECT q.agent_id, count(*) FROM execution_queue q JOIN agents a ON a.id = q.agent_id WHERE q.worker IS NOT NULL AND a.max_concurrency > 0 GROUP BY q.agent_id")
	var found, lost []due
	read := func(into *[]due, isLost bool) func(database.Scan) error {
		return func(scan database.Scan) error {
			d := due{Due: application.Due{Lost: isLost}}
			var trigger *string
			var status, state string
			x := &d.Execution
			if err := scan(&d.position, &x.ID, &x.WorkspaceID, &x.AgentID, &trigger, &status, &x.Attempt, &x.Version, &d.mediaType, &d.createdAt, &state); err != nil {
				return err
			}
			if trigger != nil {
				x.TriggerID = *trigger
			}
			x.Status = execution.Status(status)
			runs, known := agents[x.AgentID]
			if !known {
				if err := json.Unmarshal([]byte(state), &runs); err != nil {
					return fmt.Errorf("read agent %s: %w", x.AgentID, err)
				}
				agents[x.AgentID] = runs
			}
			d.Agent = runs
			*into = append(*into, d)
			return nil
		}
	}
	leases, clock := tx.Dialect().Now, database.Micros(q.now())
	// Executions of agents that run as many as they may are passed over here already, so that
	// a long queue of one agent does not hide the others'.
	tx.Query(read(&found, false), "SELECT "+dueColumns+" FROM execution_queue q JOIN executions x ON x.id = q.id JOIN agents a ON a.id = q.agent_id WHERE q.due_at IS NOT NULL"+
		" AND q.due_at <= CASE WHEN "+logTime+" > ? THEN "+logTime+" ELSE ? END AND (x.attempt = 0 OR q.due_at <= ?)"+
		" AND q.agent_id NOT IN (SELECT r.agent_id FROM execution_queue r JOIN agents ra ON ra.id = r.agent_id WHERE r.worker IS NOT NULL AND ra.max_concurrency > 0"+
		" GROUP BY r.agent_id, ra.max_concurrency HAVING count(*) >= ra.max_concurrency) ORDER BY q.due_at LIMIT ?", clock, clock, clock, limit)
	tx.Query(read(&lost, true), "SELECT "+dueColumns+" FROM execution_queue q JOIN executions x ON x.id = q.id JOIN agents a ON a.id = q.agent_id WHERE q.worker IS NOT NULL"+
		" AND q.worker NOT IN (SELECT id FROM workers WHERE lease_until > "+leases+") ORDER BY q.worker, x.position LIMIT ?", limit)
	if err := tx.Flush(ctx); err != nil {
		return nil, err
	}
	picked := make([]due, 0, limit)
	for _, d := range append(lost, found...) {
		most := d.Agent.MaxConcurrency
		if len(picked) == limit || !d.Lost && most > 0 && busy[d.Agent.ID] >= most {
			continue
		}
		if !d.Lost {
			busy[d.Agent.ID]++
		}
		picked = append(picked, d)
	}
	return picked, nil
}

func (q *Queue) withInputs(ctx context.Context, picked []due) ([]application.Claimed, error) {
	if len(picked) == 0 {
		return nil, nil
	}
	positions := make([]string, len(picked))
	for i, d := range picked {
		positions[i] = fmt.Sprint(d.position)
	}
	var rows []struct {
		Position int64  `db:"position"`
		Payload  []byte `db:"payload"`
	}
	list := "SELECT CAST(asked.value AS BIGINT) FROM " + q.db.Dialect.Each("asked")
	if err := q.db.Select(ctx, &rows, "SELECT position, payload FROM events WHERE position IN ("+list+") AND payload IS NOT NULL", q.db.Dialect.List(positions)); err != nil {
		return nil, q.failed("read inputs", err)
	}
	bodies := make(map[int64][]byte, len(rows))
	for _, row := range rows {
		bodies[row.Position] = row.Payload
	}
	claimed := make([]application.Claimed, len(picked))
	for i, d := range picked {
		body, kept := bodies[d.position]
		claimed[i] = application.Claimed{
			Execution: d.Execution, Agent: d.Agent, Input: body, InputErased: !kept, CreatedAt: database.Time(d.createdAt),
		}
		if d.mediaType != nil {
			claimed[i].MediaType = *d.mediaType
		}
	}
	return claimed, nil
}

// NextDue gives the time at which the next execution becomes due; false when none waits.
func (q *Queue) NextDue(ctx context.Context) (time.Time, bool, error) {
	var at *int64
	if err := q.db.Get(ctx, &at, "SELECT min(due_at) FROM execution_queue WHERE due_at IS NOT NULL"); err != nil {
		return time.Time{}, false, q.failed("look for the next due execution", err)
	}
	if at == nil {
		return time.Time{}, false, nil
	}
	now := q.now()
	if next := database.Time(*at); !next.After(now) {
		return next, true, nil
	}
	var ahead []int64
	err := q.db.Select(ctx, &ahead, "SELECT q.due_at FROM execution_queue q JOIN executions x ON x.id = q.id WHERE x.attempt = 0 AND q.due_at > ? AND q.due_at <= "+logTime+" LIMIT 1", database.Micros(now))
	if err != nil {
		return time.Time{}, false, q.failed("look for executions ahead of the clock", err)
	}
	if len(ahead) > 0 {
		return now, true, nil
	}
	return database.Time(*at), true, nil
}

// KeepAlive extends a worker's lease.
func (q *Queue) KeepAlive(ctx context.Context, worker string, lease time.Duration) error {
	err := q.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec("INSERT INTO workers (id, lease_until) VALUES (?, "+tx.Dialect().Now+" + ?) ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until", worker, lease.Microseconds())
		// Rows of workers that are long gone have no executions left that name them.
		tx.Exec("DELETE FROM workers WHERE lease_until < " + tx.Dialect().Now + " - 3600000000")
		return nil
	})
	return q.failed("keep the worker's lease", err)
}

// Retire ends a worker's lease.
func (q *Queue) Retire(ctx context.Context, worker string) error {
	err := q.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec("DELETE FROM workers WHERE id = ?", worker)
		return nil
	})
	return q.failed("end the worker's lease", err)
}

// RetireAll ends the leases of all workers, where it is known that none is left.
func (q *Queue) RetireAll(ctx context.Context) error {
	err := q.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec("DELETE FROM workers")
		return nil
	})
	return q.failed("end the leases of earlier workers", err)
}

// Ended lists those of the executions that do not run any more.
func (q *Queue) Ended(ctx context.Context, ids []string) ([]string, error) {
	var ended []string
	err := q.db.Select(ctx, &ended, "SELECT id FROM executions AS x WHERE "+q.db.Dialect.In("id")+" AND NOT EXISTS (SELECT 1 FROM execution_queue q WHERE q.id = x.id AND q.worker IS NOT NULL)", q.db.Dialect.List(ids))
	return ended, q.failed("look for ended executions", err)
}

func (q *Queue) failed(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return q.db.Failure(what, err)
}
