// Package eventstore is the one log of events, with the same algorithm on PostgreSQL and
// SQLite. All appends of all processes wait for each other in one lock, so the order of
// positions is the order of commits and a reader never meets a gap.
package eventstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
)

// Projector keeps the read models that an answer shows at once. It runs in the
// transaction that appends; what it queues is committed with the events.
type Projector interface {
	Apply(ctx context.Context, tx *database.Tx, events []eventlog.Recorded) error
}

// Store appends to the log and reads from it.
type Store struct {
	db        *database.DB
	projector Projector
	now       func() time.Time
	committer *committer
	ahead     *ahead
}

// New makes a store. Close ends it.
func New(db *database.DB, projector Projector, config Config) *Store {
	config = config.withDefaults()
	s := &Store{db: db, projector: projector, now: config.Now, ahead: newAhead()}
	s.committer = newCommitter(s, config)
	return s
}

// Close answers what waits in the queue and ends the committer.
func (s *Store) Close() { s.committer.close() }

// Append adds to the log, together with all appends that wait at this moment. The errors
// are *eventlog.ConflictError, eventlog.ErrIdempotencyMismatch, eventlog.ErrQueueFull and
// eventlog.ErrUnavailable; after the last one the append may have happened.
func (s *Store) Append(ctx context.Context, a eventlog.Append) (eventlog.Appended, error) {
	return s.committer.append(ctx, a)
}

// AppendLocked runs decide under the append lock and appends what it returns. What decide
// reads through tx cannot change before the commit, so the expected versions that it gives
// are taken as they are.
func (s *Store) AppendLocked(ctx context.Context, decide func(ctx context.Context, tx *database.Tx) ([]eventlog.Append, error)) ([]eventlog.Appended, error) {
	results, b, err := s.decideAndAppend(ctx, decide)
	if errors.Is(err, database.ErrOutcomeUnknown) && len(b.events) > 0 {
		err = s.lookForLocked(b.events[0].ID, err)
	}
	if err != nil {
		return nil, s.translate(err)
	}
	if len(b.events) > 0 {
		s.committer.config.Observe(Batch{Appends: len(results), Events: len(b.events), Took: s.now().Sub(b.now)})
		s.committer.config.Appended(b.due)
	}
	return results, nil
}

// decideAndAppend is a turn of AppendLocked. Whether its commit had an outcome is found out
// after the turn: calls must not wait for that.
func (s *Store) decideAndAppend(ctx context.Context, decide func(ctx context.Context, tx *database.Tx) ([]eventlog.Append, error)) ([]eventlog.Appended, *batch, error) {
	s.ahead.turn.Lock()
	defer s.ahead.turn.Unlock()
	var results []eventlog.Appended
	var before logHead
	b := &batch{now: s.now(), heads: map[eventlog.StreamID]int64{}}
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		before.lock(tx)
		appends, err := decide(ctx, tx)
		if err != nil || len(appends) == 0 {
			return err
		}
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		b.head = before
		results = make([]eventlog.Appended, len(appends))
		for i := range appends {
			b.heads[appends[i].Stream] = appends[i].Expected
			results[i] = b.admit(&appends[i])
		}
		return s.write(ctx, tx, b)
	})
	switch {
	case err != nil:
		s.ahead.forget()
	case len(b.events) > 0:
		s.ahead.learn(before, b)
	}
	return results, b, err
}

// lookForLockedAtMost outlasts a database's recovery: until it is back nothing can be appended
// anyway, and what was claimed must not be forgotten.
const lookForLockedAtMost = 2 * time.Minute

// lookForLocked finds out whether a transaction was committed whose outcome was not learnt:
// what it decided, such as who runs an execution, must not be known to nobody.
func (s *Store) lookForLocked(eventID string, unknown error) error {
	var found bool
	err := s.committer.patiently(lookForLockedAtMost, func(ctx context.Context) error {
		return s.db.Write(ctx, func(tx *database.Tx) error {
			new(logHead).lock(tx) // waits for the end of the transaction in question
			tx.Query(func(scan database.Scan) error { return scan(&found) },
				"SELECT EXISTS (SELECT 1 FROM events WHERE event_id = ?)", eventID)
			return tx.Flush(ctx)
		})
	})
	if err == nil && !found {
		err = unknown
	}
	return err
}

// logHead is the end of the log as it is under the append lock.
type logHead struct {
	position eventlog.Position
	at       int64
}

func (h *logHead) lock(tx *database.Tx) {
	waitForTurn(tx)
	tx.Query(func(scan database.Scan) error { return scan(&h.position, &h.at) },
		"SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1")
}

// waitForTurn queues the append lock.
func waitForTurn(tx *database.Tx) {
	if lock := tx.Dialect().AppendLock; lock != "" {
		tx.Query(func(database.Scan) error { return nil }, lock)
	}
}

// batch is what one transaction appends.
type batch struct {
	head  logHead
	now   time.Time
	heads map[eventlog.StreamID]int64
	due   bool // see eventlog.Append

	events      []eventlog.Recorded
	keys        []eventlog.IdempotencyKey
	credentials []eventlog.Credential
	forget      []string
	erase       []string // positions
}

