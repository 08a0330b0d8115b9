//go:build unix

package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"hooktrail/internal/testserver"
	"hooktrail/ports/httpapi"
)

// contract holds requests and answers against openapi.yaml.
type contract struct {
	document *openapi3.T
	router   routers.Router

	mu   sync.Mutex
	seen map[string]bool // "operationId status"
}

var parseContract = sync.OnceValues(func() (*openapi3.T, error) { return openapi3.NewLoader().LoadFromData(httpapi.OpenAPI) })

func loadContract(t testing.TB) *contract {
	t.Helper()
	document, err := parseContract()
	require.NoError(t, err)
	router, err := gorillamux.NewRouter(document)
	require.NoError(t, err)
	return &contract{document: document, router: router, seen: map[string]bool{}}
}

// exchange is a request and its answer.
type exchange struct {
	method, path, body string
	headers            map[string]string
	answer             testserver.Answer
	odd                bool
}

func (x exchange) request(t testing.TB) *http.Request {
	t.Helper()
	path := x.path
	if x.odd {
		path = strings.TrimSuffix(path, "/") // taken, but not described
	}
	request, err := http.NewRequestWithContext(t.Context(), x.method, "http://server"+path, strings.NewReader(x.body))
	require.NoError(t, err)
	if x.body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range x.headers {
		request.Header.Set(name, value)
	}
	return request
}

// check fails the test unless the answer is one that the contract promises, and the request,
// if it was accepted, one that it describes.
func (c *contract) check(t testing.TB, x exchange) {
	t.Helper()
	c.checkForm(t, x)
	if x.method == http.MethodHead {
		return // described by its GET
	}
	request := x.request(t)
	route, parameters, err := c.router.FindRoute(request)
	if err != nil {
		require.Contains(t, []int{404, 405}, x.answer.Status, "%s %s is not in the contract", x.method, x.path)
		c.checkSchema(t, "Error", x.answer.Body)
		return
	}
	c.mu.Lock()
	c.seen[route.Operation.OperationID+" "+strconv.Itoa(x.answer.Status)] = true
	c.mu.Unlock()

	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}
	if x.answer.Status < 300 && !x.odd {
		require.NoError(t, openapi3filter.ValidateRequest(t.Context(), input), "%s %s was accepted: %s", x.method, x.path, x.body)
	}
	isJSON := x.answer.Header.Get("Content-Type") == "application/json"
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: x.answer.Status, Header: x.answer.Header, Body: io.NopCloser(strings.NewReader(x.answer.Body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: !isJSON && x.answer.Body != ""},
	}), "%s %s was answered %d: %s", x.method, x.path, x.answer.Status, x.answer.Body)

	promised := route.Operation.Responses.Status(x.answer.Status).Value
	if x.answer.Body == "" {
		require.Empty(t, promised.Content, "an answer without a body")
		return
	}
	described := promised.Content.Get(x.answer.Header.Get("Content-Type"))
	require.NotNil(t, described, "the content type %s", x.answer.Header.Get("Content-Type"))
	if isJSON {
		require.Empty(t, undescribed(described.Schema.Value, decodeJSON(t, x.answer.Body), ""), "%s %s: %s", x.method, x.path, x.answer.Body)
	}
}

// checkForm checks what holds for every answer (SPEC, section 2).
func (c *contract) checkForm(t testing.TB, x exchange) {
	t.Helper()
	answer := x.answer
	require.NotEmpty(t, answer.Header.Get("X-Request-Id"))
	require.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
	require.False(t, answer.Status >= 300 && answer.Status < 400, "there are no redirects")
	if strings.HasPrefix(x.path, "/api/v1/") && !isHook(x.path) {
		require.Contains(t, []int{200, 201, 204, 400, 401, 403, 404, 405, 412, 429, 500, 503}, answer.Status, answer.Body)
		require.False(t, answer.Status == 412 && x.headers["If-Match"] == "", "412 without If-Match")
	}
	if answer.Body == "" {
		return
	}
	if !strings.HasPrefix(x.path, "/api/v1/") && answer.Status < 300 {
		return // a page, metrics, or the document
	}
	if isHook(x.path) && answer.Status == 200 && strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
		return // what a sender waits for that sets the hook up
	}
	require.Equal(t, "application/json", answer.Header.Get("Content-Type"))
	body, isObject := decodeJSON(t, answer.Body).(map[string]any)
	require.True(t, isObject, answer.Body)
	for _, member := range []string{"data", "meta", "error", "warnings"} {
		value, there := body[member]
		require.False(t, there && value == nil, "%s is null", member)
	}
	_, isList := body["data"].([]any)
	_, hasMeta := body["meta"]
	require.Equal(t, isList, hasMeta, "meta stands beside lists only")
	if answer.Status >= 400 {
		require.Equal(t, answer.Header.Get("X-Request-Id"), body["request_id"])
		require.NotContains(t, answer.Body, "goroutine")
		require.NotContains(t, answer.Body, ".go:")
	}
}

func isHook(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return strings.HasPrefix(path, "/api/v1/webhook/trigger") || strings.HasPrefix(path, "/api/v1/hooks/") || strings.HasPrefix(path, "/hooks/")
}

func (c *contract) checkSchema(t testing.TB, name, body string) {
	t.Helper()
	schema := c.document.Components.Schemas[name].Value
	require.NoError(t, schema.VisitJSON(decodeJSON(t, body), openapi3.EnableJSONSchema2020()), body)
	require.Empty(t, undescribed(schema, decodeJSON(t, body), ""))
}

func decodeJSON(t testing.TB, text string) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	var value any
	require.NoError(t, decoder.Decode(&value), text)
	return value
}

// undescribed lists the members of a value that its schema does not name.
func undescribed(schema *openapi3.Schema, value any, path string) []string {
	var found []string
	switch value := value.(type) {
	case []any:
		for _, entry := range value {
			if schema.Items != nil {
				found = append(found, undescribed(schema.Items.Value, entry, path+"[]")...)
			}
		}
	case map[string]any:
		properties, open := describedBy(schema)
		for name, member := range value {
			if property, known := properties[name]; known {
				found = append(found, undescribed(property, member, path+"."+name)...)
			} else if !open {
				found = append(found, path+"."+name)
			}
		}
	}
	slices.Sort(found)
	return found
}

// describedBy collects the properties of a schema; open is set when it takes others as well.
func describedBy(schema *openapi3.Schema) (properties map[string]*openapi3.Schema, open bool) {
	properties = map[string]*openapi3.Schema{}
	for name, property := range schema.Properties {
		properties[name] = property.Value
	}
	open = schema.AdditionalProperties.Schema != nil || schema.AdditionalProperties.Has != nil && *schema.AdditionalProperties.Has
	parts := append(append(openapi3.SchemaRefs{}, schema.AllOf...), schema.OneOf...)
	for _, part := range parts {
		more, opened := describedBy(part.Value)
		for name, property := range more {
			properties[name] = property
		}
		open = open || opened
	}
	return properties, open || len(properties) == 0
}

func number[N int | int64](n N) string { return strconv.FormatInt(int64(n), 10) }
