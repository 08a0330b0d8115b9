package expression_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

func jq(program string) expression.Source {
	return expression.Source{Mapping: &trigger.Mapping{JQ: program}}
}

func cel(text string) expression.Source {
	return expression.Source{Mapping: &trigger.Mapping{CEL: map[string]string{"x": text}}}
}

func template(text string) expression.Source {
	return expression.Source{Mapping: &trigger.Mapping{Template: map[string]string{"x": text}}}
}

func filter(text string) expression.Source { return expression.Source{Filter: text} }

const sample = `{"action": "opened", "number": 42, "price": 1.10, "big": 12345678901234567890123, "tiny": 1e-7, "none": null, "labels": ["a", "b"],
	"pull_request": {"title": "Fix \"it\" <now>", "draft": false, "user": {"login": "octocat"}, "changed": 12345678901234567890}, "text": "Füße \u0000 \ud83d\ude00"}`

var seen = trigger.Seen{Event: "pull_request", Headers: map[string]string{"x-team": "red"}, Query: map[string]string{"env": "live"}}

func run(t *testing.T, source expression.Source) (expression.Result, error) {
	t.Helper()
	program, err := expression.Compile(source)
	require.NoError(t, err)
	return program.Run(t.Context(), expression.Message{Payload: []byte(sample), Seen: seen})
}

func TestFilters(t *testing.T) {
	for text, passes := range map[string]bool{
		`true`: true,
		`payload.action == "opened" && !payload.pull_request.draft`: true,
		`payload.action in ["closed", "reopened"]`:                  false,
		`event == "pull_request"`:                                   true,
		`headers["x-team"] == "red"`:                                true,
		`"x-other" in headers`:                                      false,
		`query.env == "live"`:                                       true,
		`has(payload.missing) && payload.missing > 1`:               false,
		`payload.?missing.orValue("") == ""`:                        true,
		`payload.number > 41 && payload.number < 42.5`:              true,
		`payload.price == 1.1`:                                      true,
		`payload.big > 1e22`:                                        true,
		`payload.pull_request.changed == 12345678901234567890u`:     true,
		`payload.labels.exists(l, l == "b")`:                        true,
		`payload.labels.all(l, l.size() == 2)`:                      false,
		`payload.pull_request.title.lowerAscii().contains("fix")`:   true,
		`payload.pull_request.title.matches("^Fix .*>$")`:           true,
		`payload.none == null`:                                      true,
	} {
		result, err := run(t, filter(text))
		require.NoError(t, err, text)
		require.Equal(t, expression.Result{Filtered: !passes}, result, text)
	}
}

