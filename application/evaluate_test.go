package application_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// atOnce evaluates at once, without bounds. before is called before each evaluation.
type atOnce struct {
	before func()
	calls  atomic.Int64
}

func (e *atOnce) Evaluate(ctx context.Context, source expression.Source, m expression.Message) (expression.Result, error) {
	e.calls.Add(1)
	if e.before != nil {
		e.before()
	}
	program, err := expression.Compile(source)
	if err != nil {
		return expression.Result{}, err
	}
	return program.Run(ctx, m)
}

func evaluating(e application.Evaluator) func(*setup) {
	return func(s *setup) { s.parts.Evaluator = e }
}

func withOptions(options string) func(*application.CreateTrigger) {
	return func(c *application.CreateTrigger) { c.Options = json.RawMessage(options) }
}

func (w *world) facts(app *replica) []string {
	w.Helper()
	var types []string
	for _, kind := range []string{"trigger.received", "trigger.invoked", "trigger.filtered"} {
		events, err := app.store.List(w.Context(), application.EventFilter{WorkspaceID: w.workspace, Type: kind, Limit: 10})
		require.NoError(w, err)
		for _, e := range events {
			types = append(types, e.Type)
		}
	}
	return types
}

// TestDeactivatedDuringAnEvaluation switches the trigger off while its expressions are evaluated:
// neither an execution nor a filtered call may come of it.
func TestDeactivatedDuringAnEvaluation(t *testing.T) {
	onBoth(t, func(w *world) {
		for _, options := range []string{`{"input_mapping": {"jq": "."}}`, `{"filter": "false"}`, `{"filter": "true"}`} {
			evaluator := &atOnce{}
			app, other := w.replica(evaluating(evaluator)), w.replica()
			made := app.trigger(app.agent(nil).ID, withOptions(options))
			before := w.facts(app)
			evaluator.before = func() {
				if evaluator.calls.Load() == 1 {
					other.update(made.ID, application.UpdateTrigger{IsActive: new(false)})
				}
			}
			_, err := app.InvokeTrigger(w.Context(), call(made.Token, "", `{}`))
			require.Equal(w, fault.TriggerInactive, fault.CodeOf(err), options)
			require.Equal(w, before, w.facts(app), options)
			require.EqualValues(w, 1, evaluator.calls.Load())
		}
	})
}

func TestAnotherReplicasMappingIsUsed(t *testing.T) {
	onBoth(t, func(w *world) {
		app, other := w.replica(evaluating(&atOnce{})), w.replica()
		made := app.trigger(app.agent(nil).ID, withOptions(`{"input_mapping": {"jq": "{a}"}}`))
		first := app.accepted(call(made.Token, "", `{"a": 1, "b": 2}`))
		require.Equal(w, `{"a":1}`, string(app.execution(first.ID).Input))
		other.options(made.ID, `{"input_mapping": {"jq": "{b}"}}`)
		second := app.accepted(call(made.Token, "", `{"a": 1, "b": 2}`))
		require.Equal(w, `{"b":2}`, string(app.execution(second.ID).Input))
	})
}

func TestWhatCannotBeEvaluatedIsTriedOnce(t *testing.T) {
	w := embedded(t)
	evaluator := &atOnce{}
	app := w.replica(evaluating(evaluator))
	made := app.trigger(app.agent(nil).ID, withOptions(`{"filter": "payload.a == 1"}`))
	app.accepted(call(made.Token, "", `{"a": 1}`))
	evaluator.calls.Store(0)
	_, err := app.InvokeTrigger(w.Context(), call(made.Token, "", `{}`))
	require.Equal(w, fault.ExpressionFailed, fault.CodeOf(err))
	require.EqualValues(w, 1, evaluator.calls.Load(), "the trigger is still the same")

	// When it has changed, it is tried as it is now.
	app.options(made.ID, `{"filter": "payload.b == 1"}`)
	app.accepted(call(made.Token, "", `{"b": 1}`))
	require.Equal(w, []string{"accepted", string(fault.ExpressionFailed), "accepted"}, app.metrics.invoked)
}

func TestTriggersWithoutExpressionsNeedNoEvaluator(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	plain := app.trigger(app.agent(nil).ID, nil)
	app.accepted(call(plain.Token, "", `{}`))
	made := app.trigger(app.agent(nil).ID, withOptions(`{"filter": "true"}`))
	_, err := app.InvokeTrigger(w.Context(), call(made.Token, "", `{}`))
	require.Equal(w, fault.Unavailable, fault.CodeOf(err))
	require.Equal(w, []string{"trigger.invoked"}, w.facts(app))
}

// TestAFilteredCallIsCounted tells the metrics, and leaves no idempotency key behind.
func TestAFilteredCallIsCounted(t *testing.T) {
	w := embedded(t)
	app := w.replica(evaluating(&atOnce{}))
	made := app.trigger(app.agent(nil).ID, withOptions(`{"filter": "payload.n > 1"}`))
	c := call(made.Token, "", `{"n": 1}`)
	c.IdempotencyKey = "delivery-1"
	for range 2 {
		filtered, err := app.InvokeTrigger(w.Context(), c)
		require.NoError(w, err)
		require.True(w, filtered.Filtered)
		require.Empty(w, filtered.ExecutionID)
	}
	require.Equal(w, []string{"filtered", "filtered"}, app.metrics.invoked)
	c.Body, c.Signed = []byte(`{"n": 2}`), []byte(`{"n": 2}`)
	app.accepted(c)
	last, err := app.store.List(w.Context(), application.EventFilter{WorkspaceID: w.workspace, Type: "trigger.filtered", Limit: 1})
	require.NoError(w, err)
	event, err := trigger.Codec.Decode(last[0])
	require.NoError(w, err)
	require.Equal(w, "192.0.2.7", event.(trigger.Filtered).ClientIP)
}
