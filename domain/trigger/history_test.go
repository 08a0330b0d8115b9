package trigger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// history records events in the stream of one trigger, as the log does.
type history struct{ recorded []eventlog.Recorded }

func (h *history) record(t require.TestingT, at time.Time, event eventlog.Event) eventlog.Recorded {
	proposed, err := trigger.Codec.Encode(event)
	require.NoError(t, err)
	version := int64(0)
	if len(h.recorded) > 0 {
		version = h.recorded[len(h.recorded)-1].Version
	}
	if !proposed.Fact {
		version++
	}
	recorded := eventlog.Recorded{
		Position: eventlog.Position(len(h.recorded) + 1), WorkspaceID: "workspace-1", Stream: eventlog.Stream(eventlog.TriggerStream, "1"),
		Version: version, Fact: proposed.Fact, Type: proposed.Type, Schema: proposed.Schema, At: at,
		Meta: eventlog.Metadata{Actor: eventlog.ActorOf("api_key", "key-1")}, Data: proposed.Data,
	}
	h.recorded = append(h.recorded, recorded)
	return recorded
}

// replayed reads the stored events back.
func (h *history) replayed(t require.TestingT) trigger.Trigger {
	var state trigger.Trigger
	for _, recorded := range h.recorded {
		event, err := trigger.Codec.Decode(recorded)
		require.NoError(t, err)
		state = state.Evolve(recorded, event)
	}
	return state
}

// given is the trigger that events of noon add up to.
func given(t *testing.T, events ...eventlog.Event) trigger.Trigger {
	t.Helper()
	h := &history{}
	for _, event := range events {
		h.record(t, noon, event)
	}
	return h.replayed(t)
}

func list(events ...eventlog.Event) []eventlog.Event { return events }

// refusal is a fault as a caller sees it.
type refusal struct {
	code    fault.Code
	details map[string]string
}

func invalid(field, why string) refusal {
	return refusal{fault.Validation, map[string]string{field: why}}
}

func requireRefusal(t *testing.T, want refusal, err error) {
	t.Helper()
	if want.code == "" {
		require.NoError(t, err)
		return
	}
	var f *fault.Error
	require.ErrorAs(t, err, &f, "want %s", want.code)
	require.Equal(t, want, refusal{f.Code, f.Details})
}
