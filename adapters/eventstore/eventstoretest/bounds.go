package eventstoretest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var bounds = map[string]func(*testing.T, *databasetest.Backend){
	"queue is bounded by number":        func(t *testing.T, b *databasetest.Backend) { testQueue(t, b, 3, 1<<20, 0) },
	"queue is bounded by bytes":         func(t *testing.T, b *databasetest.Backend) { testQueue(t, b, 100, 100, 30) },
	"a payload larger than the queue":   testLargePayload,
	"a caller that does not wait":       testImpatient,
	"close":                             testClose,
	"append after close":                testAfterClose,
	"a batch that fails is observed":    testObserved,
	"the queue after all kinds of ends": testAccounting,
}

func withPayload(a eventlog.Append, size int) eventlog.Append {
	a.Events[0].Payload = make([]byte, size)
	return a
}

// fill appends more than the queue of a held store takes, and returns when the rest was
// refused, so that exactly the room is full. The waiting ones answer on the channel.
func fill(t *testing.T, store *eventstore.Store, room, more int, makeAppend func() eventlog.Append) <-chan answer {
	t.Helper()
	answers := make(chan answer, room+more)
	for range room + more {
		go func() {
			appended, err := store.Append(context.WithoutCancel(t.Context()), makeAppend())
			answers <- answer{appended, err}
		}()
	}
	for range more {
		a := <-answers
		require.ErrorIs(t, a.err, eventlog.ErrQueueFull)
		require.Empty(t, a.appended)
	}
	return answers
}

// testQueue holds the store up and finds room for three appends, again and again.
func testQueue(t *testing.T, b *databasetest.Backend, queue int, queueBytes int64, size int) {
	door := &gate{}
	store := storeWith(t, b, door, eventstore.Config{Queue: queue, QueueBytes: queueBytes})
	for range 3 {
		release := door.hold(t, store)
		answers := fill(t, store, 3, 7, func() eventlog.Append { return withPayload(fact(newStream(), 0), size) })
		release()
		for range 3 {
			a := <-answers
			require.NoError(t, a.err)
			require.Len(t, a.appended.Events, 1)
		}
	}
	require.Len(t, whole(t, store), 3*(1+3))
}

func testLargePayload(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{QueueBytes: 10, BatchBytes: 10})
	for range 2 {
		mustAppend(t, store, withPayload(fact(newStream(), 0), 1000)) // alone it must get through
	}
}

// testAccounting ends appends in every way there is; afterwards all of the queue is free.
func testAccounting(t *testing.T, b *databasetest.Backend) {
	door := &gate{}
	store := storeWith(t, b, door, eventstore.Config{Queue: 100, QueueBytes: 100})
	for range 5 {
		stream := newStream()
		ok := withPayload(decide(stream, 0, event()), 60)
		mustAppend(t, store, ok)
		mustAppend(t, store, ok) // recorded already
		_, err := store.Append(t.Context(), withPayload(decide(stream, 7, event()), 60))
		require.True(t, eventlog.IsConflict(err))
		refused := withPayload(fact(stream, 1), 60)
		refused.Events[0].Type = refusedType
		_, err = store.Append(t.Context(), refused)
		require.ErrorIs(t, err, errRefused)
		for range 2 {
			mustAppend(t, store, withPayload(keyed(stream, "k", "d", time.Now().Add(time.Hour)), 60))
		}
	}
	release := door.hold(t, store)
	answers := fill(t, store, 3, 4, func() eventlog.Append { return withPayload(fact(newStream(), 0), 30) })
	release()
	for range 3 {
		require.NoError(t, (<-answers).err)
	}
}

// testImpatient gives up waiting: the caller learns that it may have happened, and it has.
func testImpatient(t *testing.T, b *databasetest.Backend) {
	door := &gate{}
	store := storeWith(t, b, door, eventstore.Config{Queue: 1})
	release := door.hold(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	type outcome struct {
		sent eventlog.Append
		err  error
	}
	outcomes := make(chan outcome)
	for range 2 { // the queue has room for one: when the other is refused, it waits
		go func() {
			a := fact(newStream(), 0)
			_, err := store.Append(ctx, a)
			outcomes <- outcome{a, err}
		}()
	}
	require.ErrorIs(t, (<-outcomes).err, eventlog.ErrQueueFull)
	cancel()
	gone := <-outcomes
	require.ErrorIs(t, gone.err, eventlog.ErrUnavailable)
	require.ErrorIs(t, gone.err, context.Canceled)
	release()
	require.Eventually(t, func() bool { // its place in the queue becomes free when it is committed
		_, err := store.Append(t.Context(), gone.sent)
		return err == nil
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, 1, recorded(t, store, gone.sent.Events[0].ID))
}

func testClose(t *testing.T, b *databasetest.Backend) {
	door := &gate{}
	store := storeWith(t, b, door, eventstore.Config{Queue: 5})
	release := door.hold(t, store)
	answers := fill(t, store, 5, 5, func() eventlog.Append { return fact(newStream(), 0) })
	var closing sync.WaitGroup
	closing.Go(store.Close)
	closing.Go(store.Close)
	release()
	closing.Wait()
	for range 5 {
		a := <-answers
		require.NoError(t, a.err, "what waits is answered")
	}
	require.Len(t, whole(t, store), 1+5)
}

func testAfterClose(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	mustAppend(t, store, fact(newStream(), 0))
	var late sync.WaitGroup
	for range 8 {
		late.Go(func() {
			for {
				_, err := store.Append(context.WithoutCancel(t.Context()), fact(newStream(), 0))
				if err != nil {
					if !isUnavailable(err) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	store.Close()
	late.Wait() // none hangs
	for range 3 {
		_, err := store.Append(t.Context(), fact(newStream(), 0))
		require.ErrorIs(t, err, eventlog.ErrUnavailable)
	}
	log := whole(t, store) // reading goes on
	require.NotEmpty(t, log)
}

func testObserved(t *testing.T, b *databasetest.Backend) {
	observed := make(chan eventstore.Batch, 10)
	store := newStore(t, b, eventstore.Config{Observe: func(batch eventstore.Batch) { observed <- batch }})
	mustAppend(t, store, decide(newStream(), 0, event(), event()))
	batch := <-observed
	require.NoError(t, batch.Err)
	require.Equal(t, []int{1, 2, 0}, []int{batch.Appends, batch.Events, batch.Waiting})
	refused := decide(newStream(), 0, event())
	refused.Events[0].Type = refusedType
	_, err := store.Append(t.Context(), refused)
	require.ErrorIs(t, err, errRefused)
	batch = <-observed
	require.Equal(t, []int{1, 0}, []int{batch.Appends, batch.Events})
	require.ErrorIs(t, batch.Err, errRefused)
}