func TestMappings(t *testing.T) {
	for _, c := range []struct {
		source expression.Source
		input  string
	}{
		{jq(`{title: .pull_request.title, number}`), `{"number":42,"title":"Fix \"it\" <now>"}`},
		{jq(`{big, price, tiny, changed: .pull_request.changed}`), `{"big":12345678901234567890123,"changed":12345678901234567890,"price":1.10,"tiny":1e-7}`},
		{jq(`{next: (.number + 1), sum: (.big + 1), double: (.price * 2)}`), `{"double":2.2,"next":43,"sum":12345678901234567890124}`},
		{jq(`{e: $event, h: $headers["x-team"], q: $query.env, same: ($payload == .)}`), `{"e":"pull_request","h":"red","q":"live","same":true}`},
		{jq(`[.labels[] | ascii_upcase]`), `["A","B"]`},
		{jq(`{text}`), `{"text":"Füße \u0000 😀"}`},
		{jq(`del(.pull_request) | .labels |= join(", ") | {labels, missing}`), `{"labels":"a, b","missing":null}`},
		{jq(`"\(.action) by \(.pull_request.user.login)"`), `"opened by octocat"`},
		{cel(`payload.number + 1`), `{"x":43}`},
		{cel(`payload.big`), `{"x":12345678901234567890123}`},
		{cel(`payload.price`), `{"x":1.10}`},
		{cel(`payload["pull_request"].user`), `{"x":{"login":"octocat"}}`},
		{cel(`payload.labels[1]`), `{"x":"b"}`},
		{cel(`payload.labels.map(l, l + "!")`), `{"x":["a!","b!"]}`},
		{cel(`{"who": payload.pull_request.user.login, "n": [1, 2.5, 3u, true, null]}`), `{"x":{"n":[1,2.5,3,true,null],"who":"octocat"}}`},
		{cel(`payload.?missing`), `{}`},
		{cel(`payload.?missing.deeper`), `{}`},
		{cel(`payload.?price`), `{"x":1.10}`},
		{cel(`payload[?"big"]`), `{"x":12345678901234567890123}`},
		{cel(`payload.labels[?5]`), `{}`},
		{cel(`payload.?missing.?deeper.orValue("none")`), `{"x":"none"}`},
		{cel(`event + "/" + headers["x-team"] + "/" + query.env`), `{"x":"pull_request/red/live"}`},
		{cel(`timestamp("2026-01-31T12:00:00Z") + duration("90s")`), `{"x":"2026-01-31T12:01:30Z"}`},
		{cel(`b"ab"`), `{"x":"YWI="}`},
		{template(`PR {{ .payload.number }}: {{ .payload.pull_request.title }} by {{.payload.pull_request.user.login}}`), `{"x":"PR 42: Fix \"it\" <now> by octocat"}`},
		{template(`{{ .payload.number }}`), `{"x":42}`},
		{template(`{{ .payload.price }} {{ .payload.big }}`), `{"x":"1.10 12345678901234567890123"}`},
		{template(`{{ .payload.missing.deeper }}`), `{"x":null}`},
		{template(`<{{ .payload.missing }}{{ .payload.none }}>`), `{"x":"<>"}`},
		{template(`{{ index .payload.labels 1 }} {{ index .payload "action" }} {{ index .payload.labels 7 }}`), `{"x":"b opened "}`},
		{template(`{{ .event }} {{ index .headers "X-Team" }} {{ .query.env }} {{ .payload.labels }}`), `{"x":"pull_request red live [\"a\",\"b\"]"}`},
		{template(``), `{"x":""}`},
		{template(`no value`), `{"x":"no value"}`},
	} {
		result, err := run(t, c.source)
		require.NoError(t, err, "%+v", c.source.Mapping)
		require.Equal(t, c.input, string(result.Input), "%+v", c.source.Mapping)
	}
}

