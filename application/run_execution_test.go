package application_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// inProcess is an agent that is a function of the test.
type inProcess func(ctx context.Context, run application.Run) ([]byte, error)

func (f inProcess) Run(ctx context.Context, run application.Run) (application.Result, error) {
	output, err := f(ctx, run)
	return application.Result{Output: output}, err
}

func running(agent inProcess) func(*setup) { return func(s *setup) { s.parts.Runner = agent } }

func answering(output string, err error) inProcess {
	return func(context.Context, application.Run) ([]byte, error) { return []byte(output), err }
}

// claim starts what is due, for a worker that is alive.
func (r *replica) claim(worker string) []application.Claimed {
	r.world.Helper()
	require.NoError(r.world, r.Queue.KeepAlive(r.world.Context(), worker, time.Hour))
	claimed, err := r.ClaimExecutions(r.world.Context(), worker, 10)
	require.NoError(r.world, err)
	return claimed
}

// work makes one attempt at the only execution that is due.
func (r *replica) work() {
	r.world.Helper()
	claimed := r.claim("worker-1")
	require.Len(r.world, claimed, 1)
	r.RunExecution(r.world.Context(), claimed[0])
}

// requested is an execution of an agent with that retry policy.
func (r *replica) requested(attempts int, input string) string {
	r.world.Helper()
	runs := r.agent(func(a *application.AgentRequest) {
		a.Retry = &agent.Retry{MaxAttempts: attempts, InitialSeconds: 10, MaxSeconds: 60, Factor: 2}
	})
	view, err := r.ExecuteAgent(r.world.Context(), r.world.caller(), runs.ID, application.ExecuteAgent{Input: json.RawMessage(input)})
	require.NoError(r.world, err)
	return view.ID
}

func TestAnAttemptThatSucceeds(t *testing.T) {
	onBoth(t, func(w *world) {
		var got application.Run
		app := w.replica(running(func(_ context.Context, run application.Run) ([]byte, error) {
			got = run
			return []byte(`{"echo":` + string(run.Input) + `}`), nil
		}))
		made := app.trigger(app.agent(nil).ID, nil)
		c := call(made.Token, "", `a=1&b=x`)
		c.ContentType = "application/x-www-form-urlencoded"
		id := app.accepted(c).ExecutionID
		w.clock.advance(time.Second)
		app.work()

		view := app.execution(id)
		require.Equal(w, execution.Completed, view.Status)
		require.JSONEq(w, `{"echo":{"a":"1","b":"x"}}`, string(view.Output))
		require.Equal(w, application.Run{
			ExecutionID: id, AgentID: made.AgentID, WorkspaceID: w.workspace, TriggerID: made.ID, Attempt: 1,
			Runner: agent.Runner{Kind: agent.RunnerEcho}, Input: []byte(`{"a":"1","b":"x"}`),
		}, got)
		at := w.clock.now()
		require.Equal(w, []application.AttemptView{{Attempt: 1, Status: execution.Completed, Worker: "worker-1", StartedAt: &at, EndedAt: &at}}, view.Attempts)
		require.Equal(w, []string{"echo completed"}, app.metrics.attempts)
		require.Equal(w, []string{"execution.started", "execution.completed"}, app.types(eventlog.Stream(eventlog.ExecutionStream, id)))
		require.Empty(w, app.claim("worker-1"), "it runs once")
	})
}

