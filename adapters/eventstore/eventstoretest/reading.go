package eventstoretest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
)

var reading = map[string]func(*testing.T, *databasetest.Backend){
	"position at": testPositionAt,
	"decisions":   testDecisions,
	"list":        testList,
	"after":       testAfter,
	"single":      testSingle,
	"payloads":    testReadPayloads,
}

func testSingle(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	for range 3 {
		mustAppend(t, store, decide(newStream(), 0, event(), factEvent()))
	}
	for _, want := range whole(t, store) {
		byID, found, err := store.Event(t.Context(), want.ID)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, want, byID)
		there, found, err := store.At(t.Context(), want.Position)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, want, there)
	}
	for _, position := range []eventlog.Position{-1, 0, 7} {
		_, found, err := store.At(t.Context(), position)
		require.NoError(t, err)
		require.False(t, found)
	}
	_, found, err := store.Event(t.Context(), newID())
	require.NoError(t, err)
	require.False(t, found)
}

func testReadPayloads(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	mapped := decide(newStream(), 0, factEvent(), factEvent(), factEvent())
	mapped.Events[0].Payload, mapped.Events[1].Payload = []byte("came in"), []byte("\x00\xff")
	mustAppend(t, store, mapped)
	payloads, err := store.Payloads(t.Context(), []eventlog.Position{1, 2, 3, 4})
	require.NoError(t, err)
	require.Equal(t, map[eventlog.Position][]byte{1: []byte("came in"), 2: []byte("\x00\xff")}, payloads)
	payloads, err = store.Payloads(t.Context(), []eventlog.Position{2})
	require.NoError(t, err)
	require.Len(t, payloads, 1)
	payloads, err = store.Payloads(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, payloads)
}

func testPositionAt(t *testing.T, b *databasetest.Backend) {
	now := newClock()
	store := newStore(t, b, eventstore.Config{Now: now.now})
	at := func(moment time.Time) eventlog.Position {
		t.Helper()
		position, err := store.PositionAt(t.Context(), moment)
		require.NoError(t, err)
		return position
	}
	require.Zero(t, at(now.now()), "of an empty log")
	var times []time.Time
	for i := range 40 {
		// Some at the same time, some a second later.
		if i%3 == 0 {
			now.move(time.Second)
		}
		times = append(times, mustAppend(t, store, fact(newStream(), 0)).Events[0].At)
	}
	for _, moment := range append(slices.Clone(times), times[0].Add(-time.Microsecond), times[39].Add(time.Hour), times[7].Add(time.Millisecond), time.Unix(0, 0)) {
		want := 0
		for _, recordedAt := range times {
			if !recordedAt.After(moment) {
				want++
			}
		}
		require.Equal(t, eventlog.Position(want), at(moment), "%s", moment)
	}
}

func testDecisions(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	stream, other := newStream(), newStream()
	for version := range int64(6) {
		mustAppend(t, store, decide(stream, version, event(), factEvent()))
		mustAppend(t, store, decide(other, version, event()))
	}
	log := whole(t, store)
	for upTo := range eventlog.Position(len(log) + 3) {
		var want []eventlog.Recorded
		for _, e := range log {
			if e.Stream == stream && !e.Fact && (upTo == 0 || e.Position <= upTo) {
				want = append(want, e)
			}
		}
		got, err := store.Decisions(t.Context(), stream, upTo)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		if len(want) > 0 {
			require.Equal(t, want, got, "up to %d", upTo)
		}
	}
	none, err := store.Decisions(t.Context(), newStream(), 0)
	require.NoError(t, err)
	require.Empty(t, none)
}

func testAfter(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	for range 5 {
		mustAppend(t, store, fact(newStream(), 0))
	}
	for _, c := range []struct {
		position eventlog.Position
		limit    int
		want     []eventlog.Position
	}{{0, 3, []eventlog.Position{1, 2, 3}}, {3, 3, []eventlog.Position{4, 5}}, {5, 3, nil}, {99, 3, nil}, {0, 0, nil}} {
		events, err := store.After(t.Context(), c.position, c.limit)
		require.NoError(t, err)
		require.Equal(t, c.want, positions(events))
	}
}

func positions(events []eventlog.Recorded) []eventlog.Position {
	var list []eventlog.Position
	for _, e := range events {
		list = append(list, e.Position)
	}
	return list
}

