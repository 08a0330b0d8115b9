package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/bits"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

func sqliteDialect() Dialect {
	return Dialect{
		Name:          SQLite,
		Now:           "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
		bindType:      sqlx.QUESTION,
		inList:        " IN (SELECT value FROM json_each(?))",
		isUnavailable: sqliteUnavailable,
		rebound:       &sync.Map{},
	}
}

// OpenSQLite opens or creates the embedded store in a file. One connection writes, so that
// appends wait for each other without a lock of their own; a commit is on disk when it
// returns (synchronous=FULL).
func OpenSQLite(path string) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the embedded store: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open the embedded store: %w", err)
	}
	// The page size counts for a new file, and there only until the first page is written, which
	// the journal mode does: the driver sets it last. Twice the usual size makes for fewer pages, which
	// a batch writes twice: to the write-ahead log and by a checkpoint.
	pragmas := url.Values{"_journal_mode": {"WAL"}, "_pragma": {
		"page_size(8192)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(ON)", "temp_store(MEMORY)",
		"cache_size(-16384)", "journal_size_limit(67108864)",
	}}
	source := func(extra string) string {
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode() + extra
	}
	write, err := sql.Open("sqlite", source(""))
	if err != nil {
		return nil, fmt.Errorf("open the embedded store: %w", err)
	}
	write.SetMaxOpenConns(1)
	read, err := sqlx.Open("sqlite", source("&_pragma=query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the embedded store: %w", err), write.Close())
	}
	read.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	read.SetMaxIdleConns(max(4, runtime.GOMAXPROCS(0)))
	w := &sqliteWriter{db: write, seat: make(chan struct{}, 1), prepared: map[string]*sql.Stmt{}, bulks: map[string]bulkStatement{}}
	return &DB{
		Dialect: sqliteDialect(),
		Read:    read,
		others:  func() bool { return false },
		writer:  w,
		listen: func(ctx context.Context, _ string, woken func(note string)) {
			woken("")
			<-ctx.Done()
		},
		close: func() error { return errors.Join(read.Close(), w.close(), write.Close()) },
	}, nil
}

// sqliteWriter is the one connection that writes. Its holder has the only seat.
type sqliteWriter struct {
	db       *sql.DB
	seat     chan struct{}
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
	bulks    map[string]bulkStatement
	args     []driver.NamedValue // of a bulk statement; empty in between
}

func (w *sqliteWriter) begin(ctx context.Context) (session, error) {
	select {
	case w.seat <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if w.conn == nil {
		conn, err := w.db.Conn(ctx)
		if err != nil {
			<-w.seat
			return nil, fmt.Errorf("get the writing connection: %w", err)
		}
		w.conn = conn
	}
	return &sqliteSession{sqliteWriter: w}, nil
}

// close gives the connection back without its statements, so that it is closed together with
// its pool: otherwise the file stays open, and its write-ahead log is not folded in.
func (w *sqliteWriter) close() error {
	w.seat <- struct{}{}
	defer func() { <-w.seat }()
	if w.conn == nil {
		return nil
	}
	var errs []error
	for _, prepared := range w.prepared {
		errs = append(errs, prepared.Close())
	}
	for _, prepared := range w.bulks {
		errs = append(errs, prepared.Close())
	}
	errs = append(errs, w.conn.Close())
	w.conn, w.prepared, w.bulks = nil, map[string]*sql.Stmt{}, map[string]bulkStatement{}
	return errors.Join(errs...)
}

type sqliteSession struct {
	*sqliteWriter
	open bool
}

func (s *sqliteSession) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if known, found := s.prepared[text]; found {
		return known, nil
	}
	made, err := s.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s.prepared[text] = made
	return made, nil
}

func (s *sqliteSession) run(ctx context.Context, statements []statement, commit bool) error {
	if !s.open {
		// The driver reports the end of ctx even when the statement was carried out: abort has
		// to roll back in any case, or no other transaction could begin.
		s.open = true
		if err := s.one(ctx, statement{sql: "BEGIN IMMEDIATE"}); err != nil {
			return &notCommitted{err}
		}
	}
	for _, st := range statements {
		if err := s.one(ctx, st); err != nil {
			return &notCommitted{err}
		}
	}
	if !commit {
		return nil
	}
	if err := s.one(ctx, statement{sql: "COMMIT"}); err != nil {
		return err
	}
	s.open = false
	return nil
}

