package eventstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/pgtest"
)

// TestUnknownOutcome breaks the connection when the commit is on disk and the answer is not
// sent: the server waits for a standby that does not exist, and its session is ended there.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server, err := pgtest.Start(t.Context(), pgtest.Options{Durable: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Stop()) })
		b := databasetest.Postgres(server.DSN("postgres"))
		store := eventstore.New(b.Open(t), noProjection{}, eventstore.Config{})
		t.Cleanup(store.Close)
		admin := b.Admin(t)

		t.Run("append", func(t *testing.T) {
			appends := make([]eventlog.Append, 3)
			results := make([]eventlog.Appended, len(appends))
			for i := range appends {
				appends[i] = requested(eventlog.Stream(eventlog.ExecutionStream, ksuid.New().String()))
			}
			var calls sync.WaitGroup
			breakOff(t, admin, func() {
				for i, a := range appends {
					calls.Go(func() {
						var err error
						if results[i], err = store.Append(context.WithoutCancel(t.Context()), a); err != nil {
							t.Error(err)
						}
					})
				}
			})
			calls.Wait()
			for i, a := range appends {
				decisions, err := store.Decisions(t.Context(), a.Stream, 0)
				require.NoError(t, err)
				require.Len(t, decisions, 1, "recorded once")
				require.Equal(t, decisions, results[i].Events, "and answered as it was recorded")
			}
		})
		t.Run("locked append", func(t *testing.T) {
			a := requested(eventlog.Stream(eventlog.ExecutionStream, ksuid.New().String()))
			decided := 0
			var results []eventlog.Appended
			var calls sync.WaitGroup
			breakOff(t, admin, func() {
				calls.Go(func() {
					var err error
					results, err = store.AppendLocked(context.WithoutCancel(t.Context()), func(context.Context, *database.Tx) ([]eventlog.Append, error) {
						decided++
						return []eventlog.Append{a}, nil
					})
					if err != nil {
						t.Error(err)
					}
				})
			})
			calls.Wait()
			require.Equal(t, 1, decided)
			require.Len(t, results, 1)
			decisions, err := store.Decisions(t.Context(), a.Stream, 0)
			require.NoError(t, err)
			require.Len(t, decisions, 1)
			require.Equal(t, decisions[0].ID, results[0].Events[0].ID)
			require.Equal(t, decisions[0].Position, results[0].Events[0].Position)
		})
		t.Run("appends do not wait for that of a locked one", func(t *testing.T) {
			claim := requested(eventlog.Stream(eventlog.ExecutionStream, ksuid.New().String()))
			var results []eventlog.Appended
			var calls sync.WaitGroup
			holdCommits(t, admin)
			calls.Go(func() {
				var err error
				results, err = store.AppendLocked(context.WithoutCancel(t.Context()), func(context.Context, *database.Tx) ([]eventlog.Append, error) {
					return []eventlog.Append{claim}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			require.Eventually(t, func() bool {
				var held bool
				require.NoError(t, admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep')").Scan(&held))
				return held
			}, 20*time.Second, time.Millisecond)
			server.Kill9()
			_, err := store.Append(t.Context(), requested(eventlog.Stream(eventlog.ExecutionStream, ksuid.New().String())))
			require.ErrorIs(t, err, eventlog.ErrUnavailable)
			require.NoError(t, server.Restart(t.Context()))
			admin = b.Admin(t)
			require.NoError(t, setStandby(t.Context(), admin, ""))
			calls.Wait()
			require.Len(t, results, 1)
			require.Eventually(t, func() bool { // connections for reading are found broken first
				decisions, err := store.Decisions(t.Context(), claim.Stream, 0)
				return err == nil && len(decisions) == 1 && decisions[0].ID == results[0].Events[0].ID
			}, 20*time.Second, time.Millisecond)
		})
	})
}

func requested(stream eventlog.StreamID) eventlog.Append {
	return eventlog.Append{WorkspaceID: "w", Stream: stream, Meta: eventlog.Metadata{Actor: eventlog.System}, Events: []eventlog.Proposed{
		{ID: ksuid.New().String(), Type: "test.requested", Schema: 1, Data: []byte(`{}`)},
	}}
}

// breakOff ends the session that waits, with its commit on disk, to answer what begin began.
func breakOff(t *testing.T, admin *pgx.Conn, begin func()) {
	t.Helper()
	holdCommits(t, admin)
	begin()
	require.Eventually(t, func() bool { return endHeld(t, admin) }, time.Minute, time.Millisecond)
	require.NoError(t, setStandby(t.Context(), admin, ""))
}

// endHeld ends the sessions whose commits are on disk and not answered.
func endHeld(t *testing.T, admin *pgx.Conn) bool {
	t.Helper()
	return databasetest.Terminate(t, admin, "wait_event = 'SyncRep'") > 0
}

func setStandby(ctx context.Context, admin *pgx.Conn, name string) error {
	if _, err := admin.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'"); err != nil {
		return err
	}
	_, err := admin.Exec(ctx, "SELECT pg_reload_conf()")
	return err
}

// holdCommits lets all commits wait for a standby that is not there. The setting takes effect
// for all of them at once, but not before the checkpointer has read it: that is so when a
// commit made for the purpose waits.
func holdCommits(t *testing.T, admin *pgx.Conn) {
	t.Helper()
	require.NoError(t, setStandby(t.Context(), admin, "nobody"))
	for waiting := false; !waiting; {
		probe, err := pgx.Connect(t.Context(), admin.Config().ConnString())
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			_, _ = probe.Exec(t.Context(), "COMMENT ON DATABASE postgres IS 'probe'") // fails when it is ended
			close(done)
		}()
		for answered := false; !answered && !waiting; {
			select {
			case <-done:
				answered = true
			default:
				waiting = endHeld(t, admin)
			}
		}
		<-done
		require.NoError(t, probe.Close(t.Context()))
	}
}
