package application

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/subscription"
	"hooktrail/domain/trigger"
)

// Moment is a place in the past: a position, or a time when the position is 0.
type Moment struct {
	Position eventlog.Position
	Time     time.Time
}

// position finds the last event at or before a moment: 0 when there is none.
func (app *Application) position(ctx context.Context, m Moment) (eventlog.Position, error) {
	if m.Position != 0 {
		return max(m.Position, 0), nil
	}
	position, err := app.Store.PositionAt(ctx, m.Time)
	return position, refusal(err)
}

// chronicle says how the past of one kind of aggregate is told.
type chronicle struct {
	noun string
	// events gives all that the past is told from, in order.
	events func(ctx context.Context, app *Application, caller Caller, stream eventlog.StreamID) ([]eventlog.Recorded, error)
	// begin makes a function that is given the events in turn, and gives the view after each.
	begin func(app *Application) func(eventlog.Recorded) (any, error)
}

var chronicles = map[string]chronicle{
	eventlog.TriggerStream: {"trigger", decisions, telling(trigger.Codec, func(app *Application, t trigger.Trigger) any {
		return NewTriggerView(t, nil, app.config.PublicURL)
	})},
	eventlog.AgentStream:     {"agent", decisions, telling(agent.Codec, func(_ *Application, a agent.Agent) any { return NewAgentView(a) })},
	eventlog.APIKeyStream:    {"API key", decisions, telling(apikey.Codec, func(_ *Application, k apikey.APIKey) any { return NewAPIKeyView(k) })},
	eventlog.ExecutionStream: {"execution", executionEvents, tellExecution},
	// What people did about deliveries are facts, and belongs to the story.
	eventlog.SubscriptionStream: {"subscription", wholeStream, telling(subscription.Codec, func(_ *Application, s subscription.Subscription) any {
		return PastSubscription{SubscriptionView: NewSubscriptionView(s, 0, subscription.Progress{}), Deleted: s.Deleted}
	})},
}

// telling folds events by the aggregate's own rules.
func telling[A aggregate[A]](codec *eventlog.Codec, show func(app *Application, state A) any) func(app *Application) func(eventlog.Recorded) (any, error) {
	return func(app *Application) func(eventlog.Recorded) (any, error) {
		var state A
		return func(recorded eventlog.Recorded) (any, error) {
			var err error
			state, err = evolve(state, codec, []eventlog.Recorded{recorded})
			return show(app, state), err
		}
	}
}

func decisions(ctx context.Context, app *Application, _ Caller, stream eventlog.StreamID) ([]eventlog.Recorded, error) {
	return app.Store.Decisions(ctx, stream, 0)
}

func wholeStream(ctx context.Context, app *Application, caller Caller, stream eventlog.StreamID) ([]eventlog.Recorded, error) {
	var all []eventlog.Recorded
	for after := eventlog.Position(0); ; after = all[len(all)-1].Position {
		part, err := app.Store.List(ctx, EventFilter{WorkspaceID: caller.WorkspaceID, Stream: stream, After: &after, Limit: followBatch})
		if all = append(all, part...); err != nil || len(part) < followBatch {
			return all, err
		}
	}
}

// PastSubscription is a subscription as it was. How far its deliveries were is not in the log.
type PastSubscription struct {
	SubscriptionView
	Position *eventlog.Position `json:"position,omitempty"`
	Deleted  bool               `json:"deleted,omitempty"`
}

// past reads what the past of an aggregate is told from, if it is the caller's.
func (app *Application) past(ctx context.Context, caller Caller, kind, id string) (chronicle, []eventlog.Recorded, error) {
	told := chronicles[kind]
	events, err := told.events(ctx, app, caller, eventlog.Stream(kind, id))
	if err != nil {
		return told, nil, refusal(err)
	}
	if len(events) == 0 || events[0].WorkspaceID != caller.WorkspaceID {
		return told, nil, fault.New(fault.NotFound, "there is no such %s", told.noun)
	}
	return told, events, nil
}

// viewAsOf shows an aggregate as it was.
func viewAsOf[V any](ctx context.Context, app *Application, caller Caller, kind, id string, m Moment) (V, eventlog.Position, error) {
	var view V
	position, err := app.position(ctx, m)
	if err != nil {
		return view, 0, err
	}
	told, events, err := app.past(ctx, caller, kind, id)
	if fault.CodeOf(err) == fault.NotFound || err == nil && events[0].Position > position {
		return view, 0, fault.New(fault.NotFound, "there was no such %s then", told.noun)
	}
	if err != nil {
		return view, 0, err
	}
	next := told.begin(app)
	for _, recorded := range events {
		if recorded.Position > position {
			break
		}
		after, err := next(recorded)
		if err != nil {
			return view, 0, err
		}
		view = after.(V) //nolint:forcetypeassert // what the kind's chronicle shows
	}
	return view, position, nil
}

