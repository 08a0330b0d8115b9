package application

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/payload"
)

// ClaimExecutions starts up to limit executions for a worker: each is on record as started
// before it is returned.
func (app *Application) ClaimExecutions(ctx context.Context, worker string, limit int) ([]Claimed, error) {
	now := app.Now()
	return app.Queue.Claim(ctx, limit, func(due Due) (eventlog.Append, error) {
		events, err := due.Execution.Start(worker, due.Agent.Retry, now)
		if err != nil {
			return eventlog.Append{}, err
		}
		meta := eventlog.Metadata{Actor: eventlog.ActorOf("worker", worker), CausationID: due.Execution.ID, CorrelationID: due.Execution.ID}
		return app.encode(execution.Codec, due.Execution.WorkspaceID, eventlog.Stream(eventlog.ExecutionStream, due.Execution.ID),
			due.Execution.Version, meta, decision{events: events})
	})
}

// RunExecution makes one attempt at a claimed execution and records how it ended. ctx ends
// only when the process must stop: then nothing is recorded and, after the worker's lease,
// another takes over.
func (app *Application) RunExecution(ctx context.Context, claimed Claimed) {
	started := app.Now()
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer app.running.add(claimed.Execution.ID, cancel)()
	if claimed.Execution.Attempt == 1 {
		app.Observe.AttemptStarted(started.Sub(claimed.CreatedAt))
	}

	result, err := app.attempt(running, claimed)
	outcome := "completed"
	switch {
	case ctx.Err() != nil:
		return
	case context.Cause(running) != nil:
		outcome = "cancelled"
	default:
		if err != nil {
			outcome = "failed"
		}
		app.recordOutcome(ctx, claimed, result, err)
	}
	app.Observe.AttemptEnded(claimed.Agent.Runner.Kind, outcome, app.Now().Sub(started))
}

// attempt runs the agent. A panic on the way is a failed attempt: it must not end the
// process, and with it the runs of others.
func (app *Application) attempt(ctx context.Context, claimed Claimed) (result Result, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			result, err = Result{}, fmt.Errorf("the attempt panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	if claimed.InputErased {
		return Result{}, &RunError{Code: "input_erased", Message: "the input of this execution has been erased", Final: true}
	}
	input, err := payload.InputJSON(claimed.MediaType, claimed.Input)
	if err != nil {
		return Result{}, &RunError{Code: "invalid_input", Message: err.Error(), Final: true}
	}
	run := Run{
		ExecutionID: claimed.Execution.ID, AgentID: claimed.Agent.ID, WorkspaceID: claimed.Execution.WorkspaceID,
		TriggerID: claimed.Execution.TriggerID, Attempt: claimed.Execution.Attempt, Runner: claimed.Agent.Runner, Input: input,
		Shadow: claimed.Shadow,
	}
	if id := claimed.Agent.SigningSecretID; id != "" {
		secret, found, err := app.openSecret(ctx, id)
		if err != nil {
			return Result{}, err
		}
		if !found {
			// The agent was archived meanwhile. Its host is used to signed requests: it gets no other.
			return Result{}, &RunError{Code: RunInvalidRunner, Message: "the agent has no signing secret any more", Final: true}
		}
		run.SigningSecret = secret
	}
	if credential := claimed.Agent.Credential; credential != nil {
		secret, found, err := app.openSecret(ctx, credential.ID)
		if err != nil {
			return Result{}, err
		}
		if !found {
			// Replaced since this attempt was claimed: the next one is made with the new one.
			return Result{}, &RunError{Code: RunInvalidRunner, Message: "the agent's credential was replaced or removed as this attempt began"}
		}
		run.Credential = secret
	}
	timeout := time.Duration(claimed.Agent.TimeoutSeconds) * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result, err = app.Runner.Run(ctx, run)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Result{}, &RunError{Code: RunTimedOut, Message: fmt.Sprintf("the agent did not answer within %s", timeout)}
	}
	if err == nil {
		if _, invalid := payload.CheckJSON(result.Output); invalid != nil {
			return Result{}, &RunError{Code: RunInvalidOutput, Message: "the agent's answer is not JSON that can be kept: " + invalid.Error(), Final: true}
		}
	}
	return result, err
}

// openSecret reads a sealed secret; false when it is not kept any more.
func (app *Application) openSecret(ctx context.Context, credentialID string) (string, bool, error) {
	sealed, found, err := app.Store.Sealed(ctx, credentialID)
	if err != nil || !found {
		return "", false, err
	}
	secret, err := app.Secrets.Open(sealed, credentialID)
	return string(secret), err == nil, err
}

