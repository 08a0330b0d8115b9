package application_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

func TestAChangeIsDecidedAgainOnTheNewerState(t *testing.T) {
	onBoth(t, func(w *world) {
		other := w.replica()
		made := other.trigger(other.agent(nil).ID, nil)
		tries := 0
		app := w.replica(watching(&watched{append: func(eventlog.Append) error {
			if tries++; tries < 5 {
				other.update(made.ID, application.UpdateTrigger{Name: new(fmt.Sprint("by another ", tries))})
			}
			return nil
		}}))
		view, err := app.UpdateTrigger(w.Context(), w.caller(), made.ID, application.UpdateTrigger{IsActive: new(false)}, 0)
		require.NoError(w, err)
		require.Equal(w, 5, tries)
		require.Equal(w, "by another 4", view.Name, "nothing of the others is lost")
		require.False(w, view.IsActive)
		require.Equal(w, int64(6), view.Version)
	})
}

func TestAChangeGivesUpAfterFiveConflicts(t *testing.T) {
	w := embedded(t)
	other := w.replica()
	made := other.trigger(other.agent(nil).ID, nil)
	tries := 0
	app := w.replica(watching(&watched{append: func(eventlog.Append) error {
		tries++
		other.update(made.ID, application.UpdateTrigger{Name: new(fmt.Sprint("by another ", tries))})
		return nil
	}}))
	_, err := app.UpdateTrigger(t.Context(), w.caller(), made.ID, application.UpdateTrigger{IsActive: new(false)}, 0)
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	require.Equal(t, 5, tries)
	view, err := app.GetTrigger(t.Context(), w.caller(), made.ID)
	require.NoError(t, err)
	require.True(t, view.IsActive)
}

func TestAnExpectedVersionIsCheckedOnEveryTry(t *testing.T) {
	w := embedded(t)
	other := w.replica()
	made := other.trigger(other.agent(nil).ID, nil)
	app := w.replica(watching(&watched{append: func(eventlog.Append) error {
		other.update(made.ID, application.UpdateTrigger{Name: new("by another")})
		return nil
	}}))
	_, err := app.UpdateTrigger(t.Context(), w.caller(), made.ID, application.UpdateTrigger{IsActive: new(false)}, 2)
	require.Equal(t, fault.PreconditionFailed, fault.CodeOf(err))
	_, err = app.UpdateTrigger(t.Context(), w.caller(), made.ID, application.UpdateTrigger{IsActive: new(false)}, 1)
	require.Equal(t, fault.PreconditionFailed, fault.CodeOf(err), "it was at 1 when it was read, and is not any more")
}

func TestWhatTheStoreSaysReachesTheCaller(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		code  fault.Code
		after time.Duration
	}{
		"away":         {fmt.Errorf("%w: refused", eventlog.ErrUnavailable), fault.Unavailable, 2 * time.Second},
		"full":         {eventlog.ErrQueueFull, fault.Overloaded, time.Second},
		"a repeat":     {eventlog.ErrIdempotencyMismatch, fault.IdempotencyMismatch, 0},
		"a fault":      {fault.New(fault.RateLimited, "slower"), fault.RateLimited, 0},
		"anything":     {errors.New("disk"), fault.Internal, 0},
		"all too late": {fmt.Errorf("%w: %w", eventlog.ErrUnavailable, context.DeadlineExceeded), fault.Unavailable, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := embedded(t)
			fails := &watched{}
			app := w.replica(watching(fails))
			made := app.trigger(app.agent(nil).ID, nil)
			fails.append = func(eventlog.Append) error { return c.err }
			_, err := app.invoke(call(made.Token, "", `{}`))
			for _, err := range []error{err, app.DeleteTrigger(t.Context(), w.caller(), made.ID, 0)} {
				require.ErrorIs(t, err, c.err)
				require.Equal(t, c.code, fault.CodeOf(err))
				var f *fault.Error
				if errors.As(err, &f) {
					require.Equal(t, c.after, f.RetryAfter)
				}
			}
		})
	}
}

