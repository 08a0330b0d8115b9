package readmodel_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/readmodel"
	"hooktrail/ports/messages"
)

// followStatistics counts as the service does, until stop is called.
func (w *world) followStatistics() (stop func()) {
	w.Helper()
	db := w.backend.Open(w)
	statistics := readmodel.NewStatistics(db)
	subscriber, err := eventstore.Subscribe(db, eventstore.Subscription{
		Group: readmodel.StatisticsGroup, Where: readmodel.StatisticsEvents, Batch: 50, CountByStream: true,
		Lease: 300 * time.Millisecond, Poll: 5 * time.Millisecond, Wake: w.appended.Next, Begin: statistics.Begin, Flush: statistics.Flush,
	}, watermill.NopLogger{})
	require.NoError(w, err)
	ctx, cancel := context.WithCancel(w.Context())
	var running sync.WaitGroup
	running.Go(func() {
		err := messages.Run(ctx, slog.New(slog.DiscardHandler), eventstore.NewDeadLetters(db, time.Now), messages.Handler{
			Group: readmodel.StatisticsGroup, Subscriber: subscriber, Handle: messages.Count(statistics),
		})
		if err != nil && ctx.Err() == nil {
			w.Error(err)
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); running.Wait() }) }
	w.Cleanup(stop)
	return stop
}

const (
	counted = "SELECT 'trigger-' || trigger_id AS stream, invocations AS n, last_used_at AS at FROM trigger_statistics ORDER BY 1"
	inLog   = "SELECT stream, count(*) AS n, max(recorded_at) AS at FROM events WHERE type = 'trigger.invoked' GROUP BY stream ORDER BY 1"
)

// counts reads how often each stream was invoked, by one of the queries.
func (w *world) counts(query string) map[string]string {
	w.Helper()
	var list []struct {
		Stream string `db:"stream"`
		N      int    `db:"n"`
		At     int64  `db:"at"`
	}
	require.NoError(w, w.db.Select(w.Context(), &list, query))
	all := map[string]string{}
	for _, row := range list {
		all[row.Stream] = strconv.Itoa(row.N) + " last at " + strconv.FormatInt(row.At, 10)
	}
	return all
}

// awaitStatistics waits until the consumer is at the log's end, and checks its counts.
func (w *world) awaitStatistics() {
	w.Helper()
	require.Eventually(w, func() bool {
		var behind bool
		err := w.db.Get(w.Context(), &behind, "SELECT EXISTS (SELECT 1 FROM events WHERE fact AND position > coalesce((SELECT position FROM consumer_offsets WHERE consumer_group = ?), 0))", readmodel.StatisticsGroup)
		return err == nil && !behind
	}, 30*time.Second, 2*time.Millisecond)
	require.Equal(w, w.counts(inLog), w.counts(counted))
}

// TestStatisticsCountOnce stops and starts the consumer again and again, on two replicas, has
// its lease taken away and its writes refused: each invocation counts once.
func TestStatisticsCountOnce(t *testing.T) {
	onWorld(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		var writing sync.WaitGroup
		for i := range 2 {
			writing.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					w.invoke("t"+strconv.Itoa(n%5), 0, 1+(n+i)%4)
				}
			})
		}
		awaitProgress := func() {
			w.Helper()
			from := -1
			require.Eventually(w, func() bool {
				var at int
				err := w.db.Get(w.Context(), &at, "SELECT coalesce(max(position), 0) FROM consumer_offsets WHERE consumer_group = ?", readmodel.StatisticsGroup)
				if err == nil && from < 0 {
					from = at
				}
				return err == nil && at > from
			}, 30*time.Second, time.Millisecond)
		}
		for range 4 {
			first, second := w.followStatistics(), w.followStatistics()
			awaitProgress()
			first()
			awaitProgress()
			// Somebody else takes the lease, and gives it back.
			require.NoError(w, w.db.Write(w.Context(), func(tx *database.Tx) error {
				tx.Exec("UPDATE consumer_offsets SET owner = 'another', lease_until = 0 WHERE consumer_group = ?", readmodel.StatisticsGroup)
				return nil
			}))
			awaitProgress()
			second()
		}
		if w.backend.Dialect == database.Postgres {
			stop := w.followStatistics()
			admin := w.backend.Admin(w)
			awaitProgress()
			databasetest.Terminate(w, admin, "query LIKE '%consumer_offsets%'")
			awaitProgress()
			stop()
		}
		cancel()
		writing.Wait()
		stop := w.followStatistics()
		w.awaitStatistics()
		stop()

		at, err := w.models.LastUsed(w.Context(), "t1")
		require.NoError(w, err)
		require.NotNil(w, at)
		never, err := w.models.LastUsed(w.Context(), "never")
		require.NoError(w, err)
		require.Nil(w, never)
	})
}

// TestABrokenOffBatchCountsOnce takes the lease away when a batch is half counted.
func TestABrokenOffBatchCountsOnce(t *testing.T) {
	onWorld(t, func(w *world) {
		w.invoke("t1", 0, 3)
		w.invoke("t2", 0, 4)
		const lease = 90 * time.Millisecond
		statistics := readmodel.NewStatistics(w.db)
		subscriber, err := eventstore.Subscribe(w.db, eventstore.Subscription{
			Group: readmodel.StatisticsGroup, Where: readmodel.StatisticsEvents, CountByStream: true, Lease: lease, Poll: time.Millisecond,
			Begin: statistics.Begin, Flush: statistics.Flush,
		}, watermill.NopLogger{})
		require.NoError(w, err)
		received, err := subscriber.Subscribe(w.Context(), eventstore.Topic)
		require.NoError(w, err)
		count := messages.Count(statistics)
		first := <-received
		require.NoError(w, count(first))
		require.NoError(w, w.db.Write(w.Context(), func(tx *database.Tx) error {
			tx.Exec("UPDATE consumer_offsets SET owner = 'another', lease_until = 0 WHERE consumer_group = ?", readmodel.StatisticsGroup)
			return nil
		}))
		<-time.After(lease / 3) // from then on it reports before it goes on
		first.Ack()
		var counting sync.WaitGroup
		counting.Go(func() {
			for m := range received {
				if err := count(m); err != nil {
					w.Error(err)
				}
				m.Ack()
			}
		})
		w.awaitStatistics()
		require.NoError(w, subscriber.Close())
		counting.Wait()
	})
}
