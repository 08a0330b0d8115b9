package trigger_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/trigger"
)

func TestACallIsWrittenAsTheStandardLibraryWritesIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[0-9A-Za-z]{27}`), rapid.String()).Draw(t, name)
		}
		event := trigger.Invoked{
			ExecutionID: text("execution"), AgentID: text("agent"), Runs: rapid.Bool().Draw(t, "runs"),
			Input: trigger.Digest{SHA256: text("digest"), Size: rapid.Int().Draw(t, "size")}, MediaType: text("media type"), TokenID: text("token"),
			Signed: rapid.Bool().Draw(t, "signed"), IdempotencyKey: text("key"), ClientIP: text("address"), SenderEvent: text("event"),
		}
		if rapid.Bool().Draw(t, "scheduled") {
			at := time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "time")).UTC()
			event.ScheduledFor, event.NextRunAt = &at, &at
		}
		want, err := json.Marshal(event)
		require.NoError(t, err)
		require.Equal(t, string(want), string(event.JSON()))
	})
}
