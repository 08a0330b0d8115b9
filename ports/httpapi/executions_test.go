//go:build unix

package httpapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hooktrail/internal/testserver"
)

const executions = "/api/v1/executions"

type execution struct {
	resource

	ExecutionID string          `json:"execution_id"`
	AgentID     string          `json:"agent_id"`
	TriggerID   string          `json:"trigger_id"`
	Status      string          `json:"status"`
	Input       json.RawMessage `json:"input"`
	Output      json.RawMessage `json:"output"`
	Error       string          `json:"error"`
	ErrorCode   string          `json:"error_code"`
	RetryOf     string          `json:"retry_of"`
	DurationMS  *int64          `json:"duration_ms"`
	StartedAt   *time.Time      `json:"started_at"`
	CompletedAt *time.Time      `json:"completed_at"`
	Attempts    []struct {
		Attempt int
		Status  string
	}
}

// outside gives an agent whose work is done by somebody else, and an execution that waits
// for it.
func outside(t *testing.T, a *api) ids {
	t.Helper()
	agent := a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`)
	var waiting execution
	a.must(t, 201, &waiting, "POST", agents+"/"+agent+"/execute", `{"input": {"n": 1}}`)
	return ids{"agent": agent, "execution": waiting.ID}
}

func reported(t *testing.T, a *api) ids {
	t.Helper()
	known := outside(t, a)
	a.must(t, 200, nil, "POST", executions+"/"+known["execution"]+"/report", `{"output": {"done": true}}`)
	return known
}

func TestExecutions(t *testing.T) {
	execute, one := agents+"/{agent}/execute", executions+"/{execution}"
	requested := []string{"execution.requested"}
	eachDialect(t, func(t *testing.T, a *api) {
		play(t, a, []scenario{
			{name: "no input", given: outside, method: "POST", path: execute, status: 201, contains: []string{`"input":{}`, `"status":"pending"`, `"agent_id":"{agent}"`}, lacks: []string{"output", "null", "trigger_id", "warnings"}, events: requested},
			{name: "with input", given: outside, method: "POST", path: execute, body: `{"input": {"b": 1.50, "a": "<&>"}}`, status: 201, contains: []string{`"input":{"b":1.50,"a":"<&>"}`}, events: requested},
			{name: "waited for", given: anAgent, method: "POST", path: execute, body: `{"input": {"a": 1}, "sync": true}`, status: 201, contains: []string{`"status":"completed"`, `"output":{"a":1}`, `"attempts":[{"attempt":1,"status":"completed"`}, events: requested},
			{name: "all fields", given: outside, method: "POST", path: execute, body: `{"sessionId": "s", "user_id": "u", "metadata": {"k": "v"}, "model": "m"}`, status: 201, contains: []string{`"session_id":"s"`, `"user_id":"u"`, `"metadata":{"k":"v"}`, `unknown field \"model\"`}, events: requested},
			{name: "a list", given: outside, method: "POST", path: execute, body: `{"input": [1]}`, status: 400, contains: []string{`"input":"must be an object"`}},
			{name: "too long a session", given: outside, method: "POST", path: execute, body: `{"session_id": "` + strings.Repeat("s", 256) + `"}`, status: 400, contains: []string{`"session_id"`}},
			{name: "NUL in a session", given: outside, method: "POST", path: execute, body: `{"session_id": "\u0000"}`, status: 400, contains: []string{`"session_id"`}},
			{name: "NUL in metadata", given: outside, method: "POST", path: execute, body: `{"metadata": {"\u0000": "v"}}`, status: 400, contains: []string{`"metadata"`}},
			{name: "NUL in the input", given: outside, method: "POST", path: execute, body: `{"input": {"a": "\u0000\ud800"}}`, status: 201, contains: []string{`"input":{"a":"\u0000\ud800"}`}, events: requested},
			{name: "too much metadata", given: outside, method: "POST", path: execute, body: `{"metadata": {` + strings.TrimSuffix(fields(51), ",") + `}}`, status: 400, contains: []string{`"metadata"`}},
			{name: "metadata of another type", given: outside, method: "POST", path: execute, body: `{"metadata": {"k": 1}}`, status: 400, contains: []string{`"metadata`}},
			{name: "an agent that is not there", method: "POST", path: agents + "/{nobody}/execute", status: 404},
			{name: "reported", given: outside, method: "POST", path: one + "/report", body: `{"output": [1, {"a": 2}]}`, status: 200, contains: []string{`"status":"completed"`, `"output":[1,{"a":2}]`}, events: []string{"execution.completed"}},
			{name: "reported as failed", given: outside, method: "POST", path: one + "/report", body: `{"output": null, "error": {"code": "broken", "message": "it broke"}}`, status: 200, contains: []string{`"status":"failed"`, `"error":"it broke"`, `"error_code":"broken"`}, events: []string{"execution.failed"}},
			{name: "reported as failed without a code", given: outside, method: "POST", path: one + "/report", body: `{"error": {"message": "m", "trace": "t"}}`, status: 200, contains: []string{`"error_code":"reported"`, `unknown field \"error.trace\" was ignored`}, events: []string{"execution.failed"}},
			{name: "reported as nothing", given: outside, method: "POST", path: one + "/report", body: `{}`, status: 400, contains: []string{`"output"`}},
			{name: "reported as both", given: outside, method: "POST", path: one + "/report", body: `{"output": 1, "error": {"message": "m"}}`, status: 400, contains: []string{`"output"`}},
			{name: "reported twice", given: reported, method: "POST", path: one + "/report", body: `{"output": 1}`, status: 400, contains: []string{`"conflict"`, "completed"}},
			{name: "cancelled", given: outside, method: "POST", path: one + "/cancel", body: `{"reason": "enough"}`, status: 200, contains: []string{`"status":"cancelled"`, `"completed_at"`}, events: []string{"execution.cancelled"}},
			{name: "cancelled without a word", given: outside, method: "POST", path: one + "/cancel", status: 200, events: []string{"execution.cancelled"}},
			{name: "cancelled for too long a reason", given: outside, method: "POST", path: one + "/cancel", body: `{"reason": "` + strings.Repeat("r", 1001) + `"}`, status: 400, contains: []string{`"reason"`}},
			{name: "cancelled when it has ended", given: reported, method: "POST", path: one + "/cancel", status: 400, contains: []string{`"conflict"`}},
			{name: "erased", given: reported, method: "DELETE", path: one + "/payloads?reason=asked+for", status: 200, contains: []string{`"status":"completed"`}, lacks: []string{`"n":1`}, events: []string{"execution.payloads_erased"}},
			{name: "erased before it has ended", given: outside, method: "DELETE", path: one + "/payloads", status: 400, contains: []string{`"conflict"`, "it is pending"}},
			{name: "erased for too long a reason", given: reported, method: "DELETE", path: one + "/payloads?reason=" + strings.Repeat("r", 1001), status: 400, contains: []string{`"reason"`}},
			{name: "an execution that is not there, erased", method: "DELETE", path: "/api/v1/executions/{nobody}/payloads", status: 404},
			{name: "retried", given: reported, method: "POST", path: one + "/retry", status: 201, contains: []string{`"retry_of":"{execution}"`, `"input":{"n":1}`, `"status":"pending"`}, lacks: []string{`"id":"{execution}"`}, events: requested},
			{name: "retried before it has ended", given: outside, method: "POST", path: one + "/retry", status: 400, contains: []string{`"conflict"`}},
		})
	})
}