// testList compares every filter with the same one made in memory.
func testList(t *testing.T, b *databasetest.Backend) {
	now := newClock()
	store := newStore(t, b, eventstore.Config{Now: now.now})
	stream, other := newStream(), newStream()
	for i := range 24 {
		if i%2 == 0 {
			now.move(time.Second)
		}
		a := fact(stream, int64(i/4))
		switch i % 4 {
		case 0:
			a = decide(stream, int64(i/4), event())
		case 1:
			a = fact(stream, int64(i/4+1))
			a.Meta.Actor = eventlog.ActorOf("trigger", "t1")
		case 2:
			a = decide(other, int64(i/4), event())
			a.Events[0].Type = "test.other"
		case 3:
			a = fact(newStream(), 0)
			a.WorkspaceID = "w2"
		}
		mustAppend(t, store, a)
	}
	log := whole(t, store)
	zero, five := eventlog.Position(0), eventlog.Position(5)
	start := log[0].At
	narrow := map[string]func(*application.EventFilter){
		"all":        func(*application.EventFilter) {},
		"workspace":  func(f *application.EventFilter) { f.WorkspaceID = "w2" },
		"no such":    func(f *application.EventFilter) { f.WorkspaceID = "w3" },
		"stream":     func(f *application.EventFilter) { f.Stream = stream },
		"type":       func(f *application.EventFilter) { f.Type = "test.other" },
		"actor":      func(f *application.EventFilter) { f.Actor = "trigger:t1" },
		"since":      func(f *application.EventFilter) { f.Since = start.Add(4 * time.Second) },
		"until":      func(f *application.EventFilter) { f.Until = start.Add(4 * time.Second) },
		"since soon": func(f *application.EventFilter) { f.Since = start.Add(time.Hour) },
		"until then": func(f *application.EventFilter) { f.Until = start.Add(-time.Hour) },
		"both": func(f *application.EventFilter) {
			f.Since, f.Until = start.Add(2*time.Second), start.Add(2*time.Second)
		},
		"many": func(f *application.EventFilter) {
			f.Stream, f.Actor, f.Since = stream, "trigger:t1", start.Add(2*time.Second)
		},
		"stream and type": func(f *application.EventFilter) { f.Stream, f.Type = stream, "test.decided" },
	}
	turns := map[string]func(*application.EventFilter){
		"newest first": func(*application.EventFilter) {},
		"before":       func(f *application.EventFilter) { f.Before = 12 },
		"before all":   func(f *application.EventFilter) { f.Before = 1 },
		"onwards":      func(f *application.EventFilter) { f.After = &zero },
		"after five":   func(f *application.EventFilter) { f.After = &five },
	}
	for name, narrowed := range narrow {
		for turn, turned := range turns {
			for _, part := range []struct{ limit, offset int }{{100, 0}, {3, 0}, {3, 2}, {1, 1}, {100, 50}} {
				f := application.EventFilter{WorkspaceID: workspace, Limit: part.limit, Offset: part.offset}
				narrowed(&f)
				turned(&f)
				want := filtered(log, f)
				total := f
				total.Before = 0
				events, err := store.List(t.Context(), f)
				require.NoError(t, err)
				require.Equal(t, positions(page(want, part.limit, part.offset)), positions(events), "%s, %s, %+v", name, turn, part)
				count, err := store.Count(t.Context(), f, 5)
				require.NoError(t, err)
				require.Equal(t, min(5, len(filtered(log, total))), count, "%s, %s", name, turn)
			}
		}
	}
	read, err := store.List(t.Context(), application.EventFilter{WorkspaceID: workspace, Stream: stream, After: &zero, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, log[:1], read, "events are read whole")
}

func page(events []eventlog.Recorded, limit, offset int) []eventlog.Recorded {
	events = events[min(offset, len(events)):]
	return events[:min(limit, len(events))]
}

func filtered(log []eventlog.Recorded, f application.EventFilter) []eventlog.Recorded {
	var fit []eventlog.Recorded
	for _, e := range log {
		if e.WorkspaceID != f.WorkspaceID || f.Stream != "" && e.Stream != f.Stream || f.Type != "" && e.Type != f.Type ||
			f.Actor != "" && e.Meta.Actor != f.Actor || !f.Since.IsZero() && e.At.Before(f.Since) || !f.Until.IsZero() && e.At.After(f.Until) ||
			f.After != nil && e.Position <= *f.After || f.After == nil && f.Before > 0 && e.Position >= f.Before {
			continue
		}
		fit = append(fit, e)
	}
	if f.After == nil {
		slices.Reverse(fit)
	}
	return fit
}
