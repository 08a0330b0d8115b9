package hooktrail

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Backtests try another agent, filter or mapping on invocations of the past, in shadow.
type Backtests struct{ c *Client }

// The statuses of a backtest are StatusRunning, StatusCompleted, StatusCancelled and StatusFailed.

// The verdicts on one invocation.
const (
	VerdictSame    = "same"
	VerdictDiffers = "differs"
	VerdictFailed  = "failed"  // the shadow run failed where the original had not
	VerdictSkipped = "skipped" // could not be compared
)

// CreateBacktest says what is tried on which invocations.
type CreateBacktest struct {
	// TriggerID narrows to the invocations of a trigger; needed with Options.
	TriggerID string `json:"trigger_id,omitempty"`
	// Event narrows to a sender's name for what happened, such as pull_request.
	Event string `json:"event,omitempty"`
	// Status narrows to executions that ended so.
	Status string     `json:"status,omitempty"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until,omitempty"` // default: now
	// AgentID is the agent that is tried; default is the trigger's.
	AgentID string `json:"agent_id,omitempty"`
	// Options may have filter and input_mapping, in place of the trigger's.
	Options any `json:"options,omitempty"`
	// Limit is the most invocations, the latest ones: 1 to 100,000, default 10,000.
	Limit int `json:"limit,omitempty"`
	// Concurrency is how many runs there are at one time: 1 to 16, default 2.
	Concurrency int `json:"concurrency,omitempty"`
	// Rate is how many runs may begin in a second, up to 1000; 0 is no bound.
	Rate float64 `json:"rate,omitempty"`
}

// BacktestCount is what a backtest would try.
type BacktestCount struct {
	Invocations int       `json:"invocations"`
	More        bool      `json:"more"` // than Limit, of which the latest are tried
	Limit       int       `json:"limit"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	TriggerID   string    `json:"trigger_id,omitempty"`
	AgentID     string    `json:"agent_id"`
	AgentName   string    `json:"agent_name"`
}

// Backtest is a trial on invocations of the past.
type Backtest struct {
	ID          string          `json:"id"`
	WorkspaceID string          `json:"workspace_id"`
	Status      string          `json:"status"`
	TriggerID   string          `json:"trigger_id,omitempty"`
	Event       string          `json:"event,omitempty"`
	OfStatus    string          `json:"of_status,omitempty"`
	Since       time.Time       `json:"since"`
	Until       time.Time       `json:"until"`
	AgentID     string          `json:"agent_id,omitempty"`
	Options     json.RawMessage `json:"options,omitempty"`
	Limit       int             `json:"limit"`
	Concurrency int             `json:"concurrency"`
	Rate        float64         `json:"rate,omitempty"`
	Tally       BacktestTally   `json:"tally"`
	Error       string          `json:"error,omitempty"` // why it cannot go on
	ErrorCode   string          `json:"error_code,omitempty"`
	Reason      string          `json:"reason,omitempty"` // why it was cancelled
	CreatedByID string          `json:"created_by_id,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	CompletedAt *time.Time      `json:"completed_at,omitempty"`
	Version     int64           `json:"version"`
}

// Ended reports whether the status is final.
func (b *Backtest) Ended() bool { return b.Status != StatusRunning }

// BacktestTally is what a backtest has come to. Done is the sum of Same, Differs, Failed and
// Skipped.
type BacktestTally struct {
	Total     int                `json:"total"`
	Done      int                `json:"done"`
	Same      int                `json:"same"`
	Differs   int                `json:"differs"`
	Failed    int                `json:"failed"`
	Skipped   int                `json:"skipped"`
	Erased    int                `json:"erased"` // of those skipped
	Statuses  []BacktestStatuses `json:"statuses"`
	Durations *BacktestDurations `json:"durations,omitempty"` // nil when there is nothing to compare
	Tokens    *BacktestUsage     `json:"tokens,omitempty"`    // nil when no model counted
}

// BacktestStatuses counts those that ended one way and would another.
type BacktestStatuses struct {
	Original string `json:"original"`
	Shadow   string `json:"shadow"`
	Calls    int    `json:"calls"`
}

// BacktestDurations compares the runs that completed on both sides, the original at its first
// attempt.
type BacktestDurations struct {
	Calls    int                 `json:"calls"`
	Original BacktestPercentiles `json:"original"`
	Shadow   BacktestPercentiles `json:"shadow"`
}

// BacktestPercentiles are in milliseconds.
type BacktestPercentiles struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
}

// BacktestUsage compares what models counted.
type BacktestUsage struct {
	Original BacktestTokens `json:"original"`
	Shadow   BacktestTokens `json:"shadow"`
}

// BacktestTokens are sums over the runs that reported tokens.
type BacktestTokens struct {
	Runs int64 `json:"runs"`
	TokenUsage
}

