package execution_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
)

func TestAnyLifeOfAnExecution(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{}
		now := noon
		retry := agent.Retry{MaxAttempts: rapid.IntRange(1, 4).Draw(t, "attempts"), InitialSeconds: 1, MaxSeconds: 60, Factor: 2}
		// One that a webhook call made begins without an event of its own.
		start := execution.Execution{}
		if rapid.Bool().Draw(t, "invoked") {
			start = execution.FromInvoked(eventlog.Recorded{WorkspaceID: "workspace-1", Stream: "trigger-1"}, trigger.Invoked{ExecutionID: "1", AgentID: "agent-1"})
		}
		live := start
		attempts, ends := 0, 0
		apply := func(events []eventlog.Event, err error) {
			if err != nil {
				require.Empty(t, events)
				return
			}
			require.NotEmpty(t, events, "every decision is on record")
			for _, event := range events {
				require.Zero(t, ends, "nothing happens after the end, but %T did", event)
				switch e := event.(type) {
				case execution.Started:
					require.Equal(t, attempts+1, e.Attempt, "attempts rise by one")
					attempts++
					require.LessOrEqual(t, attempts, retry.MaxAttempts)
				case execution.AttemptFailed:
					require.Equal(t, attempts, e.Attempt)
					require.Less(t, attempts, retry.MaxAttempts, "no retry is promised that may not be made")
					require.False(t, e.RetryAt.Before(now))
					require.Equal(t, time.UTC, e.RetryAt.Location())
				case execution.Succeeded, execution.GaveUp, execution.WasCancelled:
					ends++
				}
				live = live.Evolve(h.record(t, now, event), event)
			}
		}
		if start.Status == "" && rapid.IntRange(0, 9).Draw(t, "requested") > 0 {
			apply(list(requested), nil)
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				require.Equal(t, live, h.replayed(t, start), "replaying the record gives the state that decisions were made on")
				require.Equal(t, ends > 0, live.Status.Final())
				require.Equal(t, attempts, live.Attempt)
				require.Equal(t, live.Status == execution.Running, live.Worker != "", "who runs it is known while it runs")
				require.Equal(t, int64(len(h.recorded)), live.StreamVersion())
			},
			"start": func(t *rapid.T) { apply(live.Start("worker-1", retry, now)) },
			"fail": func(t *rapid.T) {
				if live.Status != execution.Running {
					return
				}
				failure := execution.Failure{
					Error: broken, Final: rapid.IntRange(0, 9).Draw(t, "final") == 0,
					RetryAfter: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "retry after")),
				}
				events, err := live.Fail(failure, retry, rapid.Float64Range(0, 0.99).Draw(t, "jitter"), now)
				require.NoError(t, err)
				if again, ok := events[0].(execution.AttemptFailed); ok {
					require.GreaterOrEqual(t, again.RetryAt.Sub(now), failure.RetryAfter, "the agent's wish is honoured")
				}
				apply(events, err)
			},
			"complete": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					apply(live.Complete(output, rapid.SampledFrom([]*execution.TokenUsage{nil, used}).Draw(t, "usage")))
				}
			},
			"cancel": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					apply(live.Cancel("enough"))
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Second) },
		})
	})
}
