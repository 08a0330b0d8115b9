package application

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// Backtests keeps what backtests are made of: invocations on record, who works on which backtest,
// and what came of each invocation.
type Backtests interface {
	// Measure counts the invocations of a workspace that fit, up to a limit, and gives the position
	// behind which the latest of them are when there are more.
	Measure(ctx context.Context, workspace string, s backtest.Selection, limit int) (count int, after eventlog.Position, more bool, err error)
	// Next reads the next invocations of a backtest behind a position that have no result yet.
	Next(ctx context.Context, b backtest.Backtest, after eventlog.Position, limit int) ([]Selected, error)
	// Claim takes an active backtest that nobody works on for the time of the lease.
	Claim(ctx context.Context, owner string, lease time.Duration) (backtest.Backtest, bool, error)
	// Keep extends the lease and keeps results, or does neither: ErrBacktestTaken when the backtest
	// has ended or somebody else works on it. A result that is there already stays.
	Keep(ctx context.Context, id, owner string, lease time.Duration, results []backtest.Result) error
	// Release gives a backtest back.
	Release(ctx context.Context, id, owner string) error
	// Tally counts what there is.
	Tally(ctx context.Context, id string) (backtest.Tally, error)
	// Get and List give the backtests of a workspace, and Results what came of the invocations of
	// one, the latest first.
	Get(ctx context.Context, workspace, id string) (backtest.Backtest, bool, error)
	List(ctx context.Context, workspace string, p Paging) (Page[backtest.Backtest], error)
	Results(ctx context.Context, id string, verdict backtest.Verdict, p Paging) (Page[BacktestResultView], error)
}

// ErrBacktestTaken says that somebody else works on a backtest by now, or that it has ended.
var ErrBacktestTaken = errors.New("the backtest has ended, or another process works on it")

// Selected is an invocation that is to be tried.
type Selected struct {
	Position    eventlog.Position `db:"position"`
	ExecutionID string            `db:"id"`
}

// BacktestRequest asks for a backtest.
type BacktestRequest struct {
	TriggerID   string          `json:"trigger_id"`
	Event       string          `json:"event"`
	Status      string          `json:"status"`
	Since       *time.Time      `json:"since"`
	Until       *time.Time      `json:"until"`
	AgentID     string          `json:"agent_id"`
	Options     json.RawMessage `json:"options"`
	Limit       int             `json:"limit"`
	Concurrency int             `json:"concurrency"`
	Rate        float64         `json:"rate"`
	// DryRun only counts.
	DryRun bool `json:"dry_run"`
}

