//go:build unix

package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/trigger"
	"hooktrail/internal/testserver"
)

func idOf(t *testing.T, answer testserver.Answer) string {
	t.Helper()
	var made resource
	answer.Decode(t, &made)
	return made.ID
}

func TestIdempotency(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		made, other := a.trigger(t, agent, ""), a.trigger(t, agent, "")
		before := a.head(t)
		first := a.hook(t, made.Token, `{"a": 1}`, "Idempotency-Key", "k")
		require.Equal(t, 202, first.Status)
		require.Empty(t, first.Header.Get("Idempotent-Replayed"))
		require.Equal(t, "completed", a.ended(t, idOf(t, first)).Status)

		for _, name := range []string{"Idempotency-Key", "webhook-id"} {
			again := a.hook(t, made.Token, `{"a": 1}`, name, "k")
			require.Equal(t, first.Status, again.Status)
			require.Equal(t, first.Body, again.Body, "answered as the first was")
			require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
			require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"))
		}
		waited := a.hook(t, made.Token, `{"a": 1}`, "Idempotency-Key", "k", "Prefer", "wait=10")
		require.Equal(t, 200, waited.Status)
		require.Equal(t, idOf(t, first), idOf(t, waited))

		mismatch := a.hook(t, made.Token, `{"a":1}`, "Idempotency-Key", "k")
		require.Equal(t, 422, mismatch.Status, "other bytes are another body")
		require.Equal(t, "idempotency_key_reused", refusalOf(t, mismatch).Error.Code)

		elsewhere := a.hook(t, other.Token, `{"b": 2}`, "Idempotency-Key", "k")
		require.Equal(t, 202, elsewhere.Status, "keys are each trigger's own")
		require.Empty(t, elsewhere.Header.Get("Idempotent-Replayed"))
		fresh := a.hook(t, made.Token, `{"a": 1}`, "Idempotency-Key", "k2", "webhook-id", "k")
		require.NotEqual(t, idOf(t, first), idOf(t, fresh), "Idempotency-Key comes first")

		require.Equal(t, 400, a.hook(t, made.Token, `{"a":`, "Idempotency-Key", "k3").Status)
		require.Empty(t, a.hook(t, made.Token, `{"a": 3}`, "Idempotency-Key", "k3").Header.Get("Idempotent-Replayed"), "a refused call uses no key up")
		for _, key := range []string{strings.Repeat("k", 256), "a\tb", "\xff"} {
			answer := a.hook(t, made.Token, `{}`, "Idempotency-Key", key)
			require.Equal(t, 400, answer.Status, "%q", key)
			require.Contains(t, refusalOf(t, answer).Error.Details, "Idempotency-Key")
		}
		require.Equal(t, 202, a.hook(t, made.Token, `{}`, "Idempotency-Key", strings.Repeat("é", 127)).Status)

		a.must(t, 200, nil, "PATCH", triggers+"/"+made.ID, `{"is_active": false}`)
		require.Equal(t, 403, a.hook(t, made.Token, `{"a": 1}`, "Idempotency-Key", "k").Status, "active comes before idempotency")
		invoked := 0
		for _, e := range a.eventsAfter(t, before) {
			if e.Type == "trigger.invoked" {
				invoked++
			}
		}
		require.Equal(t, 5, invoked)
	})
}

// TestSameKeyAtTheSameTime: of many calls at one moment one runs, and all get its answer.
func TestSameKeyAtTheSameTime(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		const calls = 24
		answers := make([]testserver.Answer, calls)
		var all sync.WaitGroup
		for i := range calls {
			all.Go(func() {
				answers[i] = a.Do(t, "POST", hook, `{"a": 1}`, map[string]string{"Authorization": "Bearer " + made.Token, "Idempotency-Key": "k"})
			})
		}
		all.Wait()
		replayed := 0
		for _, answer := range answers {
			require.Equal(t, 202, answer.Status, answer.Body)
			require.Equal(t, idOf(t, answers[0]), idOf(t, answer))
			if answer.Header.Get("Idempotent-Replayed") == "true" {
				replayed++
			}
		}
		require.Equal(t, calls-1, replayed)
		require.Equal(t, 1, metaOf(t, a.must(t, 200, nil, "GET", executions, "")).Total)
	})
}

