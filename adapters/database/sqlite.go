package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
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
	pragmas := url.Values{"_pragma": {
		"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(ON)", "temp_store(MEMORY)",
		"cache_size(-32768)", "journal_size_limit(67108864)",
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
		writer:  w,
		listen: func(ctx context.Context, _ string, woken func()) {
			woken()
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
			return err
		}
	}
	for _, st := range statements {
		if err := s.one(ctx, st); err != nil {
			return err
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

// rows runs a bulk statement for each of its rows, on the driver itself: what database/sql
// does around every call costs as much as a small row.
func (s *sqliteSession) rows(ctx context.Context, conn driver.Conn, bulk *Bulk) error {
	prepared, known := s.bulks[bulk.statement.sqlite]
	if !known {
		made, err := conn.Prepare(bulk.statement.sqlite)
		if err != nil {
			return err
		}
		prepared = made.(bulkStatement)
		s.bulks[bulk.statement.sqlite] = prepared
	}
	args := make([]any, bulk.statement.columns)
	named := make([]driver.NamedValue, len(args))
	for i := range bulk.Len() {
		bulk.row(i, args)
		for n, arg := range args {
			named[n] = driver.NamedValue{Ordinal: n + 1, Value: arg}
		}
		if _, err := prepared.ExecContext(ctx, named); err != nil {
			return err
		}
	}
	return nil
}

// bulkStatement is a statement prepared on the driver.
type bulkStatement interface {
	driver.Stmt
	driver.StmtExecContext
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
