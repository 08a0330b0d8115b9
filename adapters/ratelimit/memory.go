package ratelimit

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	shards = 16
	// With fewer keys a shard, the bound on one shard's keys would be felt as randomness.
	leastShardKeys = 1024
	// How many expired keys one call clears away: more than the one it may add.
	expiredPerCall = 2
)

// Memory limits the calls that one process takes. It keeps a bounded number of keys: when
// there are more, those whose last allowed call is longest ago are forgotten, and with them
// that they were near their limit.
type Memory struct {
	now    func() time.Time
	seed   maphash.Seed
	shards []*shard
}

type shard struct {
	mu sync.Mutex
	// In order of the last allowed call, which is the order in which keys expire.
	keys *simplelru.LRU[string, *history]

	// The clock may be set back. Then no time has passed, and it goes on from there:
	// otherwise calls "in the future" would keep a key out until the clock caught up.
	elapsed time.Duration
	reading time.Time
}

// NewMemory makes a limiter that remembers at most maxKeys keys (DefaultMaxKeys when 0 or
// less), to which now tells the time.
func NewMemory(now func() time.Time, maxKeys int) *Memory {
	if maxKeys <= 0 {
		maxKeys = DefaultMaxKeys
	}
	count := min(shards, max(1, maxKeys/leastShardKeys))
	m := &Memory{now: now, seed: maphash.MakeSeed(), shards: make([]*shard, count)}
	start := now()
	for i := range m.shards {
		// It fails for a size below 1 only.
		keys, _ := simplelru.NewLRU[string, *history](maxKeys/count, nil)
		m.shards[i] = &shard{keys: keys, reading: start}
	}
	return m
}

// Take counts one call of key and says whether it is within limit calls in any 60 s. A limit
// of 0 or less is none: the call is allowed and not counted. The error is always nil.
func (m *Memory) Take(_ context.Context, key string, limit int) (Decision, error) {
	if limit <= 0 {
		return Decision{Allowed: true}, nil
	}
	s := m.shards[maphash.String(m.seed, key)%uint64(len(m.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(s.advance(m.now()), key, limit), nil
}

func (s *shard) advance(reading time.Time) time.Duration {
	s.elapsed += max(0, reading.Sub(s.reading))
	s.reading = reading
	return s.elapsed
}

func (s *shard) take(now time.Duration, key string, limit int) Decision {
	s.forgetExpired(now)
	calls, known := s.keys.Peek(key)
	if !known {
		calls = &history{}
	}
	calls.forget(now)
	if calls.calls >= limit {
		return Decision{Limit: limit, ResetAfter: calls.emptyAt() - now, RetryAfter: calls.belowAt(limit) - now}
	}
	calls.add(now)
	s.keys.Add(key, calls)
	return Decision{Allowed: true, Limit: limit, Remaining: limit - calls.calls, ResetAfter: calls.emptyAt() - now}
}

func (s *shard) forgetExpired(now time.Duration) {
	for range expiredPerCall {
		_, calls, ok := s.keys.GetOldest()
		if !ok || calls.emptyAt() > now {
			return
		}
		s.keys.RemoveOldest()
	}
}
