package dump

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trail"
)

// Report says what was written or read.
type Report struct {
	Events  int64
	Root    []byte           // of the Merkle tree over the events
	Rows    map[string]int64 // by table
	Covered int64            // the position up to which a signed checkpoint covers the events; 0 is none
}

// progressEvery is how many events pass between two reports of progress.
const progressEvery = 1000

// Export writes a store, as it is at one moment, while the service may go on. now is when. The log is
// held against its last checkpoint meanwhile: an error that is auditlog.ErrInconsistent says that
// they do not agree. After any error what was written is of no use.
func Export(ctx context.Context, db *database.DB, to io.Writer, now time.Time, progress func(done, total int64)) (Report, error) {
	schema, err := schemaOf(ctx, db)
	if err != nil {
		return Report{}, err
	}
	tx, err := snapshot(ctx, db)
	if err != nil {
		return Report{}, db.Failure("begin to read the store", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	buffered := bufio.NewWriterSize(to, 1<<20)
	x := &exporting{
		db: db, tx: tx, out: &output{to: buffered, digest: sha256.New(), rows: map[string]int64{}}, progress: progress,
		header: header{Format: Format, Schema: schema, CreatedAt: now.UTC().Truncate(time.Second), Note: secretsNote},
	}
	if err := x.run(ctx); err != nil {
		return x.report, err
	}
	if err := buffered.Flush(); err != nil {
		return x.report, fmt.Errorf("write the file: %w", err)
	}
	return x.report, nil
}

// schemaOf gives the last step of the schema, and an error unless it has been taken.
func schemaOf(ctx context.Context, db *database.DB) (int64, error) {
	taken, last, err := db.Schema(ctx)
	if err == nil && taken != last {
		err = fmt.Errorf("the schema is at step %d of %d; run: hooktrail migrate", taken, last)
	}
	return last, err
}

// snapshot begins a transaction in which all queries see the same state.
func snapshot(ctx context.Context, db *database.DB) (*sqlx.Tx, error) {
	if db.Dialect.Name == database.SQLite {
		return db.Read.BeginTxx(ctx, nil) // the first query fixes what all of them see
	}
	tx, err := db.Read.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	// Reading a long log takes longer than a statement otherwise may.
	if _, err := tx.ExecContext(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

type exporting struct {
	db       *database.DB
	tx       *sqlx.Tx
	out      *output
	progress func(done, total int64)
	header   header
	signed   trail.Checkpoint // of the header
	report   Report
}

func (x *exporting) run(ctx context.Context) error {
	if err := x.begin(ctx); err != nil {
		return err
	}
	if err := x.out.object("header", x.header); err != nil {
		return err
	}
	for _, t := range beforeEvents {
		if err := x.table(ctx, t); err != nil {
			return fmt.Errorf("export %s: %w", t.name, err)
		}
	}
	if err := x.events(ctx); err != nil {
		return err
	}
	for _, t := range afterEvents {
		if err := x.table(ctx, t); err != nil {
			return fmt.Errorf("export %s: %w", t.name, err)
		}
	}
	x.report.Rows = x.out.rows
	return x.out.object("end", end{Events: x.report.Events, Root: x.report.Root, Rows: x.report.Rows, SHA256: x.out.digest.Sum(nil)})
}

// begin finds out how many events there are and what was signed of them.
func (x *exporting) begin(ctx context.Context) error {
	if err := x.tx.GetContext(ctx, &x.header.Events, "SELECT coalesce(max(position), 0) FROM events"); err != nil {
		return x.db.Failure("read the end of the log", err)
	}
	var notes []string
	if err := x.tx.SelectContext(ctx, &notes, "SELECT note FROM audit_checkpoints ORDER BY size DESC LIMIT 1"); err != nil {
		return x.db.Failure("read the latest checkpoint", err)
	}
	if len(notes) == 0 {
		return nil
	}
	x.header.Checkpoint = notes[0]
	var keys []string
	if err := x.tx.SelectContext(ctx, &keys, x.db.SQL("SELECT value FROM settings WHERE name = ?"), auditlog.VerifierSetting); err != nil {
		return x.db.Failure("read the verifier key", err)
	}
	if len(keys) == 0 {
		return fmt.Errorf("%w: there are checkpoints, and no key to verify them with", auditlog.ErrInconsistent)
	}
	key, err := trail.NewVerifier(keys[0])
	if err != nil {
		return err
	}
	if x.signed, err = key.Open(notes[0]); err != nil {
		return fmt.Errorf("%w: the latest checkpoint: %w", auditlog.ErrInconsistent, err)
	}
	if x.signed.Size > uint64(x.header.Events) {
		return fmt.Errorf("%w: a checkpoint is of %d events, and there are %d", auditlog.ErrInconsistent, x.signed.Size, x.header.Events)
	}
	x.report.Covered = int64(x.signed.Size)
	return nil
}

// table writes a table.
func (x *exporting) table(ctx context.Context, t table) error {
	rows, err := x.tx.QueryContext(ctx, t.query())
	if err != nil {
		return x.db.Failure("read", err)
	}
	defer rows.Close()
	r := t.rows()
	destinations := make([]any, len(r.values))
	for i, v := range r.values {
		destinations[i] = v.destination()
	}
	for rows.Next() {
		if err := rows.Scan(destinations...); err != nil {
			return fmt.Errorf("read a row: %w", err)
		}
		open := append([]byte(nil), `{"table":"`+t.name+`","row":{`...)
		for i, v := range r.values {
			if i > 0 {
				open = append(open, ',')
			}
			open = append(open, `"`+t.columns[i].name+`":`...)
			value, err := v.encode()
			if err != nil {
				return err
			}
			encoded, err := json.Marshal(value)
			if err != nil {
				return err
			}
			open = append(open, encoded...)
		}
		if err := x.out.write(append(open, '}')); err != nil {
			return err
		}
		x.out.rows[t.name]++
	}
	return x.db.Failure("read", rows.Err())
}

// rawEvent is a row of the log, whose memory is used again for the next one.
type rawEvent struct {
	leaf                                               eventlog.Leaf
	id, workspace, stream, kind, actor, metadata, data sql.RawBytes
	kept                                               int // an empty payload is not told from none otherwise
	payload                                            sql.RawBytes
}

// SQLite keeps any number as a boolean; the cast shows which.
const eventQuery = "SELECT position, event_id, workspace_id, stream, version, CAST(fact AS INTEGER), type, schema_version, recorded_at, actor, metadata, data," +
	" CASE WHEN payload IS NULL THEN 0 ELSE 1 END, payload FROM events ORDER BY position"

func (x *exporting) events(ctx context.Context) error {
	rows, err := x.tx.QueryContext(ctx, eventQuery)
	if err != nil {
		return x.db.Failure("read events", err)
	}
	defer rows.Close()
	tree, err := trail.Open(0, nil)
	if err != nil {
		return err
	}
	var e rawEvent
	var encoded []byte
	destinations := []any{
		&e.leaf.Position, &e.id, &e.workspace, &e.stream, &e.leaf.Version, &e.leaf.Fact, &e.kind, &e.leaf.Schema, &e.leaf.RecordedAt,
		&e.actor, &e.metadata, &e.data, &e.kept, &e.payload,
	}
	for rows.Next() {
		next := int64(tree.Size()) + 1
		if err := rows.Scan(destinations...); err != nil {
			return fmt.Errorf("read the event at position %d: %w", next, err)
		}
		l := &e.leaf
		if l.Position != next {
			return fmt.Errorf("%w: event %d is missing from the log", auditlog.ErrInconsistent, next)
		}
		l.EventID, l.Workspace, l.Stream, l.Type, l.Actor, l.Metadata, l.Data = e.id, e.workspace, e.stream, e.kind, e.actor, e.metadata, e.data
		encoded = l.AppendTo(encoded[:0])
		if err := tree.Add(trail.HashLeaf(encoded), func(trail.Block) {}); err != nil {
			return err
		}
		if tree.Size() == x.signed.Size {
			if err := agrees(tree, x.signed); err != nil {
				return err
			}
		}
		open, err := e.appendTo(x.out.buffer[:0])
		if err != nil {
			return fmt.Errorf("%w: event %d: %w", auditlog.ErrInconsistent, next, err)
		}
		if err := x.out.write(open); err != nil {
			return err
		}
		if next%progressEvery == 0 || next == x.header.Events {
			x.progress(next, x.header.Events)
		}
	}
	if err := rows.Err(); err != nil {
		return x.db.Failure("read events", err)
	}
	x.report.Events = int64(tree.Size())
	x.report.Root, err = tree.Root()
	return err
}

// agrees holds a tree against a checkpoint of its size.
func agrees(tree *trail.Tree, signed trail.Checkpoint) error {
	root, err := tree.Root()
	if err == nil && !bytes.Equal(root, signed.Root) {
		err = fmt.Errorf("%w: the first %d events are not those of a checkpoint of them", auditlog.ErrInconsistent, signed.Size)
	}
	return err
}

// appendTo adds the event as an object that is still open.
func (e *rawEvent) appendTo(b []byte) ([]byte, error) {
	b = append(b, `{"event":{"position":`...)
	b = strconv.AppendInt(b, e.leaf.Position, 10)
	var err error
	add := func(name string, value []byte, as func([]byte, []byte) ([]byte, error)) {
		if err != nil {
			return
		}
		b = append(b, `,"`+name+`":`...)
		if b, err = as(b, value); err != nil {
			err = fmt.Errorf("its %s: %w", name, err)
		}
	}
	count := func(name string, value int64) {
		b = append(b, `,"`+name+`":`...)
		b = strconv.AppendInt(b, value, 10)
	}
	add("event_id", e.id, appendText)
	add("workspace_id", e.workspace, appendText)
	add("stream", e.stream, appendText)
	count("version", e.leaf.Version)
	if e.leaf.Fact != 0 && e.leaf.Fact != 1 {
		return b, fmt.Errorf("its fact is %d", e.leaf.Fact)
	}
	b = append(b, `,"fact":`...)
	b = strconv.AppendBool(b, e.leaf.Fact == 1)
	add("type", e.kind, appendText)
	count("schema_version", e.leaf.Schema)
	count("recorded_at", e.leaf.RecordedAt)
	add("actor", e.actor, appendText)
	add("metadata", e.metadata, appendStored)
	add("data", e.data, appendStored)
	if e.kept != 0 {
		b = append(b, `,"payload":"`...)
		b = base64.StdEncoding.AppendEncode(b, e.payload)
		b = append(b, '"')
	}
	return append(b, '}'), err
}
