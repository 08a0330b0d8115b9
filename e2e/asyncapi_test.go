package e2e_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// asyncAPISpecs is the package in which the AsyncAPI Initiative publishes the schemas of its documents.
const asyncAPISpecs = "@asyncapi/specs@6.11.1"

// TestAsyncAPIDocument holds what a server gives away against the schema of AsyncAPI 3.0.
func TestAsyncAPIDocument(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	install := exec.CommandContext(t.Context(), "npm", "install", "--prefix", directory, "--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts", asyncAPISpecs)
	output, err := install.CombinedOutput()
	require.NoError(t, err, "%s", output)
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(directory, "node_modules/@asyncapi/specs/schemas/3.0.0.json"))
	require.NoError(t, err)

	service := sqliteStore(t).serve(t, nil)
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(service.get("/asyncapi.json").body))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(document))
	operations := document.(map[string]any)["operations"].(map[string]any)
	operations["streamEvents"].(map[string]any)["action"] = "give"
	require.Error(t, schema.Validate(document), "the schema lets anything pass")
	service.stop()
}
