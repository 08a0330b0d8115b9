package eventstoretest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

// testLocked lets two stores count a stream up by reading and writing under the lock, while
// others append: no version may be read by two.
func testLocked(t *testing.T, b *databasetest.Backend) {
	stores := []*eventstore.Store{newStore(t, b, eventstore.Config{}), newStore(t, b, eventstore.Config{})}
	stream := newStream()
	step := func(ctx context.Context, tx *database.Tx) ([]eventlog.Append, error) {
		var version int64
		tx.Query(func(scan database.Scan) error { return scan(&version) },
			"SELECT coalesce(max(version), 0) FROM events WHERE stream = ? AND NOT fact", string(stream))
		if err := tx.Flush(ctx); err != nil {
			return nil, err
		}
		return []eventlog.Append{decide(stream, version, event(), factEvent()), fact(newStream(), 0)}, nil
	}
	var calls sync.WaitGroup
	for i := range 4 {
		calls.Go(func() {
			for range 10 {
				appended, err := stores[i%2].AppendLocked(t.Context(), step)
				if err != nil || len(appended) != 2 || len(appended[0].Events) != 2 {
					t.Errorf("%v %v", appended, err)
				}
				if _, err := stores[i%2].Append(t.Context(), fact(newStream(), 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
	log := whole(t, stores[0])
	require.Len(t, log, 40*3+40)
	version := int64(0)
	for _, e := range log {
		if e.Stream == stream && !e.Fact {
			version++
			require.Equal(t, version, e.Version)
		}
	}
	require.Equal(t, int64(40), version)

	refusal := errors.New("no")
	_, err := stores[0].AppendLocked(t.Context(), func(_ context.Context, tx *database.Tx) ([]eventlog.Append, error) {
		tx.Exec("DELETE FROM events")
		return nil, refusal
	})
	require.ErrorIs(t, err, refusal)
	require.Len(t, whole(t, stores[0]), 40*3+40, "nothing of a refused decision stays")
}
