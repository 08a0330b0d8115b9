package application_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// past makes calls of a trigger and runs them to their end.
func (r *replica) past(token string, calls int) {
	r.world.Helper()
	for n := range calls {
		r.accepted(call(token, "", fmt.Sprintf(`{"n": %d}`, n)))
	}
	claimed, err := r.ClaimExecutions(r.world.Context(), "worker-1", calls)
	require.NoError(r.world, err)
	require.Len(r.world, claimed, calls)
	for _, c := range claimed {
		r.RunExecution(r.world.Context(), c)
	}
}

func (r *replica) backtest(request application.BacktestRequest) application.BacktestView {
	r.world.Helper()
	request.Since = new(r.world.clock.now().Add(-time.Hour))
	view, err := r.CreateBacktest(r.world.Context(), r.world.caller(), request)
	require.NoError(r.world, err)
	return view
}

// shadows claims a backtest for an owner and runs it.
func (r *replica) shadows(ctx context.Context, owner string, lease time.Duration) error {
	r.world.Helper()
	b, found, err := r.Backtests.Claim(r.world.Context(), owner, lease)
	require.NoError(r.world, err)
	require.True(r.world, found, "no backtest waits")
	return r.RunBacktest(ctx, b, owner, lease)
}

func (r *replica) seen(id string) application.BacktestView {
	r.world.Helper()
	view, err := r.GetBacktest(r.world.Context(), r.world.caller(), id)
	require.NoError(r.world, err)
	return view
}

// TestBacktestKeepsToItself runs by a second agent and looks at what is on record.
func TestBacktestKeepsToItself(t *testing.T) {
	onBoth(t, func(w *world) {
		var runs []application.Run
		app := w.replica(running(func(_ context.Context, run application.Run) ([]byte, error) {
			if run.Shadow {
				runs = append(runs, run)
			}
			return run.Input, nil
		}))
		made := app.trigger(app.agent(nil).ID, nil)
		app.past(made.Token, 5)
		db := w.backend.Open(w)
		head, err := app.store.Head(w.Context())
		require.NoError(w, err)
		require.NoError(w, db.Write(w.Context(), func(tx *database.Tx) error {
			tx.Exec("UPDATE events SET payload = NULL WHERE type = 'trigger.invoked' AND position = (SELECT min(position) FROM executions)")
			return nil
		}))
		app.accepted(call(made.Token, "", `{"n": 5}`)) // has not ended
		begun := app.backtest(application.BacktestRequest{TriggerID: made.ID, AgentID: app.agent(nil).ID, Concurrency: 1})
		require.Equal(w, 6, begun.Tally.Total)
		attempts := len(app.metrics.attempts)
		require.NoError(w, app.shadows(w.Context(), "owner-1", time.Minute))

		view := app.seen(begun.ID)
		require.Equal(w, backtest.Completed, view.Status)
		require.Equal(w, [5]int{6, 4, 2, 1, 0}, [5]int{view.Tally.Done, view.Tally.Same, view.Tally.Skipped, view.Tally.Erased, view.Tally.Differs})
		require.Equal(w, 4, view.Tally.Durations.Calls)
		require.Nil(w, view.Tally.Tokens, "nobody counted any")
		require.Len(w, runs, 4)
		require.Len(w, app.metrics.attempts, attempts, "they count as no attempts")
		after := head + 1 // the call that has not ended
		events, err := app.store.List(w.Context(), application.EventFilter{WorkspaceID: w.workspace, After: &after, Limit: 100})
		require.NoError(w, err)
		for _, e := range events[1:] {
			require.Equal(w, eventlog.Stream(eventlog.BacktestStream, begun.ID), e.Stream)
		}
		require.Equal(w, []string{"backtest.requested", "backtest.completed"}, app.types(events[len(events)-1].Stream))

		// What is erased since is not shown.
		page, err := app.ListBacktestResults(w.Context(), w.caller(), begun.ID, backtest.Same, application.Paging{Limit: 10})
		require.NoError(w, err)
		require.Len(w, page.Items, 4)
		require.JSONEq(w, `{"n": 4}`, string(page.Items[0].Shadow.Output))
		require.NoError(w, db.Write(w.Context(), func(tx *database.Tx) error {
			tx.Exec("UPDATE events SET payload = NULL")
			return nil
		}))
		page, err = app.ListBacktestResults(w.Context(), w.caller(), begun.ID, backtest.Same, application.Paging{Limit: 10})
		require.NoError(w, err)
		require.Nil(w, page.Items[0].Shadow.Output)
		_, err = app.GetBacktest(w.Context(), application.Caller{WorkspaceID: "another"}, begun.ID)
		require.ErrorContains(w, err, "there is no such backtest")
	})
}