func TestAnAttemptThatFailsIsMadeAgain(t *testing.T) {
	onBoth(t, func(w *world) {
		failing := &application.RunError{Code: application.RunAgentFailed, Message: "the agent answered 503"}
		app := w.replica(running(answering("", failing)))
		id := app.requested(3, `{"n":1}`)
		app.work()
		view := app.execution(id)
		require.Equal(w, execution.Pending, view.Status)
		require.Equal(w, w.clock.now().Add(10*time.Second), *view.NextAttemptAt)
		require.Equal(w, "agent_failed", view.Attempts[0].ErrorCode)

		w.clock.advance(10*time.Second - time.Microsecond)
		require.Empty(w, app.claim("worker-1"), "not before its time")
		w.clock.advance(time.Microsecond)
		failing.RetryAfter = time.Minute
		app.work()
		w.clock.advance(time.Minute - time.Microsecond)
		require.Empty(w, app.claim("worker-1"), "nor before the agent's")
		w.clock.advance(time.Microsecond)
		app.work()

		view = app.execution(id)
		require.Equal(w, execution.Failed, view.Status, "the third was the last")
		require.Equal(w, "the agent answered 503", view.Error)
		require.Len(w, view.Attempts, 3)
		for i, a := range view.Attempts {
			require.Equal(w, i+1, a.Attempt)
			require.Equal(w, execution.Failed, a.Status)
		}
		w.clock.advance(24 * time.Hour)
		require.Empty(w, app.claim("worker-1"))
	})
}

func TestFailures(t *testing.T) {
	long := strings.Repeat("x", execution.MaxErrorMessage-1)
	cases := map[string]struct {
		agent   inProcess
		status  execution.Status
		code    string
		message string
		logged  string
	}{
		"for good": {
			answering("", &application.RunError{Code: "agent_failed", Message: "the agent answered 400", Final: true}),
			execution.Failed, "agent_failed", "the agent answered 400", "",
		},
		"by no JSON": {
			answering(`{"a":`, nil), execution.Failed, "invalid_output", "the agent's answer is not JSON that can be kept", "",
		},
		"inside Hooktrail": {
			answering("", errors.New("dial 10.0.0.1: secret detail")), execution.Pending, "internal", "Hooktrail could not run the agent", "secret detail",
		},
		"by a panic": {
			func(context.Context, application.Run) ([]byte, error) { panic("index out of range: secret detail") },
			execution.Pending, "internal", "Hooktrail could not run the agent", "run_execution_test.go",
		},
		"with a text too long, cut between characters": {
			answering("", &application.RunError{Code: "agent_failed", Message: long + "é", Final: true}), execution.Failed, "agent_failed", long, "",
		},
		"with a text that no database takes": {
			answering("", &application.RunError{Code: "agent_failed", Message: "a\x00b\xff", Final: true}), execution.Failed, "agent_failed", "a\uFFFDb\uFFFD", "",
		},
	}
	onBoth(t, func(w *world) {
		var current inProcess
		app := w.replica(running(func(ctx context.Context, run application.Run) ([]byte, error) { return current(ctx, run) }))
		for name, c := range cases {
			current = c.agent
			id := app.requested(5, `{}`)
			app.work()
			view := app.execution(id)
			require.Equal(w, c.status, view.Status, name)
			require.Equal(w, c.code, view.Attempts[0].ErrorCode, name)
			require.True(w, strings.HasPrefix(view.Attempts[0].Error, c.message), "%s: %s", name, view.Attempts[0].Error)
			require.NotContains(w, view.Attempts[0].Error, "secret detail", name)
			require.Contains(w, app.logs.String(), c.logged, name)
			w.clock.advance(time.Second) // nothing of it is due when the next one is claimed
		}
	})
}

func TestAnAttemptThatTakesTooLong(t *testing.T) {
	w := embedded(t)
	app := w.replica(running(func(ctx context.Context, _ application.Run) ([]byte, error) {
		<-ctx.Done()
		return nil, &application.RunError{Code: application.RunUnreachable, Message: "it broke", Cause: ctx.Err()}
	}))
	runs := app.agent(func(r *application.AgentRequest) { r.TimeoutSeconds = new(1) })
	view, err := app.ExecuteAgent(t.Context(), w.caller(), runs.ID, application.ExecuteAgent{})
	require.NoError(t, err)
	app.work()
	view = app.execution(view.ID)
	require.Equal(t, execution.Pending, view.Status, "it may go better the next time")
	require.Equal(t, "timeout", view.Attempts[0].ErrorCode)
	require.Equal(t, "the agent did not answer within 1s", view.Attempts[0].Error)
}

// blocking is an agent that runs until it is told to end, or to return.
type blocking struct {
	started chan int
	finish  chan struct{}
	ended   chan error
}

