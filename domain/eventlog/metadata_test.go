package eventlog_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/eventlog"
)

func TestMetadataIsWrittenAsTheStandardLibraryWritesIt(t *testing.T) {
	for _, metadata := range []eventlog.Metadata{
		{},
		{Actor: "system"},
		{RequestID: "r-1", TraceParent: "00-1", CausationID: "c-1", CorrelationID: "<&\"\\\u2028\xff"},
		{CorrelationID: "x"},
		{RequestID: "r-1", CausationID: "c-1"},
	} {
		want, err := json.Marshal(metadata)
		require.NoError(t, err)
		require.Equal(t, string(want), string(metadata.JSON()))
	}
}
