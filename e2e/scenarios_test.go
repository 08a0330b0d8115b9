package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"hooktrail/domain/trigger"
)

// scenario is what a client does; sdk/scenarios/README.md explains the form.
type scenario struct {
	Name  string
	Steps []step
}

type step struct {
	Call   string
	As     string
	With   map[string]any
	Expect map[string]any
	Save   map[string]string
	Fails  *failure
}

type failure struct {
	Status  int
	Code    string
	Details string
	Error   string
}

// TestScenarios plays what every client library is tested with over plain HTTP, and holds each
// answer against the contract that the server itself gives away.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("../sdk/scenarios/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		service.awaitCheckpoint()
		contract := contractOf(t, &service.client)
		called := map[string]bool{}
		for _, file := range files {
			for _, scenario := range readScenarios(t, file) {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+scenario.Name, func(t *testing.T) {
					p := &player{
						t: t, client: newClient(t, service.base, s.key), contract: contract,
						saved: map[string]any{}, run: strconv.FormatInt(time.Now().UnixNano(), 36),
					}
					for i, step := range scenario.Steps {
						p.step = fmt.Sprintf("step %d, %s", i+1, step.Call)
						p.play(step)
						called[step.Call] = true
					}
				})
			}
		}
		methods := append(slices.Collect(maps.Keys(operations)), slices.Collect(maps.Keys(composed()))...)
		require.ElementsMatch(t, methods, slices.Collect(maps.Keys(called)), "methods that the scenarios call")
		service.stop()
	})
}

func readScenarios(t testing.TB, file string) []scenario {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields() // a check whose name is mistyped would check nothing
	var scenarios []scenario
	require.NoError(t, decoder.Decode(&scenarios), file)
	for _, each := range scenarios {
		require.NotEmpty(t, each.Name, file)
		require.NotEmpty(t, each.Steps, each.Name)
	}
	return scenarios
}

