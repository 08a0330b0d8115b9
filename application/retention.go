package application

import (
	"context"
	"fmt"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// Retention hands out the executions whose payloads are past their time, each once over all replicas.
type Retention interface {
	// EraseSome lets decide see to some executions that ended before a time and have payloads
	// left, in the order of the log from behind a position on. An append without events is left
	// out. It gives the position of the last of them, and 0 when there is none.
	EraseSome(ctx context.Context, after eventlog.Position, before time.Time, decide func(execution.Execution) (eventlog.Append, error)) (eventlog.Position, error)
}

// EraseExpired erases input and output of all executions that ended longer ago than age, and puts on
// record that it did.
func (app *Application) EraseExpired(ctx context.Context, age time.Duration) error {
	before := app.Now().Add(-age)
	for after := eventlog.Position(0); ; {
		last, err := app.Retention.EraseSome(ctx, after, before, func(x execution.Execution) (eventlog.Append, error) {
			d, err := app.erasure(ctx, x, fmt.Sprintf("older than the retention of %s", age))
			if err != nil || len(d.events) == 0 { // another replica was quicker
				return eventlog.Append{}, err
			}
			meta := eventlog.Metadata{Actor: eventlog.System, CorrelationID: x.ID}
			return app.encode(execution.Codec, x.WorkspaceID, eventlog.Stream(eventlog.ExecutionStream, x.ID), x.Version, meta, d)
		})
		if err != nil || last == 0 {
			return refusal(err)
		}
		after = last
	}
}

// erasure decides to erase what is kept of an execution.
func (app *Application) erasure(ctx context.Context, x execution.Execution, reason string) (decision, error) {
	kept, err := app.Views.Kept(ctx, x.ID)
	if err != nil {
		return decision{}, refusal(err)
	}
	events, err := x.Erase(kept, reason)
	d := decision{events: events}
	for _, k := range kept {
		d.erase = append(d.erase, k.Position)
	}
	return d, err
}
