package eventstore

import (
	"context"
	"errors"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
)

// knownStreams bounds the memory of stream versions.
const knownStreams = 20_000

// ahead is what this process knows of the log from its own last append: where the log ended
// and at which versions streams were. As long as nobody else has appended this is the
// truth, so a batch can be sent without asking first. Whether somebody has is told by the
// database: then the positions that the batch brings are taken, and nothing of it is kept.
type ahead struct {
	// turn is held by every append of this process, from what it reads here to its commit.
	turn     sync.Mutex
	head     logHead
	versions *lru.Cache[eventlog.StreamID, int64]
	// alone counts the appends of this process since another one was seen to append.
	alone int
}

// enoughAlone is after how many own appends in a row the next one does not ask: where
// several processes take turns, most guesses would be wrong.
const enoughAlone = 3

func newAhead() *ahead {
	versions, _ := lru.New[eventlog.StreamID, int64](knownStreams) // fails for a size below 1 only
	return &ahead{versions: versions}
}

// learn takes over where a committed batch has left the log.
func (a *ahead) learn(before logHead, b *batch) {
	if before.position != a.head.position {
		a.forget() // somebody else appended between this process's last append and this one
	}
	a.alone++
	a.head = b.head
	for stream, version := range b.heads {
		a.versions.Add(stream, version)
	}
}

func (a *ahead) forget() {
	a.alone, a.head = 0, logHead{}
	a.versions.Purge()
}

// knows gives the versions of all streams that the attempts depend on, if they are known.
// An idempotency key always has to be looked up.
func (a *ahead) knows(attempts []*attempt) (map[eventlog.StreamID]int64, bool) {
	if a.alone < enoughAlone {
		return nil, false
	}
	versions := make(map[eventlog.StreamID]int64, 2*len(attempts))
	known := func(stream eventlog.StreamID) bool {
		if _, seen := versions[stream]; seen {
			return true
		}
		version, found := a.versions.Get(stream)
		versions[stream] = version
		return found
	}
	for _, attempt := range attempts {
		if attempt.append.Idempotency != nil || !known(attempt.append.Stream) {
			return nil, false
		}
		for _, guard := range attempt.append.Guards {
			if !known(guard.Stream) {
				return nil, false
			}
		}
	}
	return versions, true
}

// errNotConfirmed says that nothing was inserted, so that nothing has shown whether what
// this process knows is still so.
var errNotConfirmed = errors.New("nothing to append ahead")

// appendAhead appends a batch in one round trip, on what this process knows.
func (s *Store) appendAhead(ctx context.Context, attempts []*attempt, versions map[eventlog.StreamID]int64) error {
	before := s.ahead.head
	b := &batch{head: before, now: s.now(), heads: versions, events: make([]eventlog.Recorded, 0, len(attempts))}
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		waitForTurn(tx)
		for _, a := range attempts {
			if a.err = b.check(a.append); a.err == nil {
				a.result = b.admit(a.append)
			}
		}
		if len(b.events) == 0 {
			return errNotConfirmed
		}
		return s.write(ctx, tx, b)
	})
	if err != nil {
		s.ahead.forget()
		return err
	}
	s.ahead.learn(before, b)
	return nil
}