// operations are the methods that are one request. The arguments that the path does not take
// are the query of a GET, and the body of others.
var operations = map[string]struct{ method, path string }{
	"agents.create":  {http.MethodPost, "/api/v1/agents"},
	"agents.list":    {http.MethodGet, "/api/v1/agents"},
	"agents.get":     {http.MethodGet, "/api/v1/agents/{agent_id}"},
	"agents.update":  {http.MethodPatch, "/api/v1/agents/{agent_id}"},
	"agents.delete":  {http.MethodDelete, "/api/v1/agents/{agent_id}"},
	"agents.execute": {http.MethodPost, "/api/v1/agents/{agent_id}/execute"},

	"webhook_triggers.create":        {http.MethodPost, "/api/v1/webhook-triggers"},
	"webhook_triggers.list":          {http.MethodGet, "/api/v1/webhook-triggers"},
	"webhook_triggers.get":           {http.MethodGet, "/api/v1/webhook-triggers/{trigger_id}"},
	"webhook_triggers.update":        {http.MethodPatch, "/api/v1/webhook-triggers/{trigger_id}"},
	"webhook_triggers.delete":        {http.MethodDelete, "/api/v1/webhook-triggers/{trigger_id}"},
	"webhook_triggers.rotate_token":  {http.MethodPost, "/api/v1/webhook-triggers/{trigger_id}/rotate-token"},
	"webhook_triggers.rotate_secret": {http.MethodPost, "/api/v1/webhook-triggers/{trigger_id}/rotate-secret"},
	"webhook_triggers.remove_secret": {http.MethodDelete, "/api/v1/webhook-triggers/{trigger_id}/secret"},
	"webhook_triggers.run":           {http.MethodPost, "/api/v1/webhook-triggers/{trigger_id}/run"},
	"webhook_triggers.test":          {http.MethodPost, "/api/v1/webhook-triggers/{trigger_id}/test"},
	"webhook_triggers.test_since":    {http.MethodPost, "/api/v1/webhook-triggers/{trigger_id}/test"},
	"webhook_triggers.events":        {http.MethodGet, "/api/v1/webhook-triggers/{trigger_id}/events"},

	"executions.list":   {http.MethodGet, "/api/v1/executions"},
	"executions.get":    {http.MethodGet, "/api/v1/executions/{execution_id}"},
	"executions.cancel": {http.MethodPost, "/api/v1/executions/{execution_id}/cancel"},
	"executions.retry":  {http.MethodPost, "/api/v1/executions/{execution_id}/retry"},
	"executions.report": {http.MethodPost, "/api/v1/executions/{execution_id}/report"},

	"events.list": {http.MethodGet, "/api/v1/events"},

	"rejections.list": {http.MethodGet, "/api/v1/rejections"},

	"api_keys.create": {http.MethodPost, "/api/v1/api-keys"},
	"api_keys.list":   {http.MethodGet, "/api/v1/api-keys"},
	"api_keys.delete": {http.MethodDelete, "/api/v1/api-keys/{api_key_id}"},

	"agents.history":           {http.MethodGet, "/api/v1/agents/{agent_id}/history"},
	"webhook_triggers.history": {http.MethodGet, "/api/v1/webhook-triggers/{trigger_id}/history"},
	"executions.history":       {http.MethodGet, "/api/v1/executions/{execution_id}/history"},
	"executions.received":      {http.MethodGet, "/api/v1/executions/{execution_id}/received"},
	"api_keys.get":             {http.MethodGet, "/api/v1/api-keys/{api_key_id}"},
	"api_keys.history":         {http.MethodGet, "/api/v1/api-keys/{api_key_id}/history"},

	"subscriptions.create":        {http.MethodPost, "/api/v1/subscriptions"},
	"subscriptions.list":          {http.MethodGet, "/api/v1/subscriptions"},
	"subscriptions.get":           {http.MethodGet, "/api/v1/subscriptions/{subscription_id}"},
	"subscriptions.update":        {http.MethodPatch, "/api/v1/subscriptions/{subscription_id}"},
	"subscriptions.delete":        {http.MethodDelete, "/api/v1/subscriptions/{subscription_id}"},
	"subscriptions.rotate_secret": {http.MethodPost, "/api/v1/subscriptions/{subscription_id}/rotate-secret"},
	"subscriptions.deliveries":    {http.MethodGet, "/api/v1/subscriptions/{subscription_id}/deliveries"},
	"subscriptions.redeliver":     {http.MethodPost, "/api/v1/subscriptions/{subscription_id}/redeliver"},
	"subscriptions.rewind":        {http.MethodPost, "/api/v1/subscriptions/{subscription_id}/redeliver"},
	"subscriptions.skip":          {http.MethodPost, "/api/v1/subscriptions/{subscription_id}/skip"},
	"subscriptions.history":       {http.MethodGet, "/api/v1/subscriptions/{subscription_id}/history"},

	"audit.checkpoint": {http.MethodGet, "/api/v1/audit/checkpoint"},
	"audit.receipt":    {http.MethodGet, "/api/v1/events/{event_id}/proof"},

	"me": {http.MethodGet, "/api/v1/me"},
}

// composed gives the methods that are several requests, another kind of request, or none.
func composed() map[string]func(p *player, key string, with map[string]any) outcome {
	methods := map[string]func(p *player, key string, with map[string]any) outcome{
		"executions.wait": (*player).wait, "events.tail": (*player).tail, "fire": (*player).fire, "verify": (*player).verify,
		"sign": func(_ *player, _ string, with map[string]any) outcome {
			return value(sign(text(with, "secret"), text(with, "body")))
		},
	}
	for method, active := range map[string]bool{"subscriptions.pause": false, "subscriptions.resume": true} {
		methods[method] = func(p *player, key string, with map[string]any) outcome {
			return p.call("subscriptions.update", key, map[string]any{"subscription_id": with["subscription_id"], "is_active": active})
		}
	}
	for _, resource := range []string{"agents", "webhook_triggers", "executions", "events", "rejections", "api_keys", "subscriptions"} {
		methods[resource+".list_all"] = func(p *player, key string, with map[string]any) outcome { return p.listAll(resource, key, with) }
	}
	return methods
}

