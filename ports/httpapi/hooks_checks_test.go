//go:build unix

package httpapi_test

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/token"
	"hooktrail/domain/trigger"
	"hooktrail/internal/testserver"
)

const hook = "/api/v1/webhook/trigger"

// TestChecksComeInOrder begins with a call that fails every check there is, and mends one
// thing at a time: each answer must be that of the next check (SPEC, section 3).
func TestChecksComeInOrder(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		a := start(t, testserver.Options{Dialect: dialect, Configure: func(c *testserver.Config) {
			c.RateLimit, c.TrustedProxies = 20, []string{"127.0.0.1"}
		}})
		agent := a.agent(t, `{"name": "Strict", "runner": {"kind": "echo"}, "input_schema": {"required": ["n"], "properties": {"n": {"type": "integer"}}}}`)
		made := a.trigger(t, agent, `{"generate_secret": true, "options": {"allowed_ips": ["192.0.2.0/24"]}}`)
		secret := []byte(made.Secret)
		used := a.accepted(t, made.Token, `{"n": 1}`, "Idempotency-Key", "used", "X-Webhook-Signature", trigger.Sign(secret, []byte(`{"n": 1}`)), "X-Forwarded-For", "192.0.2.7")
		a.ended(t, used)
		a.must(t, 200, nil, "PATCH", triggers+"/"+made.ID, `{"is_active": false}`)
		for range 20 {
			a.hook(t, "wht_x", `{}`, "X-Forwarded-For", "198.51.100.9")
		}
		before := a.head(t)

		method, body := "GET", strings.Repeat("{", 2<<20)
		headers := map[string]string{
			"X-Forwarded-For": "198.51.100.9", "Authorization": "Bearer wht_x", "X-Webhook-Signature": "sha256=00", "Content-Type": "application/xml",
			"Idempotency-Key": strings.Repeat("k", 256), "Prefer": "wait=x",
		}
		sign := func(changed string) {
			body = changed
			headers["X-Webhook-Signature"] = trigger.Sign(secret, []byte(changed))
		}
		for _, step := range []struct {
			mend   func()
			status int
			code   string
		}{
			{func() {}, 405, "method_not_allowed"},
			{func() { method = "POST" }, 429, "rate_limited"},
			{func() { headers["X-Forwarded-For"] = "198.51.100.10" }, 413, "payload_too_large"},
			{func() { body = `{"n":` }, 401, "unauthorized"},
			{func() { headers["Authorization"] = "Bearer " + made.Token }, 401, "invalid_signature"},
			{func() { sign(`{"n":`) }, 403, "forbidden"},
			{func() { headers["X-Forwarded-For"] = "192.0.2.7" }, 403, "trigger_inactive"},
			{func() { a.must(t, 200, nil, "PATCH", triggers+"/"+made.ID, `{"is_active": true}`) }, 415, "unsupported_media_type"},
			{func() { headers["Content-Type"] = "application/json" }, 400, "invalid_json"},
			{func() { sign(`{"n": "x"}`) }, 422, "schema_mismatch"},
			{func() { sign(`{"n": 2}`) }, 400, "validation_failed"},
			{func() { headers["Idempotency-Key"] = "used" }, 422, "idempotency_key_reused"},
		} {
			step.mend()
			var flat []string
			for name, value := range headers {
				flat = append(flat, name, value)
			}
			answer := a.do(t, method, hook, body, flat...)
			require.Equal(t, step.status, answer.Status, "%s: %s", step.code, answer.Body)
			require.Equal(t, step.code, refusalOf(t, answer).Error.Code)
		}
		require.Equal(t, []string{"trigger.activated"}, typesOf(a.eventsAfter(t, before)), "a refused call leaves no event")
		headers["Idempotency-Key"] = "new"
		answer := a.hook(t, made.Token, body, "Idempotency-Key", "new", "X-Webhook-Signature", headers["X-Webhook-Signature"], "X-Forwarded-For", "192.0.2.7")
		require.Equal(t, 202, answer.Status, answer.Body)
	})
}

func typesOf(list []event) []string {
	types := []string{}
	for _, e := range list {
		types = append(types, e.Type)
	}
	return types
}

