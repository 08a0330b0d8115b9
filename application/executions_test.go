package application_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
)

// watchedViews are the real views, telling when an execution was looked at.
type watchedViews struct {
	application.Views

	looked chan struct{}
}

func (v *watchedViews) Execution(ctx context.Context, workspace, id string) (application.ExecutionView, bool, error) {
	view, found, err := v.Views.Execution(ctx, workspace, id)
	select {
	case v.looked <- struct{}{}:
	default:
	}
	return view, found, err
}

const farAway = 20 * time.Second // far more than anything takes that ends

func TestAwaitingAnExecution(t *testing.T) {
	ends := map[string]func(w *world, app, other *replica, id string){
		"run here":               func(w *world, app, _ *replica, _ string) { app.work() },
		"run by another replica": func(w *world, _, other *replica, _ string) { other.work() },
		"cancelled here": func(w *world, app, _ *replica, id string) {
			_, err := app.CancelExecution(w.Context(), w.caller(), id, "")
			require.NoError(w, err)
		},
		"cancelled by another replica": func(w *world, _, other *replica, id string) {
			_, err := other.CancelExecution(w.Context(), w.caller(), id, "")
			require.NoError(w, err)
		},
	}
	onBoth(t, func(w *world) {
		views := &watchedViews{looked: make(chan struct{}, 1)}
		app := w.replica(func(s *setup) {
			views.Views = s.parts.Views
			s.parts.Views = views
		})
		other := app // the embedded store has one process
		if w.backend.Dialect == database.Postgres {
			other = w.replica()
		}
		for name, end := range ends {
			id := app.requested(1, `{}`)
			select {
			case <-views.looked:
			default:
			}
			answer := make(chan application.ExecutionView, 1)
			go func() {
				view, _ := app.AwaitExecution(w.Context(), w.workspace, id, farAway)
				answer <- view
			}()
			<-views.looked // it has seen that there is nothing yet
			end(w, app, other, id)
			require.True(w, (<-answer).Status.Final(), name)
		}
	})
}

// TestAWaiterIsToldByTheRunItself: in one process nobody waits for the log to tell.
func TestAWaiterIsToldByTheRunItself(t *testing.T) {
	w := embedded(t)
	views := &watchedViews{looked: make(chan struct{}, 1)}
	app := w.replica(func(s *setup) {
		views.Views = s.parts.Views
		s.parts.Views, s.parts.Appended = views, application.NewBroadcast() // which nobody sends on
	})
	id := app.requested(1, `{}`)
	<-views.looked
	claimed := app.claim("worker-1")
	answer := make(chan application.ExecutionView, 1)
	go func() {
		view, _ := app.AwaitExecution(t.Context(), w.workspace, id, farAway)
		answer <- view
	}()
	<-views.looked
	app.RunExecution(t.Context(), claimed[0])
	require.Equal(t, execution.Completed, (<-answer).Status)
}

func TestAwaitingEndsInTime(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	id := app.requested(1, `{}`)
	for name, patience := range map[string]time.Duration{"not at all": 0, "a moment": time.Millisecond, "longer than the pause": 60 * time.Millisecond} {
		began := time.Now()
		view, err := app.AwaitExecution(t.Context(), w.workspace, id, patience)
		require.NoError(t, err)
		require.Equal(t, execution.Pending, view.Status, name)
		require.GreaterOrEqual(t, time.Since(began), patience, name)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, err := app.AwaitExecution(gone, w.workspace, id, farAway)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "a caller who has gone is not waited for")

	app.work()
	view, err := app.AwaitExecution(t.Context(), w.workspace, id, farAway)
	require.NoError(t, err)
	require.Equal(t, execution.Completed, view.Status, "what has ended is not waited for")
}