// TestTheSecretShownIsTheSecretKept: an update that meets a conflict decides again, and then
// the agent may have a secret already.
func TestTheSecretShownIsTheSecretKept(t *testing.T) {
	w := embedded(t)
	other := w.replica()
	echo := other.agent(nil)
	overHTTP := application.AgentRequest{Runner: runsOn(agent.Runner{Kind: agent.RunnerHTTP, URL: "https://agent.example.com"})}
	require.Empty(t, echo.SigningSecret)
	var first application.IssuedAgent
	app := w.replica(watching(&watched{append: func(eventlog.Append) error {
		if first.ID != "" {
			return nil
		}
		var err error
		first, err = other.UpdateAgent(t.Context(), w.caller(), echo.ID, overHTTP, 0)
		return err
	}}))
	second, err := app.UpdateAgent(t.Context(), w.caller(), echo.ID, application.AgentRequest{Runner: overHTTP.Runner, Description: new("new")}, 0)
	require.NoError(t, err)
	require.NotEmpty(t, first.SigningSecret)
	require.Empty(t, second.SigningSecret, "this one was thrown away")
	require.Equal(t, "new", second.Description)
}

func TestOtherWorkspacesSeeNothing(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	made := app.trigger(app.agent(nil).ID, func(c *application.CreateTrigger) { c.GenerateSecret = true })
	invocation := app.accepted(call(made.Token, made.Secret, `{}`))
	stranger := w.caller()
	stranger.WorkspaceID = "another"
	ctx := t.Context()
	attempts := map[string]func() error{
		"get a trigger": func() error { _, err := app.GetTrigger(ctx, stranger, made.ID); return err },
		"get it as it was": func() error {
			_, err := app.GetTriggerAsOf(ctx, stranger, made.ID, application.Moment{Position: 99})
			return err
		},
		"update it": func() error {
			_, err := app.UpdateTrigger(ctx, stranger, made.ID, application.UpdateTrigger{}, 0)
			return err
		},
		"rotate its token":  func() error { _, err := app.RotateTriggerToken(ctx, stranger, made.ID, 0); return err },
		"rotate its secret": func() error { _, err := app.RotateTriggerSecret(ctx, stranger, made.ID, "", 0); return err },
		"remove its secret": func() error { return app.RemoveTriggerSecret(ctx, stranger, made.ID) },
		"delete it":         func() error { return app.DeleteTrigger(ctx, stranger, made.ID, 0) },
		"get an agent":      func() error { _, err := app.GetAgent(ctx, stranger, made.AgentID); return err },
		"update one": func() error {
			_, err := app.UpdateAgent(ctx, stranger, made.AgentID, application.AgentRequest{}, 0)
			return err
		},
		"archive one": func() error { return app.ArchiveAgent(ctx, stranger, made.AgentID, 0) },
		"run one": func() error {
			_, err := app.ExecuteAgent(ctx, stranger, made.AgentID, application.ExecuteAgent{})
			return err
		},
		"get an execution": func() error { _, err := app.GetExecution(ctx, stranger, invocation.ID); return err },
		"cancel it":        func() error { _, err := app.CancelExecution(ctx, stranger, invocation.ID, ""); return err },
		"retry it":         func() error { _, err := app.RetryExecution(ctx, stranger, invocation.ID); return err },
		"wait for it":      func() error { _, err := app.AwaitExecution(ctx, "another", invocation.ID, time.Hour); return err },
		"report on it": func() error {
			_, err := app.ReportExecution(ctx, stranger, invocation.ID, application.Report{Output: json.RawMessage(`1`)})
			return err
		},
		"revoke a key": func() error { return app.RevokeAPIKey(ctx, stranger, "key-1") },
		"bind to its agent": func() error {
			_, err := app.CreateTrigger(ctx, stranger, application.CreateTrigger{Name: "x", AgentID: made.AgentID})
			return err
		},
	}
	for name, attempt := range attempts {
		want := fault.NotFound
		if name == "bind to its agent" {
			want = fault.Validation
		}
		require.Equal(t, want, fault.CodeOf(attempt()), name)
	}
	events, err := app.ListEvents(ctx, stranger, application.EventFilter{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, events.Items)
	require.Zero(t, events.Total)
}