func newBlocking() *blocking {
	return &blocking{started: make(chan int, 10), finish: make(chan struct{}), ended: make(chan error, 10)}
}

func (b *blocking) run(ctx context.Context, run application.Run) ([]byte, error) {
	b.started <- run.Attempt
	select {
	case <-ctx.Done():
		b.ended <- ctx.Err()
		return nil, &application.RunError{Code: application.RunCancelled, Message: "cancelled", Cause: ctx.Err()}
	case <-b.finish:
		return fmt.Appendf(nil, `{"attempt":%d}`, run.Attempt), nil
	}
}

// under runs an execution in the background and gives a function that waits for it.
func (r *replica) under(ctx context.Context, claimed application.Claimed) (wait func()) {
	var run sync.WaitGroup
	run.Go(func() { r.RunExecution(ctx, claimed) })
	return run.Wait
}

func TestARunIsCancelled(t *testing.T) {
	onBoth(t, func(w *world) {
		for _, how := range []string{"in this process", "through another replica"} {
			agent := newBlocking()
			app, other := w.replica(running(agent.run)), w.replica()
			id := app.requested(5, `{}`)
			wait := app.under(w.Context(), app.claim("worker-1")[0])
			<-agent.started
			if how == "in this process" {
				other = app
			}
			view, err := other.CancelExecution(w.Context(), w.caller(), id, "not needed")
			require.NoError(w, err)
			require.Equal(w, execution.Cancelled, view.Status)
			if other != app {
				require.NoError(w, app.StopCancelled(w.Context()))
			}
			wait()
			require.ErrorIs(w, <-agent.ended, context.Canceled)
			require.Equal(w, []string{"echo cancelled"}, app.metrics.attempts)
			require.Equal(w, []string{"execution.requested", "execution.started", "execution.cancelled"},
				app.types(eventlog.Stream(eventlog.ExecutionStream, id)), how)
			require.Equal(w, execution.Cancelled, app.execution(id).Attempts[0].Status)
			_, err = app.CancelExecution(w.Context(), w.caller(), id, "")
			require.Error(w, err)
			require.NoError(w, app.StopCancelled(w.Context()), "nothing runs any more")
		}
	})
}

func TestALateResultDoesNotCount(t *testing.T) {
	onBoth(t, func(w *world) {
		slow, quick := newBlocking(), answering(`"second"`, nil)
		lost, app := w.replica(running(slow.run)), w.replica(running(quick))
		id := lost.requested(5, `{}`)
		wait := lost.under(w.Context(), lost.claim("worker-1")[0])
		<-slow.started
		require.NoError(w, lost.Queue.Retire(w.Context(), "worker-1"))
		taken := app.claim("worker-2")
		require.Equal(w, 2, taken[0].Execution.Attempt)

		close(slow.finish)
		wait()
		require.Equal(w, execution.Running, app.execution(id).Status, "the first result came, and was not taken")
		require.Contains(w, lost.logs.String(), "a late result does not count")
		app.RunExecution(w.Context(), taken[0])
		view := app.execution(id)
		require.JSONEq(w, `"second"`, string(view.Output))
		require.Equal(w, "worker_lost", view.Attempts[0].ErrorCode)
		require.Equal(w, []string{"execution.requested", "execution.started", "execution.attempt_failed", "execution.started", "execution.completed"},
			app.types(eventlog.Stream(eventlog.ExecutionStream, id)))
	})
}

// TestAProcessTakesOverFromItself: a process whose lease lapsed for a moment may claim what
// it runs itself. The earlier attempt stops, and the later one can still be cancelled.
func TestAProcessTakesOverFromItself(t *testing.T) {
	w := embedded(t)
	agent := newBlocking()
	app := w.replica(running(agent.run))
	id := app.requested(5, `{}`)
	first := app.under(t.Context(), app.claim("worker-1")[0])
	require.Equal(t, 1, <-agent.started)
	require.NoError(t, app.Queue.Retire(t.Context(), "worker-1"))
	second := app.under(t.Context(), app.claim("worker-1b")[0])
	require.Equal(t, 2, <-agent.started)
	first()
	require.ErrorIs(t, <-agent.ended, context.Canceled)
	_, err := app.CancelExecution(t.Context(), w.caller(), id, "")
	require.NoError(t, err)
	second()
	require.ErrorIs(t, <-agent.ended, context.Canceled)
}