func fields(count int) string {
	var text strings.Builder
	for i := range count {
		text.WriteString(`"k` + number(i) + `": "v",`)
	}
	return text.String()
}

func TestListExecutions(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		first, second := outside(t, a), reported(t, a)
		made := a.trigger(t, first["agent"], "")
		called := a.accepted(t, made.Token, `{}`)
		list := func(query string) []string {
			var page []execution
			a.must(t, 200, &page, "GET", executions+"?"+query, "")
			found := []string{}
			for _, each := range page {
				require.Equal(t, each.ID, each.ExecutionID)
				require.Nil(t, each.Attempts)
				found = append(found, each.ID)
			}
			return found
		}
		var middle struct {
			CreatedAt time.Time `json:"created_at"`
		}
		a.must(t, 200, &middle, "GET", executions+"/"+second["execution"], "")
		instant := middle.CreatedAt.Format(time.RFC3339Nano)
		elsewhere := strings.ReplaceAll(middle.CreatedAt.In(time.FixedZone("", 7200)).Format(time.RFC3339Nano), "+", "%2B")

		assert.Equal(t, []string{called, second["execution"], first["execution"]}, list(""), "the newest first")
		assert.Equal(t, []string{called, first["execution"]}, list("agent_id="+first["agent"]))
		assert.Equal(t, []string{called}, list("trigger_id="+made.ID))
		assert.Equal(t, []string{second["execution"]}, list("status=completed"))
		assert.Equal(t, []string{called, first["execution"]}, list("status=pending"))
		assert.Equal(t, []string{called, second["execution"]}, list("since="+instant))
		assert.Equal(t, []string{second["execution"], first["execution"]}, list("until="+elsewhere))
		assert.Equal(t, []string{second["execution"]}, list("since="+instant+"&until="+instant))
		assert.Equal(t, []string{}, list("session_id=none"))
		for _, query := range []string{"status=done", "since=today", "until=2026-13-01T00:00:00Z"} {
			field, _, _ := strings.Cut(query, "=")
			assert.Contains(t, refusalOf(t, a.must(t, 400, nil, "GET", executions+"?"+query, "")).Error.Details, field)
		}
	})
}

