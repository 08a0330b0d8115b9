package expression_test

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// sentAs are the headers and parameters of an example.
type sentAs struct{ headers, query map[string]string }

func (s sentAs) Header(name string) []string {
	if value, has := s.headers[name]; has {
		return []string{value}
	}
	return nil
}

func (s sentAs) Query(name string) string { return s.query[name] }

// TestDocumentedExamples does what docs/mapping.md says.
func TestDocumentedExamples(t *testing.T) {
	content, err := os.ReadFile("../../docs/mapping.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(content, -1)
	require.Len(t, blocks, 8)
	for _, block := range blocks {
		var example struct {
			Options        json.RawMessage
			Headers, Query map[string]string
			Payload        json.RawMessage
			Becomes        struct {
				Status, Why string
				Input       json.RawMessage
			}
		}
		require.NoError(t, json.Unmarshal(block[1], &example), "%s", block[1])
		options, err := trigger.Options{}.Merge(example.Options)
		require.NoError(t, err)
		source := expression.Source{Filter: options.Filter, Mapping: options.InputMapping}
		program, err := expression.Compile(source)
		require.NoError(t, err)
		headers, query := source.Names()
		_, err = payload.CheckJSON(example.Payload)
		require.NoError(t, err)
		result, err := program.Run(t.Context(), expression.Message{
			Payload: example.Payload, Seen: expression.SeenOf(headers, query, sentAs{example.Headers, example.Query}),
		})
		status := "accepted"
		switch {
		case fault.CodeOf(err) == fault.ExpressionFailed:
			status = "refused"
			require.ErrorContains(t, err, example.Becomes.Why)
		case result.Filtered:
			status = "filtered"
		}
		require.Equal(t, example.Becomes.Status, status, "%s: %v", block[1], err)
		if example.Becomes.Input != nil {
			require.JSONEq(t, string(example.Becomes.Input), string(result.Input))
		}
	}
	for _, name := range expression.Presets() {
		require.Contains(t, string(content), "`"+name+"`")
	}
}