// GetTriggerAsOf shows a trigger as it was.
func (app *Application) GetTriggerAsOf(ctx context.Context, caller Caller, id string, m Moment) (TriggerView, error) {
	view, _, err := viewAsOf[TriggerView](ctx, app, caller, eventlog.TriggerStream, id, m)
	return view, err
}

// GetAgentAsOf shows an agent as it was.
func (app *Application) GetAgentAsOf(ctx context.Context, caller Caller, id string, m Moment) (AgentView, error) {
	view, _, err := viewAsOf[AgentView](ctx, app, caller, eventlog.AgentStream, id, m)
	return view, err
}

// GetAPIKeyAsOf shows an API key as it was.
func (app *Application) GetAPIKeyAsOf(ctx context.Context, caller Caller, id string, m Moment) (APIKeyView, error) {
	view, _, err := viewAsOf[APIKeyView](ctx, app, caller, eventlog.APIKeyStream, id, m)
	return view, err
}

// GetSubscriptionAsOf shows a subscription as it was.
func (app *Application) GetSubscriptionAsOf(ctx context.Context, caller Caller, id string, m Moment) (PastSubscription, error) {
	view, _, err := viewAsOf[PastSubscription](ctx, app, caller, eventlog.SubscriptionStream, id, m)
	return view, err
}

