//go:build unix

package httpapi_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"hooktrail/domain/trigger"
	"hooktrail/internal/testserver"
)

// TestConformance drives every operation of the contract, well and badly, until each answer
// that the contract promises has been given. What the answers must look like is checked by
// [contract.check].
func TestConformance(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		none := a.apiKey(t, "executions:read")
		other := a.apiKey(t, "agents:read")
		for path, item := range a.contract.document.Paths.Map() {
			for method, operation := range item.Operations() {
				if isHook(path) && method == "POST" {
					a.callBadly(t, strings.Replace(path, "{token}", "", 1))
				} else if isHook(path) {
					a.setUpBadly(t, method, strings.Replace(path, "{token}", "", 1))
				} else if scope := scopeOf(operation); scope != "" || operation.OperationID == "getMe" {
					denied := none
					if scope == "executions:read" {
						denied = other
					}
					a.requestBadly(t, method, path, operation, denied)
				}
			}
		}
		for _, triggers := range []string{"/api/v1/webhook-triggers", "/api/v1/triggers"} {
			a.useTriggers(t, triggers)
		}
		a.useAgents(t)
		a.useExecutions(t)
		a.useSubscriptions(t)
		a.useBacktests(t)
		a.useRest(t)
		a.checkLog(t)
		require.Empty(t, a.contract.unseen(), "answers in the contract that no request caused")
	})
}

// unseen lists what the contract promises and has not been answered. What only a broken or
// overloaded server answers has tests of its own.
func (c *contract) unseen() []string {
	var missing []string
	for _, item := range c.document.Paths.Map() {
		for _, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if !slices.Contains([]string{"5XX", "503", "409"}, status) && !c.seen[operation.OperationID+" "+status] {
					missing = append(missing, operation.OperationID+" "+status)
				}
			}
		}
	}
	slices.Sort(missing)
	return missing
}

func (a *api) apiKey(t testing.TB, scopes ...string) string {
	t.Helper()
	list, err := json.Marshal(scopes)
	require.NoError(t, err)
	var made struct{ Key string }
	a.must(t, 201, &made, "POST", "/api/v1/api-keys", `{"name": "Test", "scopes": `+string(list)+`}`)
	return made.Key
}

const nobody = "2nJvP0dXhTQ9W5mC3kR7sYbA1fE" // the id of nothing

// requestBadly causes the errors that all operations of the management API have in common.
func (a *api) requestBadly(t *testing.T, method, path string, operation *openapi3.Operation, denied string) {
	t.Helper()
	path = strings.Replace(path, "{id}", nobody, 1)
	a.must(t, 401, nil, method, path, "", as("")...)
	a.must(t, 401, nil, method, path, "", as("htk_nonsense")...)
	a.must(t, 401, nil, method, path, "", "Authorization", "Basic dXNlcjpwYXNz")
	if scope := scopeOf(operation); scope != "" {
		answer := a.must(t, 403, nil, method, path, "", as(denied)...)
		require.Contains(t, answer.Body, scope)
	}
	if operation.Responses.Status(400) != nil {
		a.must(t, 400, nil, method, path+"?x=%00", "")
		a.must(t, 400, nil, method, path+"?x=%ff", "")
	}
	if operation.Responses.Status(404) != nil {
		body := ""
		switch {
		case strings.HasSuffix(path, "/report"):
			body = `{"output": {}}`
		case strings.HasSuffix(path, "/test"):
			body = `{"payload": {}}`
		}
		a.must(t, 404, nil, method, path, body)
	}
	if operation.RequestBody != nil {
		for _, body := range []string{`{`, `[]`, `null`, `"text"`, `{} {}`, `{"name": 1, "name": 2}`, "{\"name\": \"\xff\"}", "\x00"} {
			require.Equal(t, "invalid_json", refusalOf(t, a.must(t, 400, nil, method, path, body)).Error.Code, body)
		}
		require.Equal(t, "payload_too_large", refusalOf(t, a.must(t, 400, nil, method, path, strings.Repeat(" ", 2<<20))).Error.Code)
		require.Equal(t, "unsupported_media_type", refusalOf(t, a.must(t, 400, nil, method, path, "{}", "Content-Encoding", "gzip")).Error.Code)
	}
}

