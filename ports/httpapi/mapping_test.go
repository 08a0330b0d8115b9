//go:build unix

package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/trigger"
	"hooktrail/internal/testserver"
)

type received struct {
	EventID   string            `json:"event_id"`
	Type      string            `json:"type"`
	MediaType string            `json:"media_type"`
	SHA256    string            `json:"sha256"`
	Size      int               `json:"size"`
	Event     string            `json:"event"`
	Headers   map[string]string `json:"headers"`
	Query     map[string]string `json:"query"`
	Mapped    bool              `json:"mapped"`
	Body      *string           `json:"body"`
}

func (a *api) received(t testing.TB, id string) received {
	t.Helper()
	var r received
	a.must(t, 200, &r, "GET", "/api/v1/executions/"+id+"/received", "")
	return r
}

// options gives the fields of a trigger with options.
func options(t testing.TB, o map[string]any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"options": o})
	require.NoError(t, err)
	return string(text)
}

func hexSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestFilteredCallsAreRecordedAndNotRun(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.agent(t, `{"name": "Strict", "runner": {"kind": "none"}, "input_schema": {"type": "object", "required": ["n"]}}`)
		made := a.trigger(t, agent, options(t, map[string]any{"filter": `event == "push" && payload.n > 1 && query.env == "live" && headers["x-team"] == "red"`}))
		call := func(body, event, env string) testserver.Answer {
			return a.do(t, "POST", "/api/v1/hooks/"+made.Token+"?env="+env+"&other=1", body, "X-GitHub-Event", event, "X-Team", "red", "X-Other", "2")
		}
		position, id := a.head(t), newRequestID()

		var filtered struct {
			Status    string
			ID        string
			TriggerID string `json:"trigger_id"`
		}
		body := `{"n":   1, "later": {}}`
		answer := a.do(t, "POST", "/api/v1/hooks/"+made.Token+"?env=live&other=1", body, "X-GitHub-Event", "push", "X-Team", "red", "X-Request-Id", id)
		require.Equal(t, 200, answer.Status, answer.Body)
		answer.Decode(t, &filtered)
		require.Equal(t, "filtered", filtered.Status)
		require.Equal(t, made.ID, filtered.TriggerID)
		require.Empty(t, answer.Header.Get("Location"))

		events := a.eventsAfter(t, position)
		require.Len(t, events, 1, "it made no execution")
		e := events[0]
		require.Equal(t, []any{"trigger.filtered", "trigger-" + made.ID, "trigger:" + made.ID, id}, []any{e.Type, e.Stream, e.Actor, e.RequestID})
		require.Equal(t, map[string]any{"sha256": hexSum(body), "size": float64(len(body))}, e.Data["body"])
		require.Equal(t, "push", e.Data["event"])
		require.Equal(t, map[string]any{"x-github-event": "push", "x-team": "red"}, e.Data["headers"], "only what the filter names")
		require.Equal(t, map[string]any{"env": "live"}, e.Data["query"])
		kept := a.received(t, filtered.ID)
		require.Equal(t, received{
			EventID: filtered.ID, Type: "trigger.filtered", MediaType: "application/json", SHA256: hexSum(body), Size: len(body), Event: "push",
			Headers: map[string]string{"x-github-event": "push", "x-team": "red"}, Query: map[string]string{"env": "live"}, Body: &body,
		}, kept)

		require.Equal(t, 200, call(`{"n": 2}`, "issues", "live").Status)
		require.Equal(t, 200, call(`{"n": 2}`, "push", "test").Status)
		require.Equal(t, 202, call(`{"n": 2}`, "push", "live").Status)

		// A filter that cannot be evaluated refuses: nobody is to find out later that nothing ran.
		position = a.head(t)
		answer = call(`{"m": 2}`, "push", "live")
		require.Equal(t, 422, answer.Status, answer.Body)
		refused := refusalOf(t, answer)
		require.Equal(t, "expression_failed", refused.Error.Code)
		require.Contains(t, refused.Error.Details["options.filter"], "no such key: n")
		require.Equal(t, position, a.head(t), "and leaves no event")

		var list []resource
		a.must(t, 200, &list, "GET", "/api/v1/executions?trigger_id="+made.ID, "")
		require.Len(t, list, 1)
		var last []event
		a.must(t, 200, &last, "GET", "/api/v1/events?type=trigger.filtered", "")
		require.Len(t, last, 3)
	})
}

