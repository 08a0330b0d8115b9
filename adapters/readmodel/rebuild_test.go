package readmodel_test

import (
	"context"
	"sync"
	"testing"

	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/readmodel"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trigger"
	"hooktrail/internal/pgtest"
)

// world is a store with its read models.
type world struct {
	*testing.T

	backend  *databasetest.Backend
	db       *database.DB
	store    *eventstore.Store
	models   *readmodel.Models
	appended *application.Broadcast
}

func onWorld(t *testing.T, test func(w *world)) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		w := &world{T: t, backend: b, db: b.Open(t), appended: application.NewBroadcast()}
		w.models = readmodel.New(w.db, publicURL)
		w.store = eventstore.New(w.db, w.models, eventstore.Config{Appended: func(bool) { w.appended.Send() }})
		t.Cleanup(w.store.Close)
		test(w)
	})
}

func (w *world) rebuild() {
	w.Helper()
	var last, total eventlog.Position
	err := readmodel.Rebuild(w.Context(), w.db, publicURL, false, func(done, of eventlog.Position) {
		if done < last || done > of {
			w.Errorf("progress goes from %d to %d of %d", last, done, of)
		}
		last, total = done, of
	})
	require.NoError(w, err)
	require.Equal(w, total, last)
	head, err := w.store.Head(w.Context())
	require.NoError(w, err)
	require.LessOrEqual(w, last, head)
}

// invoke records n calls of a trigger in one append.
func (w *world) invoke(triggerID string, version int64, n int) {
	events := make([]eventlog.Proposed, n)
	for i := range events {
		id := ksuid.New().String()
		proposed, err := trigger.Codec.Encode(trigger.Invoked{ExecutionID: id, AgentID: "a1", Runs: true, TokenID: "t"})
		if err != nil {
			w.Error(err)
		}
		events[i], events[i].ID = proposed, id
	}
	_, err := w.store.Append(w.Context(), eventlog.Append{
		WorkspaceID: "w1", Stream: eventlog.Stream(eventlog.TriggerStream, triggerID), Expected: version, Events: events, Meta: eventlog.Metadata{Actor: eventlog.System},
	})
	if err != nil {
		w.Error(err)
	}
}

// TestRebuild makes the tables anew, again and again, from a log that is long enough to be
// read in parts, while the service goes on.
func TestRebuild(t *testing.T) {
	onWorld(t, func(w *world) {
		for seed := range 5 {
			example(seed).play(w.T, w.store)
		}
		w.invoke("many", 0, 2000)
		stop := w.followStatistics()
		w.awaitStatistics()
		stop()
		want := rows(w, w.db, allTables...)
		columns, indexes := databasetest.Columns(w, w.db), w.indexes()
		require.NotEmpty(w, want["executions"])
		for range 3 { // on SQLite the names of indexes change every time
			w.rebuild()
			require.Equal(w, want, rows(w, w.db, allTables...))
			require.Equal(w, columns, databasetest.Columns(w, w.db), "and no table more")
			require.Equal(w, indexes, w.indexes())
		}
		// The tables are as good as those that were there.
		example(99).play(w.T, w.store)
		stop = w.followStatistics()
		w.awaitStatistics()
		stop()
		live := rows(w, w.db, allTables...)
		require.NotEqual(w, want, live)
		w.rebuild()
		require.Equal(w, live, rows(w, w.db, allTables...))
	})
}

func example(seed int) *history {
	prefix := ksuid.New().String()
	return rapid.Custom(func(rt *rapid.T) *history { return drawHistory(rt, prefix, 60) }).Example(seed)
}

// indexes counts the indexes of every table, and names them where their names stay.
func (w *world) indexes() (list []string) {
	query := "SELECT tablename || ' ' || indexname || ' ' || indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1"
	if w.backend.Dialect == database.SQLite {
		query = "SELECT tbl_name || ' ' || count(*) || ' ' || sum(\"unique\") || ' ' || sum(partial) FROM sqlite_schema s JOIN pragma_index_list(s.tbl_name) i ON i.name = s.name WHERE type = 'index' GROUP BY tbl_name ORDER BY 1"
	}
	require.NoError(w, w.db.Select(w.Context(), &list, query))
	return list
}

