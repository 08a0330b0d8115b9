package eventstoretest

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var ordering = map[string]func(*testing.T, *databasetest.Backend){
	"order under load": testOrderUnderLoad,
}

// follower reads the log onwards and fails at the first gap.
func follow(ctx context.Context, t *testing.T, store *eventstore.Store, limit int, until func(eventlog.Recorded) bool) []eventlog.Recorded {
	var seen []eventlog.Recorded
	for ctx.Err() == nil {
		events, err := store.After(ctx, eventlog.Position(len(seen)), limit)
		if err != nil {
			t.Error(err)
			return seen
		}
		for _, e := range events {
			if e.Position != eventlog.Position(len(seen)+1) {
				t.Errorf("position %d follows %d", e.Position, len(seen))
				return seen
			}
			seen = append(seen, e)
			if until(e) {
				return seen
			}
		}
	}
	return seen
}

// testOrderUnderLoad writes with four writers on two stores, refused and rolled back appends
// among them, while two readers follow.
func testOrderUnderLoad(t *testing.T, b *databasetest.Backend) {
	stores := []*eventstore.Store{newStore(t, b, eventstore.Config{}), newStore(t, b, eventstore.Config{})}
	const writers, each = 4, 60
	last := decide(newStream(), 0, event())
	isLast := func(e eventlog.Recorded) bool { return e.ID == last.Events[0].ID }
	var followed [2][]eventlog.Recorded
	var readers, writing sync.WaitGroup
	for i := range followed {
		readers.Go(func() { followed[i] = follow(t.Context(), t, stores[i], 7+100*i, isLast) })
	}
	answers := make([][]eventlog.Recorded, writers)
	for w := range writers {
		writing.Go(func() {
			store, stream := stores[w%2], newStream()
			version := int64(0)
			for i := range each {
				a := decide(stream, version, event(), factEvent())
				switch i % 6 {
				case 3:
					a.Expected += 5 // refused
				case 5:
					a.Events[0].Type = refusedType // rolled back
				}
				appended, err := store.Append(t.Context(), a)
				if (err != nil) != (i%6 == 3 || i%6 == 5) {
					t.Errorf("append %d of writer %d: %v", i, w, err)
					return
				}
				if err == nil {
					version++
					answers[w] = append(answers[w], appended.Events...)
				}
			}
		})
	}
	writing.Wait()
	mustAppend(t, stores[0], last)
	readers.Wait()
	log := whole(t, stores[0])
	require.Equal(t, log, followed[0])
	require.Equal(t, log, followed[1])
	total := 1
	for _, own := range answers {
		total += len(own)
		for i, e := range own {
			require.Equal(t, e, log[e.Position-1])
			if i > 0 {
				require.Greater(t, e.Position, own[i-1].Position, "a writer's events are in the order of its calls")
			}
		}
	}
	require.Len(t, log, total)
	for i := 1; i < len(log); i++ {
		require.False(t, log[i].At.Before(log[i-1].At))
	}
}
