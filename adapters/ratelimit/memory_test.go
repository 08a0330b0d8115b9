package ratelimit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/adapters/ratelimit"
)

// hand is a clock that stands still until it is moved.
type hand struct{ at time.Time }

func newHand() *hand { return &hand{time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)} }

func (h *hand) now() time.Time { return h.at }

func takeOne(t require.TestingT, l limiter, key string, limit int) ratelimit.Decision {
	d, err := l.Take(context.Background(), key, limit)
	require.NoError(t, err)
	return d
}

// Against the plain list of all allowed calls: never more than the limit in 60 s, and no
// refusal that the last 61 s do not explain.
func TestMemoryIsAnExactWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := newHand()
		m := ratelimit.NewMemory(clock.now, 0)
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		longest := rapid.SampledFrom([]int{400, 5_000, 70_000}).Draw(t, "longest pause")
		var calls []time.Time
		within := func(d time.Duration) int {
			n := 0
			for _, at := range calls {
				if clock.at.Sub(at) < d {
					n++
				}
			}
			return n
		}
		for range rapid.IntRange(1, 150).Draw(t, "calls") {
			clock.at = clock.at.Add(time.Duration(rapid.IntRange(0, longest).Draw(t, "pause")) * time.Millisecond)
			d := takeOne(t, m, "k", limit)
			if d.Allowed {
				calls = append(calls, clock.at)
				if n := within(time.Minute); n > limit {
					t.Fatalf("%d calls in a minute", n)
				}
				if least := limit - within(61*time.Second); d.Remaining < least || d.Remaining > limit-within(time.Minute) {
					t.Fatalf("%d remaining", d.Remaining)
				}
				continue
			}
			if within(61*time.Second) < limit {
				t.Fatal("refused without need")
			}
			if d.RetryAfter <= 0 || d.RetryAfter > time.Minute {
				t.Fatalf("retry after %s", d.RetryAfter)
			}
			before := clock.at
			clock.at = before.Add(d.RetryAfter - 1)
			if takeOne(t, m, "k", limit).Allowed {
				t.Fatal("allowed before RetryAfter")
			}
			clock.at = before.Add(d.RetryAfter)
			if !takeOne(t, m, "k", limit).Allowed {
				t.Fatal("refused after RetryAfter")
			}
			calls = append(calls, clock.at)
		}
		clock.at = clock.at.Add(takeOne(t, m, "k", limit).ResetAfter)
		if d := takeOne(t, m, "k", limit); !d.Allowed || d.Remaining != limit-1 {
			t.Fatalf("%+v after ResetAfter", d)
		}
	})
}

func TestMemoryForgetsTheOldestKey(t *testing.T) {
	clock := newHand()
	m := ratelimit.NewMemory(clock.now, 3)
	for _, key := range []string{"a", "b", "c", "a"} {
		require.True(t, takeOne(t, m, key, 2).Allowed)
		clock.at = clock.at.Add(time.Second)
	}
	require.False(t, takeOne(t, m, "a", 2).Allowed)
	require.Equal(t, 1, takeOne(t, m, "d", 2).Remaining)
	require.False(t, takeOne(t, m, "a", 2).Allowed, "a was used after b")
	require.Equal(t, 1, takeOne(t, m, "b", 2).Remaining, "b was forgotten for d")
}

func TestMemoryForgetsExpiredKeysBeforeOthers(t *testing.T) {
	clock := newHand()
	m := ratelimit.NewMemory(clock.now, 3)
	takeOne(t, m, "old", 1)
	takeOne(t, m, "older", 1)
	clock.at = clock.at.Add(time.Minute)
	takeOne(t, m, "a", 1)
	takeOne(t, m, "b", 1)
	takeOne(t, m, "c", 1)
	for _, key := range []string{"a", "b", "c"} {
		require.False(t, takeOne(t, m, key, 1).Allowed, key)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	clock := newHand()
	const keys = 20_000
	m := ratelimit.NewMemory(clock.now, keys)
	for i := range 3 * keys {
		require.True(t, takeOne(t, m, fmt.Sprint(i), 1).Allowed)
	}
	remembered := 0
	for i := 3*keys - 1; i >= 0; i-- {
		if takeOne(t, m, fmt.Sprint(i), 1).Allowed {
			break // from here on every call pushes out a key that was remembered
		}
		remembered++
	}
	require.LessOrEqual(t, remembered, keys)
	require.Greater(t, remembered, keys/2)
}

func TestMemoryBearsAClockThatIsSetBack(t *testing.T) {
	clock := newHand()
	m := ratelimit.NewMemory(clock.now, 0)
	require.True(t, takeOne(t, m, "k", 2).Allowed)
	clock.at = clock.at.Add(10 * time.Second)
	require.True(t, takeOne(t, m, "k", 2).Allowed)
	clock.at = clock.at.Add(-24 * time.Hour)
	d := takeOne(t, m, "k", 2)
	require.False(t, d.Allowed)
	require.Equal(t, 50*time.Second, d.RetryAfter)
	clock.at = clock.at.Add(50 * time.Second)
	require.True(t, takeOne(t, m, "k", 2).Allowed)
	require.False(t, takeOne(t, m, "k", 2).Allowed)
}

func BenchmarkMemory(b *testing.B) {
	m := ratelimit.NewMemory(time.Now, 0)
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = fmt.Sprintf("198.51.100.%d", i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			_, _ = m.Take(context.Background(), keys[i%len(keys)], 30)
		}
	})
}