// TestRetryOfAWebhookCall keeps the trigger and the exact input.
func TestRetryOfAWebhookCall(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		var first, again execution
		a.hook(t, made.Token, `a=1&b=x+y`, "Content-Type", "application/x-www-form-urlencoded", "Prefer", "wait=30").Decode(t, &first)
		require.Equal(t, "completed", first.Status)
		a.must(t, 201, &again, "POST", executions+"/"+first.ID+"/retry", "")
		require.NotEqual(t, first.ID, again.ID)
		require.Equal(t, first.ID, again.RetryOf)
		require.Equal(t, made.ID, again.TriggerID)
		require.JSONEq(t, `{"a": "1", "b": "x y"}`, string(again.Input))
		require.Equal(t, "completed", a.ended(t, again.ID).Status)
	})
}

// ended waits for the end of an execution.
func (a *api) ended(t testing.TB, id string) execution {
	t.Helper()
	var seen execution
	require.Eventually(t, func() bool {
		a.must(t, 200, &seen, "GET", executions+"/"+id, "")
		return seen.CompletedAt != nil
	}, 30*time.Second, 20*time.Millisecond)
	return seen
}

// TestCancelOfARun stops an agent that is at work: it sees its connection end.
func TestCancelOfARun(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		began, stopped := make(chan struct{}), make(chan struct{})
		agentServer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // until then a server does not see its client go
			close(began)
			<-r.Context().Done()
			close(stopped)
		}))
		t.Cleanup(agentServer.Close)
		a := start(t, testserver.Options{Dialect: dialect, Configure: func(c *testserver.Config) { c.AllowPrivateAgents = []string{"127.0.0.1"} }})
		agent := a.agent(t, `{"name": "Slow", "runner": {"kind": "http", "url": "`+agentServer.URL+`"}}`)
		var running execution
		a.must(t, 201, &running, "POST", agents+"/"+agent+"/execute", `{}`)
		await(t, began)
		refused := refusalOf(t, a.must(t, 400, nil, "POST", executions+"/"+running.ID+"/report", `{"output": {}}`))
		require.Equal(t, "conflict", refused.Error.Code, "a worker runs it")
		a.must(t, 200, nil, "POST", executions+"/"+running.ID+"/cancel", "")
		await(t, stopped)
		seen := a.ended(t, running.ID)
		require.Equal(t, "cancelled", seen.Status)
		require.Len(t, seen.Attempts, 1)
		require.Equal(t, "cancelled", seen.Attempts[0].Status)
	})
}

func await(t *testing.T, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(30 * time.Second):
		t.Fatal("what was waited for did not happen")
	}
}
