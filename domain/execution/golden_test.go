package execution_test

import (
	"testing"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
	"hooktrail/internal/eventlogtest"
)

func TestGoldenEvents(t *testing.T) {
	digest := trigger.Digest{SHA256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", Size: 2}
	failed := execution.Error{Code: "agent_failed", Message: "the agent answered 503"}
	eventlogtest.Golden(t, execution.Codec, map[string]eventlog.Event{
		"execution.requested.v1": execution.Requested{
			AgentID: "agent-1", Runs: true, Input: digest, MediaType: "application/x-www-form-urlencoded", SessionID: "session-1", UserID: "user-1",
			Metadata: map[string]string{"team": "ops", "case": "7"}, RetryOf: "execution-0", TriggerID: "trigger-1",
		},
		"execution.started.v1":        execution.Started{Attempt: 2, Worker: "worker-1"},
		"execution.attempt_failed.v1": execution.AttemptFailed{Attempt: 2, Error: failed, RetryAt: time.Date(2026, 3, 1, 12, 30, 0, 5, time.UTC)},
		"execution.completed.v1":      execution.Succeeded{Attempt: 2, Output: digest},
		"execution.completed.v2":      execution.Succeeded{Attempt: 2, Output: digest, TokenUsage: &execution.TokenUsage{PromptTokens: 40, CompletionTokens: 2, TotalTokens: 42}},
		"execution.failed.v1":         execution.GaveUp{Attempt: 5, Error: failed},
		"execution.cancelled.v1":      execution.WasCancelled{Reason: "not needed any more"},
		"execution.payloads_erased.v1": execution.PayloadsErased{
			Reason: "asked for by the person", Payloads: []execution.KeptWith{{Position: 12, Payload: digest}, {Position: 15, Payload: digest}},
		},
	})
}