// one runs a statement unless ctx has ended. The driver is not given ctx: it would start a
// goroutine to watch it for every row, and statements are short.
func (s *sqliteSession) one(ctx context.Context, st statement) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if st.bulk != nil {
		return s.conn.Raw(func(driverConn any) error { return s.rows(ctx, driverConn.(driver.Conn), st.bulk) })
	}
	prepared, err := s.prepare(ctx, st.sql)
	if err != nil {
		return err
	}
	if st.each == nil {
		_, err := prepared.ExecContext(ctx, st.args...)
		return err
	}
	rows, err := prepared.QueryContext(ctx, st.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := st.each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// rows runs a bulk statement for many of its rows at a time, on the driver itself: what is done
// around every call and for every statement costs as much as a small row.
func (s *sqliteSession) rows(ctx context.Context, conn driver.Conn, bulk *Bulk) error {
	for from := 0; from < bulk.Len(); {
		step := bulk.statement.sqlite.step(bulk.Len() - from)
		prepared, err := s.prepareBulk(conn, bulk.statement.sqlite.sql(step))
		if err != nil {
			return err
		}
		s.args = bulk.appendCells(s.args[:0], from, from+step)
		_, err = prepared.ExecContext(ctx, s.args)
		clear(s.args)
		if err != nil {
			return err
		}
		from += step
	}
	return nil
}

func (s *sqliteSession) prepareBulk(conn driver.Conn, text string) (bulkStatement, error) {
	if known, found := s.bulks[text]; found {
		return known, nil
	}
	made, err := conn.Prepare(text)
	if err != nil {
		return nil, err
	}
	s.bulks[text] = made.(bulkStatement)
	return s.bulks[text], nil
}

// bulkStatement is a statement prepared on the driver.
type bulkStatement interface {
	driver.Stmt
	driver.StmtExecContext
}

// sqliteBulk is the text of a bulk statement.
type sqliteBulk struct {
	texts   []string // for 1, 2, 4 … rows; for 1 alone where a statement takes no more
	keyLast bool     // the first column comes last
}

// mostRows of one statement: more make it no cheaper.
const mostRows = 64

func sqliteInsert(table, suffix string, columns []string) sqliteBulk {
	row := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ") + ")"
	var bulk sqliteBulk
	for rows := 1; rows <= mostRows; rows *= 2 {
		bulk.texts = append(bulk.texts,
			"INSERT INTO "+table+" ("+strings.Join(columns, ", ")+") VALUES "+row+strings.Repeat(", "+row, rows-1)+" "+suffix)
	}
	return bulk
}

// step is how many of the rows the next statement takes. There are few such numbers, so that
// all statements stay prepared.
func (b sqliteBulk) step(rows int) int {
	return 1 << min(bits.Len(uint(rows))-1, len(b.texts)-1)
}

func (b sqliteBulk) sql(step int) string { return b.texts[bits.Len(uint(step))-1] }

// appendCells adds the values of some rows to args, one row behind the other.
func (b Bulk) appendCells(args []driver.NamedValue, from, to int) []driver.NamedValue {
	width := len(b.columns)
	args = slices.Grow(args, (to-from)*width)[:(to-from)*width]
	for c, column := range b.columns {
		if b.statement.sqlite.keyLast {
			c = (c + width - 1) % width
		}
		for i := from; i < to; i++ {
			n := (i-from)*width + c
			args[n] = driver.NamedValue{Ordinal: n + 1, Value: cell(column, i)}
		}
	}
	return args
}

func cell(column any, i int) driver.Value {
	switch values := column.(type) {
	case []string:
		return values[i]
	case []int64:
		return values[i]
	case []bool:
		return values[i]
	case [][]byte:
		if values[i] == nil {
			return nil
		}
		return values[i]
	case []*string:
		if values[i] == nil {
			return nil
		}
		return *values[i]
	case []*int64:
		if values[i] == nil {
			return nil
		}
		return *values[i]
	default:
		panic("bulk column of a type that is not supported")
	}
}

func (s *sqliteSession) abort() {
	if s.open {
		// After some errors SQLite has rolled back by itself or has not begun, and this one fails.
		_ = s.one(context.Background(), statement{sql: "ROLLBACK"})
	}
	<-s.seat
}

func sqliteUnavailable(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || isClosed(err) {
		return true
	}
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code() & 0xff {
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR,
		sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_NOMEM:
		return true
	}
	return false
}

func sqliteDuplicate(err error) bool {
	var failure *sqlite.Error
	return errors.As(err, &failure) &&
		(failure.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || failure.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY)
}
