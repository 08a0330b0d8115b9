//go:build unix

package httpapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hooktrail/internal/testserver"
)

const agents = "/api/v1/agents"

func TestAgents(t *testing.T) {
	one := agents + "/{agent}"
	registered := []string{"agent.registered"}
	eachDialect(t, func(t *testing.T, a *api) {
		play(t, a, []scenario{
			{
				name: "the least", method: "POST", path: agents, body: `{"name": "A"}`, status: 201, events: registered, lacks: []string{"signing_secret", "null"},
				contains: []string{`"runner":{"kind":"echo"}`, `"timeout_seconds":300`, `"retry":{"max_attempts":5,"initial_seconds":10,"max_seconds":1800,"factor":5}`, `"status":"active"`},
			},
			{name: "as clients send it", method: "POST", path: agents, body: `{"name": "A", "type": "llm", "description": "d", "model": "m"}`, status: 201, contains: []string{`"type":"llm"`, `unknown field \"model\" was ignored`}, events: registered},
			{name: "http", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "http", "url": "https://agent.example.com"}}`, status: 201, contains: []string{`"signing_secret":"whsec_`}, events: registered},
			{name: "camelCase", method: "POST", path: agents, body: `{"name": "A", "timeoutSeconds": 9, "maxConcurrency": 2, "inputSchema": {"type": "object"}}`, status: 201, contains: []string{`"timeout_seconds":9`, `"max_concurrency":2`, `"input_schema":{"type":"object"}`}, lacks: []string{"warnings"}, events: registered},
			{name: "camelCase inside", method: "POST", path: agents, body: `{"name": "A", "retry": {"maxAttempts": 3}}`, status: 201, contains: []string{`"max_attempts":3`}, lacks: []string{"warnings"}, events: registered},
			{name: "unknown in retry", method: "POST", path: agents, body: `{"name": "A", "retry": {"max_attemps": 3}}`, status: 201, contains: []string{`"warnings":["unknown field \"retry.max_attemps\" was ignored"]`, `"max_attempts":5`}, events: registered},
			{name: "unknown in the runner", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "http", "ulr": "https://a.example.com", "x": 1}}`, status: 400, contains: []string{`"runner.ulr":"is not a field of runner"`, `"runner.x":"is not a field of runner"`}},
			{name: "two spellings in the runner", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "echo", "Kind": "http"}}`, status: 400, contains: []string{"is given twice with different values"}},
			{name: "a runner that is no object", method: "POST", path: agents, body: `{"name": "A", "runner": "http"}`, status: 400, contains: []string{`"runner":"must be an object"`}},
			{name: "a runner of no kind we have", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "ssh"}}`, status: 400, contains: []string{`"runner.kind"`}},
			{name: "a command that is not allowed", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "command", "command": ["true"]}}`, status: 400, contains: []string{`"runner.kind"`, "HOOKTRAIL_ALLOW_COMMAND_RUNNER"}},
			{name: "no address", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "http"}}`, status: 400, contains: []string{`"runner.url":"is required`}},
			{name: "a password in the address", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "http", "url": "https://me:hunter2@a.example.com"}}`, status: 400, contains: []string{`"runner.url"`}, lacks: []string{"hunter2"}},
			{name: "a secret in a header", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "http", "url": "https://a.example.com", "headers": {"Authorization": "Bearer hunter2"}}}`, status: 400, contains: []string{`"runner.headers.Authorization"`}, lacks: []string{"hunter2"}},
			{name: "NUL in a header", method: "POST", path: agents, body: `{"name": "A", "runner": {"kind": "http", "url": "https://a.example.com", "headers": {"X": "\u0000"}}}`, status: 400, contains: []string{`"runner.headers"`}},
			{name: "everything out of range", method: "POST", path: agents, body: `{"name": "", "timeout_seconds": 90000, "retry": {"max_attempts": 21, "initial_seconds": -1, "max_seconds": 90000, "factor": 11}, "max_concurrency": -1}`, status: 400, contains: []string{`"name"`, `"timeout_seconds"`, `"retry.max_attempts"`, `"retry.initial_seconds"`, `"retry.max_seconds"`, `"retry.factor"`, `"max_concurrency"`}},
			{name: "wrong types inside", method: "POST", path: agents, body: `{"name": "A", "retry": {"max_attempts": "many"}, "timeout_seconds": 1.5}`, status: 400, contains: []string{`"retry.max_attempts":"must be a whole number, not string"`, `"timeout_seconds":"must be a whole number`}},
			{name: "whole numbers written as floats", method: "POST", path: agents, body: `{"name": "A", "timeout_seconds": 60.0, "retry": {"max_attempts": 3e0}, "max_concurrency": 1.5e1}`, status: 201, contains: []string{`"timeout_seconds":60,`, `"max_attempts":3,`, `"max_concurrency":15,`}, events: registered},
			{name: "a number that is hardly whole", method: "POST", path: agents, body: `{"name": "A", "timeout_seconds": 1e300}`, status: 400, contains: []string{`"timeout_seconds":"must be a whole number`}},
			{name: "a schema that is none", method: "POST", path: agents, body: `{"name": "A", "input_schema": {"type": "thing"}}`, status: 400, contains: []string{`"input_schema"`}},
			{name: "a schema elsewhere", method: "POST", path: agents, body: `{"name": "A", "input_schema": {"$ref": "file:///etc/passwd"}}`, status: 400, contains: []string{`"input_schema"`}, lacks: []string{"root:"}},
			{name: "changed", given: anAgent, method: "PATCH", path: one, body: `{"name": "B", "description": "d"}`, status: 200, contains: []string{`"name":"B"`, `"version":2`}, lacks: []string{"signing_secret"}, events: []string{"agent.updated"}},
			{name: "changed to http", given: anAgent, method: "PATCH", path: one, body: `{"runner": {"kind": "http", "url": "https://a.example.com"}}`, status: 200, contains: []string{`"signing_secret":"whsec_`}, events: []string{"agent.updated"}},
			{name: "changed to what it is", given: anAgent, method: "PATCH", path: one, body: `{"name": "Echo", "runner": null, "retry": null}`, status: 200, contains: []string{`"version":1`}},
			{name: "changed at another version", given: anAgent, method: "PATCH", path: one, body: `{"name": "B"}`, headers: []string{"If-Match", `"7"`}, status: 412},
			{name: "changed, but not there", method: "PATCH", path: agents + "/{nobody}", body: `{"name": "B"}`, status: 404},
			{name: "archived", given: anAgent, method: "DELETE", path: one, status: 204, events: []string{"agent.archived"}},
			{name: "archived while a trigger runs it", given: aTrigger(""), method: "DELETE", path: one, status: 400, contains: []string{`"conflict"`, "triggers"}},
			{name: "an id of another kind", given: aTrigger(""), method: "GET", path: agents + "/{trigger}", status: 404},
		})
	})
}