func TestHookChecks(t *testing.T) {
	bearer := []string{"Authorization", "Bearer {token}"}
	with := func(headers ...string) []string { return append(append([]string{}, bearer...), headers...) }
	invoked := []string{"trigger.invoked"}
	aSigned := aTrigger(`{"secret": "0123456789abcdef"}`)
	good := trigger.Sign([]byte("0123456789abcdef"), []byte(`{"a": 1}`))
	wrong := trigger.Sign([]byte("0123456789abcdeg"), []byte(`{"a": 1}`))
	eachDialect(t, func(t *testing.T, a *api) {
		play(t, a, []scenario{
			{name: "accepted", given: aTrigger(""), method: "POST", path: hook, headers: bearer, body: `{"a": 1}`, status: 202, contains: []string{`"trigger_id":"{trigger}"`, `"agent_id":"{agent}"`, `"status":"pending"`, `"execution_id"`}, lacks: []string{"workspace", "null"}, events: invoked},
			{name: "accepted by its path", given: aTrigger(""), method: "POST", path: "/api/v1/hooks/{token}", body: `{}`, status: 202, events: invoked},
			{name: "accepted by its short path", given: aTrigger(""), method: "POST", path: "/hooks/{token}", body: `{}`, status: 202, events: invoked},
			{name: "accepted with a query", given: aTrigger(""), method: "POST", path: "/hooks/{token}?x=%00&y=%ff", body: `{}`, status: 202, events: invoked},
			{name: "accepted with a slash at the end", given: aTrigger(""), method: "POST", path: hook + "/", odd: true, headers: bearer, body: `{}`, status: 202, events: invoked},
			{name: "path and header at odds", given: aTrigger(""), method: "POST", path: "/hooks/wht_x", headers: bearer, body: `{}`, status: 401},

			{name: "method GET", given: aTrigger(""), method: "GET", path: hook, headers: bearer, status: 405, contains: []string{`"method_not_allowed"`}},
			{name: "method PUT by the path", given: aTrigger(""), method: "PUT", path: "/hooks/{token}", body: `{}`, status: 405, contains: []string{`"method_not_allowed"`}, lacks: []string{"{token}"}},

			{name: "too large", given: aTrigger(""), method: "POST", path: hook, headers: bearer, body: `"` + strings.Repeat("x", 1<<20) + `"`, status: 413, contains: []string{`"payload_too_large"`}},
			{name: "too large for the trigger", given: aTrigger(`{"options": {"max_body_bytes": 10}}`), method: "POST", path: hook, headers: bearer, body: `{"a": 1, "b": 2}`, status: 413, contains: []string{`"payload_too_large"`}},
			{name: "just large enough for the trigger", given: aTrigger(`{"options": {"max_body_bytes": 8}}`), method: "POST", path: hook, headers: bearer, body: `{"a": 1}`, status: 202, events: invoked},
			{name: "as large as the server takes", given: aTrigger(""), method: "POST", path: hook, headers: bearer, body: `{"a":"` + strings.Repeat("x", 1<<20-8) + `"}`, status: 202, events: invoked},

			{name: "no token", method: "POST", path: hook, body: `{}`, status: 401, contains: []string{`"unauthorized"`}},
			{name: "another scheme", given: aTrigger(""), method: "POST", path: hook, headers: []string{"Authorization", "Token {token}"}, body: `{}`, status: 401},
			{name: "the scheme in another case", given: aTrigger(""), method: "POST", path: hook, headers: []string{"Authorization", "bearer  {token}"}, body: `{}`, status: 202, events: invoked},

			{name: "signed", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", good), body: `{"a": 1}`, status: 202, events: invoked},
			{name: "signed in upper case", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", "sha256="+strings.ToUpper(good[7:])), body: `{"a": 1}`, status: 202, events: invoked},
			{name: "signed as by GitHub", given: aSigned, method: "POST", path: "/hooks/{token}", headers: []string{"X-Hub-Signature-256", good}, body: `{"a": 1}`, status: 202, events: invoked},
			{name: "signed as by the command line client", given: aSigned, method: "POST", path: hook, headers: with("X-PromptRails-Signature", good), body: `{"a": 1}`, status: 202, events: invoked},
			{name: "signed twice", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", good, "X-Hub-Signature-256", good), body: `{"a": 1}`, status: 202, events: invoked},
			{name: "signed well and badly", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", good, "X-Hub-Signature-256", wrong), body: `{"a": 1}`, status: 401, contains: []string{`"invalid_signature"`}},
			{name: "not signed", given: aSigned, method: "POST", path: hook, headers: bearer, body: `{"a": 1}`, status: 401, contains: []string{`"invalid_signature"`}},
			{name: "signed with another secret", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", wrong), body: `{"a": 1}`, status: 401, contains: []string{`"invalid_signature"`}, lacks: []string{wrong[7:], good[7:]}},
			{name: "signed for another body", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", good), body: `{"a":1}`, status: 401},
			{name: "signed without the algorithm", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", good[7:]), body: `{"a": 1}`, status: 401},
			{name: "signed with SHA-1", given: aSigned, method: "POST", path: hook, headers: with("X-Webhook-Signature", "sha1="+good[7:47]), body: `{"a": 1}`, status: 401},
			{name: "signed, where none is asked for", given: aTrigger(""), method: "POST", path: hook, headers: with("X-Webhook-Signature", "sha256=nonsense"), body: `{"a": 1}`, status: 202, events: invoked},

			{name: "inactive", given: aTrigger(`{"is_active": false}`), method: "POST", path: hook, headers: bearer, body: `{}`, status: 403, contains: []string{`"trigger_inactive"`}},
			{name: "inactive, told as success", given: aTrigger(`{"is_active": false, "options": {"inactive_status": 200}}`), method: "POST", path: hook, headers: bearer, body: `{}`, status: 200, contains: []string{`{"data":{"reason":"trigger_inactive","status":"ignored"}}`}},
			{name: "inactive, told as gone", given: aTrigger(`{"is_active": false, "options": {"inactive_status": 410}}`), method: "POST", path: hook, headers: bearer, body: `{}`, status: 410, contains: []string{`"trigger_inactive"`}},
			{name: "expired", given: aTrigger(`{"options": {"expires_at": "2020-01-01T00:00:00Z"}}`), method: "POST", path: hook, headers: bearer, body: `{}`, status: 403, contains: []string{`"trigger_inactive"`, "expired"}},
			{name: "not expired", given: aTrigger(`{"options": {"expires_at": "2100-01-01T00:00:00Z"}}`), method: "POST", path: hook, headers: bearer, body: `{}`, status: 202, events: invoked},
			{name: "from an address that is not allowed", given: aTrigger(`{"options": {"allowed_ips": ["192.0.2.0/24", "::1"], "inactive_status": 200}}`), method: "POST", path: hook, headers: bearer, body: `{}`, status: 403, contains: []string{`"forbidden"`}},
			{name: "from an address that is allowed", given: aTrigger(`{"options": {"allowed_ips": ["127.0.0.0/8"]}}`), method: "POST", path: hook, headers: bearer, body: `{}`, status: 202, events: invoked},

			{name: "text", given: aTrigger(""), method: "POST", path: hook, headers: with("Content-Type", "text/plain"), body: `{}`, status: 415, contains: []string{`"unsupported_media_type"`}},
			{name: "a multipart form", given: aTrigger(""), method: "POST", path: hook, headers: with("Content-Type", "multipart/form-data; boundary=x"), body: `--x--`, status: 415},
			{name: "no media type", given: aTrigger(""), method: "POST", path: hook, headers: with("Content-Type", ""), odd: true, body: `{"a": 1}`, status: 202, events: invoked},
			{name: "a media type that ends in +json", given: aTrigger(""), method: "POST", path: hook, headers: with("Content-Type", "application/cloudevents+json; charset=UTF-8"), odd: true, body: `{"a": 1}`, status: 202, events: invoked},
			{name: "JSON in Latin-1", given: aTrigger(""), method: "POST", path: hook, headers: with("Content-Type", "application/json; charset=iso-8859-1"), body: `{"a": 1}`, status: 415},
			{name: "a media type that is none", given: aTrigger(""), method: "POST", path: hook, headers: with("Content-Type", ";;;"), body: `{"a": 1}`, status: 415},

			{name: "nothing", given: aTrigger(""), method: "POST", path: hook, headers: bearer, status: 400, contains: []string{`"invalid_json"`, "empty"}},
			{name: "a list", given: aTrigger(""), method: "POST", path: hook, headers: bearer, body: `[1]`, status: 400, contains: []string{`"invalid_json"`}},
		})
	})
}

// TestRefusedTokensLookAlike: missing, malformed, unknown, rotated and deleted ones get one
// and the same answer.
func TestRefusedTokensLookAlike(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		unknown, err := token.New(token.TriggerPrefix, rand.Reader)
		require.NoError(t, err)
		rotated, deleted := a.trigger(t, agent, ""), a.trigger(t, agent, `{"generate_secret": true}`)
		a.accepted(t, rotated.Token, `{}`) // now it is in memory
		a.must(t, 200, nil, "POST", triggers+"/"+rotated.ID+"/rotate-token", `{"grace_period": 0}`)
		a.must(t, 204, nil, "DELETE", triggers+"/"+deleted.ID, "")
		mistyped := []byte(unknown)
		mistyped[10] ^= 1
		first := a.do(t, "POST", hook, `{}`, "X-API-Key", "", "X-Request-Id", "same")
		require.Equal(t, 401, first.Status)
		require.Equal(t, "Bearer", first.Header.Get("WWW-Authenticate"))
		for _, text := range []string{"x", "wht_", string(mistyped), unknown, unknown + "x", rotated.Token, deleted.Token, "wht_%00", strings.Repeat("w", 4000)} {
			for _, answer := range []testserver.Answer{
				a.hook(t, text, `{}`, "X-Request-Id", "same"),
				a.do(t, "POST", "/hooks/"+text, `{}`, "X-API-Key", "", "X-Request-Id", "same"),
			} {
				answer.Header.Set("Date", first.Header.Get("Date"))
				require.Equal(t, first, answer, "for %.60s", text)
			}
		}
	})
}

// TestChangesHoldFromTheirAnswerOn is guarantee 2: what is in memory does not outlive it.
func TestChangesHoldFromTheirAnswerOn(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		made := a.trigger(t, agent, "")
		one := triggers + "/" + made.ID
		for range 10 {
			a.accepted(t, made.Token, `{}`)
			a.must(t, 200, nil, "PATCH", one, `{"is_active": false}`)
			require.Equal(t, 403, a.hook(t, made.Token, `{}`).Status)
			a.must(t, 200, nil, "PATCH", one, `{"is_active": true}`)
		}
		a.accepted(t, made.Token, `{}`)
		a.must(t, 200, nil, "PATCH", one, `{"options": {"allowed_ips": ["::1"]}}`)
		require.Equal(t, 403, a.hook(t, made.Token, `{}`).Status)
		a.must(t, 200, nil, "PATCH", one, `{"options": {"allowed_ips": null, "max_body_bytes": 1}}`)
		require.Equal(t, 413, a.hook(t, made.Token, `{}`).Status)
		a.must(t, 200, nil, "PATCH", one, `{"options": {"max_body_bytes": null}}`)
		a.must(t, 200, nil, "PATCH", agents+"/"+agent, `{"input_schema": {"required": ["a"]}}`)
		require.Equal(t, 422, a.hook(t, made.Token, `{}`).Status)
		a.must(t, 200, nil, "PATCH", agents+"/"+agent, `{"input_schema": null}`)
		a.must(t, 200, nil, "POST", one+"/rotate-secret", `{}`)
		require.Equal(t, 401, a.hook(t, made.Token, `{}`).Status)
		a.must(t, 204, nil, "DELETE", one+"/secret", "")
		a.accepted(t, made.Token, `{}`)
		a.must(t, 204, nil, "DELETE", one, "")
		require.Equal(t, 401, a.hook(t, made.Token, `{}`).Status)
	})
}

func TestArchivedAgentsRunNoMore(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		first, second := a.echo(t), a.echo(t)
		made := a.trigger(t, first, "")
		var run execution
		a.hook(t, made.Token, `{}`, "Prefer", "wait=30").Decode(t, &run)
		require.Equal(t, first, run.AgentID)
		a.must(t, 200, nil, "PATCH", triggers+"/"+made.ID, `{"agent_id": "`+second+`"}`)
		a.must(t, 204, nil, "DELETE", agents+"/"+first, "")
		a.hook(t, made.Token, `{}`, "Prefer", "wait=30").Decode(t, &run)
		require.Equal(t, second, run.AgentID)
		a.must(t, 400, nil, "PATCH", triggers+"/"+made.ID, `{"agent_id": "`+first+`"}`)
		a.must(t, 404, nil, "POST", agents+"/"+first+"/execute", "")
	})
}