func (a *api) useTriggers(t *testing.T, path string) {
	t.Helper()
	agent := a.echo(t)
	var made issued
	answer := a.must(t, 201, &made, "POST", path, `{"agent_id": "`+agent+`", "name": "A", "generate_secret": true, "unknown": 1}`)
	require.Contains(t, answer.Body, `"warnings":["unknown field \"unknown\" was ignored"]`)
	one := path + "/" + made.ID
	require.Equal(t, one, answer.Header.Get("Location"))
	a.must(t, 200, nil, "GET", path+"?agent_id="+agent+"&is_active=true&name=a&page=1&limit=5", "")
	a.must(t, 200, nil, "GET", one, "")
	a.must(t, 200, nil, "GET", one+"?as_of="+number(a.head(t)), "")
	a.must(t, 412, nil, "PATCH", one, `{"name": "B"}`, "If-Match", `"9"`)
	a.must(t, 200, nil, "PATCH", one, `{"name": "B", "options": {"rate_limit": 5, "allowed_ips": ["127.0.0.1"]}}`, "If-Match", `"1"`)
	a.must(t, 200, nil, "PATCH", one, `{"options": {"schedule": {"cron": "0 9 * * *", "time_zone": "Europe/Berlin", "payload": {"a": 1}, "missed": "skip"}}}`)
	a.must(t, 200, nil, "GET", one, "")
	a.must(t, 201, nil, "POST", one+"/run", "")
	a.must(t, 201, nil, "POST", one+"/run", `{"payload": {"b": 2}}`)
	a.must(t, 200, nil, "POST", one+"/rotate-token", "")
	a.must(t, 200, nil, "POST", one+"/rotate-token", `{"grace_period": 0}`)
	a.must(t, 200, nil, "POST", one+"/rotate-secret", `{"grace_period": 60, "secret": "0123456789abcdef"}`)
	a.must(t, 204, nil, "DELETE", one+"/secret", "")
	a.must(t, 200, nil, "GET", one+"/events?limit=2&type=trigger.renamed&after=0", "")
	a.must(t, 200, nil, "POST", one+"/test", `{"payload": {"a": 1}, "headers": {"X-GitHub-Event": "push"}, "options": {"filter": "payload.a > 1"}}`)
	a.must(t, 200, nil, "POST", one+"/test", `{"since": "2020-01-01T00:00:00Z", "limit": 5}`)
	a.must(t, 200, nil, "GET", one+"/history?from=1&to="+number(a.head(t))+"&limit=3", "")
	a.must(t, 412, nil, "DELETE", one, "", "If-Match", `"1"`)
	a.must(t, 204, nil, "DELETE", one, "", "If-Match", "*")
}

func (a *api) useAgents(t *testing.T) {
	t.Helper()
	var made resource
	a.must(t, 201, &made, "POST", "/api/v1/agents", `{"name": "A", "type": "t", "description": "d",
		"runner": {"kind": "http", "url": "https://agent.example.com/run", "headers": {"X-Team": "a"}},
		"input_schema": {"type": "object"}, "timeout_seconds": 5, "retry": {"max_attempts": 2}, "max_concurrency": 3}`)
	require.NotEmpty(t, made.SigningSecret)
	one := "/api/v1/agents/" + made.ID
	a.must(t, 200, nil, "GET", "/api/v1/agents?name=A", "")
	a.must(t, 200, nil, "GET", one, "")
	a.must(t, 412, nil, "PATCH", one, `{"name": "B"}`, "If-Match", `"2"`)
	a.must(t, 200, nil, "PATCH", one, `{"name": "B", "runner": {"kind": "echo"}, "input_schema": null}`, "If-Match", `"1"`)
	a.must(t, 412, nil, "DELETE", one, "", "If-Match", `"1"`)
	a.must(t, 204, nil, "DELETE", one, "", "If-Match", `"2"`)
	a.must(t, 200, nil, "GET", one+"?as_of="+number(a.head(t)), "")
	a.must(t, 200, nil, "GET", one+"/history", "")
}