func TestFilterIsAskedAfterTheSignatureAndWhetherTheTriggerIsActive(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), `{"secret": "0123456789abcdef", "options": {"filter": "false"}}`)
		require.Equal(t, 401, a.hook(t, made.Token, `{}`).Status)
		signed := []string{"X-Webhook-Signature", trigger.Sign([]byte("0123456789abcdef"), []byte(`{}`))}
		require.Equal(t, 200, a.hook(t, made.Token, `{}`, signed...).Status)
		a.must(t, 200, nil, "PATCH", "/api/v1/triggers/"+made.ID, `{"is_active": false}`)
		require.Equal(t, 403, a.hook(t, made.Token, `{}`, signed...).Status)
	})
}

func TestMappedCalls(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.agent(t, `{"name": "Strict", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "required": ["title", "number"],
			"properties": {"title": {"type": "string", "minLength": 1}, "number": {"type": "integer"}}, "additionalProperties": false}}`)
		made := a.trigger(t, agent, options(t, map[string]any{"input_mapping": map[string]any{"jq": `{title: .pull_request.title, number}`}}))
		require.Equal(t, map[string]any{"jq": `{title: .pull_request.title, number}`}, made.Options["input_mapping"])
		body := `{"number":  12345678901234567890, "pull_request": {"title": "Fix it"}, "sender": "me"}`
		const input = `{"number":12345678901234567890,"title":"Fix it"}`

		position := a.head(t)
		answer := a.hook(t, made.Token, body, "Idempotency-Key", "one", "Prefer", "wait=30", "X-GitHub-Event", "pull_request")
		require.Equal(t, 200, answer.Status, answer.Body)
		require.Contains(t, answer.Body, `"input":`+input)
		require.Contains(t, answer.Body, `"output":`+input, "it is what the agent got")
		var done resource
		answer.Decode(t, &done)

		events := a.eventsAfter(t, position)
		require.Equal(t, "trigger.received", events[0].Type)
		require.Equal(t, "trigger.invoked", events[1].Type)
		require.Equal(t, map[string]any{"sha256": hexSum(body), "size": float64(len(body))}, events[0].Data["body"])
		require.Equal(t, map[string]any{"sha256": hexSum(input), "size": float64(len(input))}, events[1].Data["input"])
		require.Equal(t, done.ID, events[0].Data["execution_id"])
		kept := a.received(t, done.ID)
		require.Equal(t, body, *kept.Body, "what came in is there byte by byte")
		require.True(t, kept.Mapped)
		require.Equal(t, "pull_request", kept.Event)

		repeated := a.hook(t, made.Token, body, "Idempotency-Key", "one")
		require.Equal(t, "true", repeated.Header.Get("Idempotent-Replayed"))
		other := a.hook(t, made.Token, strings.Replace(body, "me", "you", 1), "Idempotency-Key", "one")
		require.Equal(t, 422, other.Status, "another body is another call, although its input is the same")

		var again struct {
			Input json.RawMessage
			ID    string
		}
		a.must(t, 201, &again, "POST", "/api/v1/executions/"+done.ID+"/retry", "")
		require.JSONEq(t, input, string(again.Input))

		answer = a.hook(t, made.Token, `{"number": "one", "pull_request": {}}`)
		require.Equal(t, 422, answer.Status)
		refused := refusalOf(t, answer)
		require.Equal(t, "schema_mismatch", refused.Error.Code)
		require.Contains(t, refused.Error.Details, "/number")
		require.Contains(t, refused.Error.Details, "/title")
		answer = a.hook(t, made.Token, `{"pull_request": 1}`)
		require.Equal(t, 422, answer.Status)
		require.Equal(t, "expression_failed", refusalOf(t, answer).Error.Code)
		require.Contains(t, refusalOf(t, answer).Error.Details, "options.input_mapping.jq")
		require.Equal(t, 400, a.hook(t, made.Token, `{"a": 1, "a": 2}`).Status)

		// The options are the trigger's, at once.
		a.must(t, 200, nil, "PATCH", "/api/v1/triggers/"+made.ID, `{"options": {"input_mapping": null}}`)
		require.Equal(t, 422, a.hook(t, made.Token, body).Status)
		a.must(t, 200, nil, "PATCH", "/api/v1/triggers/"+made.ID, `{"options": {"input_mapping": {"template": {"title": "{{ .payload.pull_request.title }}!", "number": "{{ .payload.number }}"}}}}`)
		done.ID = a.accepted(t, made.Token, body)
		a.must(t, 200, &again, "GET", "/api/v1/executions/"+done.ID, "")
		require.JSONEq(t, `{"number": 12345678901234567890, "title": "Fix it!"}`, string(again.Input))
	})
}

