package eventstoretest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var appending = map[string]func(*testing.T, *databasetest.Backend){
	"append":              testAppend,
	"facts":               testFacts,
	"payloads":            testPayloads,
	"group commit":        testGroupCommit,
	"batch bounds":        testBatchBounds,
	"a bad row":           testBadRow,
	"a reused event id":   testReusedID,
	"the same again":      testSameAgain,
	"the clock goes back": testClockGoesBack,
	"nothing":             testNothing,
	"appended is told":    testAppendedIsTold,
	"reopen":              testReopen,
}

func testAppend(t *testing.T, b *databasetest.Backend) {
	now := newClock()
	store := newStore(t, b, eventstore.Config{Now: now.now})
	stream := newStream()
	first, second, third := event(), event(), event()
	second.Schema, second.Data = 7, []byte(`{"text":"ä € 😀 \u0000"}`)

	created := mustAppend(t, store, decide(stream, 0, first, second))
	a := decide(stream, 2, third)
	a.Meta = eventlog.Metadata{Actor: eventlog.System, TraceParent: "00-1-2-01", CausationID: "x", CorrelationID: "y"}
	changed := mustAppend(t, store, a)

	require.Empty(t, created.Replayed)
	all := append(created.Events, changed.Events...)
	require.Len(t, all, 3)
	for i, want := range []eventlog.Proposed{first, second, third} {
		got := all[i]
		require.Equal(t, eventlog.Position(i+1), got.Position)
		require.Equal(t, int64(i+1), got.Version)
		require.Equal(t, []any{want.ID, want.Type, want.Schema, string(want.Data), false}, []any{got.ID, got.Type, got.Schema, string(got.Data), got.Fact})
		require.Equal(t, stream, got.Stream)
		require.Equal(t, workspace, got.WorkspaceID)
		require.Equal(t, now.now(), got.At)
	}
	require.Equal(t, all, whole(t, store), "what is read is what was answered")
	head, err := store.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, eventlog.Position(3), head)
}

func testFacts(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	stream := newStream()
	mustAppend(t, store, decide(stream, 0, event(), event()))
	for range 3 {
		appended := mustAppend(t, store, fact(stream, 2))
		require.True(t, appended.Events[0].Fact)
		require.Equal(t, int64(2), appended.Events[0].Version, "a fact has the version it was admitted under")
	}
	mixed := mustAppend(t, store, decide(stream, 2, factEvent(), event(), factEvent()))
	require.Equal(t, []int64{2, 3, 3}, []int64{mixed.Events[0].Version, mixed.Events[1].Version, mixed.Events[2].Version})
	_, err := store.Append(t.Context(), fact(stream, 2))
	require.Equal(t, &eventlog.ConflictError{Stream: stream, Expected: 2, Actual: 3}, err)
	mustAppend(t, store, fact(newStream(), 0))
}

func testPayloads(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	bodies := map[eventlog.Position][]byte{}
	for _, body := range [][]byte{nil, {}, []byte(`{"a":1}`), {0, 0xff, 0xfe, 0}, make([]byte, 3<<20)} {
		a := fact(newStream(), 0)
		a.Events[0].Payload = body
		appended := mustAppend(t, store, a)
		require.Equal(t, body, appended.Events[0].Payload)
		if body != nil {
			bodies[appended.Events[0].Position] = body
		}
	}
	for _, e := range whole(t, store) {
		require.Nil(t, e.Payload, "the log is read without payloads")
	}
	var rows []struct {
		Position eventlog.Position `db:"position"`
		Body     []byte            `db:"body"`
	}
	require.NoError(t, b.Open(t).Select(t.Context(), &rows, "SELECT position, payload AS body FROM events WHERE payload IS NOT NULL ORDER BY position"))
	require.Len(t, rows, len(bodies), "nothing where there is no payload")
	for _, row := range rows {
		require.Equal(t, string(bodies[row.Position]), string(row.Body))
	}
}