func TestExecuteAgent(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		runs := app.agent(func(r *application.AgentRequest) {
			r.InputSchema = json.RawMessage(`{"properties":{"id":{"type":"integer"}}}`)
		})
		view, err := app.ExecuteAgent(w.Context(), w.caller(), runs.ID, application.ExecuteAgent{
			Input: json.RawMessage(`{"id": 1.0}`), SessionID: "session-1", UserID: "user-1", Metadata: map[string]string{"case": "a\x00"},
		})
		require.NoError(w, err)
		at := w.clock.now()
		require.Equal(w, application.ExecutionView{
			ID: view.ID, ExecutionID: view.ID, AgentID: runs.ID, WorkspaceID: w.workspace, UserID: "user-1", SessionID: "session-1",
			Status: execution.Pending, Input: json.RawMessage(`{"id": 1.0}`), Metadata: map[string]string{"case": "a\x00"}, CreatedAt: at,
			Version: 1, Position: view.Position, Attempts: []application.AttemptView{},
		}, view)
		events, err := app.ListEvents(w.Context(), w.caller(), application.EventFilter{Type: "execution.requested", Limit: 1})
		require.NoError(w, err)
		require.Equal(w, eventlog.Actor("api_key:key-1"), events.Items[0].Actor)
		require.Equal(w, view.ID, events.Items[0].CorrelationID)
		app.work()
		require.JSONEq(w, `{"id":1.0}`, string(app.execution(view.ID).Output))

		empty, err := app.ExecuteAgent(w.Context(), w.caller(), runs.ID, application.ExecuteAgent{})
		require.NoError(w, err)
		require.JSONEq(w, `{}`, string(empty.Input), "no input is an empty one")
	})
}

func TestExecuteAgentRefuses(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	runs := app.agent(func(r *application.AgentRequest) {
		r.InputSchema = json.RawMessage(`{"properties":{"id":{"type":"integer"}}}`)
	})
	metadata := map[string]string{}
	for i := range 51 {
		metadata[strings.Repeat("x", i+1)] = ""
	}
	for name, c := range map[string]struct {
		request application.ExecuteAgent
		code    fault.Code
		fields  []string
	}{
		"not an object":     {application.ExecuteAgent{Input: json.RawMessage(`[]`)}, fault.Validation, []string{"input"}},
		"null":              {application.ExecuteAgent{Input: json.RawMessage(`null`)}, fault.Validation, []string{"input"}},
		"not JSON":          {application.ExecuteAgent{Input: json.RawMessage(`{`)}, fault.InvalidJSON, nil},
		"not by the schema": {application.ExecuteAgent{Input: json.RawMessage(`{"id":"x"}`)}, fault.SchemaMismatch, []string{"/id"}},
		"a long session":    {application.ExecuteAgent{SessionID: strings.Repeat("x", 256)}, fault.Validation, []string{"session_id"}},
		"a long user":       {application.ExecuteAgent{UserID: strings.Repeat("x", 256)}, fault.Validation, []string{"user_id"}},
		"NUL in both":       {application.ExecuteAgent{SessionID: "\x00", UserID: "a\x00"}, fault.Validation, []string{"session_id", "user_id"}},
		"much to say":       {application.ExecuteAgent{Metadata: metadata}, fault.Validation, []string{"metadata"}},
	} {
		_, err := app.ExecuteAgent(t.Context(), w.caller(), runs.ID, c.request)
		var f *fault.Error
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, c.code, f.Code, name)
		require.Equal(t, c.fields, slices.Sorted(maps.Keys(f.Details)), name)
	}
	require.NoError(t, app.ArchiveAgent(t.Context(), w.caller(), runs.ID, 0))
	for _, id := range []string{runs.ID, "no agent"} {
		_, err := app.ExecuteAgent(t.Context(), w.caller(), id, application.ExecuteAgent{})
		require.Equal(t, fault.NotFound, fault.CodeOf(err), id)
	}
}

