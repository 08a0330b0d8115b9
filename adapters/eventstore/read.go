package eventstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
)

// Columns lists the columns of the log in the order of Row.
const Columns = "position, event_id, workspace_id, stream, version, fact, type, schema_version, recorded_at, actor, metadata, data"

// Row is one row of the log.
type Row struct {
	Position  int64  `db:"position"`
	EventID   string `db:"event_id"`
	Workspace string `db:"workspace_id"`
	Stream    string `db:"stream"`
	Version   int64  `db:"version"`
	Fact      bool   `db:"fact"`
	Type      string `db:"type"`
	Schema    int    `db:"schema_version"`
	At        int64  `db:"recorded_at"`
	Actor     string `db:"actor"`
	Metadata  string `db:"metadata"`
	Data      string `db:"data"`
}

// Recorded reads the row as an event.
func (r Row) Recorded() (eventlog.Recorded, error) {
	event := eventlog.Recorded{
		Position: eventlog.Position(r.Position), ID: r.EventID, WorkspaceID: r.Workspace, Stream: eventlog.StreamID(r.Stream),
		Version: r.Version, Fact: r.Fact, Type: r.Type, Schema: r.Schema, At: database.Time(r.At), Data: []byte(r.Data),
	}
	if err := json.Unmarshal([]byte(r.Metadata), &event.Meta); err != nil {
		return event, fmt.Errorf("read the metadata of event %d: %w", r.Position, err)
	}
	event.Meta.Actor = eventlog.Actor(r.Actor)
	return event, nil
}

func (s *Store) query(ctx context.Context, query string, args ...any) ([]eventlog.Recorded, error) {
	var rows []Row
	if err := s.db.Select(ctx, &rows, query, args...); err != nil {
		return nil, s.translate(fmt.Errorf("read events: %w", err))
	}
	events := make([]eventlog.Recorded, len(rows))
	for i, row := range rows {
		var err error
		if events[i], err = row.Recorded(); err != nil {
			return nil, err
		}
	}
	return events, nil
}

func (s *Store) byID(ctx context.Context, ids []string) ([]eventlog.Recorded, error) {
	return s.query(ctx, "SELECT "+Columns+" FROM events WHERE "+s.db.Dialect.In("event_id")+" ORDER BY position", s.db.Dialect.List(ids))
}

// Decisions reads what a stream's state is made of, in order, up to and including a
// position; 0 means all.
func (s *Store) Decisions(ctx context.Context, stream eventlog.StreamID, upTo eventlog.Position) ([]eventlog.Recorded, error) {
	if upTo > 0 {
		return s.query(ctx, "SELECT "+Columns+" FROM events WHERE stream = ? AND NOT fact AND position <= ? ORDER BY version", string(stream), int64(upTo))
	}
	return s.query(ctx, "SELECT "+Columns+" FROM events WHERE stream = ? AND NOT fact ORDER BY version", string(stream))
}

// Event reads an event by its id; false when there is none.
func (s *Store) Event(ctx context.Context, id string) (eventlog.Recorded, bool, error) {
	return s.one(ctx, "SELECT "+Columns+" FROM events WHERE event_id = ?", id)
}

// At reads the event at a position; false when there is none.
func (s *Store) At(ctx context.Context, position eventlog.Position) (eventlog.Recorded, bool, error) {
	return s.one(ctx, "SELECT "+Columns+" FROM events WHERE position = ?", int64(position))
}

func (s *Store) one(ctx context.Context, query string, arg any) (eventlog.Recorded, bool, error) {
	events, err := s.query(ctx, query, arg)
	if err != nil || len(events) == 0 {
		return eventlog.Recorded{}, false, err
	}
	return events[0], true, nil
}

// Payloads reads the payloads of events; those that were erased, or never were, are left out.
func (s *Store) Payloads(ctx context.Context, positions []eventlog.Position) (map[eventlog.Position][]byte, error) {
	texts := make([]string, len(positions))
	for i, position := range positions {
		texts[i] = strconv.FormatInt(int64(position), 10)
	}
	var rows []struct {
		Position int64  `db:"position"`
		Payload  []byte `db:"payload"`
	}
	err := s.db.Select(ctx, &rows, "SELECT position, payload FROM events WHERE position IN (SELECT CAST(asked.value AS BIGINT) FROM "+
		s.db.Dialect.Each("asked")+") AND payload IS NOT NULL", s.db.Dialect.List(texts))
	if err != nil {
		return nil, s.translate(fmt.Errorf("read payloads: %w", err))
	}
	payloads := make(map[eventlog.Position][]byte, len(rows))
	for _, row := range rows {
		payloads[eventlog.Position(row.Position)] = row.Payload
	}
	return payloads, nil
}

// After reads up to limit events behind a position, in order.
func (s *Store) After(ctx context.Context, position eventlog.Position, limit int) ([]eventlog.Recorded, error) {
	return s.query(ctx, "SELECT "+Columns+" FROM events WHERE position > ? ORDER BY position LIMIT ?", int64(position), limit)
}

// Head gives the position of the last event, 0 for an empty log.
func (s *Store) Head(ctx context.Context) (eventlog.Position, error) {
	var position eventlog.Position
	err := s.db.Get(ctx, &position, "SELECT coalesce(max(position), 0) FROM events")
	return position, s.translate(err)
}

