// Package retention finds the executions whose payloads are past their time. What is erased is
// recorded in the same transaction, under the append lock: however many replicas look, each execution
// is seen to once.
package retention

import (
	"context"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// Retention is that of a store.
type Retention struct {
	db    *database.DB
	store *eventstore.Store
}

// New makes the retention of a store.
func New(db *database.DB, store *eventstore.Store) *Retention { return &Retention{db, store} }

// atOnce bounds how long one turn keeps other appends waiting.
const atOnce = 20

// EraseSome lets decide see to some executions that ended before a time and have payloads left, in the
// order of the log from behind a position on. An append without events is left out. It gives the
// position of the last of them, and 0 when there is none.
func (r *Retention) EraseSome(ctx context.Context, after eventlog.Position, before time.Time, decide func(execution.Execution) (eventlog.Append, error)) (eventlog.Position, error) {
	// What was recorded later cannot have ended before; it need not be looked through.
	upTo, err := r.store.PositionAt(ctx, before)
	if err != nil {
		return 0, err
	}
	var rows []struct {
		Position  int64  `db:"position"`
		ID        string `db:"id"`
		Workspace string `db:"workspace_id"`
		Status    string `db:"status"`
		Version   int64  `db:"version"`
	}
	if err := r.db.Select(ctx, &rows, "SELECT x.position, x.id, x.workspace_id, x.status, x.version FROM executions x JOIN events i ON i.position = x.position"+
		" LEFT JOIN events o ON o.position = x.output_position WHERE x.position > ? AND x.position <= ? AND x.completed_at < ?"+
		" AND (i.payload IS NOT NULL OR o.payload IS NOT NULL) ORDER BY x.position LIMIT ?",
		int64(after), int64(upTo), database.Micros(before), atOnce); err != nil {
		return 0, r.db.Failure("look for payloads past their time", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	_, err = r.store.AppendLocked(ctx, func(context.Context, *database.Tx) ([]eventlog.Append, error) {
		appends := make([]eventlog.Append, 0, len(rows))
		for _, row := range rows {
			a, err := decide(execution.Execution{ID: row.ID, WorkspaceID: row.Workspace, Status: execution.Status(row.Status), Version: row.Version})
			if err != nil {
				return nil, err
			}
			if len(a.Events) > 0 {
				appends = append(appends, a)
			}
		}
		return appends, nil
	})
	return eventlog.Position(rows[len(rows)-1].Position), err
}