// outcome is what a method gives: a result, or the answer that refused it.
type outcome struct {
	result  any
	refused *answer
}

func value(v any) outcome { return outcome{result: map[string]any{"value": v}} }

// player plays one scenario.
type player struct {
	t        testing.TB
	client   client
	contract *contract
	saved    map[string]any
	run      string
	uniques  int
	step     string
}

func (p *player) play(s step) {
	p.t.Helper()
	key := p.client.key
	if s.As != "" {
		key = p.fill(s.As).(string)
	}
	with, _ := p.fill(s.With).(map[string]any)
	got := p.call(s.Call, key, with)
	if s.Fails != nil {
		p.checkFailure(*s.Fails, got)
		return
	}
	require.Nil(p.t, got.refused, "%s was refused: %+v", p.step, got.refused)
	for path, wanted := range s.Expect {
		found, there := place(got.result, path)
		if why := mismatch(p.fill(wanted), found, there); why != "" {
			content, _ := json.Marshal(got.result)
			require.FailNow(p.t, p.step+": "+path+" "+why, "the result is %s", content)
		}
	}
	for name, path := range s.Save {
		found, there := place(got.result, path)
		require.True(p.t, there && found != nil, "%s: there is no %s to save", p.step, path)
		p.saved[name] = found
	}
}

func (p *player) call(name, key string, with map[string]any) outcome {
	p.t.Helper()
	if play, known := composed()[name]; known {
		return play(p, key, with)
	}
	operation, known := operations[name]
	require.True(p.t, known, "%s: there is no such method", p.step)
	rest := maps.Clone(with)
	path := pathArgument.ReplaceAllStringFunc(operation.path, func(argument string) string {
		argument = strings.Trim(argument, "{}")
		delete(rest, argument)
		return url.PathEscape(text(with, argument))
	})
	body := ""
	switch {
	case len(rest) == 0:
	case operation.method == http.MethodGet:
		query := url.Values{}
		for name := range rest {
			query.Set(name, text(rest, name))
		}
		path += "?" + query.Encode()
	default:
		body = p.encode(rest)
	}
	return p.send(operation.method, path, body, "X-API-Key", key)
}

var pathArgument = regexp.MustCompile(`\{\w+\}`)

// send makes one request and reads the result.
func (p *player) send(method, path, body string, headers ...string) outcome {
	p.t.Helper()
	a := p.client.send(method, path, body, headers...)
	p.contract.check(p.t, exchange{method, path, body, headers, a})
	if a.status >= 300 {
		return outcome{refused: &a}
	}
	if a.body == "" {
		return outcome{}
	}
	var result any
	require.NoError(p.t, json.Unmarshal([]byte(a.body), &result), a.body)
	return outcome{result: result}
}

func (p *player) listAll(resource, key string, with map[string]any) outcome {
	p.t.Helper()
	items, query := []any{}, maps.Clone(with)
	if query == nil {
		query = map[string]any{}
	}
	for {
		page := p.call(resource+".list", key, query)
		if page.refused != nil {
			return page
		}
		entries, _ := place(page.result, "data")
		items = append(items, entries.([]any)...)
		next, more := place(page.result, "meta.next_cursor")
		if !more {
			return outcome{result: map[string]any{"items": items}}
		}
		query["cursor"] = next
	}
}

func (p *player) tail(key string, with map[string]any) outcome {
	p.t.Helper()
	query := maps.Clone(with)
	delete(query, "stop_after")
	items, wanted := []any{}, int(with["stop_after"].(float64))
	eventually(p.t, func() bool {
		part := p.call("events.list", key, query)
		require.Nil(p.t, part.refused, p.step)
		entries, _ := place(part.result, "data")
		for _, entry := range entries.([]any) {
			query["after"], _ = place(entry, "position")
			items = append(items, entry)
		}
		return len(items) >= wanted
	}, "%s: the events do not come", p.step)
	return outcome{result: map[string]any{"items": items[:wanted]}}
}

