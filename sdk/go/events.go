package hooktrail

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// Events are the log of all that happened in the key's workspace.
type Events struct{ c *Client }

// Event is an immutable fact in the log. It never holds a token, a secret or a payload.
type Event struct {
	Position      int64           `json:"position"` // in the whole log, from 1
	ID            string          `json:"id"`
	Stream        string          `json:"stream"`  // "<kind>-<id>"
	Version       int64           `json:"version"` // of the stream
	Type          string          `json:"type"`    // "trigger.invoked"
	SchemaVersion int             `json:"schema_version"`
	Time          time.Time       `json:"time"`
	WorkspaceID   string          `json:"workspace_id"`
	Actor         string          `json:"actor"` // "api_key:<id>", "trigger:<id>", "worker:<id>" or "system"
	RequestID     string          `json:"request_id,omitempty"`
	TraceParent   string          `json:"traceparent,omitempty"`
	CausationID   string          `json:"causation_id,omitempty"`
	CorrelationID string          `json:"correlation_id,omitempty"`
	Data          json.RawMessage `json:"data"`
	// Raw is the event as it was answered, with fields that this version does not know.
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the text beside its fields.
func (e *Event) UnmarshalJSON(text []byte) error {
	type plain Event
	if err := json.Unmarshal(text, (*plain)(e)); err != nil {
		return err
	}
	e.Raw = append(json.RawMessage(nil), text...)
	return nil
}

// ListEvents narrows a list of events.
type ListEvents struct {
	Stream, Type, Actor string
	Since, Until        time.Time
	// After gives the list onwards from behind this position, in the order of the log; 0 is all.
	// nil gives the newest first.
	After *int64
	ListOptions
}

func (f ListEvents) query() url.Values {
	query := url.Values{}
	set(query, "stream", f.Stream)
	set(query, "type", f.Type)
	set(query, "actor", f.Actor)
	setTime(query, "since", f.Since)
	setTime(query, "until", f.Until)
	if f.After != nil {
		query.Set("after", strconv.FormatInt(*f.After, 10))
	}
	f.addTo(query)
	return query
}

const eventsPath = "/events"

// List gives a part of the events.
func (e *Events) List(ctx context.Context, filter ListEvents, options ...RequestOption) (*List[Event], error) {
	return list[Event](ctx, e.c, eventsPath, filter.query(), options)
}

// All gives all events there are.
func (e *Events) All(ctx context.Context, filter ListEvents) iter.Seq2[Event, error] {
	return all[Event](ctx, e.c, eventsPath, filter.query())
}

// End gives the position of the newest event; 0 when there is none.
func (e *Events) End(ctx context.Context) (int64, error) {
	newest, err := e.List(ctx, ListEvents{ListOptions: ListOptions{Limit: 1}})
	if err != nil || len(newest.Data) == 0 {
		return 0, err
	}
	return newest.Data[0].Position, nil
}

// TailEvents says what to follow.
type TailEvents struct {
	Stream, Type, Actor string
	// After is the position behind which to begin, 0 for the whole log; to resume, that of the
	// last event that was dealt with. nil begins with what happens from now on.
	After *int64
	// Interval is the time between two looks when there is nothing new, where the log is not
	// given as a stream. Default 500 ms.
	Interval time.Duration
	// OnInterruption is told why the log cannot be followed for the moment, and how long is waited.
	OnInterruption func(err error, wait time.Duration)
}

// Tail follows the log in its order and waits for more at its end, so that it ends only when the
// context does, or on an error that trying again cannot mend: a refusal, or a server that did
// not answer the first time. Once it has, restarts of the server are waited out. No event is
// left out, and none comes twice.
//
// Events come as they are recorded, by a stream that is opened again where it breaks or gives
// nothing for 30 s. Where a server or a proxy does not offer it, the log is looked at every
// Interval instead.
func (e *Events) Tail(ctx context.Context, tail TailEvents) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		f := follower{
			c: e.c, interval: tail.Interval, filter: ListEvents{Stream: tail.Stream, Type: tail.Type, Actor: tail.Actor},
			interrupted: tail.OnInterruption, yield: yield,
		}
		if f.interval <= 0 {
			f.interval = 500 * time.Millisecond
		}
		if tail.After != nil {
			f.position = *tail.After
		} else {
			end, err := e.End(ctx)
			if err != nil {
				yield(Event{}, err)
				return
			}
			f.position, f.reached = end, true
		}
		if err := f.follow(ctx); err != nil {
			yield(Event{}, err)
		}
	}
}

// follower is one run of Tail.
type follower struct {
	c           *Client
	filter      ListEvents
	interval    time.Duration
	interrupted func(err error, wait time.Duration)
	yield       func(Event, error) bool

	position int64 // up to which everything was given
	reached  bool  // the server has answered
	streamed bool  // a stream was open
	polls    bool  // there is no stream to be had
	failures int   // in a row
	left     bool  // the caller wants no more
}

// follow goes on until the caller leaves, which is no error.
func (f *follower) follow(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return givenUp(ctx, "following the log")
		}
		look := f.listen
		if f.polls {
			look = f.poll
		}
		err := look(ctx)
		wait := f.interval
		switch {
		case f.left:
			return nil
		case err == nil:
		case errors.Is(err, errNoStream):
			f.polls = true
			continue
		case ctx.Err() != nil || !absent(err) || !f.reached && (f.polls || f.failures >= f.c.retries):
			return err
		default:
			wait = f.afterFailure(err)
		}
		if !sleep(ctx, wait) {
			return givenUp(ctx, "following the log")
		}
	}
}

// afterFailure gives the wait before the next attempt, and tells of it.
func (f *follower) afterFailure(err error) time.Duration {
	wait := pause(f.failures)
	if f.polls {
		wait = max(wait, f.interval)
	}
	if failed := new(Error); errors.As(err, &failed) {
		wait = max(wait, min(failed.RetryAfter, mostPatience))
	}
	// That a stream ends which has worked is told only if it is then not to be had again.
	if f.interrupted != nil && f.reached && (f.polls || f.failures > 0) {
		f.interrupted(err, wait)
	}
	f.failures++
	return wait
}

// give hands an event on, and reports whether more are wanted.
func (f *follower) give(event Event) bool {
	f.left = !f.yield(event, nil)
	f.position = event.Position
	return !f.left
}

// listen gives what comes by a stream until it breaks.
func (f *follower) listen(ctx context.Context) error {
	opened, err := f.c.listen(ctx, f.filter.query(), f.position, f.streamed)
	if err != nil {
		return err
	}
	defer opened.close()
	f.reached, f.streamed = true, true
	for {
		m, err := opened.next(ctx)
		if err != nil {
			return err
		}
		f.failures = 0
		switch {
		case m.position <= f.position:
		case m.data == nil:
			f.position = m.position
		default:
			event, err := opened.event(m)
			if err != nil {
				return err
			}
			if !f.give(event) {
				return nil
			}
		}
	}
}

// poll gives what there is, up to the end of the log.
func (f *follower) poll(ctx context.Context) error {
	for {
		filter := f.filter
		filter.After, filter.Limit = &f.position, 100
		part, err := list[Event](ctx, f.c, eventsPath, filter.query(), nil)
		if err != nil {
			return err
		}
		f.reached, f.failures = true, 0
		for _, event := range part.Data {
			if !f.give(event) {
				return nil
			}
		}
		if part.Meta.NextCursor == "" {
			return nil
		}
	}
}