// admit gives the events of an append their positions and versions. Its expectations have
// been checked.
func (b *batch) admit(a *eventlog.Append) eventlog.Appended {
	// The clock of the log never falls, whatever the machine's clock does.
	at := max(b.now.UnixMicro(), b.head.at)
	b.head.at = at
	first := len(b.events)
	b.due = b.due || a.Due
	for _, proposed := range a.Events {
		b.head.position++
		if !proposed.Fact {
			b.heads[a.Stream]++
		}
		b.events = append(b.events, eventlog.Recorded{
			Position: b.head.position, ID: proposed.ID, WorkspaceID: a.WorkspaceID, Stream: a.Stream, Version: b.heads[a.Stream],
			Fact: proposed.Fact, Type: proposed.Type, Schema: proposed.Schema, At: database.Time(at), Meta: a.Meta,
			Data: proposed.Data, Event: proposed.Event, Payload: proposed.Payload,
		})
	}
	if a.Idempotency != nil {
		b.keys = append(b.keys, *a.Idempotency)
	}
	b.credentials = append(b.credentials, a.Keep...)
	b.forget = append(b.forget, a.Forget...)
	for _, position := range a.Erase {
		b.erase = append(b.erase, strconv.FormatInt(int64(position), 10))
	}
	return eventlog.Appended{Events: b.events[first:len(b.events):len(b.events)]}
}

var (
	insertEvents = database.Insert("events", "",
		database.Column{Name: "position", Type: "int8"}, database.Column{Name: "event_id", Type: "text"},
		database.Column{Name: "workspace_id", Type: "text"}, database.Column{Name: "stream", Type: "text"},
		database.Column{Name: "version", Type: "int8"}, database.Column{Name: "fact", Type: "bool"},
		database.Column{Name: "type", Type: "text"}, database.Column{Name: "schema_version", Type: "int8"},
		database.Column{Name: "recorded_at", Type: "int8"}, database.Column{Name: "actor", Type: "text"},
		database.Column{Name: "metadata", Type: "text"}, database.Column{Name: "data", Type: "text"},
		database.Column{Name: "payload", Type: "bytea"})
	// A key may be present although it has expired: then the new use takes its place.
	insertKeys = database.Insert("idempotency_keys", `ON CONFLICT (scope, key) DO UPDATE SET
		digest = excluded.digest, subject = excluded.subject, expires_at = excluded.expires_at`,
		database.Column{Name: "scope", Type: "text"}, database.Column{Name: "key", Type: "text"},
		database.Column{Name: "digest", Type: "bytea"}, database.Column{Name: "subject", Type: "text"},
		database.Column{Name: "expires_at", Type: "int8"})
	insertCredentials = database.Insert("credentials", "",
		database.Column{Name: "id", Type: "text"}, database.Column{Name: "workspace_id", Type: "text"},
		database.Column{Name: "owner", Type: "text"}, database.Column{Name: "hash", Type: "bytea"},
		database.Column{Name: "sealed", Type: "bytea"})
)

// write queues everything that the batch adds; the transaction's commit sends it.
func (s *Store) write(ctx context.Context, tx *database.Tx, b *batch) error {
	if len(b.events) == 0 {
		return nil
	}
	n := len(b.events)
	var (
		positions, versions, schemas, ats                       = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		ids, workspaces, streams, types, actors, metadata, data = make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		facts                                                   = make([]bool, n)
		payloads                                                = make([][]byte, n)
	)
	for i := range b.events {
		e := &b.events[i]
		positions[i], versions[i], schemas[i], ats[i] = int64(e.Position), e.Version, int64(e.Schema), database.Micros(e.At)
		ids[i], workspaces[i], streams[i], types[i], actors[i] = e.ID, e.WorkspaceID, string(e.Stream), e.Type, string(e.Meta.Actor)
		metadata[i], data[i], facts[i], payloads[i] = string(e.Meta.JSON()), string(e.Data), e.Fact, e.Payload
	}
	tx.Bulk(insertEvents.With(positions, ids, workspaces, streams, versions, facts, types, schemas, ats, actors, metadata, data, payloads))
	b.writeKeys(tx)
	b.writeCredentials(tx)
	b.erasePayloads(tx)
	if err := s.projector.Apply(ctx, tx, b.events); err != nil {
		return fmt.Errorf("apply to the read models: %w", err)
	}
	if b.due {
		tx.Notify(database.NoteDue)
	} else {
		tx.Notify(database.NoteAppended)
	}
	return nil
}

func (b *batch) writeKeys(tx *database.Tx) {
	n := len(b.keys)
	scopes, keys, subjects := make([]string, n), make([]string, n), make([]string, n)
	digests, expiries := make([][]byte, n), make([]int64, n)
	for i, k := range b.keys {
		scopes[i], keys[i], subjects[i], digests[i], expiries[i] = k.Scope, k.Key, k.Subject, k.Digest, database.Micros(k.ExpiresAt)
	}
	tx.Bulk(insertKeys.With(scopes, keys, digests, subjects, expiries))
}

