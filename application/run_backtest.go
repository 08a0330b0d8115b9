package application

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"hooktrail/domain/agent"
	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
)

const (
	// backtestPart is how many invocations are read at a time: ids, no bodies.
	backtestPart = 500
	// keepEvery is how long results are gathered; what a crash leaves unkept is run once more.
	keepEvery   = 250 * time.Millisecond
	keepAtMost  = 200 // results
	keepTimeout = 10 * time.Second
	// A shadow run waits while real executions do, but each no longer than givesWay: what waits may
	// be for an agent that runs as many as it may, for hours.
	givesWay  = 250 * time.Millisecond
	lookPause = 25 * time.Millisecond
)

// RunBacktest makes the shadow runs of a backtest that was claimed for an owner, until all are
// made, the backtest has ended otherwise, or ctx ends. Then another may go on with it.
func (app *Application) RunBacktest(ctx context.Context, b backtest.Backtest, owner string, lease time.Duration) error {
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
		defer cancel()
		if err := app.Backtests.Release(closing, b.ID, owner); err != nil {
			app.Logger.Warn("the lease on a backtest could not be given back; others wait for its end", "backtest_id", b.ID, "error", err)
		}
	}()
	what, err := app.triedBy(ctx, b.WorkspaceID, b.Settings, b.AsOf)
	if err == nil {
		err = app.stillThere(ctx, what.agent)
	}
	if code := fault.CodeOf(err); err != nil && (code == fault.Validation || code == fault.NotFound) {
		return app.endBacktest(ctx, b, func(state backtest.Backtest) []eventlog.Event { return state.GiveUp(string(code), err.Error()) })
	}
	if err != nil {
		return err
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	results := make(chan backtest.Result)
	kept := make(chan error, 1)
	go func() { kept <- app.keepResults(running, stop, b.ID, owner, lease, results) }()
	err = app.shadowAll(running, b, what, results)
	close(results)
	switch lost := <-kept; {
	case errors.Is(lost, ErrBacktestTaken):
		return nil
	case lost != nil:
		return lost
	case err != nil:
		return err
	}
	tally, err := app.Backtests.Tally(ctx, b.ID)
	if err != nil {
		return err
	}
	tally.Total = tally.Done
	return app.endBacktest(ctx, b, func(state backtest.Backtest) []eventlog.Event { return state.Finish(tally) })
}

// stillThere faults when an agent was archived since.
func (app *Application) stillThere(ctx context.Context, runs agent.Agent) error {
	now, err := fold[agent.Agent](ctx, app.Store, agent.Codec, eventlog.Stream(eventlog.AgentStream, runs.ID), 0)
	if err == nil && now.Archived {
		return fault.New(fault.NotFound, "the agent was archived")
	}
	return err
}

func (app *Application) endBacktest(ctx context.Context, b backtest.Backtest, end func(backtest.Backtest) []eventlog.Event) error {
	meta := eventlog.Metadata{Actor: eventlog.System, CorrelationID: b.ID}
	_, err := change(ctx, app, backtest.Codec, b.WorkspaceID, eventlog.Stream(eventlog.BacktestStream, b.ID), meta, func(state backtest.Backtest) (decision, error) {
		return decision{events: end(state)}, nil
	})
	return err
}

