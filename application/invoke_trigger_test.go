package application_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

func TestAnAcceptedCallIsOnRecord(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		made := app.trigger(app.agent(nil).ID, func(c *application.CreateTrigger) { c.GenerateSecret = true })
		c := call(made.Token, made.Secret, `{"n":1.50, "text":"\u0000\ud800"}`)
		c.IdempotencyKey, c.TraceParent = "delivery-1", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		invocation := app.accepted(c)
		require.Equal(w, application.Invocation{
			ID: invocation.ID, ExecutionID: invocation.ID, TriggerID: made.ID, AgentID: made.AgentID, Status: "pending", CreatedAt: w.clock.now(), WorkspaceID: w.workspace,
		}, invocation)

		view := app.execution(invocation.ExecutionID)
		require.Equal(w, string(c.Body), string(view.Input), "the exact bytes")
		events, err := app.store.List(w.Context(), application.EventFilter{WorkspaceID: w.workspace, Type: "trigger.invoked", Limit: 10})
		require.NoError(w, err)
		require.Len(w, events, 1)
		require.Equal(w, eventlog.Metadata{
			Actor: eventlog.ActorOf("trigger", made.ID), RequestID: "request-2", TraceParent: c.TraceParent, CorrelationID: invocation.ID,
		}, events[0].Meta)
		invoked, err := trigger.Codec.Decode(events[0])
		require.NoError(w, err)
		fact := invoked.(trigger.Invoked)
		require.True(w, fact.Signed)
		require.Equal(w, "delivery-1", fact.IdempotencyKey)
		require.Equal(w, "192.0.2.7", fact.ClientIP)
		require.Equal(w, len(c.Body), fact.Input.Size)
		for _, secret := range []string{made.Token, made.Secret} {
			require.NotContains(w, string(events[0].Data), secret)
		}
		require.Equal(w, []string{"accepted"}, app.metrics.invoked)
	})
}

// TestACallOfUnknownOutcomeIsNotMadeTwice loses the connection behind a commit, when the trigger
// is in memory and an error could be blamed on that.
func TestACallOfUnknownOutcomeIsNotMadeTwice(t *testing.T) {
	onBoth(t, func(w *world) {
		lost := 0
		store := &watched{}
		app := w.replica(watching(store))
		made := app.trigger(app.agent(nil).ID, nil)
		app.accepted(call(made.Token, "", `{"n": 1}`))
		store.append = func(a eventlog.Append) error {
			_, err := store.EventStore.Append(w.Context(), a)
			require.NoError(w, err)
			lost++
			return fmt.Errorf("%w: the connection broke", eventlog.ErrUnavailable)
		}
		app.refused(fault.Unavailable, call(made.Token, "", `{"n": 2}`))
		require.Equal(w, 1, lost)
		require.Equal(w, []string{"trigger.created", "trigger.invoked", "trigger.invoked"}, app.types(eventlog.Stream(eventlog.TriggerStream, made.ID)))
	})
}

