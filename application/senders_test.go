package application_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// request is a request as the port reads it, without a query.
type request struct {
	method string
	header http.Header
}

func (r request) Method() string              { return r.method }
func (r request) Header(name string) []string { return r.header.Values(name) }
func (r request) Query(string) string         { return "" }
func (r request) URL(bool) string             { return "http://inside:8080" + r.URI() }
func (r request) URI() string                 { return "/hooks/wht_x" }

// sent is a call with headers, names and values in turn.
func sent(token, body string, headers ...string) application.Call {
	c := call(token, "", body)
	header := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		header.Add(headers[i], headers[i+1])
	}
	c.Sent = request{http.MethodPost, header}
	return c
}

func withScheme(scheme string) func(*application.CreateTrigger) {
	return func(c *application.CreateTrigger) {
		c.GenerateSecret, c.Options = true, json.RawMessage(`{"signature":`+scheme+`}`)
	}
}

// TestUnsignedDeliveryIDs: an id that the signature does not cover counts together with what is
// signed, so that whoever sees ids can neither stop a delivery nor have it answered wrongly.
func TestUnsignedDeliveryIDs(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		made := r.trigger(r.agent(nil).ID, withScheme(`{"scheme":"github"}`))
		send := func(id, body string) application.Invocation {
			return r.accepted(sent(made.Token, body, "X-GitHub-Delivery", id, "X-Hub-Signature-256", trigger.Sign([]byte(made.Secret), []byte(body))))
		}
		first := send("d-1", `{"n":1}`)
		repeat := send("d-1", `{"n":1}`)
		require.True(t, repeat.Replayed)
		require.Equal(t, first.ID, repeat.ID)
		other := send("d-1", `{"n":2}`)
		require.False(t, other.Replayed, "another body is another delivery")
		require.NotEqual(t, first.ID, other.ID)
		require.False(t, send("d-2", `{"n":1}`).Replayed, "senders repeat equal bodies in good faith")
		require.False(t, send(strings.Repeat("long ", 100), `{"n":3}`).Replayed)
		require.True(t, send(strings.Repeat("long ", 100), `{"n":3}`).Replayed)
		r.accepted(sent(made.Token, `{}`, "X-GitHub-Event", "pull_request", "X-Hub-Signature-256", trigger.Sign([]byte(made.Secret), []byte(`{}`))))
		newest, err := r.store.List(w.Context(), application.EventFilter{WorkspaceID: w.workspace, Stream: eventlog.Stream(eventlog.TriggerStream, made.ID), Limit: 1})
		require.NoError(t, err)
		require.Contains(t, string(newest[0].Data), `"sender_event":"pull_request"`)
		r.accepted(sent(made.Token, `{}`, "X-GitHub-Event", strings.Repeat("long", 26), "X-Hub-Signature-256", trigger.Sign([]byte(made.Secret), []byte(`{}`))))
		w.clock.advance(24*time.Hour + time.Second)
		require.False(t, send("d-1", `{"n":1}`).Replayed, "a day later it is forgotten")
	})
}

// TestSignedDeliveryIDs: a repeat of a signed id is a repeat, whatever else has changed.
func TestSignedDeliveryIDs(t *testing.T) {
	w := embedded(t)
	r := w.replica()
	made := r.trigger(r.agent(nil).ID, withScheme(`{"scheme":"typeform"}`))
	secretOf := func(body string) string { return typeformSignature(made.Secret, body) }
	send := func(body string) application.Invocation {
		return r.accepted(sent(made.Token, body, "Typeform-Signature", secretOf(body)))
	}
	first := send(`{"event_id":"e-1","try":1}`)
	repeat := send(`{"event_id":"e-1","try":2}`)
	require.True(t, repeat.Replayed)
	require.Equal(t, first.ID, repeat.ID)
	require.False(t, send(`{"event_id":"e-2","try":1}`).Replayed)
	for range 2 {
		require.False(t, send(`{}`).Replayed, "without an id every call counts")
	}
}

