package application_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/keyring"
	"hooktrail/adapters/secretbox"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
)

const (
	firstKey  = "sk-first-0123456789abcdef"
	secondKey = "sk-second-0123456789ghijkl"
)

func model(key *string, edit ...func(*agent.Runner)) *application.RunnerRequest {
	r := &application.RunnerRequest{Runner: agent.Runner{Kind: agent.RunnerOpenAI, BaseURL: "https://models.example.com/v1", Model: "small"}, APIKey: key}
	for _, e := range edit {
		e(&r.Runner)
	}
	return r
}

// sealed counts the stored secrets.
func (r *replica) sealed() int {
	r.world.Helper()
	var count int
	require.NoError(r.world, r.world.backend.Open(r.world).Get(r.world.Context(), &count, "SELECT count(*) FROM credentials WHERE sealed IS NOT NULL"))
	return count
}

func TestAnAgentsCredentialFromBeginningToEnd(t *testing.T) {
	onBoth(t, func(w *world) {
		var used []string
		app := w.replica(running(func(_ context.Context, run application.Run) ([]byte, error) {
			used = append(used, run.Credential)
			return []byte(`1`), nil
		}))
		run := func(id string) {
			w.Helper()
			_, err := app.ExecuteAgent(w.Context(), w.caller(), id, application.ExecuteAgent{})
			require.NoError(w, err)
			app.work()
		}
		update := func(id string, r *application.RunnerRequest) (application.AgentView, error) {
			issued, err := app.UpdateAgent(w.Context(), w.caller(), id, application.AgentRequest{Runner: r}, 0)
			return issued.AgentView, err
		}
		made := app.agent(func(r *application.AgentRequest) { r.Runner = model(new(firstKey)) })
		require.True(w, made.HasCredential)
		require.Equal(w, "cdef", made.CredentialHint)
		require.Empty(w, made.SigningSecret)
		require.Equal(w, 1, app.sealed())
		run(made.ID)

		view, err := update(made.ID, model(nil, func(r *agent.Runner) { r.Model = "large" }))
		require.NoError(w, err)
		require.Equal(w, "cdef", view.CredentialHint, "it is kept")
		run(made.ID)
		_, err = update(made.ID, model(nil, func(r *agent.Runner) { r.BaseURL = "https://elsewhere.example.com/v1" }))
		require.Equal(w, fault.Validation, fault.CodeOf(err))
		require.ErrorContains(w, err, "runner.api_key")

		view, err = update(made.ID, model(new(secondKey)))
		require.NoError(w, err)
		require.Equal(w, "ijkl", view.CredentialHint)
		require.Equal(w, 1, app.sealed(), "the old one is erased")
		run(made.ID)

		// A rotation seals it anew; the running process finds the new key.
		ring, err := keyring.Open(w.Context(), w.backend.Open(w), func() (secretbox.MasterKeys, error) { return w.master, nil })
		require.NoError(w, err)
		rotated, err := ring.Rotate(w.Context())
		require.NoError(w, err)
		require.Equal(w, 1, rotated.Resealed)
		run(made.ID)

		view, err = update(made.ID, model(new("")))
		require.NoError(w, err)
		require.False(w, view.HasCredential)
		require.Zero(w, app.sealed())
		run(made.ID)
		require.Equal(w, []string{firstKey, firstKey, secondKey, secondKey, ""}, used)

		// It goes with the kind of runner, and with the agent.
		other := app.agent(func(r *application.AgentRequest) { r.Runner = model(new(firstKey)) })
		view, err = update(other.ID, runsOn(agent.Runner{Kind: agent.RunnerEcho}))
		require.NoError(w, err)
		require.False(w, view.HasCredential)
		require.Zero(w, app.sealed())
		view, err = update(other.ID, &application.RunnerRequest{Runner: agent.Runner{Kind: agent.RunnerA2A, URL: "https://agent.example.com"}, Token: new("short")})
		require.NoError(w, err)
		require.True(w, view.HasCredential)
		require.Empty(w, view.CredentialHint)
		require.Equal(w, 1, app.sealed())
		require.NoError(w, app.ArchiveAgent(w.Context(), w.caller(), other.ID, 0))
		require.Zero(w, app.sealed())

		shown, err := json.Marshal([]any{made, view, app.events(made.ID), app.events(other.ID)})
		require.NoError(w, err)
		for _, secret := range []string{firstKey, secondKey, "short"} {
			require.NotContains(w, string(shown), secret)
		}
	})
}

