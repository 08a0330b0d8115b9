package expression_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/expression"
	"hooktrail/domain/trigger"
)

// TestPresets maps payloads of the shapes that the senders document.
func TestPresets(t *testing.T) {
	for _, name := range expression.Presets() {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join("testdata", "presets", name+".json"))
			require.NoError(t, err, "a preset without an example")
			var examples []struct {
				Event          string
				Headers        map[string]string
				Payload, Input json.RawMessage
			}
			require.NoError(t, json.Unmarshal(content, &examples))
			program, err := expression.Compile(expression.Source{Mapping: &trigger.Mapping{Preset: name}})
			require.NoError(t, err)
			for _, e := range examples {
				result, err := program.Run(t.Context(), expression.Message{Payload: e.Payload, Seen: trigger.Seen{Event: e.Event, Headers: e.Headers}})
				require.NoError(t, err)
				require.JSONEq(t, string(e.Input), string(result.Input), "%s", result.Input)
			}
			// Of what a sender may leave out nothing is needed, but what its documentation requires.
			for _, least := range []string{`{}`, `{"type": "a.b", "data": {"object": {}}, "webhookEvent": "a", "event": {"event_type": "a.b"}, "form_response": {}}`} {
				if _, err = program.Run(t.Context(), expression.Message{Payload: []byte(least)}); err == nil {
					break
				}
			}
			require.NoError(t, err)
		})
	}
}