func TestPreferWait(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		done := a.hook(t, made.Token, `{"a": 1}`, "Prefer", "wait=10")
		require.Equal(t, 200, done.Status)
		require.Equal(t, "wait=10", done.Header.Get("Preference-Applied"))
		require.Contains(t, done.Body, `"status":"completed"`)
		for _, prefer := range []string{`respond-async, WAIT="30"`, "wait=99999999999999999999", "wait = 5; foo=1", "wait=120"} {
			answer := a.hook(t, made.Token, `{}`, "Prefer", prefer)
			if prefer == "wait=99999999999999999999" { // makes no sense, so it is no preference
				require.Equal(t, 202, answer.Status)
				continue
			}
			require.Equal(t, 200, answer.Status, prefer)
		}
		require.Equal(t, "wait=60", a.hook(t, made.Token, `{}`, "Prefer", "wait=120").Header.Get("Preference-Applied"))
		for _, prefer := range []string{"", "wait=0", "wait", "wait=-1", "wait=ten", "return=minimal", "=", ","} {
			answer := a.hook(t, made.Token, `{}`, "Prefer", prefer)
			require.Equal(t, 202, answer.Status, prefer)
			require.Empty(t, answer.Header.Get("Preference-Applied"))
			require.Contains(t, answer.Body, `"status":"pending"`)
		}
		slow := a.trigger(t, a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`), "")
		began := time.Now()
		require.Equal(t, 202, a.hook(t, slow.Token, `{}`, "Prefer", "wait=1").Status)
		require.GreaterOrEqual(t, time.Since(began), time.Second)
	})
}

// TestWaitEndsWithTheExecution: with its report by somebody outside, and with its failure.
func TestWaitEndsWithTheExecution(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such thing", http.StatusNotFound) }))
		t.Cleanup(broken.Close)
		a := start(t, testserver.Options{Dialect: dialect, Configure: func(c *testserver.Config) { c.AllowPrivateAgents = []string{"127.0.0.1"} }})
		outside := a.trigger(t, a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`), "")
		answered := make(chan testserver.Answer, 1)
		before := a.head(t)
		go func() {
			answered <- a.Do(t, "POST", "/hooks/"+outside.Token, `{}`, map[string]string{"Prefer": "wait=60"})
		}()
		var id string
		require.Eventually(t, func() bool {
			for _, e := range a.eventsAfter(t, before) {
				id = e.CorrelationID
			}
			return id != ""
		}, 20*time.Second, 10*time.Millisecond)
		a.must(t, 200, nil, "POST", executions+"/"+id+"/report", `{"output": {"done": true}}`)
		select {
		case answer := <-answered:
			require.Equal(t, 200, answer.Status)
			require.Contains(t, answer.Body, `"output":{"done":true}`)
		case <-time.After(20 * time.Second):
			t.Fatal("the call was not answered although its execution has ended")
		}

		failing := a.trigger(t, a.agent(t, `{"name": "Broken", "runner": {"kind": "http", "url": "`+broken.URL+`"}}`), "")
		var failed execution
		a.hook(t, failing.Token, `{}`, "Prefer", "wait=30").Decode(t, &failed)
		require.Equal(t, "failed", failed.Status, "a 404 of the agent is final")
		require.Contains(t, failed.Error, "404")
		require.NotEmpty(t, failed.ErrorCode)
	})
}

func TestTokenRotation(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		first := a.trigger(t, a.echo(t), "")
		one := triggers + "/" + first.ID
		rotate := func(body string) issued {
			var next issued
			a.must(t, 200, &next, "POST", one+"/rotate-token", body)
			require.True(t, strings.HasPrefix(next.Token, next.TokenPrefix))
			require.Contains(t, next.HookURL, next.Token)
			return next
		}
		status := func(token string) int { return a.hook(t, token, `{}`).Status }
		second := rotate("")
		require.NotEqual(t, first.Token, second.Token)
		require.Equal(t, []int{202, 202}, []int{status(first.Token), status(second.Token)}, "both work for a day")
		third := rotate(`{"grace_period": 2}`)
		ends := time.Now().Add(2 * time.Second)
		require.Equal(t, 202, status(third.Token))
		require.Eventually(t, func() bool { return status(first.Token) == 401 && status(second.Token) == 401 }, time.Minute, 50*time.Millisecond,
			"a later grace period ends the earlier ones")
		require.False(t, time.Now().Before(ends.Add(-500*time.Millisecond)), "the grace period ended too early")
		fourth := rotate(`{"grace_period": 0}`)
		require.Equal(t, []int{401, 202}, []int{status(third.Token), status(fourth.Token)}, "at once")
	})
}

func TestSecretRotation(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), `{"generate_secret": true}`)
		one := triggers + "/" + made.ID
		rotate := func(body string) string {
			var next issued
			a.must(t, 200, &next, "POST", one+"/rotate-secret", body)
			return next.Secret
		}
		status := func(secret string) int {
			return a.hook(t, made.Token, `{}`, "X-Webhook-Signature", trigger.Sign([]byte(secret), []byte(`{}`))).Status
		}
		second := rotate("")
		require.Equal(t, []int{202, 202}, []int{status(made.Secret), status(second)}, "either passes")
		third := rotate(`{"grace_period": 1, "secret": "0123456789abcdef"}`)
		require.Equal(t, "0123456789abcdef", third)
		require.Eventually(t, func() bool { return status(second) == 401 && status(made.Secret) == 401 }, time.Minute, 50*time.Millisecond)
		require.Equal(t, 202, status(third))
		fourth := rotate(`{"grace_period": 0}`)
		require.Equal(t, []int{401, 202}, []int{status(third), status(fourth)}, "at once")
		require.Equal(t, 401, a.hook(t, made.Token, `{}`).Status)
		a.must(t, 204, nil, "DELETE", one+"/secret", "")
		require.Equal(t, 202, a.hook(t, made.Token, `{}`).Status)
		require.Equal(t, 202, status(fourth), "a signature that is not asked for does no harm")
	})
}
