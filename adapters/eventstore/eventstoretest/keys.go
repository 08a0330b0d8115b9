package eventstoretest

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var keys = map[string]func(*testing.T, *databasetest.Backend){
	"idempotency keys":                    testKeys,
	"idempotency keys in one transaction": testKeysInOneBatch,
	"idempotency keys on two stores":      testKeysOnTwoStores,
	"idempotency keys are swept":          testKeySweep,
}

// keyed is a call with an idempotency key; its subject is the id of its event.
func keyed(stream eventlog.StreamID, key, digest string, expires time.Time) eventlog.Append {
	a := fact(stream, 1)
	a.Idempotency = &eventlog.IdempotencyKey{
		Scope: stream.ID(), Key: key, Digest: []byte(digest), Subject: a.Events[0].ID, ExpiresAt: expires,
	}
	return a
}

func testKeys(t *testing.T, b *databasetest.Backend) {
	now := newClock()
	store, other := newStore(t, b, eventstore.Config{Now: now.now}), newStore(t, b, eventstore.Config{Now: now.now})
	stream, elsewhere := newStream(), newStream()
	mustAppend(t, store, decide(stream, 0, event()))
	mustAppend(t, store, decide(elsewhere, 0, event()))
	expires := now.now().Add(time.Hour)

	first := keyed(stream, "k", "body", expires)
	require.Empty(t, mustAppend(t, store, first).Replayed)
	for _, s := range []*eventstore.Store{store, other} {
		repeat := keyed(stream, "k", "body", expires)
		appended := mustAppend(t, s, repeat)
		require.Equal(t, first.Idempotency.Subject, appended.Replayed)
		require.Empty(t, appended.Events)
		require.Zero(t, recorded(t, store, repeat.Events[0].ID))

		_, err := s.Append(t.Context(), keyed(stream, "k", "other body", expires))
		require.ErrorIs(t, err, eventlog.ErrIdempotencyMismatch)
	}
	for _, a := range []eventlog.Append{keyed(stream, "k2", "body", expires), keyed(elsewhere, "k", "body", expires)} {
		require.Empty(t, mustAppend(t, store, a).Replayed, "another key, and another scope, are other calls")
	}

	// A refused call uses up nothing.
	refused := keyed(stream, "k3", "body", expires)
	refused.Expected = 9
	_, err := store.Append(t.Context(), refused)
	require.True(t, eventlog.IsConflict(err))
	require.Empty(t, mustAppend(t, store, keyed(stream, "k3", "body", expires)).Replayed)

	now.move(time.Hour - time.Microsecond)
	require.NotEmpty(t, mustAppend(t, store, keyed(stream, "k", "body", expires)).Replayed)
	now.move(time.Microsecond)
	later := keyed(stream, "k", "other body", now.now().Add(time.Hour))
	require.Empty(t, mustAppend(t, store, later).Replayed, "a key that has expired is free")
	require.Equal(t, later.Idempotency.Subject, mustAppend(t, other, keyed(stream, "k", "other body", expires)).Replayed)
}

func testKeysInOneBatch(t *testing.T, b *databasetest.Backend) {
	_, appends, answers := inOneBatch(t, b, eventstore.Config{}, func(store *eventstore.Store) []eventlog.Append {
		stream := newStream()
		mustAppend(t, store, decide(stream, 0, event()))
		expires := time.Now().Add(time.Hour)
		return []eventlog.Append{
			keyed(stream, "same", "body", expires), keyed(stream, "same", "body", expires), keyed(stream, "same", "body", expires),
			keyed(stream, "differs", "body 1", expires), keyed(stream, "differs", "body 2", expires),
		}
	})
	winner := ""
	for i, a := range answers[:3] {
		require.NoError(t, a.err)
		if a.appended.Replayed == "" {
			require.Empty(t, winner)
			winner = appends[i].Events[0].ID
		}
	}
	for _, a := range answers[:3] {
		if a.appended.Replayed != "" {
			require.Equal(t, winner, a.appended.Replayed)
		}
	}
	require.NotEmpty(t, winner)
	if answers[3].err != nil {
		answers[3], answers[4] = answers[4], answers[3]
	}
	require.NoError(t, answers[3].err)
	require.ErrorIs(t, answers[4].err, eventlog.ErrIdempotencyMismatch)
}

func testKeysOnTwoStores(t *testing.T, b *databasetest.Backend) {
	stores := []*eventstore.Store{newStore(t, b, eventstore.Config{}), newStore(t, b, eventstore.Config{})}
	stream := newStream()
	mustAppend(t, stores[0], decide(stream, 0, event()))
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		const callers = 8
		var subjects [callers]string
		var recordedIDs [callers]string
		var calls sync.WaitGroup
		for i := range callers {
			calls.Go(func() {
				a := keyed(stream, key, "body", time.Now().Add(time.Hour))
				appended, err := stores[i%2].Append(t.Context(), a)
				if err != nil {
					t.Error(err)
					return
				}
				subjects[i] = appended.Replayed
				if appended.Replayed == "" {
					subjects[i], recordedIDs[i] = a.Events[0].ID, a.Events[0].ID
				}
			})
		}
		calls.Wait()
		winners := 0
		for i := range callers {
			require.Equal(t, subjects[0], subjects[i], "all are answered with the same subject")
			if recordedIDs[i] != "" {
				winners++
			}
		}
		require.Equal(t, 1, winners)
	}
	require.Len(t, whole(t, stores[0]), 1+5)
}

func testKeySweep(t *testing.T, b *databasetest.Backend) {
	now := newClock()
	store := newStore(t, b, eventstore.Config{Now: now.now})
	stream := newStream()
	mustAppend(t, store, decide(stream, 0, event()))
	kept := keyed(stream, "kept", "body", now.now().Add(2*time.Hour))
	mustAppend(t, store, kept)
	for _, key := range []string{"old 1", "old 2", "old 3"} {
		mustAppend(t, store, keyed(stream, key, "body", now.now().Add(time.Hour)))
	}
	now.move(time.Hour + time.Second)
	require.NoError(t, store.SweepKeys(t.Context()))
	var left []string
	require.NoError(t, b.Open(t).Select(t.Context(), &left, "SELECT key FROM idempotency_keys"))
	require.Equal(t, []string{"kept"}, left)
	require.Equal(t, kept.Idempotency.Subject, mustAppend(t, store, keyed(stream, "kept", "body", now.now())).Replayed)
}