// TestRebuildWhileInUse rebuilds while others append, read and count.
func TestRebuildWhileInUse(t *testing.T) {
	onWorld(t, func(w *world) {
		example(1).play(w.T, w.store)
		w.invoke("many", 0, 2000)
		stopCounting := w.followStatistics()
		ctx, cancel := context.WithCancel(w.Context())
		var busy sync.WaitGroup
		busy.Go(func() {
			for ctx.Err() == nil {
				w.invoke("many", 0, 3)
			}
		})
		busy.Go(func() {
			for seed := 100; ctx.Err() == nil; seed++ {
				example(seed).play(w.T, w.store)
			}
		})
		for range 2 {
			busy.Go(func() {
				for ctx.Err() == nil {
					_, err := w.models.Triggers(w.Context(), "w1", application.TriggerFilter{}, application.Paging{Limit: 10})
					if err == nil {
						_, err = w.models.Executions(w.Context(), "w1", application.ExecutionFilter{}, application.Paging{Limit: 10})
					}
					if err == nil {
						_, err = w.models.Agents(w.Context(), "w1", application.AgentFilter{}, application.Paging{Limit: 10})
					}
					if err != nil {
						w.Errorf("a reader was disturbed: %v", err)
						return
					}
				}
			})
		}
		for range 2 {
			w.rebuild()
		}
		cancel()
		busy.Wait()
		w.awaitStatistics()
		stopCounting()
		live := rows(w, w.db, allTables...)
		w.rebuild()
		require.Equal(w, live, rows(w, w.db, allTables...))
	})
}

// TestRebuildBrokenOff leaves the live tables alone, and can be repeated.
func TestRebuildBrokenOff(t *testing.T) {
	onWorld(t, func(w *world) {
		example(1).play(w.T, w.store)
		w.invoke("many", 0, 2500)
		want := rows(w, w.db, readmodel.Tables...)
		for _, breakAt := range []int{1, 2, 3} {
			ctx, cancel := context.WithCancel(w.Context())
			calls := 0
			err := readmodel.Rebuild(ctx, w.db, publicURL, false, func(eventlog.Position, eventlog.Position) {
				if calls++; calls == breakAt {
					cancel()
				}
			})
			cancel()
			require.Error(w, err)
			require.Equal(w, want, rows(w, w.db, readmodel.Tables...))
		}
		w.rebuild()
		require.Equal(w, want, rows(w, w.db, readmodel.Tables...))
	})
}

// TestRebuildResumed goes on where it was broken off, with what was appended meanwhile.
func TestRebuildResumed(t *testing.T) {
	onWorld(t, func(w *world) {
		example(1).play(w.T, w.store)
		for range 6 {
			w.invoke("many", 0, 2500) // two parts, and more than what is left to the end
		}
		resume := func(breakAt int) (from eventlog.Position, err error) {
			ctx, cancel := context.WithCancel(w.Context())
			defer cancel()
			calls := 0
			err = readmodel.Rebuild(ctx, w.db, publicURL, true, func(done, _ eventlog.Position) {
				if calls++; calls == 1 {
					from = done
				}
				if calls == breakAt {
					cancel()
				}
			})
			return from, err
		}
		from, err := resume(2)
		require.Error(w, err)
		require.Zero(w, from, "there was nothing to go on with")
		example(2).play(w.T, w.store)
		stop := w.followStatistics()
		w.awaitStatistics()
		stop()
		want := rows(w, w.db, allTables...)
		from, err = resume(-1)
		require.NoError(w, err)
		require.Positive(w, from)
		require.Equal(w, want, rows(w, w.db, allTables...))
		from, err = resume(-1)
		require.NoError(w, err)
		require.Zero(w, from, "the last one was not broken off")
		require.Equal(w, want, rows(w, w.db, allTables...))
	})
}

// TestRebuildBeforeAnybodyCounts must not make the first consumer count again.
func TestRebuildBeforeAnybodyCounts(t *testing.T) {
	onWorld(t, func(w *world) {
		w.invoke("one", 0, 5)
		w.rebuild()
		w.invoke("one", 0, 2)
		stop := w.followStatistics()
		w.awaitStatistics()
		stop()
	})
}