func (p *player) wait(key string, with map[string]any) (last outcome) {
	p.t.Helper()
	one := map[string]any{"execution_id": with["execution_id"]}
	eventually(p.t, func() bool {
		last = p.call("executions.get", key, one)
		status, _ := place(last.result, "data.status")
		return last.refused != nil || status != "pending" && status != "running"
	}, "%s: the execution does not end", p.step)
	return last
}

func (p *player) fire(_ string, with map[string]any) outcome {
	p.t.Helper()
	body := p.encode(with["payload"])
	headers := []string{"Authorization", "Bearer " + text(with, "token")}
	if _, signed := with["secret"]; signed {
		headers = append(headers, "X-Webhook-Signature", sign(text(with, "secret"), body))
	}
	if _, given := with["idempotency_key"]; given {
		headers = append(headers, "Idempotency-Key", text(with, "idempotency_key"))
	}
	if _, waits := with["wait"]; waits {
		headers = append(headers, "Prefer", "wait="+text(with, "wait"))
	}
	return p.send(http.MethodPost, hookPath, body, headers...)
}

func (p *player) verify(_ string, with map[string]any) outcome {
	key := trigger.NewKey([]byte(text(with, "secret")))
	return value(trigger.Verify([]string{text(with, "signature")}, []*trigger.Key{key}, []byte(text(with, "body"))))
}

func (p *player) checkFailure(wanted failure, got outcome) {
	p.t.Helper()
	require.NotNil(p.t, got.refused, "%s succeeded with %v", p.step, got.result)
	var body struct {
		Error struct {
			Code, Message string
			Details       map[string]string
		}
	}
	require.NoError(p.t, json.Unmarshal([]byte(got.refused.body), &body), got.refused.body)
	require.Equal(p.t, wanted.Status, got.refused.status, "%s: %s", p.step, got.refused.body)
	require.Equal(p.t, wanted.Code, body.Error.Code, "%s: %s", p.step, got.refused.body)
	if wanted.Details != "" {
		require.Contains(p.t, body.Error.Details, wanted.Details, p.step)
	}
	if wanted.Error != "" {
		require.Equal(p.t, wanted.Error, classOf(wanted.Status, wanted.Code), p.step)
	}
}

// classOf is the class that a library gives an error.
func classOf(status int, code string) string {
	if code == "conflict" || code == "precondition_failed" {
		return "conflict"
	}
	return map[int]string{
		400: "validation", 413: "validation", 415: "validation", 422: "validation",
		401: "authentication", 403: "permission", 404: "not_found", 429: "rate_limited",
	}[status]
}

func (p *player) encode(v any) string {
	p.t.Helper()
	content, err := json.Marshal(v)
	require.NoError(p.t, err)
	return string(content)
}

var placeholder = regexp.MustCompile(`\$\{(\w+)\}`)

// fill puts what was saved in the place of its names.
func (p *player) fill(v any) any {
	p.t.Helper()
	switch v := v.(type) {
	case string:
		if name, whole := strings.CutPrefix(v, "$"); whole && !strings.HasPrefix(name, "{") {
			return p.lookUp(name)
		}
		return placeholder.ReplaceAllStringFunc(v, func(found string) string { return fmt.Sprint(p.lookUp(found[2 : len(found)-1])) })
	case []any:
		filled := make([]any, len(v))
		for i, entry := range v {
			filled[i] = p.fill(entry)
		}
		return filled
	case map[string]any:
		if v == nil {
			return v
		}
		filled := map[string]any{}
		for name, entry := range v {
			filled[name] = p.fill(entry)
		}
		return filled
	default:
		return v
	}
}