func testGroupCommit(t *testing.T, b *databasetest.Backend) {
	const n = 60
	store, appends, answers := inOneBatch(t, b, eventstore.Config{}, func(*eventstore.Store) []eventlog.Append {
		appends := make([]eventlog.Append, n)
		for i := range appends {
			appends[i] = fact(newStream(), 0)
		}
		return appends
	})
	log := whole(t, store)
	for i, a := range answers {
		require.NoError(t, a.err)
		require.Equal(t, appends[i].Events[0].ID, a.appended.Events[0].ID, "everyone gets the own answer")
		require.Equal(t, a.appended.Events[0], log[a.appended.Events[0].Position-1])
	}
}

func testBatchBounds(t *testing.T, b *databasetest.Backend) {
	observed := make(chan eventstore.Batch, 1000)
	door := &gate{}
	store := storeWith(t, b, door, eventstore.Config{
		Queue: 20, Batch: 4, BatchBytes: 250, Observe: func(batch eventstore.Batch) { observed <- batch },
	})
	release := door.hold(t, store)
	// More than the queue takes: when the rest is refused, the queue is full.
	answers := make(chan error)
	for range 40 {
		go func() {
			a := fact(newStream(), 0)
			a.Events[0].Payload = make([]byte, 100)
			_, err := store.Append(t.Context(), a)
			answers <- err
		}()
	}
	for range 20 {
		require.ErrorIs(t, <-answers, eventlog.ErrQueueFull)
	}
	release()
	for range 20 {
		require.NoError(t, <-answers)
	}
	require.Equal(t, 1, (<-observed).Appends, "the append that held the others up")
	for appends := 0; appends < 20; {
		batch := <-observed
		require.NoError(t, batch.Err)
		require.LessOrEqual(t, batch.Appends, 3, "250 bytes are reached with the third payload")
		require.Equal(t, batch.Appends, batch.Events)
		appends += batch.Appends
	}
}

func testBadRow(t *testing.T, b *databasetest.Backend) {
	setup := newStore(t, b, eventstore.Config{})
	taken := decide(newStream(), 0, event())
	taken.Keep = []eventlog.Credential{{ID: newID(), WorkspaceID: workspace, Owner: taken.Stream, Hash: []byte(newID())}}
	mustAppend(t, setup, taken)

	bad := map[string]func() eventlog.Append{
		"a hash that is taken": func() eventlog.Append {
			a := decide(newStream(), 0, event())
			a.Keep = []eventlog.Credential{{ID: newID(), WorkspaceID: workspace, Owner: a.Stream, Hash: taken.Keep[0].Hash}}
			return a
		},
		"an event that the projector refuses": func() eventlog.Append {
			a := decide(newStream(), 0, event())
			a.Events[0].Type = refusedType
			return a
		},
	}
	if b.Dialect == database.Postgres {
		bad["a text that the database cannot store"] = func() eventlog.Append {
			a := decide(newStream(), 0, event())
			a.Meta.Actor = "api_key:\x00"
			return a
		}
	}
	for name, makeBad := range bad {
		shared := newStream()
		version := int64(0)
		store, appends, answers := inOneBatch(t, b, eventstore.Config{}, func(*eventstore.Store) []eventlog.Append {
			if version == 0 {
				mustAppend(t, setup, decide(shared, 0, event()))
				version = 1
			}
			return []eventlog.Append{fact(shared, 1), decide(newStream(), 0, event(), event()), makeBad(), fact(newStream(), 0), fact(shared, 1)}
		})
		for i, a := range answers {
			if i == 2 {
				require.Error(t, a.err, name)
				require.NotErrorIs(t, a.err, eventlog.ErrUnavailable, name)
				require.False(t, eventlog.IsConflict(a.err), name)
				require.Zero(t, recorded(t, store, appends[i].Events[0].ID), name)
				continue
			}
			require.NoError(t, a.err, name)
			require.Equal(t, 1, recorded(t, store, appends[i].Events[0].ID), name)
		}
	}
}

func testReusedID(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	first := decide(newStream(), 0, event())
	mustAppend(t, store, first)
	for name, second := range map[string]eventlog.Append{
		"decision": decide(newStream(), 0, event(), first.Events[0]),
		"in one":   func() eventlog.Append { e := factEvent(); return decide(newStream(), 0, e, e) }(),
	} {
		_, err := store.Append(t.Context(), second)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, eventlog.ErrUnavailable, name)
	}
	require.Len(t, whole(t, store), 1)
}