func TestRetryExecution(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		made := app.trigger(app.agent(nil).ID, nil)
		c := call(made.Token, "", "a=1")
		c.ContentType = "application/x-www-form-urlencoded"
		first := app.accepted(c)
		_, err := app.RetryExecution(w.Context(), w.caller(), first.ID)
		require.Equal(w, fault.Conflict, fault.CodeOf(err), "it has not ended")
		app.work()

		again, err := app.RetryExecution(w.Context(), w.caller(), first.ID)
		require.NoError(w, err)
		require.NotEqual(w, first.ID, again.ID)
		require.Equal(w, first.ID, again.RetryOf)
		require.Equal(w, made.ID, again.TriggerID)
		require.Equal(w, execution.Pending, again.Status)
		app.work()
		require.JSONEq(w, `{"a":"1"}`, string(app.execution(again.ID).Output), "the same input")
		require.Equal(w, execution.Completed, app.execution(first.ID).Status, "the first stays as it was")

		_, err = app.UpdateAgent(w.Context(), w.caller(), made.AgentID, application.AgentRequest{InputSchema: json.RawMessage(`{"required":["b"]}`)}, 0)
		require.NoError(w, err)
		_, err = app.RetryExecution(w.Context(), w.caller(), first.ID)
		require.Equal(w, fault.SchemaMismatch, fault.CodeOf(err), "what the agent takes now counts")
	})
}

func TestReportExecution(t *testing.T) {
	type want struct {
		status execution.Status
		output string
		code   string
		error  string
	}
	failed := &application.ReportedError{Code: "no_stock", Message: "none left"}
	good := map[string]struct {
		report application.Report
		want   want
	}{
		"an output":      {application.Report{Output: json.RawMessage(`{"n": 1.50}`)}, want{execution.Completed, `{"n": 1.50}`, "", ""}},
		"null":           {application.Report{Output: json.RawMessage(`null`)}, want{execution.Completed, `null`, "", ""}},
		"an error":       {application.Report{Error: failed}, want{execution.Failed, "", "no_stock", "none left"}},
		"no output":      {application.Report{Output: json.RawMessage(`null`), Error: failed}, want{execution.Failed, "", "no_stock", "none left"}},
		"no code":        {application.Report{Error: &application.ReportedError{Message: "x"}}, want{execution.Failed, "", "reported", "x"}},
		"a NUL":          {application.Report{Error: &application.ReportedError{Message: "a\x00"}}, want{execution.Failed, "", "reported", "a\uFFFD"}},
		"a long message": {application.Report{Error: &application.ReportedError{Message: strings.Repeat("é", 5000)}}, want{execution.Failed, "", "reported", strings.Repeat("é", 2048)}},
	}
	onBoth(t, func(w *world) {
		app := w.replica()
		runs := app.agent(func(r *application.AgentRequest) { r.Runner = runsOn(agent.Runner{Kind: agent.RunnerNone}) })
		made := app.trigger(runs.ID, nil)
		require.Empty(w, app.claim("worker-1"))
		for name, c := range good {
			id := app.accepted(call(made.Token, "", `{}`)).ID
			require.Empty(w, app.claim("worker-1"), "nobody runs it here")
			view, err := app.ReportExecution(w.Context(), w.caller(), id, c.report)
			require.NoError(w, err, name)
			require.Equal(w, c.want, want{view.Status, string(view.Output), view.ErrorCode, view.Error}, name)
			_, err = app.ReportExecution(w.Context(), w.caller(), id, c.report)
			require.Equal(w, fault.Conflict, fault.CodeOf(err), "%s: once", name)
		}
		id := app.accepted(call(made.Token, "", `{}`)).ID
		for name, r := range map[string]application.Report{
			"nothing": {}, "both": {Output: json.RawMessage(`1`), Error: failed}, "no JSON": {Output: json.RawMessage(`{"a":1,"a":2}`)},
		} {
			_, err := app.ReportExecution(w.Context(), w.caller(), id, r)
			require.Equal(w, fault.Validation, fault.CodeOf(err), name)
		}
		_, err := app.CancelExecution(w.Context(), w.caller(), id, "a\x00")
		require.Equal(w, fault.Validation, fault.CodeOf(err))
	})
}

func TestAWorkersExecutionIsNotReportedOn(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	id := app.requested(1, `{}`)
	claimed := app.claim("worker-1")
	_, err := app.ReportExecution(t.Context(), w.caller(), id, application.Report{Output: json.RawMessage(`1`)})
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	app.RunExecution(t.Context(), claimed[0])
	require.JSONEq(t, `{}`, string(app.execution(id).Output))
}
