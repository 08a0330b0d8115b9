package execution_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

var (
	noon      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	policy    = agent.Retry{MaxAttempts: 2, InitialSeconds: 10, MaxSeconds: 60, Factor: 2}
	requested = execution.Requested{AgentID: "agent-1", TriggerID: "trigger-1", Runs: true}
	output    = trigger.Digest{SHA256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", Size: 2}
	used      = &execution.TokenUsage{PromptTokens: 40, CompletionTokens: 2, TotalTokens: 42}
	broken    = execution.Error{Code: "agent_failed", Message: "the agent answered 503"}
	lost      = execution.WorkerLost.Error
)

func list(events ...eventlog.Event) []eventlog.Event { return events }

// history records events in the stream of one execution, as the log does.
type history struct{ recorded []eventlog.Recorded }

func (h *history) record(t require.TestingT, at time.Time, event eventlog.Event) eventlog.Recorded {
	proposed, err := execution.Codec.Encode(event)
	require.NoError(t, err)
	recorded := eventlog.Recorded{
		Position: eventlog.Position(len(h.recorded) + 1), WorkspaceID: "workspace-1", Stream: eventlog.Stream(eventlog.ExecutionStream, "1"),
		Version: int64(len(h.recorded) + 1), Type: proposed.Type, Schema: proposed.Schema, At: at, Data: proposed.Data,
	}
	h.recorded = append(h.recorded, recorded)
	return recorded
}

func (h *history) replayed(t require.TestingT, start execution.Execution) execution.Execution {
	for _, recorded := range h.recorded {
		event, err := execution.Codec.Decode(recorded)
		require.NoError(t, err)
		start = start.Evolve(recorded, event)
	}
	return start
}

func given(t *testing.T, events ...eventlog.Event) execution.Execution {
	t.Helper()
	h := &history{}
	for _, event := range events {
		h.record(t, noon, event)
	}
	return h.replayed(t, execution.Execution{})
}

func started(attempt int) execution.Started {
	return execution.Started{Attempt: attempt, Worker: "worker-1"}
}

func failed(attempt int, e execution.Error, after time.Duration) execution.AttemptFailed {
	return execution.AttemptFailed{Attempt: attempt, Error: e, RetryAt: noon.Add(after)}
}

func TestDecisions(t *testing.T) {
	type decide func(execution.Execution) ([]eventlog.Event, error)
	start := func(x execution.Execution) ([]eventlog.Event, error) {
		return x.Start("worker-1", policy, noon.In(time.FixedZone("", 7200)))
	}
	complete := func(x execution.Execution) ([]eventlog.Event, error) { return x.Complete(output, used) }
	fail := func(f execution.Failure, retry agent.Retry) decide {
		return func(x execution.Execution) ([]eventlog.Event, error) {
			return x.Fail(f, retry, 0.5, noon.In(time.FixedZone("", 7200)))
		}
	}
	cancel := func(reason string) decide {
		return func(x execution.Execution) ([]eventlog.Event, error) { return x.Cancel(reason) }
	}
	soft := execution.Failure{Error: broken}
	for name, c := range map[string]struct {
		given   []eventlog.Event
		when    decide
		then    []eventlog.Event
		refused fault.Code
	}{
		"start":                     {given: list(requested), when: start, then: list(started(1))},
		"start again":               {given: list(requested, started(1), failed(1, broken, 0)), when: start, then: list(started(2))},
		"take over":                 {given: list(requested, started(1)), when: start, then: list(failed(1, lost, 0), started(2))},
		"take over the last":        {given: list(requested, started(1), failed(1, broken, 0), started(2)), when: start, then: list(execution.GaveUp{Attempt: 2, Error: lost})},
		"start one that completed":  {given: list(requested, started(1), execution.Succeeded{}), when: start, refused: fault.Conflict},
		"start one that failed":     {given: list(requested, started(1), execution.GaveUp{}), when: start, refused: fault.Conflict},
		"start one cancelled":       {given: list(requested, execution.WasCancelled{}), when: start, refused: fault.Conflict},
		"start none":                {when: start, refused: fault.NotFound},
		"complete":                  {given: list(requested, started(1)), when: complete, then: list(execution.Succeeded{Attempt: 1, Output: output, TokenUsage: used})},
		"complete from outside":     {given: list(requested), when: complete, then: list(execution.Succeeded{Output: output, TokenUsage: used})},
		"complete twice":            {given: list(requested, started(1), execution.Succeeded{}), when: complete, refused: fault.Conflict},
		"complete one cancelled":    {given: list(requested, started(1), execution.WasCancelled{}), when: complete, refused: fault.Conflict},
		"complete none":             {when: complete, refused: fault.NotFound},
		"fail, then wait":           {given: list(requested, started(1)), when: fail(soft, policy), then: list(failed(1, broken, 10*time.Second))},
		"fail the last":             {given: list(requested, started(1), failed(1, broken, 0), started(2)), when: fail(soft, policy), then: list(execution.GaveUp{Attempt: 2, Error: broken})},
		"fail for good":             {given: list(requested, started(1)), when: fail(execution.Failure{Error: broken, Final: true}, policy), then: list(execution.GaveUp{Attempt: 1, Error: broken})},
		"fail, asked to wait":       {given: list(requested, started(1)), when: fail(execution.Failure{Error: broken, RetryAfter: time.Minute}, policy), then: list(failed(1, broken, time.Minute))},
		"fail, asked to hurry":      {given: list(requested, started(1)), when: fail(execution.Failure{Error: broken, RetryAfter: time.Second}, policy), then: list(failed(1, broken, 10*time.Second))},
		"fail from outside":         {given: list(requested), when: fail(execution.Failure{Error: broken, Final: true}, agent.Retry{}), then: list(execution.GaveUp{Error: broken})},
		"fail where nothing is due": {given: list(requested, started(1)), when: fail(soft, agent.Retry{}), then: list(execution.GaveUp{Attempt: 1, Error: broken})},
		"fail one that ended":       {given: list(requested, started(1), execution.GaveUp{}), when: fail(soft, policy), refused: fault.Conflict},
		"fail none":                 {when: fail(soft, policy), refused: fault.NotFound},
		"cancel one that waits":     {given: list(requested), when: cancel(""), then: list(execution.WasCancelled{})},
		"cancel one that runs":      {given: list(requested, started(1)), when: cancel("not\nneeded"), then: list(execution.WasCancelled{Reason: "not\nneeded"})},
		"cancel twice":              {given: list(requested, execution.WasCancelled{}), when: cancel(""), refused: fault.Conflict},
		"cancel one that completed": {given: list(requested, started(1), execution.Succeeded{}), when: cancel(""), refused: fault.Conflict},
		"cancel none":               {when: cancel(""), refused: fault.NotFound},
		"the longest reason":        {given: list(requested), when: cancel(strings.Repeat("x", 1000)), then: list(execution.WasCancelled{Reason: strings.Repeat("x", 1000)})},
		"too long a reason":         {given: list(requested), when: cancel(strings.Repeat("x", 1001)), refused: fault.Validation},
		"NUL in the reason":         {given: list(requested), when: cancel("a\x00"), refused: fault.Validation},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := c.when(given(t, c.given...))
			require.Equal(t, c.refused, fault.CodeOf(err))
			require.Equal(t, c.then, events)
		})
	}
}