func TestMappingTakesWhatAnAgentWouldNot(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		list := a.trigger(t, agent, options(t, map[string]any{"input_mapping": map[string]any{"jq": `{n: length}`}}))
		require.Contains(t, a.hook(t, list.Token, `[1, 2, 3]`, "Prefer", "wait=30").Body, `"output":{"n":3}`)

		number := a.trigger(t, agent, options(t, map[string]any{"input_mapping": map[string]any{"jq": `length`}}))
		answer := a.hook(t, number.Token, `[1]`)
		require.Equal(t, 422, answer.Status)
		require.Equal(t, "the mapping must give an object, and gives a value of the type number", refusalOf(t, answer).Error.Message)

		form := a.trigger(t, agent, options(t, map[string]any{"input_mapping": map[string]any{"preset": "slack"}}))
		fields := url.Values{"command": {"/deploy"}, "user_name": {"amy"}, "text": {"shop"}}.Encode()
		answer = a.oddly().hook(t, form.Token, fields, "Content-Type", "application/x-www-form-urlencoded", "Prefer", "wait=30")
		require.Contains(t, answer.Body, `"output":{"action":"/deploy","actor":"amy","event":"slash_command","text":"shop","title":"/deploy"}`)
		var done resource
		answer.Decode(t, &done)
		kept := a.received(t, done.ID)
		require.Equal(t, fields, *kept.Body)
		require.Equal(t, "application/x-www-form-urlencoded", kept.MediaType)

		plain := a.accepted(t, a.trigger(t, agent, "").Token, `{"a":  1}`)
		kept = a.received(t, plain)
		require.Equal(t, `{"a":  1}`, *kept.Body)
		require.Equal(t, []any{"trigger.invoked", plain, false}, []any{kept.Type, kept.EventID, kept.Mapped})
	})
}

func TestExpressionsThatDoNotCompileAreRefused(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		made := a.trigger(t, agent, "")
		for _, c := range []struct{ options, field, why string }{
			{`{"filter": "payload.a =="}`, "options.filter", "does not compile: line 1, column 13: "},
			{`{"filter": 1}`, "options.filter", "has the wrong type"},
			{`{"filter": "` + strings.Repeat("a", 16385) + `"}`, "options.filter", "is longer than 16384 bytes"},
			{`{"filter": "headers['cookie'] == ''"}`, "options.filter", "which may carry a credential"},
			{`{"input_mapping": {"jq": ".a\n| )"}}`, "options.input_mapping.jq", "does not compile: line 2, column 3: "},
			{`{"input_mapping": {"cel": {"title": "payload.", "n": "1"}}}`, "options.input_mapping.cel.title", "does not compile: line 1, column 9: "},
			{`{"input_mapping": {"template": {"title": "{{ if }}"}}}`, "options.input_mapping.template.title", "does not compile: line 1, column 1: "},
			{`{"input_mapping": {"preset": "githb"}}`, "options.input_mapping.preset", "is none of alertmanager, github"},
			{`{"input_mapping": {}}`, "options.input_mapping", "must have exactly one of jq, cel, template, preset"},
			{`{"input_mapping": {"jq": ".", "preset": "github"}}`, "options.input_mapping", "must have exactly one of"},
			{`{"input_mapping": {"jqq": "."}}`, "options.input_mapping", `has the unknown field "jqq"`},
			{`{"input_mapping": {"cel": {}}}`, "options.input_mapping.cel", "must have at least one field"},
			{`{"input_mapping": "."}`, "options.input_mapping", "has the wrong type"},
		} {
			for _, request := range [][2]string{
				{"POST", "/api/v1/webhook-triggers"}, {"PATCH", "/api/v1/webhook-triggers/" + made.ID}, {"POST", "/api/v1/webhook-triggers/" + made.ID + "/test"},
			} {
				answer := a.must(t, 400, nil, request[0], request[1], `{"agent_id": "`+agent+`", "name": "A", "payload": {}, "options": `+c.options+`}`)
				refused := refusalOf(t, answer)
				require.Equal(t, "validation_failed", refused.Error.Code)
				require.Contains(t, refused.Error.Details[c.field], c.why, c.options)
			}
		}
	})
}