func TestListAgents(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		a.agent(t, `{"name": "Reviewer"}`)
		archived := a.agent(t, `{"name": "Former reviewer"}`)
		a.agent(t, `{"name": "Writer"}`)
		a.must(t, 204, nil, "DELETE", agents+"/"+archived, "")
		a.must(t, 404, nil, "GET", agents+"/"+archived, "")
		answer := a.must(t, 200, nil, "GET", agents+"?name=REVIEW", "")
		assert.Contains(t, answer.Body, `"Reviewer"`)
		assert.NotContains(t, answer.Body, "Former")
		assert.NotContains(t, answer.Body, "Writer")
		assert.Equal(t, 1, metaOf(t, answer).Total)
	})
}

// TestCommandRunner is for operators who allow it.
func TestCommandRunner(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite, Configure: func(c *testserver.Config) { c.AllowCommandRunner = true }})
	agent := a.agent(t, `{"name": "Cat", "runner": {"kind": "command", "command": ["cat"]}}`)
	var done execution
	a.must(t, 201, &done, "POST", agents+"/"+agent+"/execute", `{"input": {"a": [1, 2.50]}, "sync": true}`)
	require.Equal(t, "completed", done.Status)
	require.JSONEq(t, `{"a": [1, 2.50]}`, string(done.Output))
}

func TestDefaultRunnerIsNone(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite, Configure: func(c *testserver.Config) { c.DefaultRunner = "" }})
	require.Contains(t, a.must(t, 201, nil, "POST", agents, `{"name": "A"}`).Body, `"runner":{"kind":"none"}`)
}

func TestNamesAreShownAsGiven(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		for _, name := range []string{"<script>alert(1)</script>", "Ünï©ødé 🎉", `quote " and \`, "a & b", strings.Repeat("é", 200)} {
			var made struct{ ID, Name string }
			a.must(t, 201, &made, "POST", agents, `{"name": `+quoted(name)+`}`)
			require.Equal(t, name, made.Name)
			a.must(t, 200, &made, "GET", agents+"/"+made.ID, "")
			require.Equal(t, name, made.Name)
		}
	})
}
