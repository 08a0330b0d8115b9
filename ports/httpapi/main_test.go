//go:build unix

package httpapi_test

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/evaluator"
	"hooktrail/internal/pgtest"
	"hooktrail/internal/testserver"
)

func TestMain(m *testing.M) {
	// The service under test starts this program to evaluate expressions.
	if len(os.Args) == 2 && os.Args[1] == evaluator.Command {
		os.Exit(evaluator.Serve(os.Stdin, os.Stdout))
	}
	pgtest.Main(m)
}

// api is a running service whose every answer, and every request that it accepts, is held
// against the contract.
type api struct {
	*testserver.Server
	contract *contract
	// odd lets requests be accepted that the contract does not describe.
	odd bool
}

func start(t *testing.T, options testserver.Options) *api {
	t.Helper()
	return &api{Server: testserver.Start(t, options), contract: loadContract(t)}
}

// eachDialect runs a test on a service of its own on both databases.
func eachDialect(t *testing.T, test func(t *testing.T, a *api)) {
	t.Helper()
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		test(t, start(t, testserver.Options{Dialect: dialect}))
	})
}

// oddly gives the same service, for requests that the contract does not describe and that
// are taken nevertheless.
func (a *api) oddly() *api { return &api{Server: a.Server, contract: a.contract, odd: true} }

// do sends a request; headers are names and values in turn.
func (a *api) do(t testing.TB, method, path, body string, headers ...string) testserver.Answer {
	t.Helper()
	sent := map[string]string{}
	for i := 0; i < len(headers); i += 2 {
		sent[headers[i]] = headers[i+1]
	}
	answer := a.Do(t, method, path, body, sent)
	a.contract.check(t, exchange{method: method, path: path, body: body, headers: sent, answer: answer, odd: a.odd})
	return answer
}

// as gives the headers of a request by another key.
func as(key string) []string { return []string{"X-API-Key", key} }

// must sends a request that has to be answered with that status, and reads the data.
func (a *api) must(t testing.TB, status int, into any, method, path, body string, headers ...string) testserver.Answer {
	t.Helper()
	answer := a.do(t, method, path, body, headers...)
	require.Equal(t, status, answer.Status, "%s %s: %s", method, path, answer.Body)
	if into != nil {
		answer.Decode(t, into)
	}
	return answer
}

type resource struct {
	ID            string `json:"id"`
	WorkspaceID   string `json:"workspace_id"`
	Version       int64  `json:"version"`
	SigningSecret string `json:"signing_secret"`
}

func (a *api) agent(t testing.TB, fields string, headers ...string) string {
	t.Helper()
	var made resource
	a.must(t, 201, &made, "POST", "/api/v1/agents", fields, headers...)
	return made.ID
}

// echo is an agent that gives its input back.
func (a *api) echo(t testing.TB) string {
	t.Helper()
	return a.agent(t, `{"name": "Echo", "runner": {"kind": "echo"}}`)
}

type issued struct {
	resource

	AgentID     string         `json:"agent_id"`
	Name        string         `json:"name"`
	Token       string         `json:"token"`
	TokenPrefix string         `json:"token_prefix"`
	Secret      string         `json:"secret"`
	HookURL     string         `json:"hook_url"`
	IsActive    bool           `json:"is_active"`
	HasSecret   bool           `json:"has_secret"`
	LastUsedAt  string         `json:"last_used_at"`
	UpdatedAt   string         `json:"updated_at"`
	Options     map[string]any `json:"options"`
}

// trigger makes a trigger for an agent; fields, a JSON object or "", are added.
func (a *api) trigger(t testing.TB, agent, fields string, headers ...string) issued {
	t.Helper()
	body := map[string]any{"agent_id": agent, "name": "Trigger"}
	if fields != "" {
		require.NoError(t, json.Unmarshal([]byte(fields), &body))
	}
	text, err := json.Marshal(body)
	require.NoError(t, err)
	var made issued
	a.must(t, 201, &made, "POST", "/api/v1/webhook-triggers", string(text), headers...)
	return made
}

// hook makes a webhook call; headers come on top of the token.
func (a *api) hook(t testing.TB, token, body string, headers ...string) testserver.Answer {
	t.Helper()
	return a.do(t, "POST", "/api/v1/webhook/trigger", body, append([]string{"Authorization", "Bearer " + token}, headers...)...)
}

// accepted makes a webhook call that has to be accepted, and gives the execution's id.
func (a *api) accepted(t testing.TB, token, body string, headers ...string) string {
	t.Helper()
	answer := a.hook(t, token, body, headers...)
	require.Equal(t, 202, answer.Status, answer.Body)
	var made resource
	answer.Decode(t, &made)
	return made.ID
}

// types lists the types of the events that a request caused, in order.
func (a *api) types(t testing.TB, after int64, requestID string) []string {
	t.Helper()
	types := []string{}
	for _, e := range a.eventsAfter(t, after) {
		if e.RequestID == requestID {
			types = append(types, e.Type)
		}
	}
	return types
}

type event struct {
	ID            string         `json:"id"`
	Position      int64          `json:"position"`
	Stream        string         `json:"stream"`
	Version       int64          `json:"version"`
	Type          string         `json:"type"`
	Time          string         `json:"time"`
	Actor         string         `json:"actor"`
	RequestID     string         `json:"request_id"`
	TraceParent   string         `json:"traceparent"`
	CorrelationID string         `json:"correlation_id"`
	Data          map[string]any `json:"data"`
}

// eventsAfter reads the log from a position to its end.
func (a *api) eventsAfter(t testing.TB, position int64) []event {
	t.Helper()
	var all []event
	for cursor := ""; ; {
		path := "/api/v1/events?limit=100&after=" + number(position) + cursor
		var page []event
		answer := a.must(t, 200, &page, "GET", path, "")
		all = append(all, page...)
		next := metaOf(t, answer).NextCursor
		if next == "" {
			return all
		}
		cursor = "&cursor=" + next
	}
}

// head is the position of the newest event.
func (a *api) head(t testing.TB) int64 {
	t.Helper()
	var newest []event
	a.must(t, 200, &newest, "GET", "/api/v1/events?limit=1", "")
	require.NotEmpty(t, newest)
	return newest[0].Position
}

type meta struct {
	Total, Page, Limit, Pages int
	TotalPages                int    `json:"total_pages"`
	NextCursor                string `json:"next_cursor"`
}

func metaOf(t testing.TB, answer testserver.Answer) meta {
	t.Helper()
	var envelope struct{ Meta meta }
	require.NoError(t, json.Unmarshal([]byte(answer.Body), &envelope))
	return envelope.Meta
}

type refusal struct {
	Error struct {
		Code, Message string
		Details       map[string]string
	}
	RequestID string `json:"request_id"`
}

func refusalOf(t testing.TB, answer testserver.Answer) refusal {
	t.Helper()
	var r refusal
	require.NoError(t, json.Unmarshal([]byte(answer.Body), &r), answer.Body)
	return r
}

func newRequestID() string { return "test-" + strings.ToLower(rand.Text()) }