// BacktestResult is what came of one invocation.
type BacktestResult struct {
	ExecutionID string        `json:"execution_id"`
	Verdict     string        `json:"verdict"`
	Reason      string        `json:"reason,omitempty"` // why it was skipped
	InvokedAt   time.Time     `json:"invoked_at"`
	Original    BacktestSide  `json:"original"`
	Shadow      *BacktestSide `json:"shadow,omitempty"`
	// Difference is a JSON Patch (RFC 6902) that makes the original's output the shadow's.
	Difference json.RawMessage `json:"difference,omitempty"`
}

// BacktestSide is how one of the two ended.
type BacktestSide struct {
	ExecutionID string          `json:"execution_id,omitempty"` // that the agent was told, of a shadow run
	Status      string          `json:"status"`
	Output      json.RawMessage `json:"output,omitempty"` // left out over 64 KiB
	Error       string          `json:"error,omitempty"`
	ErrorCode   string          `json:"error_code,omitempty"`
	DurationMS  *float64        `json:"duration_ms,omitempty"`
	Attempts    int             `json:"attempts,omitempty"`
	TokenUsage  *TokenUsage     `json:"token_usage,omitempty"`
}

const backtestsPath = "/backtests"

// Count says what a backtest would try, and tries nothing.
func (b *Backtests) Count(ctx context.Context, backtest CreateBacktest, options ...RequestOption) (*BacktestCount, error) {
	return result[BacktestCount](ctx, b.c, http.MethodPost, backtestsPath, struct {
		CreateBacktest
		DryRun bool `json:"dry_run"`
	}{backtest, true}, options)
}

// Create begins a backtest.
func (b *Backtests) Create(ctx context.Context, backtest CreateBacktest, options ...RequestOption) (*Backtest, error) {
	return result[Backtest](ctx, b.c, http.MethodPost, backtestsPath, backtest, options)
}

// List gives a part of the backtests, the latest first.
func (b *Backtests) List(ctx context.Context, part ListOptions, options ...RequestOption) (*List[Backtest], error) {
	query := url.Values{}
	part.addTo(query)
	return list[Backtest](ctx, b.c, backtestsPath, query, options)
}

// Get gives a backtest with what it has come to so far.
func (b *Backtests) Get(ctx context.Context, id string, options ...RequestOption) (*Backtest, error) {
	return one[Backtest](ctx, b.c, http.MethodGet, backtestsPath, id, "", nil, options)
}

// Results gives a part of what came of the invocations, the latest first; verdict "" is any.
func (b *Backtests) Results(ctx context.Context, id, verdict string, part ListOptions, options ...RequestOption) (*List[BacktestResult], error) {
	path, query, err := resultsOf(id, verdict)
	if err != nil {
		return nil, err
	}
	part.addTo(query)
	return list[BacktestResult](ctx, b.c, path, query, options)
}

// AllResults gives all that came of the invocations, the latest first; verdict "" is any.
func (b *Backtests) AllResults(ctx context.Context, id, verdict string) iter.Seq2[BacktestResult, error] {
	path, query, err := resultsOf(id, verdict)
	if err != nil {
		return failing[BacktestResult](err)
	}
	return all[BacktestResult](ctx, b.c, path, query)
}

func resultsOf(id, verdict string) (string, url.Values, error) {
	if id == "" {
		return "", nil, errors.New("hooktrail: the backtest's id is empty")
	}
	query := url.Values{}
	set(query, "verdict", verdict)
	return backtestsPath + "/" + url.PathEscape(id) + "/results", query, nil
}

// Cancel ends a backtest. What came of invocations so far stays.
func (b *Backtests) Cancel(ctx context.Context, id, reason string, options ...RequestOption) (*Backtest, error) {
	return one[Backtest](ctx, b.c, http.MethodPost, backtestsPath, id, "/cancel", struct {
		Reason string `json:"reason,omitempty"`
	}{reason}, options)
}

// Wait follows a backtest to its end and tells each state that it sees; told may be nil. It waits
// on while the server is away.
func (b *Backtests) Wait(ctx context.Context, id string, told func(*Backtest), options ...RequestOption) (*Backtest, error) {
	var last *Backtest
	for interval := 50 * time.Millisecond; ; interval = min(interval*3/2, time.Second) {
		seen, err := b.Get(ctx, id, options...)
		switch {
		case err == nil:
			last = seen
			if told != nil {
				told(seen)
			}
			if seen.Ended() {
				return seen, nil
			}
		case ctx.Err() != nil:
		case last == nil || !absent(err):
			return last, err
		}
		if !sleep(ctx, interval) {
			return last, givenUp(ctx, "waiting for backtest "+id)
		}
	}
}