// BacktestCount is what a backtest would try.
type BacktestCount struct {
	// Invocations is how many would be tried: the latest ones, when More are on record than the limit.
	Invocations int       `json:"invocations"`
	More        bool      `json:"more"`
	Limit       int       `json:"limit"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	TriggerID   string    `json:"trigger_id,omitempty"`
	AgentID     string    `json:"agent_id"`
	AgentName   string    `json:"agent_name"`
}

// BacktestView is a backtest as the API shows it.
type BacktestView struct {
	ID          string           `json:"id"`
	WorkspaceID string           `json:"workspace_id"`
	Status      backtest.Status  `json:"status"`
	TriggerID   string           `json:"trigger_id,omitempty"`
	Event       string           `json:"event,omitempty"`
	OfStatus    execution.Status `json:"of_status,omitempty"`
	Since       time.Time        `json:"since"`
	Until       time.Time        `json:"until"`
	AgentID     string           `json:"agent_id,omitempty"`
	Options     json.RawMessage  `json:"options,omitempty"`
	Limit       int              `json:"limit"`
	Concurrency int              `json:"concurrency"`
	Rate        float64          `json:"rate,omitempty"`
	Tally       backtest.Tally   `json:"tally"`
	ErrorCode   string           `json:"error_code,omitempty"`
	Error       string           `json:"error,omitempty"`
	Reason      string           `json:"reason,omitempty"` // why it was cancelled
	CreatedByID string           `json:"created_by_id,omitempty"`
	CreatedAt   time.Time        `json:"created_at"`
	CompletedAt *time.Time       `json:"completed_at,omitempty"`
	Version     int64            `json:"version"`
}

// BacktestResultView is what came of one invocation, beside what happened.
type BacktestResultView struct {
	ExecutionID string           `json:"execution_id"`
	Verdict     backtest.Verdict `json:"verdict"`
	Reason      string           `json:"reason,omitempty"`
	InvokedAt   time.Time        `json:"invoked_at"`
	Original    BacktestSide     `json:"original"`
	Shadow      *BacktestSide    `json:"shadow,omitempty"`
	// Difference is a JSON Patch that makes the original's output the shadow's.
	Difference json.RawMessage `json:"difference,omitempty"`
}

// BacktestSide is how one of the two ended. Outputs over 64 KiB are left out.
type BacktestSide struct {
	ExecutionID string                `json:"execution_id,omitempty"` // that the agent was told, of a shadow run
	Status      string                `json:"status"`
	Output      json.RawMessage       `json:"output,omitempty"`
	Error       string                `json:"error,omitempty"`
	ErrorCode   string                `json:"error_code,omitempty"`
	DurationMS  *float64              `json:"duration_ms,omitempty"`
	Attempts    int                   `json:"attempts,omitempty"`
	TokenUsage  *execution.TokenUsage `json:"token_usage,omitempty"`
}

func (app *Application) viewBacktest(ctx context.Context, b backtest.Backtest) (BacktestView, error) {
	view := BacktestView{
		ID: b.ID, WorkspaceID: b.WorkspaceID, Status: b.Status, TriggerID: b.TriggerID, Event: b.Event, OfStatus: b.Selection.Status,
		Since: b.Since, Until: b.Until, AgentID: b.AgentID, Options: b.Options, Limit: b.Limit, Concurrency: b.Concurrency, Rate: b.Rate,
		ErrorCode: b.Code, CreatedByID: b.CreatedByID, CreatedAt: b.CreatedAt, CompletedAt: b.EndedAt, Version: b.Version,
	}
	if b.Status == backtest.Failed {
		view.Error = b.Reason
	} else {
		view.Reason = b.Reason
	}
	if b.Tally != nil {
		view.Tally = *b.Tally
		return view, nil
	}
	var err error
	view.Tally, err = app.Backtests.Tally(ctx, b.ID)
	view.Tally.Total = max(b.Total, view.Tally.Done)
	return view, refusal(err)
}

// selectionOf fixes which invocations are tried: the span of positions that a request comes to.
func (app *Application) selectionOf(ctx context.Context, caller Caller, r BacktestRequest) (backtest.Settings, BacktestCount, error) {
	s := backtest.Settings{
		Selection: backtest.Selection{TriggerID: r.TriggerID, Event: r.Event, Status: execution.Status(r.Status), Until: app.Now().UTC()},
		AgentID:   r.AgentID, Options: r.Options, Limit: r.Limit, Concurrency: r.Concurrency, Rate: r.Rate,
	}.Defaults()
	if r.Since != nil {
		s.Since = r.Since.UTC()
	}
	if r.Until != nil {
		s.Until = r.Until.UTC()
	}
	if err := s.Validate(); err != nil {
		return s, BacktestCount{}, err
	}
	tried, err := app.triedBy(ctx, caller.WorkspaceID, s, 0)
	if err != nil {
		return s, BacktestCount{}, err
	}
	if s.After, err = app.Store.PositionAt(ctx, s.Since.Add(-time.Microsecond)); err == nil {
		s.UpTo, err = app.Store.PositionAt(ctx, s.Until)
	}
	if err != nil {
		return s, BacktestCount{}, refusal(err)
	}
	n, after, more, err := app.Backtests.Measure(ctx, caller.WorkspaceID, s.Selection, s.Limit)
	if err != nil {
		return s, BacktestCount{}, refusal(err)
	}
	if more {
		s.After = after
	}
	return s, BacktestCount{
		Invocations: n, More: more, Limit: s.Limit, Since: s.Since, Until: s.Until, TriggerID: s.TriggerID,
		AgentID: tried.agent.ID, AgentName: tried.agent.Name,
	}, nil
}

// CountBacktest says what a backtest would try, and tries nothing.
func (app *Application) CountBacktest(ctx context.Context, caller Caller, r BacktestRequest) (BacktestCount, error) {
	_, count, err := app.selectionOf(ctx, caller, r)
	return count, err
}

// CreateBacktest records a backtest; workers make its shadow runs.
func (app *Application) CreateBacktest(ctx context.Context, caller Caller, r BacktestRequest) (BacktestView, error) {
	settings, count, err := app.selectionOf(ctx, caller, r)
	if err != nil {
		return BacktestView{}, err
	}
	asOf, err := app.Store.Head(ctx)
	if err != nil {
		return BacktestView{}, refusal(err)
	}
	stream := eventlog.Stream(eventlog.BacktestStream, app.NewID())
	state, err := change(ctx, app, backtest.Codec, caller.WorkspaceID, stream, caller.metadata(), func(backtest.Backtest) (decision, error) {
		events, err := backtest.Request(settings, asOf, count.Invocations)
		return decision{events: events}, err
	})
	if err != nil {
		return BacktestView{}, err
	}
	return app.viewBacktest(ctx, state)
}

func (app *Application) backtest(ctx context.Context, caller Caller, id string) (backtest.Backtest, error) {
	state, there, err := app.Backtests.Get(ctx, caller.WorkspaceID, id)
	return found(state, there, err, "backtest")
}

// GetBacktest shows a backtest and how far it is.
func (app *Application) GetBacktest(ctx context.Context, caller Caller, id string) (BacktestView, error) {
	state, err := app.backtest(ctx, caller, id)
	if err != nil {
		return BacktestView{}, err
	}
	return app.viewBacktest(ctx, state)
}

// ListBacktests shows backtests, the latest first.
func (app *Application) ListBacktests(ctx context.Context, caller Caller, p Paging) (Page[BacktestView], error) {
	states, err := app.Backtests.List(ctx, caller.WorkspaceID, p)
	if err != nil {
		return Page[BacktestView]{}, refusal(err)
	}
	page := Page[BacktestView]{Total: states.Total, Next: states.Next}
	for _, state := range states.Items {
		view, err := app.viewBacktest(ctx, state)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, view)
	}
	return page, nil
}

// ListBacktestResults shows what came of the invocations, the latest first; verdict "" is any.
func (app *Application) ListBacktestResults(ctx context.Context, caller Caller, id string, verdict backtest.Verdict, p Paging) (Page[BacktestResultView], error) {
	if _, err := app.backtest(ctx, caller, id); err != nil {
		return Page[BacktestResultView]{}, err
	}
	page, err := app.Backtests.Results(ctx, id, verdict, p)
	return page, refusal(err)
}

// CancelBacktest ends a backtest. What came of invocations so far stays.
func (app *Application) CancelBacktest(ctx context.Context, caller Caller, id, reason string) (BacktestView, error) {
	there := func(b backtest.Backtest) bool { return b.WorkspaceID == caller.WorkspaceID }
	state, err := changeOwn(ctx, app, backtest.Codec, caller, eventlog.Stream(eventlog.BacktestStream, id), "backtest", 0, there, func(b backtest.Backtest) (decision, error) {
		events, err := b.Cancel(reason)
		return decision{events: events}, err
	})
	if err != nil {
		return BacktestView{}, err
	}
	return app.viewBacktest(ctx, state)
}

// tried is what a backtest tries: an agent, and perhaps a trigger with another filter or mapping.
type tried struct {
	agent agent.Agent
	bound *boundTrigger // nil when executions are tried on the input that they had
}

// triedBy reads what is tried as it was at a position; 0 is now.
func (app *Application) triedBy(ctx context.Context, workspace string, s backtest.Settings, asOf eventlog.Position) (tried, error) {
	agentID := s.AgentID
	var state trigger.Trigger
	if s.TriggerID != "" {
		var err error
		if state, err = fold[trigger.Trigger](ctx, app.Store, trigger.Codec, eventlog.Stream(eventlog.TriggerStream, s.TriggerID), asOf); err != nil {
			return tried{}, refusal(err)
		}
		// That it was deleted since is no matter: the past stays what it was.
		if state.Version == 0 || state.WorkspaceID != workspace {
			return tried{}, fault.Field("trigger_id", "names no trigger")
		}
		if agentID == "" {
			agentID = state.AgentID
		}
		state.AgentID = agentID
	}
	runs, err := fold[agent.Agent](ctx, app.Store, agent.Codec, eventlog.Stream(eventlog.AgentStream, agentID), asOf)
	switch {
	case err != nil:
		return tried{}, refusal(err)
	case runs.Version == 0 || runs.WorkspaceID != workspace || runs.Archived:
		return tried{}, fault.Field("agent_id", "names no agent")
	case runs.Runner.Kind == agent.RunnerNone:
		return tried{}, fault.Field("agent_id", "names an agent of the kind none, whose work is done outside: there is nothing that a backtest could run")
	}
	t := tried{agent: runs}
	if len(s.Options) == 0 {
		return t, nil
	}
	if state.Options, err = state.Options.Merge(s.Options); err != nil {
		return t, err
	}
	if err := checkExpressions(state.Options); err != nil {
		return t, err
	}
	if t.bound, err = app.bind(ctx, "", state); err != nil {
		return t, refusal(err)
	}
	t.bound.agent, t.bound.schema = runs, nil
	if len(runs.InputSchema) > 0 {
		t.bound.schema, err = payload.CompileSchema(runs.InputSchema)
	}
	return t, err
}