func (a *api) useExecutions(t *testing.T) {
	t.Helper()
	agent, outside := a.echo(t), a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`)
	var done, waiting resource
	a.must(t, 201, &done, "POST", "/api/v1/agents/"+agent+"/execute", `{"input": {"a": 1}, "sync": true, "session_id": "s", "user_id": "u", "metadata": {"k": "v"}}`)
	a.must(t, 200, nil, "GET", "/api/v1/executions?status=completed&session_id=s&agent_id="+agent, "")
	a.must(t, 200, nil, "GET", "/api/v1/executions/"+done.ID, "")
	a.must(t, 200, nil, "GET", "/api/v1/executions/"+done.ID+"?as_of="+number(a.head(t)), "")
	a.must(t, 200, nil, "GET", "/api/v1/executions/"+done.ID+"/history", "")
	a.must(t, 201, nil, "POST", "/api/v1/executions/"+done.ID+"/retry", "")
	a.must(t, 200, nil, "POST", "/api/v1/executions/retry", `{"ids": ["`+done.ID+`", "`+nobody+`"]}`)
	a.must(t, 200, nil, "POST", "/api/v1/executions/retry", `{"agent_id": "`+agent+`", "status": "completed", "since": "2020-01-01T00:00:00Z", "limit": 1, "dry_run": true}`, "Idempotency-Key", "k")
	a.must(t, 200, nil, "DELETE", "/api/v1/executions/"+done.ID+"/payloads?reason=asked+for", "")
	called := a.accepted(t, a.trigger(t, agent, "").Token, `{"a": 1}`)
	a.must(t, 200, nil, "GET", "/api/v1/executions/"+called+"/received", "")
	a.must(t, 201, &waiting, "POST", "/api/v1/agents/"+outside+"/execute", "")
	a.must(t, 200, nil, "POST", "/api/v1/executions/"+waiting.ID+"/report", `{"error": {"code": "broken", "message": "no"}}`)
	a.must(t, 201, &waiting, "POST", "/api/v1/agents/"+outside+"/execute", "{}")
	a.must(t, 200, nil, "POST", "/api/v1/executions/"+waiting.ID+"/cancel", `{"reason": "enough"}`)
}

func (a *api) useSubscriptions(t *testing.T) {
	t.Helper()
	path := "/api/v1/subscriptions"
	agent := a.echo(t)
	var made struct {
		ID, Secret string
	}
	a.must(t, 201, &made, "POST", path, `{"name": "S", "url": "https://receiver.example.com/", "types": ["subscription.*"], "streams": ["subscription-*"],
		"agent_id": "`+agent+`", "trigger_id": "`+a.trigger(t, agent, "").ID+`", "format": "cloudevents", "is_active": false, "from": "beginning"}`)
	require.NotEmpty(t, made.Secret)
	one := path + "/" + made.ID
	a.must(t, 200, nil, "GET", path+"?is_active=false&limit=1", "")
	a.must(t, 200, nil, "GET", one, "")
	a.must(t, 412, nil, "PATCH", one, `{"name": "T"}`, "If-Match", `"9"`)
	a.must(t, 200, nil, "PATCH", one, `{"name": "T", "types": [], "trigger_id": ""}`, "If-Match", `"2"`)
	a.must(t, 200, nil, "POST", one+"/rotate-secret", `{"grace_period": 60}`)
	a.must(t, 200, nil, "POST", one+"/redeliver", `{"from": 1}`)
	a.must(t, 200, nil, "GET", one+"/deliveries", "")
	a.must(t, 412, nil, "DELETE", one, "", "If-Match", `"1"`)

	// A receiver that is not allowed: what fails is seen, and can be skipped.
	refused := struct{ ID string }{}
	a.must(t, 201, &refused, "POST", path, `{"name": "R", "url": "http://127.0.0.1:9/", "types": ["subscription.created"]}`)
	type view struct {
		Failing    *struct{ EventID, Error string }
		Redelivery *struct{ Status string }
	}
	var failing view
	require.Eventually(t, func() bool {
		a.must(t, 200, &failing, "GET", path+"/"+refused.ID, "")
		return failing.Failing != nil
	}, 20*time.Second, 20*time.Millisecond)
	require.Contains(t, failing.Failing.Error, "HOOKTRAIL_ALLOW_PRIVATE_AGENTS")
	var listed []struct {
		EventID string `json:"event_id"`
		Status  string
	}
	a.must(t, 200, &listed, "GET", path+"/"+refused.ID+"/deliveries", "")
	require.Equal(t, "failing", listed[0].Status)
	var again view
	a.must(t, 200, &again, "POST", path+"/"+refused.ID+"/redeliver", `{"event_id": "`+listed[0].EventID+`"}`)
	require.Equal(t, "failed", again.Redelivery.Status)
	var skipped view
	a.must(t, 200, &skipped, "POST", path+"/"+refused.ID+"/skip", `{"event_id": "`+listed[0].EventID+`"}`)
	require.Nil(t, skipped.Failing)
	a.must(t, 200, &listed, "GET", path+"/"+refused.ID+"/deliveries", "")
	require.Equal(t, "skipped", listed[0].Status)
	a.must(t, 400, nil, "POST", path+"/"+refused.ID+"/skip", "")
	a.must(t, 204, nil, "DELETE", path+"/"+refused.ID, "")
	a.must(t, 200, nil, "GET", path+"/"+refused.ID+"?as_of="+number(a.head(t)), "")
	a.must(t, 200, nil, "GET", path+"/"+refused.ID+"/history", "")
	a.must(t, 204, nil, "DELETE", one, "")
}

func (a *api) useRest(t *testing.T) {
	a.hook(t, "wht_guess", `{}`)
	_, leave := a.follow(t, "")
	leave()
	a.contract.mu.Lock()
	a.contract.seen["streamEvents 200"] = true // which follow has checked: it has no end
	a.contract.mu.Unlock()
	a.must(t, 200, nil, "GET", "/api/v1/rejections", "")
	t.Helper()
	a.must(t, 200, nil, "GET", "/api/v1/events?type=api_key.created&since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00Z", "")
	a.receipt(t, a.eventsAfter(t, 0)[0].ID)
	a.must(t, 200, nil, "GET", "/api/v1/audit/checkpoint", "")
	var made resource
	a.must(t, 201, &made, "POST", "/api/v1/api-keys", `{"name": "K", "scopes": ["admin"], "expires_at": "2100-01-01T00:00:00Z"}`)
	a.must(t, 200, nil, "GET", "/api/v1/api-keys/"+made.ID, "")
	a.must(t, 200, nil, "GET", "/api/v1/api-keys/"+made.ID+"/history", "")
	a.must(t, 200, nil, "GET", "/api/v1/api-keys?limit=1", "")
	a.must(t, 204, nil, "DELETE", "/api/v1/api-keys/"+made.ID, "")
	a.must(t, 200, nil, "GET", "/api/v1/me", "")
	a.must(t, 200, nil, "GET", "/api/v1/me", "", "Authorization", "Bearer "+a.APIKey)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/openapi.yaml", "/asyncapi.json", "/docs"} {
		a.must(t, 200, nil, "GET", path, "", as("")...)
	}
}

// callBadly causes every answer that a webhook call can get. path is without the token.
func (a *api) callBadly(t *testing.T, path string) {
	t.Helper()
	call := func(status int, token, body string, headers ...string) {
		t.Helper()
		at := path
		if strings.HasSuffix(path, "/") {
			at += url.PathEscape(token)
		} else {
			headers = append([]string{"Authorization", "Bearer " + token}, headers...)
		}
		a.must(t, status, nil, "POST", at, body, headers...)
	}
	agent := a.agent(t, `{"name": "Strict", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}`)
	open := a.trigger(t, agent, "").Token
	call(202, open, `{"n": 1}`, "Idempotency-Key", "once")
	call(202, open, `{"n": 1}`, "Idempotency-Key", "once")
	call(200, open, `{"n": 1}`, "Prefer", "wait=30")
	call(400, open, `{"n": 1`)
	call(401, "wht_nonsense", `{}`)
	call(403, a.trigger(t, agent, `{"is_active": false}`).Token, `{}`)
	call(403, a.trigger(t, agent, `{"options": {"allowed_ips": ["192.0.2.0/24"]}}`).Token, `{}`)
	call(410, a.trigger(t, agent, `{"is_active": false, "options": {"inactive_status": 410}}`).Token, `{}`)
	call(200, a.trigger(t, agent, `{"is_active": false, "options": {"inactive_status": 200}}`).Token, `{}`)
	call(413, open, strings.Repeat(" ", 2<<20))
	call(415, open, `<n/>`, "Content-Type", "application/xml")
	call(422, open, `{"n": "one"}`)
	narrow := a.trigger(t, agent, `{"options": {"filter": "payload.n > 1"}}`).Token
	call(200, narrow, `{"n": 1}`)
	call(422, narrow, `{}`)
	call(422, open, `{"n": 2}`, "Idempotency-Key", "once")
	limited := a.trigger(t, agent, `{"options": {"rate_limit": 1}}`).Token
	call(202, limited, `{}`)
	call(429, limited, `{}`)
	signed := a.trigger(t, agent, `{"secret": "0123456789abcdef"}`).Token
	call(401, signed, `{}`, "X-Webhook-Signature", "sha256="+strings.Repeat("0", 64))
	call(202, signed, `{}`, "X-Webhook-Signature", trigger.Sign([]byte("0123456789abcdef"), []byte(`{}`)))
}

// setUpBadly causes every answer that a request of another method can get. path is without the
// token.
func (a *api) setUpBadly(t *testing.T, method, path string) {
	t.Helper()
	send := func(status int, token, query string, headers ...string) testserver.Answer {
		t.Helper()
		at := path
		if strings.HasSuffix(path, "/") {
			at += url.PathEscape(token)
		} else {
			headers = append([]string{"Authorization", "Bearer " + token}, headers...)
		}
		return a.must(t, status, nil, method, at+query, "", headers...)
	}
	agent := a.echo(t)
	with := func(scheme, more string) string {
		return a.trigger(t, agent, `{"secret": "0123456789abcdef", `+more+`"options": {"signature": `+scheme+`}}`).Token
	}
	for _, token := range []string{"wht_nonsense", a.trigger(t, agent, "").Token, with(`{"scheme": "github"}`, "")} {
		answer := send(405, token, "?hub.mode=subscribe", "X-Okta-Verification-Challenge", "c", "WebHook-Request-Origin", "o")
		require.Equal(t, "POST", answer.Header.Get("Allow"))
	}
	asks := []string{"X-Okta-Verification-Challenge", "c"}
	scheme := "okta"
	if method == "OPTIONS" {
		asks, scheme = []string{"WebHook-Request-Origin", "o"}, "cloudevents"
	}
	good := with(`{"scheme": "`+scheme+`"}`, "")
	send(200, good, "", asks...)
	send(405, good, "")
	inactive := a.trigger(t, agent, `{"is_active": false, "options": {"signature": {"scheme": "`+scheme+`"}}}`)
	send(403, inactive.Token, "", asks...)
	for _, status := range []int{410, 200} {
		a.must(t, 200, nil, "PATCH", "/api/v1/triggers/"+inactive.ID, `{"options": {"inactive_status": `+number(status)+`}}`)
		send(status, inactive.Token, "", asks...)
	}
	limited := a.trigger(t, agent, `{"options": {"rate_limit": 1, "signature": {"scheme": "`+scheme+`"}}}`).Token
	send(200, limited, "", asks...)
	send(429, limited, "", asks...)
	if method != "GET" {
		return
	}
	meta := with(`{"scheme": "meta", "verify_token": "a-low-secret"}`, "")
	a.must(t, 200, nil, "POST", "/hooks/"+meta, `{}`, "X-Hub-Signature-256", trigger.Sign([]byte("0123456789abcdef"), []byte(`{}`)))
	send(200, meta, "?hub.mode=subscribe&hub.verify_token=a-low-secret&hub.challenge=7")
	send(403, meta, "?hub.mode=subscribe&hub.verify_token=another&hub.challenge=7")
	crc := with(`{"scheme": "x"}`, "")
	send(200, crc, "?crc_token=abc")
	send(400, crc, "?crc_token=%7B%7D")
}

func quoted(text string) string { return strconv.Quote(text) }