// PositionAt gives the position of the last event recorded at or before a time, 0 when
// there is none. Times never fall along the log, so it is found by halving.
func (s *Store) PositionAt(ctx context.Context, at time.Time) (eventlog.Position, error) {
	head, err := s.Head(ctx)
	if err != nil {
		return 0, err
	}
	low, high := eventlog.Position(0), head // the answer is in low..high
	for low < high {
		middle := low + (high-low+1)/2
		var recorded int64
		err := s.db.Get(ctx, &recorded, "SELECT recorded_at FROM events WHERE position = ?", int64(middle))
		if err != nil {
			return 0, s.translate(fmt.Errorf("read the time of event %d: %w", middle, err))
		}
		if recorded <= database.Micros(at) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}

// List reads the events of a workspace that fit a filter: behind After in order, or, when
// After is nil, the newest first from before Before on.
func (s *Store) List(ctx context.Context, f application.EventFilter) ([]eventlog.Recorded, error) {
	where, args, err := s.conditions(ctx, f)
	if err != nil {
		return nil, err
	}
	order, beyond := "DESC", ""
	var bound []any
	if f.After != nil {
		order, beyond = "ASC", " AND position > ?"
		bound = []any{int64(*f.After)}
	} else if f.Before > 0 {
		beyond = " AND position < ?"
		bound = []any{int64(f.Before)}
	}
	tail := beyond + " ORDER BY position " + order + " LIMIT ?"
	query := "SELECT " + Columns + " FROM events WHERE " + where + tail
	args = append(append(args, bound...), f.Limit+f.Offset)
	if f.Stream != "" {
		// A stream's decisions and its facts have an index each; each gives its first rows.
		part := func(fact string) string {
			return "SELECT * FROM (SELECT " + Columns + " FROM events WHERE " + fact + " AND " + where + tail + ") AS part"
		}
		query = part("NOT fact") + " UNION ALL " + part("fact") + " ORDER BY position " + order + " LIMIT ?"
		args = append(append(append([]any{}, args...), args...), f.Limit+f.Offset)
	}
	events, err := s.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return events[min(f.Offset, len(events)):], nil
}

// Count counts the events that fit a filter, up to a bound.
func (s *Store) Count(ctx context.Context, f application.EventFilter, bound int) (int, error) {
	where, args, err := s.conditions(ctx, f)
	if err != nil {
		return 0, err
	}
	if f.After != nil {
		where, args = where+" AND position > ?", append(args, int64(*f.After))
	}
	part := "SELECT 1 FROM events WHERE " + where
	if f.Stream != "" { // as in List, for the sake of the two indexes
		part = "SELECT 1 FROM events WHERE NOT fact AND " + where + " UNION ALL SELECT 1 FROM events WHERE fact AND " + where
		args = append(append([]any{}, args...), args...)
	}
	var count int
	err = s.db.Get(ctx, &count, "SELECT count(*) FROM ("+part+" LIMIT ?) AS counted", append(args, bound)...)
	return count, s.translate(err)
}

// frequentTypes are those of calls and runs: the index of the others stays small.
var frequentTypes = []string{"trigger.invoked", "execution.started", "execution.completed"}

func (s *Store) conditions(ctx context.Context, f application.EventFilter) (string, []any, error) {
	where, args := []string{"workspace_id = ?"}, []any{f.WorkspaceID}
	add := func(condition string, value any) { where, args = append(where, condition), append(args, value) }
	if f.Stream != "" {
		add("stream = ?", string(f.Stream))
	}
	if f.Type != "" {
		add("type = ?", f.Type)
		// In the words of the partial index, by which the planners know it.
		if !slices.Contains(frequentTypes, f.Type) {
			where = append(where, "type NOT IN ('"+strings.Join(frequentTypes, "', '")+"')")
		}
	}
	if f.Actor != "" {
		add("actor = ?", string(f.Actor))
		if kind, _, _ := strings.Cut(string(f.Actor), ":"); kind != "trigger" && kind != "worker" {
			where = append(where, "substr(actor, 1, 7) NOT IN ('trigger', 'worker:')")
		}
	}
	// A time is turned into a position, by which the log is ordered.
	if !f.Since.IsZero() {
		position, err := s.PositionAt(ctx, f.Since.Add(-time.Microsecond))
		if err != nil {
			return "", nil, err
		}
		add("position > ?", int64(position))
	}
	if !f.Until.IsZero() {
		position, err := s.PositionAt(ctx, f.Until)
		if err != nil {
			return "", nil, err
		}
		add("position <= ?", int64(position))
	}
	return strings.Join(where, " AND "), args, nil
}

// CredentialByHash finds whose token or key has that keyed hash.
func (s *Store) CredentialByHash(ctx context.Context, hash []byte) (eventlog.Credential, bool, error) {
	return s.credential(ctx, "SELECT id, workspace_id, owner FROM credentials WHERE hash = ?", hash)
}

func (s *Store) credential(ctx context.Context, query string, args ...any) (eventlog.Credential, bool, error) {
	var row struct {
		ID        string `db:"id"`
		Workspace string `db:"workspace_id"`
		Owner     string `db:"owner"`
		Sealed    []byte `db:"sealed"`
	}
	err := s.db.Get(ctx, &row, query, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return eventlog.Credential{}, false, nil
	}
	if err != nil {
		return eventlog.Credential{}, false, s.translate(fmt.Errorf("read a credential: %w", err))
	}
	return eventlog.Credential{ID: row.ID, WorkspaceID: row.Workspace, Owner: eventlog.StreamID(row.Owner), Sealed: row.Sealed}, true, nil
}

// Sealed reads the sealed bytes of a signing secret.
func (s *Store) Sealed(ctx context.Context, id string) ([]byte, bool, error) {
	c, found, err := s.credential(ctx, "SELECT id, workspace_id, owner, sealed FROM credentials WHERE id = ? AND sealed IS NOT NULL", id)
	return c.Sealed, found, err
}
