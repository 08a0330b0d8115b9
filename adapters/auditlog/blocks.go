// Package auditlog keeps the Merkle tree over the event log in the database, behind the log so
// that appends do not wait for it, signs checkpoints of it, and verifies the log against both.
package auditlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trail"
)

// leafColumns are the columns of an event in the order of scanLeaf. SQLite keeps any number as a
// boolean; the cast shows which.
const leafColumns = "position, event_id, workspace_id, stream, version, CAST(fact AS INTEGER), type, schema_version, recorded_at, actor, metadata, data"

// raw is a row of the log, whose memory is used again for the next one.
type raw struct {
	leaf                                               eventlog.Leaf
	id, workspace, stream, kind, actor, metadata, data sql.RawBytes
	destinations                                       []any
	encoded                                            []byte
}

func newRaw() *raw {
	r := &raw{}
	r.destinations = []any{&r.leaf.Position, &r.id, &r.workspace, &r.stream, &r.leaf.Version, &r.leaf.Fact, &r.kind, &r.leaf.Schema, &r.leaf.RecordedAt, &r.actor, &r.metadata, &r.data}
	return r
}

// encode gives the encoding of the row; it holds until the next call.
func (r *raw) encode() []byte {
	l := &r.leaf
	l.EventID, l.Workspace, l.Stream, l.Type, l.Actor, l.Metadata, l.Data = r.id, r.workspace, r.stream, r.kind, r.actor, r.metadata, r.data
	r.encoded = l.AppendTo(r.encoded[:0])
	return r.encoded
}

// gapError says that the log has no event where there must be one.
type gapError struct{ missing int64 }

func (e *gapError) Error() string {
	return fmt.Sprintf("event %d is missing from the log", e.missing)
}

// unreadableError says that a row does not hold what its columns are for.
type unreadableError struct {
	position int64
	cause    error
}

func (e *unreadableError) Error() string {
	return fmt.Sprintf("event %d cannot be read: %v", e.position, e.cause)
}

func (e *unreadableError) Unwrap() error { return e.cause }

// readLeaves appends the hashes of the events behind a position, up to and including another, to
// hashes. With a *gapError or *unreadableError come the hashes of those before. forged, unless it
// is nil, is told of events whose payload is there and is not the one they were recorded with.
func readLeaves(ctx context.Context, db *database.DB, after, upTo int64, hashes [][]byte, forged func(position int64)) ([][]byte, error) {
	r, columns := newRaw(), leafColumns
	var payload sql.RawBytes
	var there int // an empty payload is not told from none otherwise
	if forged != nil {
		columns, r.destinations = columns+", CASE WHEN payload IS NULL THEN 0 ELSE 1 END, payload", append(r.destinations, &there, &payload)
	}
	rows, err := db.Read.QueryContext(ctx, db.SQL("SELECT "+columns+" FROM events WHERE position > ? AND position <= ? ORDER BY position"), after, upTo)
	if err != nil {
		return hashes, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		after++
		if err := rows.Scan(r.destinations...); err != nil {
			return hashes, &unreadableError{after, err}
		}
		if r.leaf.Position != after {
			return hashes, &gapError{after}
		}
		hashes = append(hashes, trail.HashLeaf(r.encode()))
		if there != 0 && !Belongs(payload, r.data) {
			forged(after)
		}
	}
	if err := rows.Err(); err != nil {
		return hashes, fmt.Errorf("read events: %w", err)
	}
	return hashes, nil
}

// Belongs says whether an event's data hold the digest of a payload. They are JSON that we wrote,
// in which a text cannot look like this.
func Belongs(payload, data []byte) bool {
	digest := sha256.Sum256(payload)
	var member [128]byte
	looksLike := append(hex.AppendEncode(append(member[:0], `":{"sha256":"`...), digest[:]), '"')
	at := bytes.Index(data, looksLike)
	return at >= 0 && (bytes.HasSuffix(data[:at], []byte(`"input`)) || bytes.HasSuffix(data[:at], []byte(`"output`)) || bytes.HasSuffix(data[:at], []byte(`"body`)))
}

// blocks reads stored blocks, each once. It serves one question and is thrown away.
type blocks struct {
	ctx  context.Context
	db   *database.DB
	read map[trail.BlockID][]byte
}

func newBlocks(ctx context.Context, db *database.DB) *blocks {
	return &blocks{ctx, db, map[trail.BlockID][]byte{}}
}

// get gives the hashes of a block; none of one that is not stored.
func (b *blocks) get(id trail.BlockID) ([]byte, error) {
	if hashes, known := b.read[id]; known {
		return hashes, nil
	}
	var hashes []byte
	err := b.db.Get(b.ctx, &hashes, "SELECT hashes FROM audit_blocks WHERE level = ? AND block = ?", id.Level, int64(id.Index))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read the hashes of events: %w", err)
	}
	b.read[id] = hashes
	return hashes, nil
}

// size is how many events have their hash stored.
func (b *blocks) size() (uint64, error) {
	var last []struct {
		Block  int64  `db:"block"`
		Hashes []byte `db:"hashes"`
	}
	if err := b.db.Select(b.ctx, &last, "SELECT block, hashes FROM audit_blocks WHERE level = 0 ORDER BY block DESC LIMIT 1"); err != nil {
		return 0, fmt.Errorf("read the hashes of events: %w", err)
	}
	if len(last) == 0 {
		return 0, nil
	}
	hashes := last[0].Hashes
	if last[0].Block < 0 || len(hashes) == 0 || len(hashes)%trail.HashSize != 0 || len(hashes) > trail.BlockWidth*trail.HashSize {
		return 0, fmt.Errorf("%w: block %d of level 0 has %d bytes", trail.ErrDamaged, last[0].Block, len(hashes))
	}
	b.read[trail.BlockID{Level: 0, Index: uint64(last[0].Block)}] = hashes
	return uint64(last[0].Block)*trail.BlockWidth + uint64(len(hashes)/trail.HashSize), nil
}

// keepBlocks lets a block only grow: replicas write the same hashes, some of them later.
var keepBlocks = database.Insert("audit_blocks", `ON CONFLICT (level, block) DO UPDATE SET hashes = excluded.hashes
	WHERE length(excluded.hashes) > length(audit_blocks.hashes) AND substr(excluded.hashes, 1, length(audit_blocks.hashes)) = audit_blocks.hashes`,
	database.Column{Name: "level", Type: "int8"}, database.Column{Name: "block", Type: "int8"}, database.Column{Name: "hashes", Type: "bytea"})

// WriteBlocks queues that blocks of the tree are kept.
func WriteBlocks(tx *database.Tx, changed []trail.Block) {
	levels, indexes, hashes := make([]int64, len(changed)), make([]int64, len(changed)), make([][]byte, len(changed))
	for i, block := range changed {
		levels[i], indexes[i], hashes[i] = int64(block.Level), int64(block.Index), block.Hashes
	}
	tx.Bulk(keepBlocks.With(levels, indexes, hashes))
}