func TestRefusals(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	strict := app.agent(func(r *application.AgentRequest) {
		r.InputSchema = json.RawMessage(`{"type":["object","array"],"properties":{"id":{"type":"integer"}},"required":["id"]}`)
	})
	made := app.trigger(strict.ID, func(c *application.CreateTrigger) { c.GenerateSecret = true })
	plain := app.trigger(app.agent(nil).ID, nil)
	other := app.trigger(strict.ID, nil)
	withType := func(contentType, body string) application.Call {
		c := call(plain.Token, "", body)
		c.ContentType = contentType
		return c
	}
	signedWith := func(edit func(*application.Call)) application.Call {
		c := call(made.Token, made.Secret, `{"id":1}`)
		edit(&c)
		return c
	}
	keyed := func(key string) application.Call {
		c := call(plain.Token, "", `{}`)
		c.IdempotencyKey = key
		return c
	}
	for name, c := range map[string]struct {
		call application.Call
		code fault.Code
	}{
		"no token":               {call("", "", `{}`), fault.Unauthorized},
		"a text":                 {call("wht_x", "", `{}`), fault.Unauthorized},
		"a token mistyped":       {call(strings.Replace(plain.Token, plain.Token[10:11], "_", 1), "", `{}`), fault.Unauthorized},
		"no signature":           {call(made.Token, "", `{"id":1}`), fault.InvalidSignature},
		"a wrong signature":      {call(made.Token, "not the secret", `{"id":1}`), fault.InvalidSignature},
		"the body was changed":   {signedWith(func(c *application.Call) { c.Signed = []byte(`{"id":2}`) }), fault.InvalidSignature},
		"one of two signatures":  {signedWith(func(c *application.Call) { c.Signatures = append(c.Signatures, "sha256=00") }), fault.InvalidSignature},
		"not what was packed":    {signedWith(func(c *application.Call) { c.Unreadable = fault.New(fault.InvalidJSON, "no gzip") }), fault.InvalidJSON},
		"nor signed":             {signedWith(func(c *application.Call) { c.Unreadable, c.Signatures = fault.New(fault.InvalidJSON, "no gzip"), nil }), fault.InvalidSignature},
		"a key of 255 bytes":     {keyed(strings.Repeat("x", 255)), ""},
		"a longer key":           {keyed(strings.Repeat("x", 256)), fault.Validation},
		"a key with a NUL":       {keyed("a\x00"), fault.Validation},
		"a key not in UTF-8":     {keyed("a\xff"), fault.Validation},
		"signature before parse": {call(made.Token, "", `{`), fault.InvalidSignature},
		"good":                   {call(made.Token, made.Secret, `{"id":1}`), ""},
		"an array, as allowed":   {call(other.Token, "", `[1]`), ""},
		"an array":               {call(plain.Token, "", `[1]`), fault.InvalidJSON},
		"no JSON":                {call(plain.Token, "", `{"a":1}}`), fault.InvalidJSON},
		"a key twice":            {call(plain.Token, "", `{"a":1,"a":2}`), fault.InvalidJSON},
		"nothing":                {call(plain.Token, "", ``), fault.InvalidJSON},
		"too large":              {call(plain.Token, "", `{"a":"`+strings.Repeat("x", 1000)+`"}`), fault.PayloadTooLarge},
		"the schema says no":     {call(other.Token, "", `{"id":"x"}`), fault.SchemaMismatch},
		"JSON by any name":       {withType("application/vnd.github+json; charset=UTF-8", `{}`), ""},
		"a form":                 {withType("application/x-www-form-urlencoded", `a=1&b=2`), ""},
		"a bad form":             {withType("application/x-www-form-urlencoded", `a=%zz`), fault.Validation},
		"text":                   {withType("text/plain", `{}`), fault.UnsupportedMediaType},
		"a type of nothing":      {withType(";", `{}`), fault.UnsupportedMediaType},
		"another encoding":       {withType("application/json; charset=latin1", `{}`), fault.UnsupportedMediaType},
	} {
		for _, memory := range []string{"from the database", "from memory"} {
			_, err := app.invoke(c.call)
			require.Equal(t, c.code, fault.CodeOf(err), "%s, %s: %v", name, memory, err)
		}
	}
}

func TestSchemaMismatchNamesThePaths(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	made := app.trigger(app.agent(func(r *application.AgentRequest) {
		r.InputSchema = json.RawMessage(`{"required":["id"],"properties":{"user":{"properties":{"age":{"type":"integer","maximum":150}}}}}`)
	}).ID, nil)
	_, err := app.invoke(call(made.Token, "", `{"user":{"age":151}}`))
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.SchemaMismatch, f.Code)
	require.Equal(t, map[string]string{"": "missing property 'id'", "/user/age": "must be at most 150"}, f.Details)

	form := call(made.Token, "", `name=x`)
	form.ContentType = "application/x-www-form-urlencoded"
	_, err = app.invoke(form)
	require.ErrorAs(t, err, &f)
	require.Equal(t, map[string]string{"": "missing property 'id'"}, f.Details, "a form is checked as the object it becomes")
}