type outcome struct {
	Status    string
	Signature string
	IsActive  bool `json:"is_active"`
	Event     string
	Input     json.RawMessage
	Error     struct {
		Code    string
		Details map[string]string
	}
}

func TestDryRun(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.agent(t, `{"name": "Strict", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}}}`)
		made := a.trigger(t, agent, `{"secret": "0123456789abcdef", "options": {"filter": "event != 'ping'", "input_mapping": {"jq": "{title: .t, lang: $query.lang}"}}}`)
		one := "/api/v1/webhook-triggers/" + made.ID + "/test"
		position := a.head(t)
		test := func(body string) outcome {
			t.Helper()
			var o outcome
			a.must(t, 200, &o, "POST", one, body)
			return o
		}
		o := test(`{"payload": {"t":  "A"}, "headers": {"X-GitHub-Event": "push"}, "query": {"lang": "de"}, "signature": "` + trigger.Sign([]byte("0123456789abcdef"), []byte(`{"t":  "A"}`)) + `"}`)
		require.Equal(t, []any{"accepted", "valid", true, "push"}, []any{o.Status, o.Signature, o.IsActive, o.Event})
		require.JSONEq(t, `{"title": "A", "lang": "de"}`, string(o.Input))
		o = test(`{"payload": {"t": "A"}, "signature": "sha256=00"}`)
		require.Equal(t, []any{"refused", "invalid", "invalid_signature"}, []any{o.Status, o.Signature, o.Error.Code})
		require.JSONEq(t, `{"title": "A", "lang": null}`, string(o.Input), "what else would become of it is shown")
		require.Equal(t, "not_given", test(`{"payload": {"t": "A"}}`).Signature)
		o = test(`{"payload": {}, "headers": {"x-github-event": "ping"}}`)
		require.Equal(t, "filtered", o.Status)
		require.Empty(t, o.Input)
		o = test(`{"payload": {"t": 1}}`)
		require.Equal(t, []any{"refused", "schema_mismatch"}, []any{o.Status, o.Error.Code})
		require.Contains(t, o.Error.Details, "/title")
		require.JSONEq(t, `{"title": 1, "lang": null}`, string(o.Input), "with the input that does not fit")
		o = test(`{"payload": [], "options": {"filter": null}}`)
		require.Equal(t, []any{"refused", "expression_failed"}, []any{o.Status, o.Error.Code})
		require.Equal(t, "accepted", test(`{"payload": {"title": "A"}, "options": {"filter": null, "input_mapping": null}}`).Status)
		o = test(`{"payload": "t=A", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}`)
		require.Equal(t, "accepted", o.Status)
		o = test(`{"payload": {"t": "A"}, "options": {"input_mapping": {"jq": "def f: f; f"}}}`)
		require.Equal(t, []any{"refused", "expression_failed"}, []any{o.Status, o.Error.Code})

		for body, field := range map[string]string{
			`{}`:                                   "payload",
			`{"payload": {}, "execution_id": "x"}`: "payload",
			`{"payload": {}, "since": "2026-01-01T00:00:00Z"}`:                                  "since",
			`{"since": "2026-01-01T00:00:00Z", "limit": 0}`:                                     "limit",
			`{"payload": {}, "headers": {"content-type": "application/x-www-form-urlencoded"}}`: "payload",
		} {
			require.Contains(t, refusalOf(t, a.must(t, 400, nil, "POST", one, body)).Error.Details, field, body)
		}
		require.Equal(t, position, a.head(t), "nothing was recorded")
		var list []resource
		a.must(t, 200, &list, "GET", "/api/v1/executions?trigger_id="+made.ID, "")
		require.Empty(t, list, "and nothing run")
	})
}

type summary struct {
	Examined, Accepted, Filtered, Refused, Erased, Changed int
	Complete                                               bool
	Examples                                               []struct {
		ExecutionID string `json:"execution_id"`
		Was, Would  string
		Event       string
		Input       json.RawMessage
	}
	Reasons []struct {
		Message string
		Calls   int
	}
}

