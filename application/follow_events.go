package application

import (
	"context"
	"time"

	"hooktrail/domain/eventlog"
)

const (
	followBatch = 100
	// followPause lets what is appended in quick succession be read together.
	followPause = 20 * time.Millisecond
)

// FollowEvents gives the events behind f.After in order, and then what is appended, until ctx ends or
// give fails. read is how far the log has been read, past events that do not fit the filter too.
// Without anything new, give is called with nothing after every idle.
func (app *Application) FollowEvents(ctx context.Context, caller Caller, f EventFilter, idle time.Duration, give func(events []EventView, read eventlog.Position) error) error {
	f = f.of(caller)
	f.Limit, f.Offset, f.Before = followBatch, 0, 0
	var read eventlog.Position
	if f.After != nil {
		read = *f.After
	}
	for first := true; ; first = false { // the first time it gives whatever there is, so that a client is answered
		appended := app.Appended.Next()
		// First: all up to the head is then in what is listed.
		head, err := app.Store.Head(ctx)
		if err != nil {
			return refusal(err)
		}
		f.After = &read
		recorded, err := app.Store.List(ctx, f)
		if err != nil {
			return refusal(err)
		}
		events := make([]EventView, len(recorded))
		for i, e := range recorded {
			events[i] = NewEventView(e)
		}
		upTo := max(read, head)
		if len(recorded) > 0 {
			upTo = max(head, recorded[len(recorded)-1].Position)
		}
		if len(recorded) == followBatch {
			upTo = recorded[followBatch-1].Position
		}
		if upTo > read || first {
			read = upTo
			if err := give(events, read); err != nil {
				return err
			}
			if len(recorded) == followBatch {
				continue
			}
		}
		if err := waitFor(ctx, appended, idle); err != nil {
			return err
		}
		select {
		case <-appended:
			if err := waitFor(ctx, nil, followPause); err != nil {
				return err
			}
		default:
			if err := give(nil, read); err != nil {
				return err
			}
		}
	}
}

// waitFor waits for a signal, but no longer than a time.
func waitFor(ctx context.Context, signal <-chan struct{}, atMost time.Duration) error {
	patient, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	select {
	case <-signal:
	case <-patient.Done():
	}
	return ctx.Err()
}