func (r *replica) events(agentID string) []eventlog.Recorded {
	r.world.Helper()
	events, err := r.store.Decisions(r.world.Context(), eventlog.Stream(eventlog.AgentStream, agentID), 0)
	require.NoError(r.world, err)
	require.NotEmpty(r.world, events)
	return events
}

func TestCredentialsThatAreRefused(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	for field, r := range map[string]*application.RunnerRequest{
		"runner.token":   {Runner: model(nil).Runner, Token: new(firstKey)},
		"runner.api_key": {Runner: agent.Runner{Kind: agent.RunnerEcho}, APIKey: new(firstKey)},
	} {
		_, err := app.CreateAgent(t.Context(), w.caller(), application.AgentRequest{Name: new("a"), Runner: r})
		require.Equal(t, fault.Validation, fault.CodeOf(err))
		require.ErrorContains(t, err, field+" does not belong to a runner of the kind "+r.Kind)
	}
	_, err := app.CreateAgent(t.Context(), w.caller(), application.AgentRequest{Name: new("a"), Runner: model(new("sk with space"))})
	require.ErrorContains(t, err, "runner.api_key must be of visible ASCII characters")
	require.NotContains(t, err.Error(), "with space")
	require.Zero(t, app.sealed())
	for _, none := range []*string{nil, new("")} {
		made := app.agent(func(r *application.AgentRequest) { r.Runner = model(none) })
		require.False(t, made.HasCredential)
	}
}

// TestACredentialReplacedInBetween: the attempt was claimed with the agent as it was.
func TestACredentialReplacedInBetween(t *testing.T) {
	w := embedded(t)
	var used []string
	app := w.replica(running(func(_ context.Context, run application.Run) ([]byte, error) {
		used = append(used, run.Credential)
		return []byte(`1`), nil
	}))
	made := app.agent(func(r *application.AgentRequest) { r.Runner = model(new(firstKey)) })
	asked, err := app.ExecuteAgent(t.Context(), w.caller(), made.ID, application.ExecuteAgent{})
	require.NoError(t, err)
	claimed := app.claim("worker-1")
	_, err = app.UpdateAgent(t.Context(), w.caller(), made.ID, application.AgentRequest{Runner: model(new(secondKey))}, 0)
	require.NoError(t, err)
	app.RunExecution(t.Context(), claimed[0])
	view := app.execution(asked.ID)
	require.Equal(t, execution.Pending, view.Status, "another attempt is made")
	require.Contains(t, view.Attempts[0].Error, "replaced or removed")
	w.clock.advance(view.NextAttemptAt.Sub(w.clock.now()))
	app.work()
	require.Equal(t, execution.Completed, app.execution(asked.ID).Status)
	require.Equal(t, []string{secondKey}, used)
}

// counting is a model that reports what it used.
type counting struct{ usage *execution.TokenUsage }

func (c counting) Run(context.Context, application.Run) (application.Result, error) {
	return application.Result{Output: []byte(`{"message":"hello"}`), TokenUsage: c.usage}, nil
}

func TestTokenUsageIsShown(t *testing.T) {
	onBoth(t, func(w *world) {
		used := &execution.TokenUsage{PromptTokens: 40, CompletionTokens: 2, TotalTokens: 42}
		app := w.replica(func(s *setup) { s.parts.Runner = counting{used} })
		asked, err := app.ExecuteAgent(w.Context(), w.caller(), app.agent(nil).ID, application.ExecuteAgent{})
		require.NoError(w, err)
		app.work()
		require.Equal(w, used, app.execution(asked.ID).TokenUsage)
		page, err := app.ListExecutions(w.Context(), w.caller(), application.ExecutionFilter{}, application.Paging{Limit: 1})
		require.NoError(w, err)
		require.Equal(w, used, page.Items[0].TokenUsage)

		other := w.replica(func(s *setup) { s.parts.Runner = counting{} })
		asked, err = other.ExecuteAgent(w.Context(), w.caller(), other.agent(nil).ID, application.ExecuteAgent{})
		require.NoError(w, err)
		other.work()
		require.Nil(w, other.execution(asked.ID).TokenUsage)
	})
}