func TestWhatDoesNotCompile(t *testing.T) {
	for _, c := range []struct {
		source expression.Source
		says   string
	}{
		{filter(`payload.a ==`), "options.filter does not compile: line 1, column 13: Syntax error"},
		{filter("payload.a == 1 &&\n  foo"), "options.filter does not compile: line 2, column 3: undeclared reference to 'foo'"},
		{filter(`"text"`), "options.filter does not compile: line 1, column 1: the result must be true or false, and is of the type string"},
		{filter(`payload.a.matches("(")`), "options.filter does not compile: line 1, column 19: invalid matches argument"},
		{filter(`[1].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, true)))))`), "options.filter does not compile: line 1, column"},
		{filter(`headers["Authorization"] == "x"`), `options.filter asks for the header "authorization", which may carry a credential`},
		{filter(`"x-hub-signature-256" in headers`), `asks for the header "x-hub-signature-256"`},
		{filter(`headers.cookie == ""`), `asks for the header "cookie"`},
		{filter(`query["access_token"] == ""`), `options.filter asks for the parameter "access_token", which may carry a credential`},
		{jq(`.a |`), "options.input_mapping.jq does not compile: line 1, column 5: unexpected EOF"},
		{jq(".a\n | )"), `options.input_mapping.jq does not compile: line 2, column 4: unexpected token ")"`},
		{jq(".a |\n  nosuch(1)"), "options.input_mapping.jq does not compile: line 2, column 3: function not defined: nosuch/1"},
		{jq(`$nosuch`), "options.input_mapping.jq does not compile: line 1, column 1: variable not defined: $nosuch"},
		{jq(`$headers["x-api-key"]`), `options.input_mapping.jq asks for the header "x-api-key"`},
		{jq(`input`), "options.input_mapping.jq does not compile"},
		{jq(`inputs`), "options.input_mapping.jq does not compile"},
		{jq(`debug`), "function not defined: debug/0"},
		{jq(`input_filename`), "function not defined: input_filename/0"},
		{jq(`import "a" as a; 1`), "options.input_mapping.jq does not compile"},
		{jq(`include "/etc/passwd"; 1`), "options.input_mapping.jq does not compile"},
		{cel(`payload.`), "options.input_mapping.cel.x does not compile: line 1, column 9"},
		{cel(`headers["cookie"]`), "options.input_mapping.cel.x asks for the header"},
		{template(`{{ .payload.a`), "options.input_mapping.template.x does not compile: line 1, column 1: unclosed action"},
		{template("a\nb {{ range .payload }}{{ end }}"), "options.input_mapping.template.x does not compile: line 2, column"},
		{template(`{{ if .payload.a }}x{{ end }}`), "a template has values only"},
		{template(`{{ printf "%s" .payload.a }}`), `function "printf" not defined`},
		{template(`{{ .payload.a | index }}`), "a template has values only"},
		{template(`{{ $x := .payload.a }}`), "a template has values only"},
		{template(`{{ . }}`), "a template has values only"},
		{template(`{{ "text" }}`), "a template has values only"},
		{template(`{{ define "a" }}{{ end }}{{ template "a" }}`), "a template has values only"},
		{template(`{{ .secrets.a }}`), ".secrets is none of .payload, .headers, .query and .event"},
		{template(`{{ index .headers "authorization" }}`), "asks for the header"},
		{expression.Source{Mapping: &trigger.Mapping{Preset: "nosuch"}}, "options.input_mapping.preset is none of alertmanager, github,"},
		{expression.Source{Mapping: &trigger.Mapping{Preset: "../presets/github"}}, "options.input_mapping.preset is none of"},
	} {
		_, err := expression.Compile(c.source)
		require.ErrorContains(t, err, c.says)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
		var f *fault.Error
		require.ErrorAs(t, err, &f)
		require.Len(t, f.Details, 1, "the option is named")
	}
}

func TestWhatCannotBeEvaluated(t *testing.T) {
	for _, c := range []struct {
		source       expression.Source
		option, says string
	}{
		{filter(`payload.missing == 1`), "options.filter", "no such key: missing"},
		{filter(`payload.number`), "options.filter", "the result must be true or false, and is of the type int"},
		{filter(`payload.action > 1`), "options.filter", "no such overload"},
		{filter(`payload.labels[7] == "a"`), "options.filter", "index out of bounds: 7"},
		{filter(`headers["x-other"] == ""`), "options.filter", "no such key: x-other"},
		{jq(`.action.b`), "options.input_mapping.jq", "expected an object but got: string"},
		{jq(`empty`), "options.input_mapping.jq", "it gives no value"},
		{jq(`.labels[]`), "options.input_mapping.jq", "it gives more than one value"},
		{jq(`1, error("x")`), "options.input_mapping.jq", "error: x"},
		{jq(`error("the text is \(.action)")`), "options.input_mapping.jq", "the text is opened"},
		{jq(`halt_error`), "options.input_mapping.jq", "halt error"},
		{jq(`[range(400000)] | map("xxxx")`), "options.input_mapping", "gives an input of more than 1048576 bytes"},
		{cel(`payload.missing`), "options.input_mapping.cel.x", "no such key: missing"},
		{cel(`payload.labels[2]`), "options.input_mapping.cel.x", "index out of bounds: 2"},
		{cel(`payload.number / 0`), "options.input_mapping.cel.x", "division by zero"},
		{cel(`1.0 / 0.0`), "options.input_mapping.cel.x", "not a number that JSON has"},
		{cel(`{1: 2}`), "options.input_mapping.cel.x", "the keys of an object must be strings"},
		{cel(`type(payload)`), "options.input_mapping.cel.x", "is no JSON"},
		{template(strings.Repeat(`{{ .payload.pull_request }}`, 50) + strings.Repeat("x", expression.MaxInput)), "options.input_mapping", "gives an input of more than 1048576 bytes"},
	} {
		_, err := run(t, c.source)
		var f *fault.Error
		require.ErrorAs(t, err, &f, c.says)
		require.Equal(t, fault.ExpressionFailed, f.Code)
		require.Contains(t, f.Details[c.option], c.says)
		require.Contains(t, f.Message, c.option)
	}
}

