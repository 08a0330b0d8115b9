package eventlog_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/eventlog"
)

func TestStreamNames(t *testing.T) {
	for _, kind := range []string{eventlog.TriggerStream, eventlog.AgentStream, eventlog.ExecutionStream, eventlog.APIKeyStream} {
		stream := eventlog.Stream(kind, "2oZ")
		require.Equal(t, eventlog.StreamID(kind+"-2oZ"), stream)
		require.Equal(t, kind, stream.Kind())
		require.Equal(t, "2oZ", stream.ID())
	}
	require.Empty(t, eventlog.StreamID("").ID())
	require.Empty(t, eventlog.StreamID("").Kind())
}

func TestActors(t *testing.T) {
	require.Equal(t, eventlog.Actor("api_key:2oZ"), eventlog.ActorOf("api_key", "2oZ"))
	require.Equal(t, "2oZ", eventlog.ActorOf("trigger", "2oZ").ID())
	require.Empty(t, eventlog.System.ID())
}

func TestConflict(t *testing.T) {
	conflict := &eventlog.ConflictError{Stream: "trigger-1", Expected: 2, Actual: 3}
	require.Equal(t, "stream trigger-1 is at version 3, not 2", conflict.Error())
	require.True(t, eventlog.IsConflict(fmt.Errorf("append: %w", conflict)))
	require.False(t, eventlog.IsConflict(eventlog.ErrUnavailable))
	require.False(t, eventlog.IsConflict(nil))
}