func TestSecretsFitTheScheme(t *testing.T) {
	w := embedded(t)
	r := w.replica()
	agent := r.agent(nil).ID
	standard := r.trigger(agent, withScheme(`{"scheme":"standard-webhooks"}`))
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, standard.Secret)

	field := func(err error) map[string]string {
		t.Helper()
		var refused *fault.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, fault.Validation, refused.Code)
		return refused.Details
	}
	create := func(secret, options string) error {
		_, err := r.CreateTrigger(w.Context(), w.caller(), application.CreateTrigger{AgentID: agent, Name: "x", Secret: secret, Options: json.RawMessage(options)})
		return err
	}
	require.Contains(t, field(create("whsec_not base64 at all", `{"signature":{"scheme":"standard-webhooks"}}`)), "secret")
	require.Contains(t, field(create("", `{"signature":{"scheme":"github"}}`)), "options.signature.scheme")
	_, err := r.RotateTriggerSecret(w.Context(), w.caller(), standard.ID, "0123456789abcdef", time.Hour)
	require.Contains(t, field(err), "secret")
	rotated, err := r.RotateTriggerSecret(w.Context(), w.caller(), standard.ID, "", time.Hour)
	require.NoError(t, err)
	require.Regexp(t, `^whsec_`, rotated.Secret)
	require.Contains(t, field(r.RemoveTriggerSecret(w.Context(), w.caller(), standard.ID)), "options.signature.scheme")

	// A secret that is there already must be of use to the scheme that is switched to.
	usual := r.trigger(agent, func(c *application.CreateTrigger) { c.GenerateSecret = true })
	change := func(options string) error {
		_, err := r.UpdateTrigger(w.Context(), w.caller(), usual.ID, application.UpdateTrigger{Options: json.RawMessage(options)}, 0)
		return err
	}
	why := field(change(`{"signature":{"scheme":"standard-webhooks"}}`))["options.signature.scheme"]
	require.Contains(t, why, "must begin with whsec_")
	require.NotContains(t, why, usual.Secret)
	_, err = r.RotateTriggerSecret(w.Context(), w.caller(), usual.ID, standard.Secret, time.Hour)
	require.NoError(t, err)
	require.NoError(t, change(`{"signature":{"scheme":"standard-webhooks"}}`))
	bare := r.trigger(agent, nil)
	_, err = r.UpdateTrigger(w.Context(), w.caller(), bare.ID, application.UpdateTrigger{Options: json.RawMessage(`{"signature":{"scheme":"github"}}`)}, 0)
	require.Contains(t, field(err), "options.signature.scheme")
}

// TestAChangeOfSchemeHoldsOnOtherReplicas: what another replica remembers of the trigger lets
// nobody in by the scheme before.
func TestAChangeOfSchemeHoldsOnOtherReplicas(t *testing.T) {
	onBoth(t, func(w *world) {
		one, other := w.replica(), w.replica()
		made := one.trigger(one.agent(nil).ID, func(c *application.CreateTrigger) { c.GenerateSecret = true })
		usual := sent(made.Token, `{}`, "X-Webhook-Signature", "")
		usual.Signatures = []string{trigger.Sign([]byte(made.Secret), []byte(`{}`))}
		jira := sent(made.Token, `{}`, "X-Hub-Signature", trigger.Sign([]byte(made.Secret), []byte(`{}`)))
		other.accepted(usual)
		other.refused(fault.InvalidSignature, jira)
		one.options(made.ID, `{"signature":{"scheme":"jira"}}`)
		other.refused(fault.InvalidSignature, usual)
		other.accepted(jira)
		one.options(made.ID, `{"signature":null}`)
		other.refused(fault.InvalidSignature, jira)
		other.accepted(usual)
	})
}

