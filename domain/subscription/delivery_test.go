package subscription_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/subscription"
)

func event(n int) eventlog.Recorded {
	return eventlog.Recorded{Position: eventlog.Position(n), ID: "event-" + string(rune('a'+n%26)), Type: "trigger.invoked", Stream: "trigger-1"}
}

// schedule fails an event until it is given up and gives the waits between the attempts.
func schedule(t *testing.T, answer subscription.Answer) ([]time.Duration, *subscription.Disabled, subscription.Progress) {
	var p subscription.Progress
	var waits []time.Duration
	for now := noon; ; now = *p.Failing.NextAt {
		var why *subscription.Disabled
		if p, why = p.Failed(event(7), answer, 0.5, now); why != nil {
			require.Nil(t, p.Failing.NextAt)
			return waits, why, p
		}
		waits = append(waits, p.Failing.NextAt.Sub(now))
		require.Less(t, len(waits), 1000)
	}
}

func TestScheduleOfADay(t *testing.T) {
	waits, why, p := schedule(t, subscription.Answer{Error: "connection refused"})
	const s = time.Second
	require.Equal(t, []time.Duration{s, 3 * s, 9 * s, 27 * s, 81 * s, 243 * s, 729 * s, 2187 * s, 6561 * s, 7200 * s}, waits[:10])
	var all time.Duration
	for _, wait := range waits {
		all += wait
	}
	require.Equal(t, subscription.Persistence, all, "the last attempt is at the end of the day")
	require.Len(t, waits, 20)
	require.Equal(t, 21, p.Failing.Attempts)
	require.Equal(t, subscription.Unreachable, why.Code)
	require.Contains(t, why.Reason, "position 7")
	require.Contains(t, why.Reason, "connection refused")
	require.Equal(t, eventlog.Position(7), why.Position)
}

func TestEndsOfASchedule(t *testing.T) {
	for status, code := range map[int]string{
		400: subscription.Rejected, 401: subscription.Rejected, 404: subscription.Rejected, 422: subscription.Rejected,
		408: subscription.Unreachable, 409: subscription.Unreachable, 425: subscription.Unreachable, 429: subscription.Unreachable,
		500: subscription.Unreachable, 503: subscription.Unreachable, 301: subscription.Unreachable, 0: subscription.Unreachable,
	} {
		waits, why, p := schedule(t, subscription.Answer{Status: status, Error: "x"})
		require.Equal(t, code, why.Code, status)
		require.Len(t, waits, 20, "what is refused is tried as long: %d", status)
		require.Equal(t, code == subscription.Rejected, p.Failing.Rejected())
	}
	waits, why, _ := schedule(t, subscription.Answer{Status: 410, Error: "x"})
	require.Empty(t, waits)
	require.Equal(t, subscription.Gone, why.Code)
}

func TestRetryAfter(t *testing.T) {
	var p subscription.Progress
	p, _ = p.Failed(event(1), subscription.Answer{Status: 503, RetryAfter: time.Minute}, 0, noon)
	require.Equal(t, noon.Add(time.Minute), *p.Failing.NextAt, "longer than the schedule")
	for range 8 {
		p, _ = p.Failed(event(1), subscription.Answer{Status: 503, RetryAfter: time.Minute}, 0, noon)
	}
	require.Greater(t, *p.Failing.NextAt, noon.Add(time.Hour), "never sooner than the schedule")
	p, _ = p.Failed(event(1), subscription.Answer{Status: 503, RetryAfter: 48 * time.Hour}, 0, noon)
	require.Equal(t, noon.Add(subscription.Persistence), *p.Failing.NextAt, "but within the day")
}

func TestAnotherEventBeginsAnew(t *testing.T) {
	var p subscription.Progress
	p, _ = p.Failed(event(1), subscription.Answer{Error: "a"}, 0.5, noon)
	p, _ = p.Failed(event(1), subscription.Answer{Error: "b"}, 0.5, noon.Add(time.Hour))
	require.Equal(t, 2, p.Failing.Attempts)
	require.Equal(t, noon, p.Failing.Since)
	p = p.Delivered(event(1), 200, noon.Add(2*time.Hour))
	require.Nil(t, p.Failing)
	require.Equal(t, subscription.EndDelivered, p.Recent[0].End)
	require.Equal(t, eventlog.Position(1), p.LastSuccess.Position)
	p, _ = p.Failed(event(2), subscription.Answer{Error: "c"}, 0.5, noon.Add(3*time.Hour))
	require.Equal(t, 1, p.Failing.Attempts)
	p = p.Skipped()
	require.Equal(t, []string{subscription.EndSkipped, subscription.EndDelivered}, []string{p.Recent[0].End, p.Recent[1].End})
	require.Equal(t, p, p.Skipped(), "there is nothing to skip")
}

// TestAnyProgress holds what must be so whatever a receiver answers and whenever it is asked.
func TestAnyProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p subscription.Progress
		now, n := noon, 1
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := p
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				p = p.Delivered(event(n), 204, now)
				require.Nil(t, p.Failing)
				n++
			case 1:
				p = p.Skipped()
				require.Nil(t, p.Failing)
				n++
			default:
				answer := subscription.Answer{
					Status: rapid.SampledFrom([]int{0, 302, 400, 408, 410, 429, 500}).Draw(t, "status"), Error: "x",
					RetryAfter: time.Duration(rapid.IntRange(0, 200_000).Draw(t, "after")) * time.Second,
				}
				var why *subscription.Disabled
				p, why = p.Failed(event(n), answer, rapid.Float64Range(0, 1).Draw(t, "jitter"), now)
				require.Equal(t, why == nil, p.Failing.NextAt != nil)
				if why == nil {
					require.True(t, p.Failing.NextAt.After(now))
					require.False(t, p.Failing.NextAt.After(p.Failing.Since.Add(subscription.Persistence)))
				} else if why.Code != subscription.Gone {
					require.False(t, now.Before(p.Failing.Since.Add(subscription.Persistence)), "nothing is given up before its day is over")
				}
			}
			require.LessOrEqual(t, len(p.Recent), 20)
			require.LessOrEqual(t, len(before.Recent), len(p.Recent))
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "later")) * time.Second)
		}
	})
}