func (p *player) lookUp(name string) any {
	p.t.Helper()
	if name == "unique" {
		p.uniques++
		return fmt.Sprintf("unique-%s-%d", p.run, p.uniques)
	}
	found, there := p.saved[name]
	require.True(p.t, there, "%s: nothing is saved as %s", p.step, name)
	return found
}

// text gives an argument as it stands in a path, a query or a header.
func text(with map[string]any, name string) string {
	if s, isText := with[name].(string); isText {
		return s
	}
	content, _ := json.Marshal(with[name]) // it came from JSON
	return string(content)
}

// place finds what is at the place in a result that a path names.
func place(result any, path string) (found any, there bool) {
	for name := range strings.SplitSeq(path, ".") {
		switch in := result.(type) {
		case map[string]any:
			if result, there = in[name]; !there {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return nil, false
			}
			result = in[i]
		default:
			return nil, false
		}
	}
	return result, true
}

// mismatch says why what was found is not what was wanted; "" when it is.
func mismatch(wanted, found any, there bool) string {
	if matcher, isObject := wanted.(map[string]any); isObject && len(matcher) == 1 {
		for name, argument := range matcher {
			if matches, known := matchers[name]; known {
				if !matches(argument, found, there && found != nil) {
					return fmt.Sprintf("is %v, which %s %v is not", found, name, argument)
				}
				return ""
			}
		}
	}
	expected, _ := json.Marshal(wanted) // both came from JSON, and are written in one order of fields
	actual, _ := json.Marshal(found)
	if !there || !bytes.Equal(expected, actual) {
		return fmt.Sprintf("is %s instead of %s", actual, expected)
	}
	return ""
}

var matchers = map[string]func(argument, found any, there bool) bool{
	"absent":  func(_, _ any, there bool) bool { return !there },
	"present": func(_, _ any, there bool) bool { return there },
	"matches": func(argument, found any, _ bool) bool {
		s, isText := found.(string)
		return isText && regexp.MustCompile(argument.(string)).MatchString(s)
	},
	"contains": func(argument, found any, _ bool) bool {
		s, isText := found.(string)
		return isText && strings.Contains(s, argument.(string))
	},
	"length": func(argument, found any, _ bool) bool {
		list, isList := found.([]any)
		return isList && float64(len(list)) == argument.(float64)
	},
	"at_least": func(argument, found any, _ bool) bool {
		n, isNumber := found.(float64)
		return isNumber && n >= argument.(float64)
	},
}

// contract is the OpenAPI document of a server.
type contract struct{ router routers.Router }

func contractOf(t testing.TB, c *client) *contract {
	t.Helper()
	a := c.send(http.MethodGet, "/openapi.yaml", "")
	require.Equal(t, http.StatusOK, a.status)
	document, err := openapi3.NewLoader().LoadFromData([]byte(a.body))
	require.NoError(t, err)
	require.NoError(t, document.Validate(context.Background()))
	router, err := gorillamux.NewRouter(document)
	require.NoError(t, err)
	return &contract{router}
}

// exchange is a request and its answer.
type exchange struct {
	method, path, body string
	headers            []string
	answer             answer
}

// check fails the test unless the answer is one that the contract promises, and the request,
// if it was accepted, one that it describes.
func (c *contract) check(t testing.TB, x exchange) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), x.method, "http://hooktrail"+x.path, strings.NewReader(x.body))
	require.NoError(t, err)
	if x.body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(x.headers); i += 2 {
		request.Header.Add(x.headers[i], x.headers[i+1])
	}
	route, parameters, err := c.router.FindRoute(request)
	require.NoError(t, err, "%s %s is not in the contract", x.method, x.path)
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}
	if x.answer.status < 300 {
		require.NoError(t, openapi3filter.ValidateRequest(t.Context(), input), "%s %s was accepted: %s", x.method, x.path, x.body)
	}
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: x.answer.status, Header: x.answer.header, Body: io.NopCloser(strings.NewReader(x.answer.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}), "%s %s was answered %d: %s", x.method, x.path, x.answer.status, x.answer.body)
}