// Change is a field that differs between two moments.
type Change struct {
	// Field names it, with its parents: "options.rate_limit".
	Field string `json:"field"`
	// Before and After are JSON; absent when the field was not there.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// ActorView is who caused an event, by the name that it has now.
type ActorView struct {
	ID   eventlog.Actor `json:"id"`   // "api_key:<id>"
	Kind string         `json:"kind"` // api_key, trigger, worker or system
	Name string         `json:"name,omitempty"`
	// Prefix are the first characters of an API key.
	Prefix string `json:"prefix,omitempty"`
}

// HistoryEvent is an event with what it changed.
type HistoryEvent struct {
	Position  eventlog.Position `json:"position"`
	ID        string            `json:"id"`
	Time      time.Time         `json:"time"`
	Type      string            `json:"type"`
	Summary   string            `json:"summary"`
	Actor     ActorView         `json:"actor"`
	RequestID string            `json:"request_id,omitempty"`
	Version   int64             `json:"version"`
	Changes   []Change          `json:"changes"`
}

// HistoryView is what happened to something between two moments.
type HistoryView struct {
	Stream eventlog.StreamID `json:"stream"`
	// From and To are positions: what happened up to and with From is not told, and what
	// happened at To is.
	From eventlog.Position `json:"from"`
	To   eventlog.Position `json:"to"`
	// Changes are the differences between the two moments, whatever was in between.
	Changes []Change       `json:"changes"`
	Events  []HistoryEvent `json:"events"`
	// NextFrom is from where on the rest is told; 0 when that is all.
	NextFrom eventlog.Position `json:"next_from,omitempty"`
}

// HistoryRange says which part of a history is wanted.
type HistoryRange struct {
	// From and To default to the beginning and to now.
	From, To *Moment
	Limit    int // of the events
}

func (app *Application) bounds(ctx context.Context, r HistoryRange) (from, to eventlog.Position, err error) {
	if to, err = app.Store.Head(ctx); err != nil {
		return 0, 0, refusal(err)
	}
	if r.To != nil {
		at, err := app.position(ctx, *r.To)
		if err != nil {
			return 0, 0, err
		}
		to = min(to, at)
	}
	if r.From != nil {
		if from, err = app.position(ctx, *r.From); err != nil {
			return 0, 0, err
		}
		if from > to {
			return 0, 0, fault.Field("from", "must not be behind to, which is position %d", to)
		}
	}
	return from, to, nil
}

// GetHistory tells who did what to an aggregate of a kind, and what that changed.
func (app *Application) GetHistory(ctx context.Context, caller Caller, kind, id string, r HistoryRange) (HistoryView, error) {
	told, events, err := app.past(ctx, caller, kind, id)
	if err != nil {
		return HistoryView{}, err
	}
	from, to, err := app.bounds(ctx, r)
	if err != nil {
		return HistoryView{}, err
	}
	history := HistoryView{Stream: eventlog.Stream(kind, id), From: from, To: to, Events: []HistoryEvent{}}
	var before, last map[string]json.RawMessage
	next, actors := told.begin(app), actorNames{app: app, workspace: caller.WorkspaceID, known: map[eventlog.Actor]ActorView{}}
	for _, recorded := range events {
		if recorded.Position > to {
			break
		}
		view, err := next(recorded)
		if err != nil {
			return HistoryView{}, err
		}
		after, err := shownFields(view)
		if err != nil {
			return HistoryView{}, err
		}
		previous := last
		last = after
		if recorded.Position <= from {
			before = after
			continue
		}
		if len(history.Events) == r.Limit {
			history.NextFrom = history.Events[r.Limit-1].Position
			continue // the difference is that up to the end
		}
		actor, err := actors.of(ctx, recorded.Meta.Actor)
		if err != nil {
			return HistoryView{}, err
		}
		history.Events = append(history.Events, HistoryEvent{
			Position: recorded.Position, ID: recorded.ID, Time: recorded.At, Type: recorded.Type, Summary: summary(recorded.Type), Actor: actor,
			RequestID: recorded.Meta.RequestID, Version: recorded.Version, Changes: difference(previous, after),
		})
	}
	history.Changes = difference(before, last)
	return history, nil
}

// untold are fields of views that say nothing of what somebody did: they never change, or do
// with every event.
var untold = []string{"id", "execution_id", "workspace_id", "created_by_id", "created_at", "updated_at", "version", "position", "url"}

func shownFields(view any) (map[string]json.RawMessage, error) {
	encoded, err := json.Marshal(view)
	if err != nil {
		return nil, fmt.Errorf("encode a view of the past: %w", err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil, fmt.Errorf("read a view of the past: %w", err)
	}
	_, told := view.(PastSubscription) // its URL is a setting; that of a trigger is the server's
	for _, name := range untold {
		if name != "url" || !told {
			delete(fields, name)
		}
	}
	return fields, nil
}

// difference compares two objects field by field, and so the objects within them.
func difference(before, after map[string]json.RawMessage) []Change {
	changes := []Change{}
	names := slices.Sorted(maps.Keys(after))
	for name := range before {
		if _, there := after[name]; !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		old, now := before[name], after[name]
		oldFields, newFields := object(old), object(now)
		switch {
		case oldFields != nil && newFields != nil:
			for _, inner := range difference(oldFields, newFields) {
				inner.Field = name + "." + inner.Field
				changes = append(changes, inner)
			}
		case !sameJSON(old, now):
			changes = append(changes, Change{Field: name, Before: old, After: now})
		}
	}
	return changes
}

// object gives the fields of a JSON object; nil for anything else.
func object(value json.RawMessage) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if !bytes.HasPrefix(value, []byte("{")) || json.Unmarshal(value, &fields) != nil {
		return nil
	}
	return fields
}

func sameJSON(a, b json.RawMessage) bool {
	if len(a) == 0 || len(b) == 0 || bytes.Equal(a, b) {
		return bytes.Equal(a, b)
	}
	read := func(raw json.RawMessage) (value any, err error) {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		err = decoder.Decode(&value)
		return value, err
	}
	x, errX := read(a)
	y, errY := read(b)
	return cmp.Or(errX, errY) == nil && reflect.DeepEqual(x, y)
}

// summaries tell types of events whose names do not tell it by themselves.
var summaries = map[string]string{ //nolint:gosec // words about secrets are none
	"trigger.configured":             "changed the options",
	"trigger.rebound":                "bound to another agent",
	"trigger.activated":              "switched on",
	"trigger.deactivated":            "switched off",
	"trigger.token_rotated":          "replaced the token",
	"trigger.secret_set":             "set a new signing secret",
	"trigger.secret_removed":         "removed the signing secret",
	"trigger.invoked":                "called",
	"subscription.secret_set":        "set a new signing secret",
	"subscription.disabled":          "switched off",
	"subscription.enabled":           "switched on",
	"subscription.event_skipped":     "skipped an event",
	"subscription.rewound":           "moved in the log",
	"subscription.event_redelivered": "sent an event again",
}

// summary tells what an event did, in words.
func summary(event string) string {
	if words, known := summaries[event]; known {
		return words
	}
	_, did, _ := strings.Cut(event, ".")
	return strings.ReplaceAll(did, "_", " ")
}

// actorNames finds out who actors are, each once.
type actorNames struct {
	app       *Application
	workspace string
	known     map[eventlog.Actor]ActorView
}

func (n actorNames) of(ctx context.Context, actor eventlog.Actor) (ActorView, error) {
	if view, known := n.known[actor]; known {
		return view, nil
	}
	kind, id, _ := strings.Cut(string(actor), ":")
	view := ActorView{ID: actor, Kind: kind}
	switch kind {
	case eventlog.APIKeyStream:
		key, err := fold[apikey.APIKey](ctx, n.app.Store, apikey.Codec, eventlog.Stream(kind, id), 0)
		if err != nil {
			return view, refusal(err)
		}
		if key.WorkspaceID == n.workspace {
			view.Name, view.Prefix = key.Name, key.Prefix
		}
	case eventlog.TriggerStream:
		acts, err := fold[trigger.Trigger](ctx, n.app.Store, trigger.Codec, eventlog.Stream(kind, id), 0)
		if err != nil {
			return view, refusal(err)
		}
		if acts.WorkspaceID == n.workspace {
			view.Name = acts.Name
		}
	}
	n.known[actor] = view
	return view, nil
}