// TestBacktestTokens adds up what models count.
func TestBacktestTokens(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica(func(s *setup) {
			s.parts.Runner = countingTwice{}
		})
		made := app.trigger(app.agent(nil).ID, nil)
		app.past(made.Token, 3)
		begun := app.backtest(application.BacktestRequest{TriggerID: made.ID, AgentID: app.agent(nil).ID})
		require.NoError(w, app.shadows(w.Context(), "owner-1", time.Minute))
		require.Equal(w, &backtest.Usage{
			Original: backtest.Tokens{Runs: 3, Prompt: 3, Completion: 6, Total: 9}, Shadow: backtest.Tokens{Runs: 3, Prompt: 6, Completion: 12, Total: 18},
		}, app.seen(begun.ID).Tally.Tokens)
	})
}

// countingTwice is a model that counts twice as much in shadow.
type countingTwice struct{}

func (countingTwice) Run(_ context.Context, run application.Run) (application.Result, error) {
	n := 1
	if run.Shadow {
		n = 2
	}
	return application.Result{Output: run.Input, TokenUsage: &execution.TokenUsage{PromptTokens: n, CompletionTokens: 2 * n, TotalTokens: 3 * n}}, nil
}

// TestBacktestIsTakenOver stops a process in the middle, has another go on, and the first come back.
func TestBacktestIsTakenOver(t *testing.T) {
	onBoth(t, func(w *world) {
		ctx, stop := context.WithCancel(w.Context())
		defer stop()
		ran := 0
		app := w.replica(running(func(_ context.Context, run application.Run) ([]byte, error) {
			if run.Shadow {
				if ran++; ran == 4 {
					stop()
				}
			}
			return run.Input, nil
		}))
		made := app.trigger(app.agent(nil).ID, nil)
		app.past(made.Token, 10)
		begun := app.backtest(application.BacktestRequest{TriggerID: made.ID, AgentID: app.agent(nil).ID, Concurrency: 1})
		require.ErrorIs(w, app.shadows(ctx, "owner-1", time.Minute), context.Canceled)
		kept := app.seen(begun.ID).Tally.Done
		require.Equal(w, 3, kept, "the one under way is not known")

		// It is on record, whoever had it: a lease that has not been given back is waited for.
		b, found, err := app.Backtests.Claim(w.Context(), "owner-2", time.Minute)
		require.NoError(w, err)
		require.True(w, found)
		_, found, err = app.Backtests.Claim(w.Context(), "owner-3", time.Minute)
		require.NoError(w, err)
		require.False(w, found, "two work on it")
		require.ErrorIs(w, app.Backtests.Keep(w.Context(), begun.ID, "owner-1", time.Minute, nil), application.ErrBacktestTaken)
		require.NoError(w, app.RunBacktest(w.Context(), b, "owner-2", time.Minute))
		require.Equal(w, 10, app.seen(begun.ID).Tally.Same)
		require.Equal(w, 11, ran, "one was made twice")
		require.ErrorIs(w, app.Backtests.Keep(w.Context(), begun.ID, "owner-2", time.Minute, nil), application.ErrBacktestTaken)
	})
}

// TestBacktestEnds by being cancelled while it runs, and when its agent is archived.
func TestBacktestEnds(t *testing.T) {
	onBoth(t, func(w *world) {
		var id string
		var app *replica
		ran := 0
		app = w.replica(running(func(ctx context.Context, run application.Run) ([]byte, error) {
			if !run.Shadow {
				return run.Input, nil
			}
			if ran++; ran == 3 {
				_, err := app.CancelBacktest(w.Context(), w.caller(), id, "enough")
				require.NoError(w, err)
				<-ctx.Done() // as its lease is looked after
				return nil, ctx.Err()
			}
			return run.Input, nil
		}))
		made := app.trigger(app.agent(nil).ID, nil)
		app.past(made.Token, 10)
		second := app.agent(func(r *application.AgentRequest) { r.MaxConcurrency = new(1) })
		id = app.backtest(application.BacktestRequest{TriggerID: made.ID, AgentID: second.ID, Concurrency: 8}).ID
		w.clock.advance(time.Minute)
		require.NoError(w, app.shadows(w.Context(), "owner-1", 0))
		view := app.seen(id)
		require.Equal(w, backtest.Cancelled, view.Status)
		require.Equal(w, "enough", view.Reason)
		require.Equal(w, 10, view.Tally.Total)
		require.Equal(w, 3, ran)

		id = app.backtest(application.BacktestRequest{TriggerID: made.ID, AgentID: second.ID}).ID
		require.NoError(w, app.ArchiveAgent(w.Context(), w.caller(), second.ID, 0))
		require.NoError(w, app.shadows(w.Context(), "owner-1", time.Minute))
		view = app.seen(id)
		require.Equal(w, backtest.Failed, view.Status)
		require.Contains(w, view.Error, "the agent was archived")
		require.Equal(w, 3, ran)
	})
}
