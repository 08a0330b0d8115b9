package application

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

// aggregate is a state that events add up to.
type aggregate[A any] interface {
	Evolve(recorded eventlog.Recorded, event eventlog.Event) A
	// StreamVersion is the version of the last decision that the state includes.
	StreamVersion() int64
}

// fold gives the state of a stream at a position; 0 means now.
func fold[A aggregate[A]](ctx context.Context, store EventStore, codec *eventlog.Codec, stream eventlog.StreamID, upTo eventlog.Position) (A, error) {
	var state A
	events, err := store.Decisions(ctx, stream, upTo)
	if err != nil {
		return state, err
	}
	return evolve(state, codec, events)
}

func evolve[A aggregate[A]](state A, codec *eventlog.Codec, events []eventlog.Recorded) (A, error) {
	for _, recorded := range events {
		event, err := codec.Decode(recorded)
		if err != nil {
			return state, err
		}
		state = state.Evolve(recorded, event)
	}
	return state, nil
}

// maxConflicts is how often a decision is made again when the stream moved meanwhile.
const maxConflicts = 5

// decision is what a use case wants appended besides its events.
type decision struct {
	events      []eventlog.Event
	ids         []string // of the first events; the others get new ones
	guards      []eventlog.Guard
	keep        []eventlog.Credential
	forget      []string
	payload     []byte // of the first event
	erase       []eventlog.Position
	idempotency *eventlog.IdempotencyKey
	due         bool // see eventlog.Append
}

// change loads an aggregate, lets decide say what happens, and appends it. When the stream
// moved in between, decide is asked again on the newer state. It returns the state after.
func change[A aggregate[A]](ctx context.Context, app *Application, codec *eventlog.Codec, workspace string, stream eventlog.StreamID, meta eventlog.Metadata, decide func(state A) (decision, error)) (A, error) {
	var nothing A
	return changeFrom(ctx, app, codec, nothing, workspace, stream, meta, decide)
}

// changeOwn is change for an aggregate that must be there, which the caller must have a right to, and
// that must be at a version if the caller asked for one; 0 is any.
func changeOwn[A aggregate[A]](ctx context.Context, app *Application, codec *eventlog.Codec, caller Caller, stream eventlog.StreamID, noun string, version int64, there func(A) bool, decide func(A) (decision, error)) (A, error) {
	return change(ctx, app, codec, caller.WorkspaceID, stream, caller.metadata(), func(state A) (decision, error) {
		if state.StreamVersion() == 0 || !there(state) {
			return decision{}, fault.New(fault.NotFound, "there is no such %s", noun)
		}
		if version != 0 && version != state.StreamVersion() {
			return decision{}, fault.New(fault.PreconditionFailed, "the %s is at version %d", noun, state.StreamVersion())
		}
		return decide(state)
	})
}

// changeFrom is change for an aggregate that is something before the first event of its
// own stream.
func changeFrom[A aggregate[A]](ctx context.Context, app *Application, codec *eventlog.Codec, start A, workspace string, stream eventlog.StreamID, meta eventlog.Metadata, decide func(state A) (decision, error)) (A, error) {
	for tries := 1; ; tries++ {
		events, err := app.Store.Decisions(ctx, stream, 0)
		if err != nil {
			return start, refusal(err)
		}
		state, err := evolve(start, codec, events)
		if err != nil {
			return state, err
		}
		d, err := decide(state)
		if err != nil || len(d.events) == 0 {
			return state, err
		}
		a, err := app.encode(codec, workspace, stream, state.StreamVersion(), meta, d)
		if err != nil {
			return state, err
		}
		appended, err := app.Store.Append(ctx, a)
		if eventlog.IsConflict(err) && tries < maxConflicts {
			continue
		}
		if err != nil {
			return state, refusal(err)
		}
		return evolve(state, codec, appended.Events)
	}
}

// encode turns a decision into an append.
func (app *Application) encode(codec *eventlog.Codec, workspace string, stream eventlog.StreamID, expected int64, meta eventlog.Metadata, d decision) (eventlog.Append, error) {
	a := eventlog.Append{
		WorkspaceID: workspace, Stream: stream, Expected: expected, Meta: meta,
		Guards: d.guards, Keep: d.keep, Forget: d.forget, Erase: d.erase, Idempotency: d.idempotency, Due: d.due,
		Events: make([]eventlog.Proposed, len(d.events)),
	}
	for i, event := range d.events {
		proposed, err := codec.Encode(event)
		if err != nil {
			return a, err
		}
		if i < len(d.ids) {
			proposed.ID = d.ids[i]
		} else {
			proposed.ID = app.NewID()
		}
		if i == 0 {
			proposed.Payload = d.payload
		}
		a.Events[i] = proposed
	}
	return a, nil
}

// refusal gives an error of the store the form in which a caller is told.
func refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case eventlog.IsConflict(err):
		return fault.Wrap(err, fault.Conflict, "it is being changed by others at this moment; try again")
	case errors.Is(err, eventlog.ErrIdempotencyMismatch):
		return fault.Wrap(err, fault.IdempotencyMismatch, "the idempotency key was used before with another body")
	case errors.Is(err, eventlog.ErrQueueFull):
		return fault.Wrap(err, fault.Overloaded, "too many calls are waiting").Retry(time.Second)
	case errors.Is(err, eventlog.ErrUnavailable):
		return fault.Wrap(err, fault.Unavailable, "the database does not answer; the request may or may not have taken effect").Retry(2 * time.Second)
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fmt.Errorf("event store: %w", err)
}
