package eventstoretest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var conflicts = map[string]func(*testing.T, *databasetest.Backend){
	"conflict":            testConflict,
	"guards":              testGuards,
	"one decision wins":   testOneDecisionWins,
	"locked appends":      testLocked,
	"deactivated is shut": testDeactivated,
}

func conflict(stream eventlog.StreamID, expected, actual int64) error {
	return &eventlog.ConflictError{Stream: stream, Expected: expected, Actual: actual}
}

func testConflict(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	stream, missing := newStream(), newStream()
	mustAppend(t, store, decide(stream, 0, event(), event()))
	for _, c := range []struct {
		stream           eventlog.StreamID
		expected, actual int64
	}{{stream, 0, 2}, {stream, 1, 2}, {stream, 3, 2}, {stream, -1, 2}, {missing, 1, 0}} {
		for _, a := range []eventlog.Append{decide(c.stream, c.expected, event()), fact(c.stream, c.expected)} {
			appended, err := store.Append(t.Context(), a)
			require.Equal(t, conflict(c.stream, c.expected, c.actual), err)
			require.Empty(t, appended)
		}
	}
	require.Len(t, whole(t, store), 2)
	mustAppend(t, store, decide(stream, 2, event()))
}

func testGuards(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	stream, guarded, missing := newStream(), newStream(), newStream()
	mustAppend(t, store, decide(stream, 0, event()))
	mustAppend(t, store, decide(guarded, 0, event(), event()))
	with := func(guards ...eventlog.Guard) eventlog.Append {
		a := fact(stream, 1)
		a.Guards = guards
		return a
	}
	for _, c := range []struct {
		guards []eventlog.Guard
		want   error
	}{
		{[]eventlog.Guard{{Stream: guarded, Version: 2}}, nil},
		{[]eventlog.Guard{{Stream: guarded, Version: 2}, {Stream: missing, Version: 0}, {Stream: stream, Version: 1}}, nil},
		{[]eventlog.Guard{{Stream: guarded, Version: 1}}, conflict(guarded, 1, 2)},
		{[]eventlog.Guard{{Stream: guarded, Version: 3}}, conflict(guarded, 3, 2)},
		{[]eventlog.Guard{{Stream: guarded, Version: 2}, {Stream: missing, Version: 1}}, conflict(missing, 1, 0)},
	} {
		_, err := store.Append(t.Context(), with(c.guards...))
		if c.want == nil {
			require.NoError(t, err)
		} else {
			require.Equal(t, c.want, err)
		}
	}
	require.Len(t, whole(t, store), 5)

	// Within one transaction a guard sees what the appends before it did.
	_, appends, answers := inOneBatch(t, b, eventstore.Config{}, func(store *eventstore.Store) []eventlog.Append {
		agent, owner := newStream(), newStream()
		mustAppend(t, store, decide(agent, 0, event()))
		mustAppend(t, store, decide(owner, 0, event()))
		invoked := fact(owner, 1)
		invoked.Guards = []eventlog.Guard{{Stream: agent, Version: 1}}
		return []eventlog.Append{decide(agent, 1, event()), invoked}
	})
	require.NoError(t, answers[0].err)
	moved := answers[0].appended.Events[0].Position
	if answers[1].err == nil {
		require.Less(t, answers[1].appended.Events[0].Position, moved)
	} else {
		require.Equal(t, conflict(appends[0].Stream, 1, 2), answers[1].err)
	}
}

func testOneDecisionWins(t *testing.T, b *databasetest.Backend) {
	stores := []*eventstore.Store{newStore(t, b, eventstore.Config{}), newStore(t, b, eventstore.Config{})}
	stream := newStream()
	const rounds, rivals = 10, 6
	for version := range int64(rounds) {
		var won atomic.Int64
		var calls sync.WaitGroup
		for i := range rivals {
			calls.Go(func() {
				_, err := stores[i%2].Append(t.Context(), decide(stream, version, event()))
				if err == nil {
					won.Add(1)
				} else {
					require.Equal(t, conflict(stream, version, version+1), err)
				}
			})
		}
		calls.Wait()
		require.Equal(t, int64(1), won.Load())
	}
	for i, e := range whole(t, stores[0]) {
		require.Equal(t, int64(i+1), e.Version)
	}
}

// testDeactivated toggles a trigger while callers of two stores invoke it with what they
// remember of it: no call may be recorded between a deactivation and the next activation.
func testDeactivated(t *testing.T, b *databasetest.Backend) {
	stores := []*eventstore.Store{newStore(t, b, eventstore.Config{}), newStore(t, b, eventstore.Config{})}
	stream := newStream()
	mustAppend(t, stores[0], decide(stream, 0, event())) // odd versions are active
	var known, invoked atomic.Int64
	known.Store(1)
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for i := range 6 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				active := known.Load()
				_, err := stores[i%2].Append(t.Context(), fact(stream, active))
				switch {
				case err == nil:
					invoked.Add(1)
				case !eventlog.IsConflict(err):
					t.Error(err)
					return
				}
			}
		})
	}
	const toggles = 30
	for version := int64(1); version < toggles; version++ {
		mustAppend(t, stores[version%2], decide(stream, version, event()))
		if off := version + 1; off%2 == 0 {
			// The callers still believe that it is active, and are wrong from here on.
			_, err := stores[0].Append(t.Context(), fact(stream, version))
			require.Equal(t, conflict(stream, version, off), err)
			_, err = stores[1].Append(t.Context(), fact(stream, version))
			require.Equal(t, conflict(stream, version, off), err)
		} else {
			before := invoked.Load()
			known.Store(off)
			for invoked.Load() == before && !t.Failed() {
				_, err := stores[0].Append(t.Context(), fact(stream, off))
				require.NoError(t, err)
				invoked.Add(1)
			}
		}
	}
	close(stop)
	callers.Wait()

	version, calls := int64(0), 0
	for _, e := range whole(t, stores[0]) {
		if !e.Fact {
			version = e.Version
			continue
		}
		calls++
		require.Equal(t, int64(1), version%2, "invoked at position %d while inactive", e.Position)
		require.Equal(t, version, e.Version)
	}
	require.Equal(t, int(invoked.Load()), calls, "every call that was answered is on record, and no other")
}