// shadowAll makes the runs that are left, so many at a time, and hands out what came of each.
func (app *Application) shadowAll(ctx context.Context, b backtest.Backtest, what tried, results chan<- backtest.Result) error {
	limit := rate.NewLimiter(rate.Inf, 1)
	if b.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(b.Rate), 1)
	}
	concurrency := b.Concurrency
	if most := what.agent.MaxConcurrency; most > 0 {
		concurrency = min(concurrency, most)
	}
	runs, ctx := errgroup.WithContext(ctx)
	runs.SetLimit(concurrency)
	manners := &manners{app: app}
	feed := func() error {
		for after := b.After; ; {
			part, err := app.Backtests.Next(ctx, b, after, backtestPart)
			if err != nil || len(part) == 0 {
				return err
			}
			for _, next := range part {
				if err := limit.Wait(ctx); err != nil {
					return err
				}
				if err := manners.giveWay(ctx); err != nil {
					return err
				}
				runs.Go(func() error {
					result, err := app.shadow(ctx, b, what, next)
					if err != nil {
						return err
					}
					select {
					case results <- result:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
			}
			after = part[len(part)-1].Position
		}
	}
	err := feed()
	if failed := runs.Wait(); failed != nil {
		return failed
	}
	return err
}

// manners lets real executions go first.
type manners struct {
	app    *Application
	looked time.Time
}

func (m *manners) giveWay(ctx context.Context) error {
	if m.app.Now().Sub(m.looked) < lookPause {
		return ctx.Err()
	}
	for waited := time.Duration(0); waited < givesWay; waited += lookPause {
		due, waits, err := m.app.Queue.NextDue(ctx)
		now := m.app.Now()
		m.looked = now
		if err != nil || !waits || due.After(now) {
			return ctx.Err() // what cannot be seen does not hold anything up
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookPause): //nolint:forbidigo // a pause, of which nothing depends on the time
		}
	}
	return nil
}

// keepResults keeps what comes in every now and then, and the lease with it. When that is lost it
// stops the runs. It returns when results is closed and all is kept.
func (app *Application) keepResults(ctx context.Context, stop context.CancelCauseFunc, id, owner string, lease time.Duration, results <-chan backtest.Result) error {
	var gathered []backtest.Result
	ticker := time.NewTicker(keepEvery) //nolint:forbidigo // a pause, of which nothing depends on the time
	defer ticker.Stop()
	var lost error
	signed := app.Now()
	keep := func() {
		if lost != nil || len(gathered) == 0 && app.Now().Sub(signed) < lease/4 && app.Now().Sub(signed) < time.Second {
			return
		}
		// A transaction under way is not cut off by a stop: what was run is to be kept.
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
		defer cancel()
		switch err := app.Backtests.Keep(writing, id, owner, lease, gathered); {
		case err == nil:
			gathered, signed = nil, app.Now()
		case errors.Is(err, eventlog.ErrUnavailable) && ctx.Err() == nil:
			app.Logger.Warn("what came of shadow runs cannot be kept yet", "backtest_id", id, "error", err)
		default:
			lost = err
			stop(err)
		}
	}
	for {
		incoming := results
		if len(gathered) >= keepAtMost && lost == nil {
			incoming = nil // until they can be kept
		}
		select {
		case result, open := <-incoming:
			if !open {
				keep()
				if lost == nil && len(gathered) > 0 {
					return fmt.Errorf("%d results of backtest %s were not kept", len(gathered), id)
				}
				return lost
			}
			if gathered = append(gathered, result); len(gathered) == keepAtMost {
				keep()
			}
		case <-ticker.C:
			keep()
		}
	}
}

// shadow makes one shadow run and compares it. An error says that nothing is known.
func (app *Application) shadow(ctx context.Context, b backtest.Backtest, what tried, next Selected) (backtest.Result, error) {
	view, there, err := app.Views.Execution(ctx, b.WorkspaceID, next.ExecutionID)
	if err != nil {
		return backtest.Result{}, err
	}
	result := backtest.Result{
		Position: next.Position, ExecutionID: next.ExecutionID, ShadowID: backtest.ShadowID(b.ID, next.ExecutionID),
		Original: backtest.Side{Ending: backtest.Ending{Status: string(view.Status), ErrorCode: view.ErrorCode, Output: view.Output}, Tokens: view.TokenUsage},
	}
	skipped := func(reason string) (backtest.Result, error) {
		result.Verdict, result.Reason = backtest.Skipped, reason
		return result, nil
	}
	switch {
	case !there || view.Input == nil || view.Status == execution.Completed && view.Output == nil:
		return skipped(backtest.ReasonErased)
	case !view.Status.Final():
		return skipped(backtest.ReasonNotEnded)
	}
	input, err := app.shadowInput(ctx, b, what, view, &result)
	switch {
	case err != nil:
		return result, err
	case result.Verdict == backtest.Skipped:
		return result, nil
	case result.Shadow.Status == "":
		if err := app.shadowRun(ctx, b, what.agent, view.TriggerID, input, &result); err != nil {
			return result, err
		}
	}
	if result.Shadow.Status == backtest.ShadowCompleted && view.Status == execution.Completed && view.Attempt == 1 {
		result.Original.Micros = new(view.CompletedAt.Sub(*view.StartedAt).Microseconds())
	}
	result.Verdict, result.Difference, err = backtest.Compare(result.Original.Ending, result.Shadow.Ending)
	return result, err
}

// shadowInput gives the input of a shadow run, or says in the result why there is none.
func (app *Application) shadowInput(ctx context.Context, b backtest.Backtest, what tried, view ExecutionView, result *backtest.Result) ([]byte, error) {
	refused := func(why *TestError) {
		shown := execution.NewError(string(why.Code), why.Message)
		result.Shadow.Status, result.Shadow.ErrorCode, result.Error = backtest.ShadowRefused, shown.Code, shown.Message
	}
	if what.bound == nil {
		err := checkAgentInput(what.agent, "", view.Input)
		if err != nil {
			why, internal := testError(err)
			if internal != nil {
				return nil, internal
			}
			refused(why)
		}
		return view.Input, nil
	}
	past, err := app.pastCall(ctx, Caller{WorkspaceID: b.WorkspaceID}, view.ID)
	if err != nil {
		return nil, err
	}
	bodies, err := app.Store.Payloads(ctx, []eventlog.Position{past.recorded.Position})
	if err != nil {
		return nil, err
	}
	body, kept := bodies[past.recorded.Position]
	if !kept {
		result.Verdict, result.Reason = backtest.Skipped, backtest.ReasonErased
		return nil, nil
	}
	outcome, err := app.tryPast(ctx, what.bound, past, body, TestTrigger{})
	if err != nil {
		return nil, err
	}
	switch outcome.Status {
	case TestFiltered:
		result.Shadow.Status = backtest.ShadowFiltered
	case TestRefused:
		refused(outcome.Error)
	}
	return outcome.Input, nil
}

// shadowRun makes one attempt. Nothing of it is recorded in the log and nobody is told of it.
func (app *Application) shadowRun(ctx context.Context, b backtest.Backtest, runs agent.Agent, triggerID string, input []byte, result *backtest.Result) error {
	started := app.Now()
	output, err := app.attempt(ctx, Claimed{
		Execution: execution.Execution{ID: result.ShadowID, WorkspaceID: b.WorkspaceID, AgentID: runs.ID, TriggerID: triggerID, Attempt: 1},
		Agent:     runs, Input: input, Shadow: true,
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	result.Shadow.Micros = new(app.Now().Sub(started).Microseconds())
	if err != nil {
		failed := app.failureOf(err).Error
		result.Shadow.Status, result.Shadow.ErrorCode, result.Error = backtest.ShadowFailed, failed.Code, failed.Message
		return nil
	}
	result.Shadow.Status, result.Shadow.Output, result.Shadow.Tokens = backtest.ShadowCompleted, output.Output, output.TokenUsage
	return nil
}