func testSameAgain(t *testing.T, b *databasetest.Backend) {
	store, other := newStore(t, b, eventstore.Config{}), newStore(t, b, eventstore.Config{})
	stream := newStream()
	for name, a := range map[string]eventlog.Append{
		"decision": decide(stream, 0, event(), event()), "fact": fact(newStream(), 0),
	} {
		once := mustAppend(t, store, a)
		again := mustAppend(t, store, a)
		elsewhere := mustAppend(t, other, a)
		require.Equal(t, once.Events, again.Events, name)
		require.Equal(t, once.Events, elsewhere.Events, name)
	}
	// Also when the stream has moved on meanwhile, and when both come in one transaction.
	late := fact(stream, 2)
	once := mustAppend(t, store, late)
	mustAppend(t, store, decide(stream, 2, event()))
	require.Equal(t, once.Events, mustAppend(t, store, late).Events)

	_, _, answers := inOneBatch(t, b, eventstore.Config{}, func(*eventstore.Store) []eventlog.Append {
		twice, decision := fact(newStream(), 0), decide(newStream(), 0, event())
		return []eventlog.Append{twice, decision, fact(newStream(), 0), twice, decision}
	})
	for _, a := range answers {
		require.NoError(t, a.err)
	}
	require.Equal(t, answers[0].appended.Events, answers[3].appended.Events)
	require.Equal(t, answers[1].appended.Events, answers[4].appended.Events)
	ids := map[string]bool{}
	for _, e := range whole(t, store) {
		require.False(t, ids[e.ID], "recorded twice")
		ids[e.ID] = true
	}
}

func testClockGoesBack(t *testing.T, b *databasetest.Backend) {
	now, behind := newClock(), newClock()
	store, other := newStore(t, b, eventstore.Config{Now: now.now}), newStore(t, b, eventstore.Config{Now: behind.now})
	behind.move(-time.Hour)
	var last time.Time
	for _, by := range []time.Duration{0, time.Second, -time.Hour, time.Minute, 2 * time.Hour, -time.Microsecond} {
		now.move(by)
		for _, s := range []*eventstore.Store{store, other} {
			at := mustAppend(t, s, fact(newStream(), 0)).Events[0].At
			require.False(t, at.Before(last), "%s is before %s", at, last)
			last = at
		}
	}
	require.Equal(t, newClock().now().Add(time.Second-time.Hour+time.Minute+2*time.Hour), last)
}

func testNothing(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	appended := mustAppend(t, store, decide(newStream(), 0))
	require.Empty(t, appended.Events)
	require.Empty(t, whole(t, store))
	head, err := store.Head(t.Context())
	require.NoError(t, err)
	require.Zero(t, head)
}

func testAppendedIsTold(t *testing.T, b *databasetest.Backend) {
	told := make(chan struct{}, 100)
	store := newStore(t, b, eventstore.Config{Appended: func(bool) { told <- struct{}{} }})
	mustAppend(t, store, decide(newStream(), 0, event()))
	<-told
	_, err := store.Append(t.Context(), decide(newStream(), 5, event()))
	require.Error(t, err)
	nothing := func(context.Context, *database.Tx) ([]eventlog.Append, error) { return nil, nil }
	_, err = store.AppendLocked(t.Context(), nothing)
	require.NoError(t, err)
	store.Close()
	require.Empty(t, told, "nobody is woken for what did not happen")
}

func testReopen(t *testing.T, b *databasetest.Backend) {
	store := eventstore.New(b.Open(t), &gate{}, eventstore.Config{})
	stream := newStream()
	a := decide(stream, 0, event(), factEvent())
	a.Events[0].Payload = []byte("kept")
	a.Keep = []eventlog.Credential{{ID: newID(), WorkspaceID: workspace, Owner: stream, Sealed: []byte("sealed")}}
	mustAppend(t, store, a)
	before := whole(t, store)
	store.Close()
	b.Shutdown(t)

	store = newStore(t, b, eventstore.Config{})
	require.Equal(t, before, whole(t, store))
	sealed, found, err := store.Sealed(t.Context(), a.Keep[0].ID)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "sealed", string(sealed))
	require.Equal(t, eventlog.Position(3), mustAppend(t, store, decide(stream, 1, event())).Events[0].Position)
}
