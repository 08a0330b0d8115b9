package eventstoretest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var outages = map[string]func(*testing.T, *databasetest.Backend){
	"outage":     testOutage,
	"no answer":  testNoAnswer,
	"db is shut": testShutDatabase,
}

func isUnavailable(err error) bool { return errors.Is(err, eventlog.ErrUnavailable) }

// testOutage writes from two stores while the database's sessions are ended again and again,
// wherever they are; on SQLite, which has none, while calls give up at any moment. What was
// answered is in the log exactly once, what was refused is not there, and what is unknown is
// there at most once.
func testOutage(t *testing.T, b *databasetest.Backend) {
	stores := []*eventstore.Store{newStore(t, b, eventstore.Config{}), newStore(t, b, eventstore.Config{})}
	const writers = 6
	stop := make(chan struct{})
	var writing sync.WaitGroup
	var answered, broken atomic.Int64
	outcomes := make([]map[string]error, writers)
	for w := range writers {
		outcomes[w] = map[string]error{}
		writing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a := decide(newStream(), 0, event(), factEvent())
				if i%5 == 4 {
					a.Expected = 1 // refused
				}
				ctx, cancel := context.WithCancel(t.Context())
				if b.Dialect == database.SQLite && i%7 == 6 {
					go cancel()
				}
				_, err := stores[w%2].Append(ctx, a)
				cancel()
				outcomes[w][a.Events[0].ID] = err
				switch {
				case err == nil:
					answered.Add(1)
				case isUnavailable(err):
					broken.Add(1)
				case !eventlog.IsConflict(err):
					t.Errorf("neither answered, refused nor unavailable: %v", err)
					return
				}
			}
		})
	}
	if b.Dialect == database.Postgres {
		admin := b.Admin(t)
		for ended := 0; ended < 40 && !t.Failed(); {
			before := answered.Load()
			ended += databasetest.Terminate(t, admin, "state <> 'idle'")
			for answered.Load() == before && !t.Failed() { // it recovers each time
				_, err := stores[0].Append(t.Context(), fact(newStream(), 0))
				require.True(t, err == nil || isUnavailable(err), "%v", err)
			}
		}
	} else {
		for broken.Load() < 40 && !t.Failed() {
			mustAppend(t, stores[0], fact(newStream(), 0))
		}
	}
	close(stop)
	writing.Wait()
	require.Positive(t, answered.Load())

	times := map[string]int{}
	log := whole(t, stores[0])
	for i, e := range log {
		times[e.ID]++
		require.Equal(t, 1, times[e.ID], "recorded twice")
		if !e.Fact {
			require.Equal(t, e.Stream, log[i+1].Stream, "an append is recorded whole")
		}
	}
	for _, own := range outcomes {
		for id, err := range own {
			switch {
			case err == nil:
				require.Equal(t, 1, times[id], "answered, but not in the log")
			case eventlog.IsConflict(err):
				require.Zero(t, times[id], "refused, but in the log")
			}
		}
	}
}

// testNoAnswer takes the append lock away for longer than callers wait.
func testNoAnswer(t *testing.T, b *databasetest.Backend) {
	door := &gate{}
	holder := storeWith(t, b, door, eventstore.Config{})
	store := newStore(t, b, eventstore.Config{})
	release := door.hold(t, holder)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	a := fact(newStream(), 0)
	_, err := store.Append(ctx, a)
	require.ErrorIs(t, err, eventlog.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	release()
	mustAppend(t, store, a)
	require.Equal(t, 1, recorded(t, store, a.Events[0].ID))
}

func testShutDatabase(t *testing.T, b *databasetest.Backend) {
	store := eventstore.New(b.Open(t), &gate{}, eventstore.Config{Patience: time.Millisecond})
	defer store.Close()
	mustAppend(t, store, fact(newStream(), 0))
	b.Shutdown(t)
	_, err := store.Append(t.Context(), fact(newStream(), 0))
	require.ErrorIs(t, err, eventlog.ErrUnavailable)
	_, err = store.After(t.Context(), 0, 1)
	require.ErrorIs(t, err, eventlog.ErrUnavailable)
	_, _, err = store.CredentialByHash(t.Context(), []byte("x"))
	require.ErrorIs(t, err, eventlog.ErrUnavailable)
}
