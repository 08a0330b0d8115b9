// Package eventstoretest is the contract of the event store, as tests that every database
// has to pass.
package eventstoretest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

// Run tests the store on databases that open gives: an empty one at every call.
func Run(t *testing.T, open func(t *testing.T) *databasetest.Backend) {
	for _, part := range []map[string]func(*testing.T, *databasetest.Backend){
		appending, conflicts, keys, credentials, ordering, bounds, reading, outages, modelled,
	} {
		for name, test := range part {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, open(t))
			})
		}
	}
}

const workspace = "w1"

// newStore opens the database once more and makes a store on it.
func newStore(t *testing.T, b *databasetest.Backend, config eventstore.Config) *eventstore.Store {
	t.Helper()
	return storeWith(t, b, &gate{}, config)
}

func storeWith(t *testing.T, b *databasetest.Backend, projector eventstore.Projector, config eventstore.Config) *eventstore.Store {
	t.Helper()
	store := eventstore.New(b.Open(t), projector, config)
	t.Cleanup(store.Close)
	return store
}

// gate is a projector that can hold a transaction up before its commit, and refuse events.
type gate struct {
	mu      sync.Mutex
	entered chan struct{} // closed when a transaction has come to the gate
	shut    chan struct{} // nil: it is open
}

var errRefused = fmt.Errorf("the projector does not take this event")

const refusedType = "refused.by_projector"

func (g *gate) Apply(ctx context.Context, _ *database.Tx, events []eventlog.Recorded) error {
	for _, e := range events {
		if e.Type == refusedType {
			return errRefused
		}
	}
	g.mu.Lock()
	entered, shut := g.entered, g.shut
	g.entered, g.shut = nil, nil // one transaction is enough
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	close(entered)
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold makes the store busy with an append of its own until the returned function is called.
func (g *gate) hold(t *testing.T, store *eventstore.Store) (release func()) {
	t.Helper()
	entered, shut := make(chan struct{}), make(chan struct{})
	g.mu.Lock()
	g.entered, g.shut = entered, shut
	g.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := store.Append(context.WithoutCancel(t.Context()), decide(newStream(), 0, event()))
		done <- err
	}()
	<-entered
	var once sync.Once
	release = func() {
		once.Do(func() {
			close(shut)
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(release)
	return release
}

func newID() string { return ksuid.New().String() }

func newStream() eventlog.StreamID { return eventlog.Stream(eventlog.TriggerStream, newID()) }

func event() eventlog.Proposed {
	return eventlog.Proposed{ID: newID(), Type: "test.decided", Schema: 1, Data: []byte(`{"n":1}`)}
}

func factEvent() eventlog.Proposed {
	e := event()
	e.Type, e.Fact = "test.happened", true
	return e
}

func decide(stream eventlog.StreamID, expected int64, events ...eventlog.Proposed) eventlog.Append {
	return eventlog.Append{
		WorkspaceID: workspace, Stream: stream, Expected: expected, Events: events,
		Meta: eventlog.Metadata{Actor: eventlog.ActorOf("api_key", "k1"), RequestID: "r1", CorrelationID: "c1"},
	}
}

func fact(stream eventlog.StreamID, expected int64) eventlog.Append {
	return decide(stream, expected, factEvent())
}

func mustAppend(t *testing.T, store *eventstore.Store, a eventlog.Append) eventlog.Appended {
	t.Helper()
	appended, err := store.Append(t.Context(), a)
	require.NoError(t, err)
	return appended
}

// whole reads the log from its beginning.
func whole(t *testing.T, store *eventstore.Store) []eventlog.Recorded {
	t.Helper()
	events, err := store.After(t.Context(), 0, 1_000_000)
	require.NoError(t, err)
	for i, e := range events {
		require.Equal(t, eventlog.Position(i+1), e.Position, "positions have no gaps")
	}
	return events
}

// recorded tells how often an event is in the log.
func recorded(t *testing.T, store *eventstore.Store, id string) int {
	t.Helper()
	n := 0
	for _, e := range whole(t, store) {
		if e.ID == id {
			n++
		}
	}
	return n
}

type answer struct {
	appended eventlog.Appended
	err      error
}

// inOneBatch appends all at once, so that one transaction takes them, and gives the answers in
// the same order. make gives the appends; it is called again when they did not come together.
func inOneBatch(t *testing.T, b *databasetest.Backend, config eventstore.Config, makeAppends func(store *eventstore.Store) []eventlog.Append) (*eventstore.Store, []eventlog.Append, []answer) {
	t.Helper()
	var mu sync.Mutex
	largest := 0
	config.Observe = func(batch eventstore.Batch) {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, batch.Appends)
	}
	door := &gate{}
	store := storeWith(t, b, door, config)
	for range 200 {
		appends := makeAppends(store)
		release := door.hold(t, store)
		answers := make([]answer, len(appends))
		var calls, started sync.WaitGroup
		for i, a := range appends {
			started.Add(1)
			calls.Go(func() {
				started.Done()
				answers[i].appended, answers[i].err = store.Append(t.Context(), a)
			})
		}
		started.Wait()
		release()
		calls.Wait()
		mu.Lock()
		together := largest == len(appends)
		mu.Unlock()
		if together {
			return store, appends, answers
		}
	}
	t.Fatal("the appends never came into one transaction")
	return nil, nil, nil
}

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(by time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
	return c.at
}
