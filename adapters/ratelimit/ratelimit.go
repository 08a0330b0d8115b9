// Package ratelimit counts calls by key and says when there are too many: never more than
// a key's limit in any 60 seconds, in one process (Memory) or over all that share a database
// (Postgres). Both may hold a call back up to a second longer than that.
package ratelimit

import (
	"time"

	"hooktrail/application"
)

// DefaultMaxKeys is how many keys one process remembers unless told otherwise.
const DefaultMaxKeys = 100_000

const (
	window      = time.Minute
	granularity = time.Second
)

// Decision is what a limiter says about one call.
type Decision = application.RateDecision

// span is a number of calls, the last of which was made at last and the first less than a
// second before.
type span struct {
	last  time.Duration
	calls int32
}

// history is the calls of one key in the last 60 s.
type history struct {
	spans       []span // oldest first
	newestStart time.Duration
	calls       int
}

func (h *history) forget(now time.Duration) {
	n := 0
	for n < len(h.spans) && h.spans[n].last+window <= now {
		h.calls -= int(h.spans[n].calls)
		n++
	}
	h.spans = append(h.spans[:0], h.spans[n:]...)
}

func (h *history) add(now time.Duration) {
	h.calls++
	if n := len(h.spans); n > 0 && now < h.newestStart+granularity {
		h.spans[n-1].last = now
		h.spans[n-1].calls++
		return
	}
	h.newestStart = now
	h.spans = append(h.spans, span{last: now, calls: 1})
}

// emptyAt is when all calls are forgotten.
func (h *history) emptyAt() time.Duration { return h.spans[len(h.spans)-1].last + window }

// belowAt is when fewer than limit calls are left.
func (h *history) belowAt(limit int) time.Duration {
	excess := h.calls - limit + 1
	for _, s := range h.spans {
		if excess -= int(s.calls); excess <= 0 {
			return s.last + window
		}
	}
	return h.emptyAt()
}