// erasePayloads takes payloads away, and what backtests have made of them. SQLite is told to overwrite what it frees, which it else leaves
// until the space is used again; for all that is deleted on the way of a call it would cost too much.
func (b *batch) erasePayloads(tx *database.Tx) {
	if len(b.erase) == 0 {
		return
	}
	overwrite := func(mode string) {
		if tx.Dialect().Name == database.SQLite {
			tx.Query(func(database.Scan) error { return nil }, "PRAGMA secure_delete = "+mode)
		}
	}
	overwrite("ON")
	at := " WHERE position IN (SELECT CAST(asked.value AS BIGINT) FROM " + tx.Dialect().Each("asked") + ")"
	tx.Exec("UPDATE events SET payload = NULL"+at, tx.Dialect().List(b.erase))
	tx.Exec("UPDATE backtest_results SET output = NULL, difference = NULL"+at, tx.Dialect().List(b.erase))
	overwrite("OFF")
}

func (b *batch) writeCredentials(tx *database.Tx) {
	if len(b.forget) > 0 {
		tx.Exec("DELETE FROM credentials WHERE "+tx.Dialect().In("id"), tx.Dialect().List(b.forget))
	}
	n := len(b.credentials)
	ids, workspaces, owners := make([]string, n), make([]string, n), make([]string, n)
	hashes, sealed := make([][]byte, n), make([][]byte, n)
	for i, c := range b.credentials {
		ids[i], workspaces[i], owners[i], hashes[i], sealed[i] = c.ID, c.WorkspaceID, string(c.Owner), c.Hash, c.Sealed
	}
	tx.Bulk(insertCredentials.With(ids, workspaces, owners, hashes, sealed))
}

// attempt is one append on its way through a transaction.
type attempt struct {
	append *eventlog.Append
	result eventlog.Appended
	err    error
}

// appendAll appends what can be appended of a batch in one transaction. Each attempt gets
// its own result or refusal; an error of appendAll itself means that nothing was appended.
// recheck finds appends that an earlier transaction, whose outcome was not learnt, has made.
func (s *Store) appendAll(ctx context.Context, attempts []*attempt, recheck bool) error {
	for _, a := range attempts {
		a.result, a.err = eventlog.Appended{}, nil
	}
	s.ahead.turn.Lock()
	defer s.ahead.turn.Unlock()
	if versions, known := s.ahead.knows(attempts); known && !recheck {
		err := s.appendAhead(ctx, attempts, versions)
		if !errors.Is(err, errNotConfirmed) && !database.IsDuplicate(err) {
			return err
		}
		for _, a := range attempts { // another process may have appended: ask, then
			a.result, a.err = eventlog.Appended{}, nil
		}
	}
	b := &batch{now: s.now(), heads: map[eventlog.StreamID]int64{}}
	var before logHead
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		before.lock(tx)
		s.queryHeads(tx, attempts, b.heads)
		used := map[scopedKey]eventlog.IdempotencyKey{}
		s.queryKeys(tx, attempts, used)
		recorded := map[string]bool{}
		if recheck {
			s.queryRecorded(tx, attempts, recorded)
		}
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		b.head = before
		for _, a := range attempts {
			if recheck && recorded[a.append.Events[0].ID] {
				a.err = errAlreadyRecorded
				continue
			}
			if a.err = b.check(a.append); a.err != nil {
				continue
			}
			if k := a.append.Idempotency; k != nil {
				scoped := scopedKey{k.Scope, k.Key}
				if first, repeated := used[scoped]; repeated && first.ExpiresAt.After(b.now) {
					if !bytes.Equal(first.Digest, k.Digest) {
						a.err = eventlog.ErrIdempotencyMismatch
					} else {
						a.result.Replayed = first.Subject
					}
					continue
				}
				used[scoped] = *k
			}
			a.result = b.admit(a.append)
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

// errAlreadyRecorded marks an append whose events are in the log already.
var errAlreadyRecorded = errors.New("events are recorded already")

// translate gives errors of the database the names that the application knows.
func (s *Store) translate(err error) error {
	if err != nil && s.db.IsUnavailable(err) {
		return fmt.Errorf("%w: %w", eventlog.ErrUnavailable, err)
	}
	return err
}

// sweepBatch keeps one sweep from holding locks for long.
const sweepBatch = 5000

// SweepKeys deletes idempotency keys that have expired, in parts.
func (s *Store) SweepKeys(ctx context.Context) error {
	for {
		deleted := 0
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			tx.Query(func(scan database.Scan) error {
				deleted++
				var one int
				return scan(&one)
			}, "DELETE FROM idempotency_keys WHERE (scope, key) IN (SELECT scope, key FROM idempotency_keys WHERE expires_at < ? LIMIT ?) AND expires_at < ? RETURNING 1",
				database.Micros(s.now()), sweepBatch, database.Micros(s.now()))
			return nil
		})
		if err != nil || deleted < sweepBatch {
			return s.translate(err)
		}
	}
}