func TestStates(t *testing.T) {
	of := func(status execution.Status, attempt int, version int64) execution.Execution {
		return execution.Execution{
			ID: "1", WorkspaceID: "workspace-1", AgentID: "agent-1", TriggerID: "trigger-1", Status: status, Attempt: attempt, StartedAt: noon, Version: version,
		}
	}
	running := of(execution.Running, 1, 2)
	running.Worker = "worker-1"
	require.Equal(t, running, given(t, requested, started(1)))
	require.Equal(t, of(execution.Pending, 1, 3), given(t, requested, started(1), failed(1, broken, 0)))
	require.Equal(t, of(execution.Completed, 1, 3), given(t, requested, started(1), execution.Succeeded{Attempt: 1}))
	require.Equal(t, of(execution.Failed, 1, 3), given(t, requested, started(1), execution.GaveUp{Attempt: 1}))
	require.Equal(t, of(execution.Cancelled, 1, 3), given(t, requested, started(1), execution.WasCancelled{}))

	for _, status := range execution.Statuses {
		require.Equal(t, status != execution.Pending && status != execution.Running, status.Final(), status)
	}
	require.Len(t, execution.Statuses, 5)
	require.Equal(t, execution.Execution{
		ID: "execution-1", WorkspaceID: "workspace-1", AgentID: "agent-1", TriggerID: "7", Status: execution.Pending,
	}, execution.FromInvoked(
		eventlog.Recorded{WorkspaceID: "workspace-1", Stream: eventlog.Stream(eventlog.TriggerStream, "7"), Version: 4},
		trigger.Invoked{ExecutionID: "execution-1", AgentID: "agent-1"},
	), "its own stream has not begun")
}

func TestNewErrorMakesTextsThatCanBeKept(t *testing.T) {
	require.Equal(t, broken, execution.NewError(broken.Code, broken.Message))
	require.Equal(t, execution.Error{Code: "a�", Message: "b��c"}, execution.NewError("a\x00", "b\x00\xffc"))
	for shift := range 4 {
		e := execution.NewError(strings.Repeat("€", 100), strings.Repeat("x", shift)+strings.Repeat("😀", 5000))
		require.True(t, utf8.ValidString(e.Message), "it is cut between characters")
		require.LessOrEqual(t, len(e.Message), execution.MaxErrorMessage)
		require.Greater(t, len(e.Message), execution.MaxErrorMessage-4)
		require.Equal(t, strings.Repeat("€", 33), e.Code)
	}
	exact := strings.Repeat("x", execution.MaxErrorMessage)
	require.Equal(t, exact, execution.NewError("", exact).Message)
	require.Equal(t, exact, execution.NewError("", exact+"é").Message)
}
