package workqueue_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/internal/pgtest"
)

var lost = execution.WorkerLost.Error

// TestLostWorker takes over from a worker that stopped reporting; what it says late does not count.
func TestLostWorker(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 2)
		made := s.invoke("a", 1)
		require.NoError(s, s.queues[0].KeepAlive(s.Context(), "short", time.Hour))
		held := s.claim(0, "short", 1)[0]
		require.Empty(s, s.claim(1, "k2", 1), "while it reports nobody takes over")
		require.NoError(s, s.queues[0].KeepAlive(s.Context(), "short", time.Millisecond))

		var taken []application.Claimed
		require.Eventually(s, func() bool {
			taken = s.claim(1, "k2", 1)
			return len(taken) > 0
		}, 20*time.Second, time.Millisecond)
		require.Equal(s, made, ids(taken))
		require.Equal(s, []any{execution.Running, 2, "k2", int64(3)}, []any{taken[0].Execution.Status, taken[0].Execution.Attempt, taken[0].Execution.Worker, taken[0].Execution.Version})
		require.Equal(s, `{"of":"`+made[0]+`"}`, string(taken[0].Input))
		require.Equal(s, []eventlog.Event{
			execution.Started{Attempt: 1, Worker: "short"}, execution.AttemptFailed{Attempt: 1, Error: lost, RetryAt: s.now()}, execution.Started{Attempt: 2, Worker: "k2"},
		}, s.story(made[0]))

		late := s.succeed(held)
		require.Equal(s, &eventlog.ConflictError{Stream: eventlog.Stream(eventlog.ExecutionStream, made[0]), Expected: 1, Actual: 3}, late)
		require.NoError(s, s.succeed(taken[0]))
		require.True(s, eventlog.IsConflict(s.succeed(held)))
	})
}

func TestLostTooOften(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 1, 2)
		made := s.invoke("a", 2)
		require.Len(s, s.claim(0, "k1", 2), 1)
		require.NoError(s, s.queues[0].Retire(s.Context(), "k1"))
		require.Equal(s, made[:1], ids(s.claim(1, "k2", 2)), "a worker that retired is taken over from at once")
		require.NoError(s, s.queues[0].Retire(s.Context(), "k2"))
		require.NoError(s, s.queues[0].KeepAlive(s.Context(), "k3", time.Hour))
		s.claim(0, "k3", 2)
		require.Equal(s, execution.GaveUp{Attempt: 2, Error: lost}, s.story(made[0])[3])
		view := s.view(made[0])
		require.Equal(s, []any{execution.Failed, "worker_lost"}, []any{view.Status, view.ErrorCode})
		// The place of the one that was given up is free.
		s.claim(0, "k3", 2)
		require.Equal(s, execution.Running, s.view(made[1]).Status)
	})
}

func (s *shop) view(id string) (view struct {
	Status    execution.Status `db:"status"`
	ErrorCode string           `db:"error_code"`
},
) {
	s.Helper()
	require.NoError(s, s.db.Get(s.Context(), &view, "SELECT status, coalesce(error_code, '') AS error_code FROM executions WHERE id = ?", id))
	return view
}

func TestRetireAll(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 3)
		made := s.invoke("a", 2)
		s.claim(0, "k1", 1)
		s.claim(1, "k2", 1)
		require.NoError(s, s.queues[0].RetireAll(s.Context()))
		require.NoError(s, s.queues[0].KeepAlive(s.Context(), "new", time.Hour))
		require.ElementsMatch(s, made, ids(s.claim(0, "new", 5)))
		require.Empty(s, s.claim(0, "new", 5))
	})
}

func TestEnded(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 3)
		made := s.invoke("a", 4)
		claimed := s.claim(0, "k1", 3)
		ended := func(ids ...string) []string {
			list, err := s.queues[1].Ended(s.Context(), ids)
			require.NoError(s, err)
			return list
		}
		require.Empty(s, ended(made[:3]...))
		require.NoError(s, s.succeed(claimed[0]))
		cancelled, err := claimed[1].Execution.Cancel("")
		require.NoError(s, err)
		require.NoError(s, s.append(execution.Codec, eventlog.Stream(eventlog.ExecutionStream, made[1]), 1, nil, cancelled[0]))
		require.ElementsMatch(s, made[:2], ended(made[:3]...))
		require.Empty(s, ended())
		require.Empty(s, ended("none"))
	})
}

// TestNoClaimIsLost ends the database's sessions while executions are claimed: whatever is on
// record as started was handed to its worker.
func TestNoClaimIsLost(t *testing.T) {
	onShop(t, func(s *shop) {
		s.agent("a", 0, 3)
		made := s.invoke("a", 150)
		var handed sync.Map
		var count atomic.Int64
		var workers sync.WaitGroup
		for i, worker := range []string{"k1", "k2"} {
			workers.Go(func() {
				for int(count.Load()) < len(made) && !s.Failed() {
					claimed, err := s.queues[i].Claim(s.Context(), 2, s.start(worker))
					if err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
						s.Error(err)
					}
					for _, c := range claimed {
						if _, twice := handed.LoadOrStore(c.Execution.ID, worker); twice {
							s.Errorf("%s was handed out twice", c.Execution.ID)
						}
						count.Add(1)
					}
				}
			})
		}
		if s.backend.Dialect == database.Postgres {
			admin := s.backend.Admin(s)
			for int(count.Load()) < len(made) && !s.Failed() {
				before := count.Load()
				databasetest.Terminate(s, admin, "state <> 'idle'")
				require.Eventually(s, func() bool {
					now := count.Load()
					return now > before || int(now) == len(made)
				}, 20*time.Second, time.Millisecond, "what was started is handed out, and what is due is started")
			}
		}
		workers.Wait()
		for _, id := range made {
			worker, _ := handed.Load(id)
			require.Equal(s, []eventlog.Event{execution.Started{Attempt: 1, Worker: worker.(string)}}, s.story(id))
		}
	})
}

// TestInputsAreReadAgain breaks the connections for reading between the start and the reading
// of the inputs.
func TestInputsAreReadAgain(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, databasetest.Postgres(pgtest.Database(t)))
		s.agent("a", 0, 3)
		made := s.invoke("a", 1)
		admin := s.backend.Admin(t)
		_, _, err := s.queues[0].NextDue(t.Context()) // a connection for reading is there
		require.NoError(t, err)
		claimed, err := s.queues[0].Claim(t.Context(), 1, func(due application.Due) (eventlog.Append, error) {
			require.Positive(t, databasetest.Terminate(t, admin, "state = 'idle'"))
			return s.start("k1")(due)
		})
		require.NoError(t, err)
		require.Equal(t, made, ids(claimed))
		require.NotEmpty(t, claimed[0].Input)
	})
}
