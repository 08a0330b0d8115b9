//go:build unix

package httpapi_test

import (
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"hooktrail/domain/apikey"
	"hooktrail/domain/fault"
	"hooktrail/internal/testserver"
	"hooktrail/ports/httpapi"
)

func TestDocumentIsValid(t *testing.T) {
	c := loadContract(t)
	require.NoError(t, c.document.Validate(t.Context(), openapi3.EnableMultiError(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaPatternValidation()))
	require.Equal(t, "3.1.0", c.document.OpenAPI)
}

var pathParameter = regexp.MustCompile(`:(\w+)`)

// TestDocumentHasEveryRoute compares the routes of the server with the paths of the document.
func TestDocumentHasEveryRoute(t *testing.T) {
	server := httpapi.New(nil, httpapi.Config{Metrics: http.NotFoundHandler()}, slog.New(slog.DiscardHandler))
	var served []string
	for _, route := range server.Routes() {
		if route != "GET /docs/*" { // what the page consists of
			served = append(served, pathParameter.ReplaceAllString(route, "{$1}"))
		}
	}
	var documented []string
	for path, item := range loadContract(t).document.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(documented)
	slices.Sort(served)
	require.Equal(t, documented, served)
}

// TestDocumentDescribesEveryOperation holds the text for readers against what machines read.
func TestDocumentDescribesEveryOperation(t *testing.T) {
	for path, item := range loadContract(t).document.Paths.Map() {
		for method, operation := range item.Operations() {
			name := method + " " + path
			require.NotEmpty(t, operation.OperationID, name)
			require.NotEmpty(t, operation.Summary, name)
			require.Len(t, operation.Tags, 1, name)
			if scope := scopeOf(operation); scope != "" && !strings.HasSuffix(operation.OperationID, "Alias") {
				require.Contains(t, strings.Join(strings.Fields(operation.Description), " "), "Scope: `"+scope+"`.", name)
			}
		}
	}
}

// scopeOf is the scope that an operation needs; "" for none.
func scopeOf(operation *openapi3.Operation) string {
	if operation.Security == nil || len(*operation.Security) == 0 {
		return ""
	}
	if scopes := (*operation.Security)[0]["ApiKey"]; len(scopes) == 1 {
		return scopes[0]
	}
	return ""
}

func TestDocumentListsEveryCodeAndScope(t *testing.T) {
	schemas := loadContract(t).document.Components.Schemas
	codes := append(schemas["Error"].Value.Properties["error"].Value.Properties["code"].Value.Enum, schemas["ServerError"].Value.Properties["code"].Value.Enum...)
	for _, code := range []fault.Code{
		fault.Validation, fault.InvalidJSON, fault.Unauthorized, fault.InvalidSignature, fault.Forbidden, fault.TriggerInactive, fault.NotFound,
		fault.MethodNotAllowed, fault.Conflict, fault.PreconditionFailed, fault.PayloadTooLarge, fault.UnsupportedMediaType, fault.SchemaMismatch, fault.ExpressionFailed,
		fault.IdempotencyMismatch, fault.RateLimited, fault.Overloaded, fault.Unavailable, fault.Internal,
	} {
		require.Contains(t, codes, string(code))
	}
	require.Len(t, codes, 19)
	var scopes []any
	for _, scope := range apikey.Scopes {
		scopes = append(scopes, string(scope))
	}
	require.Equal(t, scopes, schemas["Scope"].Value.Enum)
}

var asset = regexp.MustCompile(`(?:src|href)="([^"]+)"`)

func TestDocsNeedNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite})
	document := a.must(t, 200, nil, "GET", "/openapi.yaml", "", as("")...)
	require.Equal(t, string(httpapi.OpenAPI), document.Body)

	page := a.must(t, 200, nil, "GET", "/docs", "", as("")...)
	require.Contains(t, page.Header.Get("Content-Type"), "text/html")
	require.Contains(t, page.Body, "/openapi.yaml")
	assets := asset.FindAllStringSubmatch(page.Body, -1)
	require.NotEmpty(t, assets)
	for _, found := range assets {
		require.NotContains(t, found[1], "//", "an asset of another host")
		require.Equal(t, 200, a.Do(t, "GET", found[1], "", nil).Status, found[1])
	}
	require.NotRegexp(t, `(?:url|import|fetch)\(['"]?https?:`, page.Body)
}
