package readmodel

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

// StatisticsGroup is the consumer group that counts invocations.
const StatisticsGroup = "trigger-statistics"

// Statistics counts the invocations of triggers, behind the log. It gathers a batch of
// events in memory and keeps the sums together with its position: each event counts once.
type Statistics struct {
	db     *database.DB
	upsert database.BulkStatement
	mu     sync.Mutex
	sums   map[string]*sum
}

type sum struct {
	invocations int64
	lastUsed    int64
}

// NewStatistics makes the projection on its live table.
func NewStatistics(db *database.DB) *Statistics { return statisticsOn(db, "trigger_statistics") }

func statisticsOn(db *database.DB, table string) *Statistics {
	return &Statistics{
		db: db, sums: map[string]*sum{},
		upsert: database.Insert(table, "ON CONFLICT (trigger_id) DO UPDATE SET invocations = "+table+".invocations + excluded.invocations, last_used_at = excluded.last_used_at",
			database.Column{Name: "trigger_id", Type: "text"}, database.Column{Name: "invocations", Type: "int8"}, database.Column{Name: "last_used_at", Type: "int8"}),
	}
}

// StatisticsEvents is the SQL condition for the events that count.
const StatisticsEvents = "fact AND type = 'trigger.invoked'"

// Begin drops what was gathered of a batch that was broken off.
func (s *Statistics) Begin() { s.take() }

func (s *Statistics) take() map[string]*sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums := s.sums
	s.sums = map[string]*sum{}
	return sums
}

// Add counts invocations of a trigger, the last of which was at a time.
func (s *Statistics) Add(stream eventlog.StreamID, invocations int64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.sums[stream.ID()]
	if !known {
		one = &sum{}
		s.sums[stream.ID()] = one
	}
	one.invocations += invocations
	one.lastUsed = database.Micros(at)
}

// Flush keeps what was added, and the position up to which it goes. After an error nothing
// is kept and the events come again.
func (s *Statistics) Flush(ctx context.Context, position eventlog.Position, owner string) error {
	sums := s.take()
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		if err := eventstore.MovePosition(ctx, tx, StatisticsGroup, owner, position); err != nil {
			return err
		}
		s.write(tx, sums)
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep trigger statistics: %w", err)
	}
	return nil
}

func (s *Statistics) write(tx *database.Tx, sums map[string]*sum) {
	ids, counts, ats := make([]string, 0, len(sums)), make([]int64, 0, len(sums)), make([]int64, 0, len(sums))
	for id, one := range sums {
		ids, counts, ats = append(ids, id), append(counts, one.invocations), append(ats, one.lastUsed)
	}
	tx.Bulk(s.upsert.With(ids, counts, ats))
}
