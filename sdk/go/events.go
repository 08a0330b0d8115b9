package hooktrail

import (
	"context"
	"encoding/json"
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
	// Interval is the time between two looks when there is nothing new. Default 500 ms.
	Interval time.Duration
	// OnInterruption is told why the server cannot be asked for the moment, and how long is waited.
	OnInterruption func(err error, wait time.Duration)
}

// Tail follows the log in its order and waits for more at its end, so that it ends only when the
// context does, or on an error that trying again cannot mend: a refusal, or a server that did
// not answer the first time. Once it has, restarts of the server are waited out. No event is
// left out, and none comes twice.
func (e *Events) Tail(ctx context.Context, tail TailEvents) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		interval := tail.Interval
		if interval <= 0 {
			interval = 500 * time.Millisecond
		}
		filter := ListEvents{Stream: tail.Stream, Type: tail.Type, Actor: tail.Actor, ListOptions: ListOptions{Limit: 100}}
		reached := false
		if tail.After != nil {
			filter.After = new(*tail.After)
		} else {
			end, err := e.End(ctx)
			if err != nil {
				yield(Event{}, err)
				return
			}
			filter.After, reached = &end, true
		}
		for failures := 0; ; {
			part, err := e.List(ctx, filter)
			wait := interval
			switch {
			case err == nil:
				failures, reached = 0, true
				for _, event := range part.Data {
					if !yield(event, nil) {
						return
					}
					*filter.After = event.Position
				}
				if part.Meta.NextCursor != "" {
					continue
				}
			case ctx.Err() != nil || !reached || !absent(err):
				yield(Event{}, err)
				return
			default:
				wait = max(interval, pause(failures))
				failures++
				if tail.OnInterruption != nil {
					tail.OnInterruption(err, wait)
				}
			}
			if !sleep(ctx, wait) {
				yield(Event{}, givenUp(ctx, "following the log"))
				return
			}
		}
	}
}
