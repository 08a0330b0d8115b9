package application_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
	"hooktrail/ports/worker"
)

// worker runs what becomes due on a replica until the test ends.
func (r *replica) worker(id string) {
	r.world.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(r.world.Context()))
	runs := worker.New(r.Application, worker.Config{ID: id, Poll: 10 * time.Millisecond}, slog.New(slog.NewTextHandler(r.logs, nil)))
	var running sync.WaitGroup
	running.Go(func() { _ = runs.Run(ctx) }) // its end is ours
	r.world.Cleanup(func() { stop(); running.Wait() })
}

// all reads the log from its beginning.
func (r *replica) all() []eventlog.Recorded {
	r.world.Helper()
	var all []eventlog.Recorded
	for after := eventlog.Position(0); ; after = all[len(all)-1].Position {
		events, err := r.store.List(r.world.Context(), application.EventFilter{WorkspaceID: r.world.workspace, After: &after, Limit: 100})
		require.NoError(r.world, err)
		if len(events) == 0 {
			return all
		}
		all = append(all, events...)
	}
}

// TestTheClockIsSet sets the clock back and forth while calls come in and are worked on.
func TestTheClockIsSet(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		app.worker("worker-1")
		other := app // the embedded store has one process
		if w.backend.Dialect == database.Postgres {
			other = w.replica()
			other.worker("worker-2")
		}
		made := app.trigger(app.agent(nil).ID, nil)
		keyed := func(key, body string) application.Call {
			c := call(made.Token, "", body)
			c.IdempotencyKey = key
			return c
		}
		first := app.accepted(keyed("before", `{"n":1}`))

		var accepted atomic.Int64
		var calls sync.WaitGroup
		done := make(chan struct{})
		failed := make(chan error, 4)
		for i := range cap(failed) {
			caller := []*replica{app, other}[i%2]
			calls.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					if _, err := caller.invoke(call(made.Token, "", fmt.Sprintf(`{"caller":%d,"call":%d}`, i, n))); err != nil {
						failed <- err
						return
					}
					accepted.Add(1)
				}
			})
		}
		stop := sync.OnceFunc(func() { close(done); calls.Wait() })
		defer stop()
		var late application.Invocation
		for i, step := range []time.Duration{0, -time.Hour, 25 * time.Hour, -2 * time.Hour, -24 * time.Hour} {
			w.clock.advance(step)
			enough := accepted.Load() + 20
			require.Eventually(w, func() bool { return accepted.Load() >= enough || len(failed) > 0 }, farAway, time.Millisecond, "calls stopped at step %d", i)
			require.Empty(w, failed)
			// Whatever the clock says, what was accepted runs at once.
			marked := other.accepted(call(made.Token, "", fmt.Sprintf(`{"step":%d}`, i)))
			view, err := app.AwaitExecution(w.Context(), w.workspace, marked.ExecutionID, farAway)
			require.NoError(w, err)
			require.Equal(w, execution.Completed, view.Status, "step %d, of %s", i, step)

			if i == 2 { // a day has passed by the clock, and the first key with it
				late = app.accepted(keyed("late", `{"n":2}`))
				continue
			}
			again := other.accepted(keyed("before", `{"n":1}`))
			require.True(w, again.Replayed, "step %d", i)
			require.Equal(w, first.ExecutionID, again.ExecutionID)
			other.refused(fault.IdempotencyMismatch, keyed("before", `{"n":3}`))
			if i > 2 {
				require.Equal(w, late.ExecutionID, other.accepted(keyed("late", `{"n":2}`)).ExecutionID)
			}
		}
		stop()
		require.Empty(w, failed)

		ended := func() int {
			page, err := app.ListExecutions(w.Context(), w.caller(), application.ExecutionFilter{Status: execution.Completed}, application.Paging{Limit: 1})
			require.NoError(w, err)
			return page.Total
		}
		sum := int(accepted.Load()) + 7 // the marked ones, and those with a key
		require.Eventually(w, func() bool { return ended() == sum }, farAway, 10*time.Millisecond, "%d executions ended of %d", ended, sum)
		types := map[string]int{}
		var before eventlog.Recorded
		for _, e := range app.all() {
			require.Equal(w, before.Position+1, e.Position)
			require.False(w, e.At.Before(before.At), "the time of the log falls at %d, from %s to %s", e.Position, before.At, e.At)
			before = e
			types[e.Type]++
		}
		for _, kind := range []string{"trigger.invoked", "execution.started", "execution.completed"} {
			require.Equal(w, sum, types[kind], "%s: none is lost, none runs twice, no lease has lapsed", kind)
		}
		require.Zero(w, types["execution.attempt_failed"])
		w.Logf("%d executions", sum)
	})
}