func TestAResultWaitsForTheStore(t *testing.T) {
	for _, away := range []error{eventlog.ErrUnavailable, eventlog.ErrQueueFull} {
		t.Run(away.Error(), func(t *testing.T) {
			w := embedded(t)
			failures := 0
			app := w.replica(running(answering(`"done"`, nil)), watching(&watched{append: func(a eventlog.Append) error {
				if a.Events[0].Type == "execution.completed" && failures < 3 {
					failures++
					return fmt.Errorf("%w: the first three", away)
				}
				return nil
			}}))
			id := app.requested(5, `{}`)
			app.work()
			require.Equal(t, 3, failures)
			require.Equal(t, execution.Completed, app.execution(id).Status)
			require.Empty(t, app.logs.String())
		})
	}
}

func TestAProcessThatStopsRecordsNothing(t *testing.T) {
	w := embedded(t)
	for name, stopIn := range map[string]string{"while the agent runs": "agent", "while the store is away": "store"} {
		ctx, stop := context.WithCancel(t.Context())
		app := w.replica(running(func(context.Context, application.Run) ([]byte, error) {
			if stopIn == "agent" {
				stop()
			}
			return []byte(`1`), nil
		}), watching(&watched{append: func(a eventlog.Append) error {
			if a.Events[0].Type == "execution.completed" {
				stop()
				return eventlog.ErrUnavailable
			}
			return nil
		}}))
		id := app.requested(5, `{}`)
		app.RunExecution(ctx, app.claim("worker-1")[0])
		require.Equal(t, execution.Running, app.execution(id).Status, "%s: it is left for another to take over", name)
		require.NoError(t, app.Queue.Retire(t.Context(), "worker-1"))
		require.Equal(t, 2, app.claim("worker-2")[0].Execution.Attempt, name)
	}
}

func TestAnErasedInputIsAFailure(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	id := app.requested(5, `{}`)
	require.NoError(t, w.backend.Open(t).Write(t.Context(), func(tx *database.Tx) error {
		tx.Exec("UPDATE events SET payload = NULL")
		return nil
	}))
	app.work()
	view := app.execution(id)
	require.Equal(t, execution.Failed, view.Status)
	require.Equal(t, "input_erased", view.ErrorCode)
	_, err := app.RetryExecution(t.Context(), w.caller(), id)
	require.ErrorContains(t, err, "the input of this execution has been erased")
}

func TestRequestsAreSignedOrNotMade(t *testing.T) {
	w := embedded(t)
	var secrets []string
	app := w.replica(running(func(_ context.Context, run application.Run) ([]byte, error) {
		secrets = append(secrets, run.SigningSecret)
		return []byte(`1`), nil
	}))
	runs := app.agent(func(r *application.AgentRequest) {
		r.Runner = runsOn(agent.Runner{Kind: agent.RunnerHTTP, URL: "https://agent.example.com"})
	})
	for range 2 {
		_, err := app.ExecuteAgent(t.Context(), w.caller(), runs.ID, application.ExecuteAgent{})
		require.NoError(t, err)
	}
	claimed := app.claim("worker-1")
	app.RunExecution(t.Context(), claimed[0])
	require.Equal(t, []string{runs.SigningSecret}, secrets)
	require.Contains(t, runs.SigningSecret, "whsec_")

	require.NoError(t, app.ArchiveAgent(t.Context(), w.caller(), runs.ID, 0))
	app.RunExecution(t.Context(), claimed[1])
	require.Len(t, secrets, 1, "without its secret no request is made")
	view := app.execution(claimed[1].Execution.ID)
	require.Equal(t, execution.Failed, view.Status)
	require.Equal(t, application.RunInvalidRunner, view.ErrorCode)
}