func TestInactiveTriggers(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	for option, check := range map[string]func(error){
		`{}`:                      func(err error) { require.Equal(t, fmt.Sprintf("%T", &fault.Error{}), fmt.Sprintf("%T", err)) },
		`{"inactive_status":403}`: func(err error) { require.Equal(t, fmt.Sprintf("%T", &fault.Error{}), fmt.Sprintf("%T", err)) },
		`{"inactive_status":200}`: func(err error) { require.ErrorAs(t, err, new(*application.Acknowledged)) },
		`{"inactive_status":410}`: func(err error) { require.ErrorAs(t, err, new(*application.Gone)) },
	} {
		made := app.trigger(app.agent(nil).ID, func(c *application.CreateTrigger) { c.IsActive, c.Options = new(false), json.RawMessage(option) })
		_, err := app.invoke(call(made.Token, "", `{}`))
		check(err)
		require.Equal(t, fault.TriggerInactive, fault.CodeOf(err), option)

		expired := app.trigger(app.agent(nil).ID, func(c *application.CreateTrigger) { c.Options = json.RawMessage(option) })
		app.options(expired.ID, `{"expires_at":"2026-03-01T12:00:00Z"}`)
		_, err = app.invoke(call(expired.Token, "", `{}`))
		check(err)

		closed := app.trigger(app.agent(nil).ID, func(c *application.CreateTrigger) { c.Options = json.RawMessage(option) })
		app.options(closed.ID, `{"allowed_ips":["198.51.100.0/24"]}`)
		app.refused(fault.Forbidden, call(closed.Token, "", `{}`))
	}
	require.NotContains(t, app.metrics.invoked, "internal")
	require.NotContains(t, app.metrics.invoked, "accepted")
}

func TestATokenOfAnArchivedAgent(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	runs := app.agent(nil)
	made := app.trigger(runs.ID, nil)
	require.Equal(t, fault.Conflict, fault.CodeOf(app.ArchiveAgent(t.Context(), w.caller(), runs.ID, 0)), "a trigger runs it")
	app.accepted(call(made.Token, "", `{}`))
	require.NoError(t, app.DeleteTrigger(t.Context(), w.caller(), made.ID, 0))
	require.NoError(t, app.ArchiveAgent(t.Context(), w.caller(), runs.ID, 0))
	app.refused(fault.Unauthorized, call(made.Token, "", `{}`))
	_, err := app.CreateTrigger(t.Context(), w.caller(), application.CreateTrigger{Name: "x", AgentID: runs.ID})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

func TestIdempotency(t *testing.T) {
	onBoth(t, func(w *world) {
		app, replica := w.replica(), w.replica()
		runs := app.agent(func(r *application.AgentRequest) { r.Runner = runsOn(agent.Runner{Kind: agent.RunnerNone}) })
		made, other := app.trigger(runs.ID, nil), app.trigger(runs.ID, nil)
		keyed := func(token, body string) application.Call {
			c := call(token, "", body)
			c.IdempotencyKey = "delivery-1"
			return c
		}
		first := app.accepted(keyed(made.Token, `{"a":1}`))
		_, err := app.ReportExecution(w.Context(), w.caller(), first.ID, application.Report{Output: json.RawMessage(`1`)})
		require.NoError(w, err)

		again := first
		again.Replayed = true
		w.clock.advance(24*time.Hour - 1)
		require.Equal(w, again, replica.accepted(keyed(made.Token, `{"a":1}`)), "a repeat answers as the first did, whatever came of it, on every replica")
		app.refused(fault.IdempotencyMismatch, keyed(made.Token, `{"a":2}`))
		require.NotEqual(w, first.ID, app.accepted(keyed(other.Token, `{"a":1}`)).ID, "a key counts per trigger")
		require.NotEqual(w, first.ID, app.accepted(call(made.Token, "", `{"a":1}`)).ID, "without a key nothing is a repeat")

		w.clock.advance(1)
		require.NotEqual(w, first.ID, app.accepted(keyed(made.Token, `{"a":2}`)).ID, "after 24 h the key is free")
		require.Contains(w, replica.metrics.invoked, "replayed")
	})
}

func TestRepeatsAtTheSameMomentRunOnce(t *testing.T) {
	onBoth(t, func(w *world) {
		replicas := []*replica{w.replica(), w.replica()}
		made := replicas[0].trigger(replicas[0].agent(nil).ID, nil)
		ids := make([]string, 20)
		var calls sync.WaitGroup
		for i := range ids {
			calls.Go(func() {
				c := call(made.Token, "", `{}`)
				c.IdempotencyKey = "delivery-1"
				invocation, err := replicas[i%2].InvokeTrigger(context.WithoutCancel(w.Context()), c)
				if err == nil {
					ids[i] = invocation.ID
				}
			})
		}
		calls.Wait()
		for _, id := range ids {
			require.Equal(w, ids[0], id)
		}
		require.NotEmpty(w, ids[0])
		require.Equal(w, []string{"trigger.created", "trigger.invoked"}, replicas[0].types(eventlog.Stream(eventlog.TriggerStream, made.ID)))
	})
}