func TestOptionsAreTriedOnPastCalls(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		nobodyRuns := a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`)
		made := a.trigger(t, nobodyRuns, `{"options": {"filter": "event == 'push'", "input_mapping": {"jq": "{n}"}}}`)
		one := "/api/v1/triggers/" + made.ID + "/test"
		token, ids := made.Token, map[string]string{}
		for _, call := range [][3]string{{"a", `{"n": 1}`, "push"}, {"b", `{"n": 2}`, "push"}, {"c", `{"n": 3}`, "issues"}, {"d", `{"n": "x", "m": 1}`, "push"}} {
			var called resource
			answer := a.hook(t, token, call[1], "X-GitHub-Event", call[2])
			require.Less(t, answer.Status, 300, answer.Body)
			answer.Decode(t, &called)
			ids[call[0]] = called.ID
		}
		position := a.head(t)
		try := func(body string) summary {
			t.Helper()
			var s summary
			a.must(t, 200, &s, "POST", one, body)
			return s
		}
		s := try(`{"since": "2020-01-01T00:00:00Z"}`)
		require.Equal(t, []any{4, 3, 1, 0, 0, true}, []any{s.Examined, s.Accepted, s.Filtered, s.Refused, s.Changed, s.Complete}, "as it is nothing changes")
		require.Equal(t, 0, try(`{"since": "2100-01-01T00:00:00Z"}`).Examined)
		s = try(`{"since": "2020-01-01T00:00:00Z", "limit": 2}`)
		require.Equal(t, []any{2, false}, []any{s.Examined, s.Complete})

		s = try(`{"since": "2020-01-01T00:00:00Z", "options": {"filter": "payload.n > 1", "input_mapping": {"cel": {"n": "payload.n"}}}}`)
		require.Equal(t, []any{4, 2, 1, 1, 3}, []any{s.Examined, s.Accepted, s.Filtered, s.Refused, s.Changed})
		became := map[string]string{}
		for _, e := range s.Examples {
			became[e.ExecutionID] = e.Was + " " + e.Would + " " + string(e.Input)
		}
		require.Equal(t, map[string]string{
			ids["a"]: "accepted filtered ", ids["c"]: `filtered accepted {"n":3}`, ids["d"]: "accepted refused ",
		}, became)
		require.Len(t, s.Reasons, 1)
		require.Contains(t, s.Reasons[0].Message, "no such overload")

		s = try(`{"since": "2020-01-01T00:00:00Z", "options": {"filter": null, "input_mapping": {"jq": "{m: .n}"}}}`)
		require.Equal(t, []any{4, 4, 4}, []any{s.Examined, s.Accepted, s.Changed})

		var o outcome
		a.must(t, 200, &o, "POST", one, `{"execution_id": "`+ids["c"]+`", "options": {"filter": "event == 'issues'"}}`)
		require.Equal(t, []any{"accepted", "not_required", "issues", `{"n":3}`}, []any{o.Status, o.Signature, o.Event, string(o.Input)})
		a.must(t, 200, &o, "POST", one, `{"execution_id": "`+ids["a"]+`", "options": {"input_mapping": null}}`)
		require.JSONEq(t, `{"n": 1}`, string(o.Input))
		a.must(t, 404, nil, "POST", one, `{"execution_id": "`+nobody+`"}`)
		other := a.trigger(t, nobodyRuns, "")
		require.Contains(t, refusalOf(t, a.must(t, 400, nil, "POST", "/api/v1/triggers/"+other.ID+"/test", `{"execution_id": "`+ids["a"]+`"}`)).Error.Details["execution_id"], "another trigger")
		require.Equal(t, position, a.head(t)-1, "nothing was recorded but the other trigger")
	})
}

func TestReceivedIsOfOneWorkspace(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite, OtherWorkspace: true})
	made := a.trigger(t, a.echo(t), `{"options": {"filter": "payload.n > 1"}}`)
	accepted := a.accepted(t, made.Token, `{"n": 2}`)
	var filtered resource
	a.hook(t, made.Token, `{"n": 1}`).Decode(t, &filtered)
	for _, id := range []string{accepted, filtered.ID} {
		require.NotNil(t, a.received(t, id).Body)
		a.must(t, 404, nil, "GET", "/api/v1/executions/"+id+"/received", "", as(a.OtherAPIKey)...)
	}
	a.must(t, 404, nil, "POST", "/api/v1/triggers/"+made.ID+"/test", `{"payload": {}}`, as(a.OtherAPIKey)...)
	a.must(t, 404, nil, "POST", "/api/v1/triggers/"+made.ID+"/test", `{"since": "2020-01-01T00:00:00Z"}`, as(a.OtherAPIKey)...)
}
