package httpapi

import (
	"context"
	"sync/atomic"
	"time"
)

// sharedDeadline gives contexts that end after at least a while, and at most a second later.
// All requests of a second share one: a timer for each is a noticeable part of a call.
type sharedDeadline struct {
	after   time.Duration
	current atomic.Pointer[deadlined]
}

type deadlined struct {
	context.Context

	begun time.Time
}

func (s *sharedDeadline) context() context.Context {
	now := time.Now()
	current := s.current.Load()
	if current != nil && now.Sub(current.begun) < time.Second {
		return current
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.after+time.Second)
	context.AfterFunc(ctx, cancel)
	next := &deadlined{Context: ctx, begun: now}
	s.current.Store(next)
	return next
}
