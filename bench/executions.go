package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	executionsName = "executions, echo (call to end)"
	backlogName    = "executions, echo (backlog alone)"
	delayName      = "accept to agent started, 500/s"
	costName       = "cost of an execution, full load"
	costPacedName  = "cost of an execution, 500/s"
)

// executions measures how fast executions are completed, how soon a call's agent starts, and
// what an execution costs the database.
func (r *report) executions(ctx context.Context, s settings, h *host, b *bed) error {
	list, err := b.create(ctx, "echo", 1, false)
	if err != nil {
		return err
	}
	requests := b.requests(list, "")
	steps := []struct {
		name string
		run  func() ([]cell, error)
		long bool
	}{
		{executionsName, func() ([]cell, error) { return b.completed(ctx, s.duration, requests) }, false},
		{delayName, func() ([]cell, error) { return b.startDelay(ctx, s.duration, requests) }, false},
		{costName, func() ([]cell, error) { return b.cost(ctx, costName, s.duration/2, 0, requests) }, false},
		{costPacedName, func() ([]cell, error) { return b.cost(ctx, costPacedName, s.duration/2, 500, requests) }, true},
	}
	for _, step := range steps {
		if !s.wants(step.name) || step.long && s.short {
			continue
		}
		if err := r.beside(ctx, s, h, step.run); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// executed is what became of calls to an agent that runs.
type executed struct {
	outcome
	took    time.Duration // from the first call to the end of the last execution
	left    int           // executions not yet completed when the last call was answered
	drained time.Duration // time for those
}

// execute sends calls and waits until their executions have ended. Whether they were
// completed is for the ledger to tell.
func (b *bed) execute(ctx context.Context, duration time.Duration, rate int, requests [][]byte) (executed, error) {
	const ends = "hooktrail_execution_attempt_seconds_count"
	var e executed
	before, err := metric(ctx, b.addr, ends)
	if err != nil {
		return e, err
	}
	began := time.Now()
	e.outcome, err = b.run(ctx, load{connections: 64, duration: duration, rate: rate, requests: requests})
	b.runs += e.done
	if err != nil {
		return e, err
	}
	answered := time.Now()
	for first := true; ; first = false {
		now, err := metric(ctx, b.addr, ends)
		if err != nil {
			return e, err
		}
		left := e.done - int(now-before)
		if first {
			e.left = left
		}
		if left <= 0 {
			e.took, e.drained = time.Since(began), time.Since(answered)
			return e, nil
		}
		if time.Since(answered) > 20*duration+time.Minute {
			return e, fmt.Errorf("executions are not worked off: %d of %d are left", left, e.done)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return e, err
		}
	}
}

func (b *bed) completed(ctx context.Context, duration time.Duration, requests [][]byte) ([]cell, error) {
	var e executed
	// The subject counts processor time and memory up to the end of the last execution.
	all := b.calls(executionsName, 64, requests)
	all.run = func(ctx context.Context, duration time.Duration) (outcome, error) {
		var err error
		e, err = b.execute(ctx, duration, 0, requests)
		return outcome{done: e.done, refused: e.refused, took: e.took}, err
	}
	var err error
	if all.sample, err = all.measure(ctx, duration); err != nil {
		return nil, err
	}
	c := all.cell()
	c.Note = fmt.Sprintf("calls came in at %.0f/s", e.perSecond())
	cells := []cell{c}
	if e.left > 100 { // fewer are no backlog
		cells = append(cells, cell{Name: backlogName, PerSecond: float64(e.left) / e.drained.Seconds(), Note: fmt.Sprintf("the %d that were left after the last call", e.left)})
	}
	return cells, nil
}

// startDelay measures, at 500 calls a second, the time from a call's acceptance to the
// start of its agent, as the log has it.
func (b *bed) startDelay(ctx context.Context, duration time.Duration, requests [][]byte) ([]cell, error) {
	from, err := b.head(ctx)
	if err != nil {
		return nil, err
	}
	e, err := b.execute(ctx, duration, 500, requests)
	if err != nil {
		return nil, err
	}
	delays, err := b.delays(ctx, from)
	if err != nil {
		return nil, err
	}
	if len(delays) != e.done {
		return nil, fmt.Errorf("%d calls were accepted, but the log has the start of %d", e.done, len(delays))
	}
	o := outcome{times: delays}
	return []cell{{
		Name: delayName, Paced: true, PerSecond: e.perSecond(), Refused: e.refused,
		P50: o.quantile(.5), P99: o.quantile(.99), P999: o.quantile(.999),
	}}, nil
}

// delays reads from the log how long each execution waited for its start.
func (b *bed) delays(ctx context.Context, after int64) ([]time.Duration, error) {
	var delays []time.Duration
	invoked := map[string]time.Time{}
	for {
		var events []struct {
			Position     int64
			Type, Stream string
			Time         time.Time
			Data         struct {
				ExecutionID string `json:"execution_id"`
			}
		}
		if err := b.api(ctx, http.MethodGet, fmt.Sprintf("/api/v1/events?limit=100&after=%d", after), "", &events); err != nil {
			return nil, err
		}
		if len(events) == 0 {
			slices.Sort(delays)
			return delays, nil
		}
		for _, e := range events {
			after = e.Position
			switch e.Type {
			case "trigger.invoked":
				invoked[e.Data.ExecutionID] = e.Time
			case "execution.started":
				at, found := invoked[strings.TrimPrefix(e.Stream, "execution-")]
				if !found {
					return nil, fmt.Errorf("event %d starts an execution that was not called for", e.Position)
				}
				delays = append(delays, e.Time.Sub(at))
			}
		}
	}
}
