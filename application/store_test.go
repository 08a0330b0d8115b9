package application_test

import (
	"context"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
)

// watched is the real store with something done before what is asked of it.
type watched struct {
	application.EventStore

	append    func(eventlog.Append) error
	decisions func(eventlog.StreamID)
}

func (s *watched) Append(ctx context.Context, a eventlog.Append) (eventlog.Appended, error) {
	if s.append != nil {
		if err := s.append(a); err != nil {
			return eventlog.Appended{}, err
		}
	}
	return s.EventStore.Append(ctx, a)
}

// Decisions does its something when it has read: what happens then, the reader has missed.
func (s *watched) Decisions(ctx context.Context, stream eventlog.StreamID, upTo eventlog.Position) ([]eventlog.Recorded, error) {
	events, err := s.EventStore.Decisions(ctx, stream, upTo)
	if s.decisions != nil {
		s.decisions(stream)
	}
	return events, err
}

// watching puts a watched store in place of a replica's own.
func watching(w *watched) func(*setup) {
	return func(s *setup) {
		w.EventStore = s.parts.Store
		s.parts.Store = w
	}
}
