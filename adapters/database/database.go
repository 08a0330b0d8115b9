// Package database opens PostgreSQL or SQLite and runs transactions on them in few round
// trips. What differs between the two is a value, the dialect; all that uses it is the same.
package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"hooktrail/domain/eventlog"
)

// DB is one open database: pooled reads, and transactions that write.
type DB struct {
	Dialect Dialect
	// Read is the pool for queries outside transactions.
	Read   *sqlx.DB
	writer writer
	others func() bool // whether other processes may wait to be woken
	listen func(ctx context.Context, channel string, woken func(note string))
	close  func() error
}

// writer begins transactions; each dialect has its own.
type writer interface {
	begin(ctx context.Context) (session, error)
}

// session is one open transaction on one connection.
type session interface {
	// run executes the statements in order, in as few round trips as the database allows, and
	// commits behind the last one if asked to. It marks failures that are known to have come
	// before the commit.
	run(ctx context.Context, statements []statement, commit bool) error
	// abort rolls back what is left open and gives the connection back.
	abort()
}

type statement struct {
	sql  string
	args []any
	each func(scan Scan) error
	bulk *Bulk
}

// Scan reads the current row.
type Scan func(dest ...any) error

// Tx collects statements and sends them together.
type Tx struct {
	dialect Dialect
	session session
	others  func() bool
	queue   []statement
}

// Dialect gives the dialect of the database.
func (tx *Tx) Dialect() Dialect { return tx.dialect }

// Exec queues a statement with `?` placeholders.
func (tx *Tx) Exec(sql string, args ...any) {
	tx.queue = append(tx.queue, statement{sql: sql, args: args})
}

// Query queues a query; each is called for every row when the queue is flushed.
func (tx *Tx) Query(each func(scan Scan) error, sql string, args ...any) {
	tx.queue = append(tx.queue, statement{sql: sql, args: args, each: each})
}

// Notify queues that other processes, if there are any, are told something at the commit.
func (tx *Tx) Notify(note string) {
	if tx.others() {
		tx.Query(func(Scan) error { return nil }, "SELECT pg_notify('"+AppendChannel+"', ?)", note)
	}
}

// Bulk queues one statement for many rows.
func (tx *Tx) Bulk(b Bulk) {
	if b.Len() > 0 {
		tx.queue = append(tx.queue, statement{bulk: &b})
	}
}

// Flush sends what is queued and reads the answers.
func (tx *Tx) Flush(ctx context.Context) error {
	if len(tx.queue) == 0 {
		return nil
	}
	queue := tx.queue
	tx.queue = nil
	return tx.session.run(ctx, queue, false)
}

// Write runs do in a transaction and commits it together with the statements that do left
// queued. After an error nothing is changed, unless the error is ErrOutcomeUnknown.
func (db *DB) Write(ctx context.Context, do func(tx *Tx) error) error {
	s, err := db.writer.begin(ctx)
	if err != nil {
		return db.classify(err)
	}
	defer s.abort()
	tx := &Tx{dialect: db.Dialect, session: s, others: db.others}
	if err := do(tx); err != nil {
		return db.classify(err)
	}
	if err := s.run(ctx, tx.queue, true); err != nil {
		var refused *notCommitted
		if errors.As(err, &refused) {
			return db.classify(refused.cause)
		}
		// When ctx ended meanwhile, the drivers say so, whatever became of the commit.
		if ctx.Err() != nil || db.Dialect.isUnavailable(err) {
			return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
		return err
	}
	return nil
}

// notCommitted marks a failure behind which nothing can have been committed.
type notCommitted struct{ cause error }

func (e *notCommitted) Error() string { return e.cause.Error() }
func (e *notCommitted) Unwrap() error { return e.cause }

func (db *DB) classify(err error) error {
	if db.Dialect.isUnavailable(err) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// ErrUnavailable says that the database could not be reached or did not answer in time;
// nothing was changed.
var ErrUnavailable = errors.New("database is unavailable")

// ErrOutcomeUnknown says that the connection broke while committing: the transaction may or
// may not be in the database.
var ErrOutcomeUnknown = errors.New("outcome of the commit is unknown")

// IsUnavailable reports whether err comes from a database that cannot be reached, is out of
// space or does not answer in time.
func (db *DB) IsUnavailable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOutcomeUnknown) || db.Dialect.isUnavailable(err)
}

// Failure gives a failure to do something the form that the application knows: an
// eventlog.ErrUnavailable, or any other error. It is nil for nil.
func (db *DB) Failure(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case db.IsUnavailable(err):
		return fmt.Errorf("%w: %s: %w", eventlog.ErrUnavailable, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isClosed reports whether database/sql refuses because the database has been closed, or because
// all the pooled connections that it tried had died (driver.ErrBadConn).
func isClosed(err error) bool {
	return err != nil && (errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) || strings.Contains(err.Error(), "sql: database is closed"))
}

// Listen calls woken with what any process, this one included, tells on a channel, until ctx
// ends; with "" when it begins to listen, and when it may have missed something. On the
// embedded store there is no other process and it only waits.
func (db *DB) Listen(ctx context.Context, channel string, woken func(note string)) {
	db.listen(ctx, channel, woken)
}

// Close ends all connections.
func (db *DB) Close() error { return db.close() }

// SQL gives a statement with `?` placeholders in the form of the dialect.
func (db *DB) SQL(sql string) string { return db.Dialect.rebind(sql) }

// Select reads all rows of a query with `?` placeholders into dest, a pointer to a slice.
func (db *DB) Select(ctx context.Context, dest any, sql string, args ...any) error {
	return db.classify(db.Read.SelectContext(ctx, dest, db.SQL(sql), args...))
}

// Get reads one row; sql.ErrNoRows when there is none.
func (db *DB) Get(ctx context.Context, dest any, sql string, args ...any) error {
	return db.classify(db.Read.GetContext(ctx, dest, db.SQL(sql), args...))
}

// Micros gives a time as it is stored: microseconds since 1970, UTC.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// Time reads a stored time.
func Time(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// MicrosOrNil is Micros for times that may be absent.
func MicrosOrNil(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	micros := t.UnixMicro()
	return &micros
}

// TimeOrNil is Time for times that may be absent.
func TimeOrNil(micros *int64) *time.Time {
	if micros == nil {
		return nil
	}
	t := Time(*micros)
	return &t
}

// IsDuplicate reports whether err says that a unique index refused a row.
func IsDuplicate(err error) bool { return postgresDuplicate(err) || sqliteDuplicate(err) }

// Setting reads a value that the whole installation shares; nil when it is not set.
func (db *DB) Setting(ctx context.Context, name string) ([]byte, error) {
	var values [][]byte
	if err := db.Select(ctx, &values, "SELECT value FROM settings WHERE name = ?", name); err != nil || len(values) == 0 {
		return nil, err
	}
	return values[0], nil
}

// SettingOnce gives a setting the value unless it has one, and returns the one it has.
// Whatever starts at the same moment gets the same value.
func (db *DB) SettingOnce(ctx context.Context, name string, value []byte) ([]byte, error) {
	err := db.Write(ctx, func(tx *Tx) error {
		tx.Exec("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return db.Setting(ctx, name)
}