// recordOutcome appends the end of an attempt. While the store is away it tries again until
// ctx ends: an execution without a recorded end would count as running for as long as this
// worker lives. When the execution has moved on (cancelled, or taken over) the result does
// not count.
func (app *Application) recordOutcome(ctx context.Context, claimed Claimed, result Result, failed error) {
	x := claimed.Execution
	// The end of a run makes room where an agent runs as many as it may.
	d := decision{payload: result.Output, due: failed != nil || claimed.Agent.MaxConcurrency > 0}
	var err error
	if failed == nil {
		d.events, err = x.Complete(digestOf(result.Output), result.TokenUsage)
	} else {
		d.payload = nil
		d.events, err = x.Fail(app.failureOf(failed), claimed.Agent.Retry, app.Jitter(), app.Now())
	}
	meta := eventlog.Metadata{Actor: eventlog.ActorOf("worker", x.Worker), CausationID: x.ID, CorrelationID: x.ID}
	var a eventlog.Append
	if err == nil {
		a, err = app.encode(execution.Codec, x.WorkspaceID, eventlog.Stream(eventlog.ExecutionStream, x.ID), x.Version, meta, d)
	}
	if err == nil {
		_, err = backoff.Retry(ctx, func() (eventlog.Appended, error) {
			appended, err := app.Store.Append(ctx, a)
			if err != nil && !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, eventlog.ErrQueueFull) {
				err = backoff.Permanent(err)
			}
			return appended, err
		}, backoff.WithBackOff(outcomeBackOff()), backoff.WithMaxElapsedTime(0))
	}
	switch {
	case err == nil:
		app.running.ended(x.ID)
	case eventlog.IsConflict(err):
		app.Logger.Info("a late result does not count: the execution has moved on", "execution_id", x.ID, "attempt", x.Attempt)
	default:
		app.Logger.Error("the result of an attempt could not be recorded", "execution_id", x.ID, "attempt", x.Attempt, "error", err)
	}
}

func outcomeBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 5*time.Second
	return b
}

func (app *Application) failureOf(err error) execution.Failure {
	var known *RunError
	if !errors.As(err, &known) {
		app.Logger.Error("an attempt failed inside Hooktrail", "error", err)
		return execution.Failure{Error: execution.Error{Code: "internal", Message: "Hooktrail could not run the agent"}}
	}
	return execution.Failure{Error: execution.NewError(known.Code, known.Message), Final: known.Final, RetryAfter: known.RetryAfter}
}

// StopCancelled ends the runs of this process whose execution has ended otherwise: another
// replica cancelled it, or took it over.
func (app *Application) StopCancelled(ctx context.Context) error {
	ids := app.running.ids()
	if len(ids) == 0 {
		return nil
	}
	ended, err := app.Queue.Ended(ctx, ids)
	for _, id := range ended {
		app.running.cancel(id, ErrCancelled)
	}
	return err
}

// runningSet knows the runs of this process, and who waits for the end of one.
type runningSet struct {
	mu      sync.Mutex
	runs    map[string]*runUnderWay
	waiters map[string][]*endWaiter
}

type runUnderWay struct{ cancel context.CancelCauseFunc }

type endWaiter struct {
	set    *runningSet
	id     string
	signal chan struct{}
}

func newRunningSet() *runningSet {
	return &runningSet{runs: map[string]*runUnderWay{}, waiters: map[string][]*endWaiter{}}
}

// add keeps a run until the returned function is called. This process may have an earlier
// attempt at the same execution under way still, which it lost by its lease: that one is
// stopped, since its result does not count any more.
func (s *runningSet) add(id string, cancel context.CancelCauseFunc) (remove func()) {
	run := &runUnderWay{cancel: cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if earlier := s.runs[id]; earlier != nil {
		earlier.cancel(errTakenOver)
	}
	s.runs[id] = run
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.runs[id] == run {
			delete(s.runs, id)
		}
	}
}

func (s *runningSet) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.runs))
	for id := range s.runs {
		ids = append(ids, id)
	}
	return ids
}

func (s *runningSet) cancel(id string, cause error) {
	s.mu.Lock()
	run := s.runs[id]
	s.mu.Unlock()
	if run != nil {
		run.cancel(cause)
	}
	s.ended(id)
}

func (s *runningSet) awaitEnd(id string) *endWaiter {
	w := &endWaiter{set: s, id: id, signal: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters[id] = append(s.waiters[id], w)
	return w
}

func (s *runningSet) ended(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiters[id] {
		select {
		case w.signal <- struct{}{}:
		default:
		}
	}
}

func (w *endWaiter) leave() {
	w.set.mu.Lock()
	defer w.set.mu.Unlock()
	others := w.set.waiters[w.id]
	for i, other := range others {
		if other == w {
			others = append(others[:i:i], others[i+1:]...)
			break
		}
	}
	if len(others) == 0 {
		delete(w.set.waiters, w.id)
	} else {
		w.set.waiters[w.id] = others
	}
}
