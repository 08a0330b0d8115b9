//go:build unix

package httpapi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/asyncapi"
	"hooktrail/ports/httpapi"
)

func TestEventContractIsThatOfTheCode(t *testing.T) {
	made, err := asyncapi.Document("../..")
	require.NoError(t, err)
	require.True(t, bytes.Equal(made, httpapi.AsyncAPI), "asyncapi.json is stale; run: go generate ./ports/httpapi")
}

// eventContract compiles the schemas of the document.
var eventContract = sync.OnceValues(func() (func(place string) (*jsonschema.Schema, error), error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(httpapi.AsyncAPI))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // that of AsyncAPI 3.0
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.json", document); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	return func(place string) (*jsonschema.Schema, error) {
		mu.Lock()
		defer mu.Unlock()
		return compiler.Compile("asyncapi.json#/components/" + place)
	}, nil
})

func fitsEventContract(t testing.TB, place string, text []byte) error {
	t.Helper()
	compile, err := eventContract()
	require.NoError(t, err)
	schema, err := compile(place)
	require.NoError(t, err, "the event contract lacks %s", place)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return schema.Validate(value)
}

// TestEventContractHasEveryVersion holds what releases have written against the document.
func TestEventContractHasEveryVersion(t *testing.T) {
	files, err := filepath.Glob("../../domain/*/testdata/events/*.json")
	require.NoError(t, err)
	var document struct {
		Channels map[string]struct{ Messages map[string]any }
	}
	require.NoError(t, json.Unmarshal(httpapi.AsyncAPI, &document))
	for _, channel := range []string{"stream", "subscription"} {
		require.Len(t, document.Channels[channel].Messages, len(files), channel)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		require.NoError(t, fitsEventContract(t, "schemas/"+name, content), file)
		require.Contains(t, document.Channels["stream"].Messages, name)
	}
	require.Error(t, fitsEventContract(t, "schemas/trigger.renamed.v1", []byte(`{"title": "x"}`)), "a schema that takes anything says nothing")
	require.Error(t, fitsEventContract(t, "schemas/trigger.renamed.v1", []byte(`{"name": 1}`)))
}

// checkLog holds every event of the log against the document, in both forms in which it goes out.
func (a *api) checkLog(t *testing.T) {
	t.Helper()
	var raw []json.RawMessage
	for after := int64(0); ; {
		var page []json.RawMessage
		a.must(t, 200, &page, "GET", "/api/v1/events?limit=100&after="+number(after), "")
		raw = append(raw, page...)
		if len(page) < 100 {
			break
		}
		var last event
		require.NoError(t, json.Unmarshal(page[99], &last))
		after = last.Position
	}
	seen := map[string]bool{}
	for _, text := range raw {
		var e application.EventView
		require.NoError(t, json.Unmarshal(text, &e))
		name := asyncapi.Name(e.Type, e.SchemaVersion)
		seen[e.Type] = true
		require.NoError(t, fitsEventContract(t, "messages/Event."+name+"/payload", text), "%s", text)
		delivered, err := application.CloudEvent(eventlog.Recorded{
			Position: e.Position, ID: e.ID, WorkspaceID: e.WorkspaceID, Stream: e.Stream, Version: e.Version, Type: e.Type, Schema: e.SchemaVersion, At: e.Time, Data: e.Data,
			Meta: eventlog.Metadata{Actor: e.Actor, RequestID: e.RequestID, TraceParent: e.TraceParent, CausationID: e.CausationID, CorrelationID: e.CorrelationID},
		})
		require.NoError(t, err)
		require.NoError(t, fitsEventContract(t, "messages/CloudEvent."+name+"/payload", delivered), "%s", delivered)
	}
	require.Greater(t, len(seen), 20, "types of events in the log")
	one, err := json.Marshal(application.EventView{Position: 1, ID: "x", Type: "trigger.renamed", SchemaVersion: 1, Time: time.Now(), Data: json.RawMessage(`{"name": 1}`)})
	require.NoError(t, err)
	require.Error(t, fitsEventContract(t, "messages/Event.trigger.renamed.v1/payload", one))
}