func TestCELIsBoundedByItself(t *testing.T) {
	program, err := expression.Compile(filter(`payload.all(a, payload.all(b, payload.all(c, a + b + c >= 0)))`))
	require.NoError(t, err)
	payload := "[" + strings.Repeat("1,", 999) + "1]"
	_, err = program.Run(t.Context(), expression.Message{Payload: []byte(payload)})
	require.ErrorContains(t, err, "cost limit exceeded")
}

func TestEvaluationEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, source := range []expression.Source{jq(`def f: f; f`), filter(`[1, 2, 3].all(a, [1, 2, 3].all(b, a + b > 0))`)} {
		program, err := expression.Compile(source)
		require.NoError(t, err)
		_, err = program.Run(ctx, expression.Message{Payload: []byte(`{}`)})
		require.True(t, errors.Is(err, context.Canceled) || err == nil, err)
	}
}

func TestFilterComesBeforeMapping(t *testing.T) {
	source := jq(`error("not reached")`)
	source.Filter = "false"
	result, err := run(t, source)
	require.NoError(t, err)
	require.Equal(t, expression.Result{Filtered: true}, result)
}

// request is one that has every header it is asked for.
type request struct{ asked *[]string }

func (r request) Header(name string) []string {
	*r.asked = append(*r.asked, name)
	return []string{"of " + name, "again"}
}

func (r request) Query(name string) string { return "of " + name }

func TestOnlyWhatIsNamedIsGiven(t *testing.T) {
	source := expression.Source{
		Filter:  `headers["X-Team"] == "red" && query.env != "" && "x-flag" in headers && headers.?plain.orValue("") == ""`,
		Mapping: &trigger.Mapping{JQ: `{a: $headers["x-one"], b: $headers."x-two", c: $query["mode"], d: $query.page, e: ($headers | has("x-three"))}`},
	}
	headers, query := source.Names()
	for _, name := range []string{"x-team", "x-flag", "plain", "x-one", "x-two", "x-three", "x-github-event", "x-gitlab-event"} {
		require.Contains(t, headers, name)
	}
	require.Equal(t, []string{"env", "mode", "page"}, query)

	var asked []string
	given := expression.SeenOf(headers, query, request{&asked})
	require.Equal(t, headers, asked, "no other header is looked at")
	require.Equal(t, "of x-team, again", given.Headers["x-team"])
	require.Equal(t, "of env", given.Query["env"])
	require.Equal(t, "of x-github-event, again", given.Event)

	templates := template(`{{ index .headers "X-Four" }} {{ .query.lang }} {{ index .query "a-b" }}`)
	headers, query = templates.Names()
	require.Contains(t, headers, "x-four")
	require.Equal(t, []string{"a-b", "lang"}, query)
	require.Equal(t, trigger.Seen{}, expression.SeenOf(headers, query, nil))
}

func TestCredentialsAreNeverGiven(t *testing.T) {
	for _, name := range []string{
		"Authorization", "Proxy-Authorization", "Cookie", "X-API-Key", "X-Hub-Signature-256", "X-Webhook-Signature", "X-Gitlab-Token",
		"Stripe-Signature", "X-Shopify-Hmac-SHA256", "webhook-signature", "X-Telegram-Bot-Api-Secret-Token", "token",
	} {
		require.True(t, expression.Secret(name), name)
	}
	for _, preset := range expression.Presets() {
		headers, _ := expression.Source{Mapping: &trigger.Mapping{Preset: preset}}.Names()
		for _, name := range headers {
			require.False(t, expression.Secret(name), "%s in %s", name, preset)
		}
	}
}
