package dump

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/readmodel"
	"hooktrail/adapters/secretbox"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trail"
)

// Why a file or a store is refused.
var (
	ErrNotEmpty = errors.New("the store is not empty: import into one that nothing has used yet, such as a new database or data directory")
	errNoLine   = errors.New("this is not a line of an export")
	errSum      = errors.New("this line was changed since it was written: its CRC-32C does not fit")
	errCut      = errors.New("the file was cut off: its last line is missing")
	errLong     = errors.New("the line is longer than any that an export has")
)

// LineError says which line of the file is wrong.
type LineError struct {
	Line int // from 1 on
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

const (
	// longestLine (bytes) is above that of the largest payload.
	longestLine = 256 << 20
	batchEvents = 5000
	batchBytes  = 16 << 20
	batchRows   = 5000
	// cacheKiB lets SQLite keep the indexes in memory that are filled all over.
	cacheKiB = "262144"
)

// Import fills an empty store, whose schema is up to date, from a file. It makes the read models and
// the audit trail's hashes anew, and holds the events against all checkpoints and the file's root.
// All of it is one transaction: after an error, or the end of the process, the store is as empty as
// before. What is wrong with the file is a *LineError.
func Import(ctx context.Context, db *database.DB, from io.Reader, master secretbox.MasterKeys, progress func(done, total int64)) (Report, error) {
	schema, err := schemaOf(ctx, db)
	if err != nil {
		return Report{}, err
	}
	tree, err := trail.Open(0, nil)
	if err != nil {
		return Report{}, err
	}
	m := &importing{
		lines: &lines{from: bufio.NewReaderSize(from, 1<<20), digest: sha256.New()}, schema: schema, master: master, progress: progress,
		loader: readmodel.NewLoader(db), tree: tree, settings: map[string][]byte{}, report: Report{Rows: map[string]int64{}},
	}
	err = db.Write(ctx, func(tx *database.Tx) error {
		m.tx = tx
		if err := prepare(ctx, tx); err != nil {
			return err
		}
		if err := m.run(ctx); err != nil {
			return err
		}
		if tx.Dialect().Name == database.Postgres {
			tx.Exec("ANALYZE") // else plans are those for empty tables until the server finds the time
		}
		return nil
	})
	if errors.Is(err, database.ErrOutcomeUnknown) {
		err = fmt.Errorf("whether the import was kept is not known; see with: hooktrail audit verify: %w", err)
	}
	return m.report, err
}

// prepare makes sure that the store is empty and stays so.
func prepare(ctx context.Context, tx *database.Tx) error {
	if tx.Dialect().Name == database.Postgres {
		// The file may come slowly, and an index take its time.
		tx.Exec("SET LOCAL idle_in_transaction_session_timeout = 0")
		tx.Exec("SET LOCAL statement_timeout = 0")
	} else {
		tx.Exec("PRAGMA cache_size = -" + cacheKiB)
	}
	if lock := tx.Dialect().AppendLock; lock != "" {
		tx.Query(func(database.Scan) error { return nil }, lock)
	}
	used := false
	tables := append([]string{"events"}, madeAnew...)
	for _, t := range append(append([]table{}, beforeEvents...), afterEvents...) {
		tables = append(tables, t.name)
	}
	for _, name := range tables {
		tx.Query(func(scan database.Scan) error {
			var found bool
			err := scan(&found)
			used = used || found
			return err
		}, "SELECT EXISTS (SELECT 1 FROM "+name+")")
	}
	if err := tx.Flush(ctx); err != nil {
		return err
	}
	if used {
		return ErrNotEmpty
	}
	return nil
}

type importing struct {
	lines    *lines
	schema   int64
	master   secretbox.MasterKeys
	progress func(done, total int64)
	tx       *database.Tx
	loader   *readmodel.Loader
	tree     *trail.Tree
	header   header
	settings map[string][]byte
	pending  []trail.Checkpoint // in the order of sizes
	batch    eventBatch
	report   Report
}

// run reads the file from its first line to its last.
func (m *importing) run(ctx context.Context) error {
	first, err := m.lines.next()
	if err != nil {
		return err
	}
	if first.Header == nil {
		return m.lines.wrong(errors.New("this is not an export of a store: the first line is no header"))
	}
	m.header = *first.Header
	if err := m.acceptable(); err != nil {
		return m.lines.wrong(err)
	}
	next, err := m.tables(ctx, beforeEvents)
	if err != nil {
		return err
	}
	if err := m.evidence(); err != nil {
		return err
	}
	if next, err = m.events(ctx, next); err != nil {
		return err
	}
	if next, err = m.rest(ctx, next, afterEvents); err != nil {
		return err
	}
	if err := m.ends(next); err != nil {
		return m.lines.wrong(err)
	}
	m.loader.End(m.tx, eventlog.Position(m.report.Events))
	return m.tx.Flush(ctx)
}

func (m *importing) acceptable() error {
	switch {
	case m.header.Format != Format:
		return fmt.Errorf("the file has format %d, and this version of Hooktrail reads format %d", m.header.Format, Format)
	case m.header.Schema < m.schema:
		return fmt.Errorf("the file was written at step %d of the schema, and this version is at step %d; bring the store that it came from up to date with this version (hooktrail migrate) and export it again", m.header.Schema, m.schema)
	case m.header.Schema > m.schema:
		return fmt.Errorf("the file was written by a newer version of Hooktrail (step %d of the schema; this version is at step %d): import it with that one", m.header.Schema, m.schema)
	}
	return nil
}

// tables reads rows of tables up to a line that is something else, which it gives.
func (m *importing) tables(ctx context.Context, of []table) (*line, error) {
	l, err := m.lines.next()
	if err != nil {
		return nil, err
	}
	return m.rest(ctx, l, of)
}

// rest is tables for when the next line has been read already.
func (m *importing) rest(ctx context.Context, l *line, of []table) (*line, error) {
	for _, t := range of {
		r := t.rows()
		for l.Table == t.name {
			if err := r.add(l.Row); err != nil {
				return nil, m.lines.wrong(err)
			}
			if err := m.know(t.name, r); err != nil {
				return nil, m.lines.wrong(err)
			}
			m.report.Rows[t.name]++
			if r.count == batchRows {
				r.write(m.tx)
				if err := m.tx.Flush(ctx); err != nil {
					return nil, m.refused(err)
				}
			}
			var err error
			if l, err = m.lines.next(); err != nil {
				return nil, err
			}
		}
		r.write(m.tx)
		if err := m.tx.Flush(ctx); err != nil {
			return nil, m.refused(err)
		}
	}
	if l.Table != "" {
		return nil, m.lines.wrong(fmt.Errorf("a row of %q does not belong here", l.Table))
	}
	return l, nil
}

// refused names the place up to which the file was read when the database took no more.
func (m *importing) refused(err error) error {
	return fmt.Errorf("write what was read up to line %d: %w", m.lines.count, err)
}

// know remembers what the last row says that is needed meanwhile.
func (m *importing) know(name string, r *rows) error {
	last := r.count - 1
	switch name {
	case settingsTable:
		m.settings[r.values[0].all().([]string)[last]] = r.values[1].all().([][]byte)[last]
	case checkpointsTable:
		key, err := m.verifier()
		if err != nil {
			return err
		}
		signed, err := key.Open(r.values[1].all().([]string)[last])
		if err != nil {
			return fmt.Errorf("a checkpoint: %w", err)
		}
		if size := r.values[0].all().([]int64)[last]; signed.Size != uint64(size) || len(m.pending) > 0 && m.pending[len(m.pending)-1].Size >= signed.Size {
			return fmt.Errorf("a checkpoint of %d events is out of its place", signed.Size)
		}
		m.pending = append(m.pending, signed)
	}
	return nil
}

func (m *importing) verifier() (*trail.Verifier, error) {
	text, there := m.settings[auditlog.VerifierSetting]
	if !there {
		return nil, errors.New("there are checkpoints, and no key among the settings to verify them with")
	}
	return trail.NewVerifier(string(text))
}

// evidence looks at what the events will be held against, and at the master key, before it reads them.
func (m *importing) evidence() error {
	if err := keyring.Check(m.settings, m.master); err != nil {
		return fmt.Errorf("the master key is not the one of the store that the file came from; bring that one (HOOKTRAIL_MASTER_KEY, or master.key in the data directory): %w", err)
	}
	if m.header.Checkpoint == "" && len(m.pending) == 0 {
		return nil
	}
	key, err := m.verifier()
	if err != nil {
		return err
	}
	latest, err := key.Open(m.header.Checkpoint)
	if err != nil {
		return &LineError{1, fmt.Errorf("the checkpoint: %w", err)}
	}
	if len(m.pending) == 0 || latest.Size != m.pending[len(m.pending)-1].Size || !bytes.Equal(latest.Root, m.pending[len(m.pending)-1].Root) {
		return &LineError{1, errors.New("its checkpoint is not the last one of the file")}
	}
	m.report.Covered = int64(latest.Size)
	return nil
}

// events reads events from a line on, and gives the first line that is none.
func (m *importing) events(ctx context.Context, l *line) (*line, error) {
	for l.Event != nil {
		if err := m.event(l.Event); err != nil {
			return nil, m.lines.wrong(err)
		}
		if m.batch.full() {
			if err := m.write(ctx); err != nil {
				return nil, err
			}
		}
		var err error
		if l, err = m.lines.next(); err != nil {
			return nil, err
		}
	}
	if len(m.pending) > 0 {
		return nil, m.lines.wrong(fmt.Errorf("the events end at position %d, but %d were signed", m.tree.Size(), m.pending[len(m.pending)-1].Size))
	}
	if err := m.write(ctx); err != nil {
		return nil, err
	}
	auditlog.WriteBlocks(m.tx, m.tree.Growing())
	m.report.Events = int64(m.tree.Size())
	var err error
	m.report.Root, err = m.tree.Root()
	return l, err
}

// event adds an event to the tree and to the batch.
func (m *importing) event(e *event) error {
	if want := int64(m.tree.Size()) + 1; e.Position != want {
		return fmt.Errorf("the event at position %d stands where %d has to be", e.Position, want)
	}
	if e.Payload != nil && !auditlog.Belongs(e.Payload, e.Data) {
		return fmt.Errorf("position %d: its payload is not the one that it was recorded with", e.Position)
	}
	m.batch.encoded = e.leaf().AppendTo(m.batch.encoded[:0])
	if err := m.tree.Add(trail.HashLeaf(m.batch.encoded), func(b trail.Block) { m.batch.blocks = append(m.batch.blocks, b) }); err != nil {
		return err
	}
	if len(m.pending) > 0 && m.pending[0].Size == m.tree.Size() {
		if err := agrees(m.tree, m.pending[0]); err != nil {
			return err
		}
		m.pending = m.pending[1:]
	}
	m.batch.add(e)
	return nil
}

// write writes the batch and what it makes of the read models.
func (m *importing) write(ctx context.Context) error {
	if len(m.batch.recorded) == 0 {
		return nil
	}
	m.batch.insert(m.tx)
	auditlog.WriteBlocks(m.tx, m.batch.blocks)
	if err := m.loader.Load(ctx, m.tx, m.batch.recorded); err != nil {
		return m.refused(err)
	}
	if err := m.tx.Flush(ctx); err != nil {
		return m.refused(err)
	}
	m.batch.clear()
	m.progress(int64(m.tree.Size()), m.header.Events)
	return nil
}

// ends looks at the last line.
func (m *importing) ends(l *line) error {
	switch {
	case l.End == nil:
		return errNoLine
	case l.End.Events != m.report.Events || m.header.Events != m.report.Events:
		return fmt.Errorf("%d events were read, and the file says that it has %d", m.report.Events, l.End.Events)
	case !bytes.Equal(l.End.Root, m.report.Root):
		return fmt.Errorf("the root over the events is %s, and was %s when they were exported", hex.EncodeToString(m.report.Root), hex.EncodeToString(l.End.Root))
	case !maps.Equal(l.End.Rows, m.report.Rows):
		return errors.New("there are not as many rows as the file says that it has: some were removed or put in")
	case !bytes.Equal(l.End.SHA256, m.lines.before):
		return errors.New("the SHA-256 over the lines before is another one: the file was changed")
	}
	return m.lines.nothingMore()
}

// lines reads the lines of a file.
type lines struct {
	from   *bufio.Reader
	digest interface {
		io.Writer
		Sum(b []byte) []byte
	}
	before []byte // the digest over all lines before the last that was read, if that is the end
	text   []byte
	count  int
}

func (l *lines) wrong(err error) error { return &LineError{l.count, err} }

// next reads a line; the end of the file is errCut.
func (l *lines) next() (*line, error) {
	l.text = l.text[:0]
	for {
		part, err := l.from.ReadSlice('\n')
		l.text = append(l.text, part...)
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) {
			l.count++
			return nil, l.wrong(errCut)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("read the file: %w", err)
		}
		if len(l.text) > longestLine {
			l.count++
			return nil, l.wrong(errLong)
		}
	}
	l.count++
	parsed, err := parse(l.text)
	if err != nil {
		return nil, l.wrong(err)
	}
	if parsed.End != nil {
		l.before = l.digest.Sum(nil)
	}
	_, _ = l.digest.Write(l.text) // it never fails
	return parsed, nil
}

// nothingMore is an error unless the file ends here.
func (l *lines) nothingMore() error {
	_, err := l.from.ReadByte()
	if err == nil {
		l.count++
		return errors.New("something stands behind the last line")
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the file: %w", err)
	}
	return nil
}