// TestVerifyTokens: they are no part of what is shown or logged, and end when they are replaced.
func TestVerifyTokens(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		made := r.trigger(r.agent(nil).ID, withScheme(`{"scheme":"meta","verify_token":"a-low-secret"}`))
		stream := eventlog.Stream(eventlog.TriggerStream, made.ID)
		first := made.Options.VerifyTokenID()
		require.NotEmpty(t, first)
		sealed := func(id string) bool {
			_, found, err := r.store.Sealed(w.Context(), id)
			require.NoError(t, err)
			return found
		}
		view := func() application.TriggerView {
			v, err := r.GetTrigger(w.Context(), w.caller(), made.ID)
			require.NoError(t, err)
			return v
		}
		require.True(t, sealed(first))
		shown, err := json.Marshal(view())
		require.NoError(t, err)
		require.NotContains(t, string(shown), "a-low-secret")
		back, err := json.Marshal(view().Options)
		require.NoError(t, err)
		r.options(made.ID, string(back))
		require.Equal(t, []string{"trigger.created"}, r.types(stream), "what was read can be sent back")
		r.options(made.ID, `{"signature":{"scheme":"meta","verify_token":"another-secret"}}`)
		second := view().Options.VerifyTokenID()
		require.NotEqual(t, first, second)
		require.True(t, !sealed(first) && sealed(second))
		r.options(made.ID, `{"signature":{"scheme":"github"}}`)
		require.False(t, sealed(second))
		r.options(made.ID, `{"signature":{"scheme":"meta","verify_token":"a-third-secret"}}`)
		third := view().Options.VerifyTokenID()
		require.NoError(t, r.DeleteTrigger(w.Context(), w.caller(), made.ID, 0))
		require.False(t, sealed(third))
		events, err := r.store.List(w.Context(), application.EventFilter{WorkspaceID: w.workspace, Stream: stream, Limit: 100})
		require.NoError(t, err)
		for _, e := range events {
			require.NotContains(t, string(e.Data), "-secret")
		}
	})
}

// TestHandshakesAreOnTheTrail: they are facts of the trigger that run nothing.
func TestHandshakesAreOnTheTrail(t *testing.T) {
	onBoth(t, func(w *world) {
		r := w.replica()
		made := r.trigger(r.agent(nil).ID, withScheme(`{"scheme":"github"}`))
		ping := sent(made.Token, `{}`, "X-GitHub-Event", "ping", "X-Hub-Signature-256", trigger.Sign([]byte(made.Secret), []byte(`{}`)))
		answered := r.accepted(ping)
		require.Equal(t, "ping", answered.Handshake.Kind)
		require.Empty(t, answered.ExecutionID)
		stream := eventlog.Stream(eventlog.TriggerStream, made.ID)
		require.Equal(t, []string{"trigger.created", "trigger.handshaken"}, r.types(stream))
		require.Equal(t, []string{"handshake"}, r.metrics.invoked)
		executions, err := r.ListExecutions(w.Context(), w.caller(), application.ExecutionFilter{}, application.Paging{Page: 1, Limit: 10})
		require.NoError(t, err)
		require.Empty(t, executions.Items)

		unsigned := sent(made.Token, `{}`, "X-GitHub-Event", "ping")
		r.refused(fault.InvalidSignature, unsigned)
		r.update(made.ID, application.UpdateTrigger{IsActive: new(false)})
		r.refused(fault.TriggerInactive, ping)

		// Another method is refused in the same words, whoever asks.
		for _, token := range []string{made.Token, "wht_x", r.trigger(r.agent(nil).ID, nil).Token} {
			c := sent(token, "")
			c.Sent, c.SetUp = request{http.MethodGet, http.Header{"X-Okta-Verification-Challenge": {"c"}}}, true
			_, err := r.invoke(c)
			require.Equal(t, fault.MethodNotAllowed, fault.CodeOf(err))
			require.ErrorContains(t, err, "this path takes the method POST")
		}
	})
}

// TestTheURLOutside: a sender that signs the URL knows the one that the operator has made public.
func TestTheURLOutside(t *testing.T) {
	w := embedded(t)
	r := w.replica()
	made := r.trigger(r.agent(nil).ID, withScheme(`{"scheme":"custom","header":"X-Sig","signing_string":["url","body"]}`))
	for url, passes := range map[string]bool{publicURL + "/hooks/wht_x": true, "http://inside:8080/hooks/wht_x": true, "http://elsewhere/hooks/wht_x": false} {
		mac := hmac.New(sha256.New, []byte(made.Secret))
		mac.Write([]byte(url + `{}`))
		_, err := r.invoke(sent(made.Token, `{}`, "X-Sig", hex.EncodeToString(mac.Sum(nil))))
		require.Equal(t, passes, err == nil, url)
	}
}

func typeformSignature(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
