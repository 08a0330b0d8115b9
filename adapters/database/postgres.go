package database

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
)

// appendLockKey is "hooktrail" shortened to a number that no other program is likely to use.
const appendLockKey = 0x686f6f6b

func postgresDialect() Dialect {
	return Dialect{
		Name:          Postgres,
		AppendLock:    fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", appendLockKey),
		Now:           "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
		bindType:      sqlx.DOLLAR,
		inList:        " = ANY(?)",
		isUnavailable: postgresUnavailable,
		rebound:       &sync.Map{},
	}
}

// OpenPostgres connects to PostgreSQL 14 or newer.
func OpenPostgres(ctx context.Context, url string) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL is not one that PostgreSQL understands") // the parser's text may quote the password
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	config.ConnConfig.RuntimeParams["application_name"] = "hooktrail"
	config.ConnConfig.RuntimeParams["statement_timeout"] = "30000"
	reads, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	writing := config.Copy()
	writing.MaxConns = 4
	// A stopped process must not hold the append lock of all the others for longer than this.
	writing.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "5000"
	writing.ConnConfig.RuntimeParams["lock_timeout"] = "10000"
	// The statements of the write path have one good plan each; planning them anew for every
	// batch costs more than running them.
	writing.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	writes, err := pgxpool.NewWithConfig(ctx, writing)
	if err != nil {
		reads.Close()
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	read := sqlx.NewDb(stdlib.OpenDBFromPool(reads), "pgx")
	here := newPresence()
	tell := func(ctx context.Context, note string) {
		ctx, cancel := context.WithTimeout(ctx, presenceBeat)
		defer cancel()
		_, _ = read.ExecContext(ctx, "SELECT pg_notify('"+AppendChannel+"', $1)", note)
	}
	dialect := postgresDialect()
	return &DB{
		others:  here.others,
		Dialect: dialect,
		Read:    read,
		writer:  postgresWriter{writes, dialect},
		listen: func(ctx context.Context, channel string, woken func(note string)) {
			var beating sync.WaitGroup
			defer beating.Wait()
			beating.Go(func() { here.beat(ctx, tell) })
			listen(ctx, config.ConnConfig, channel, here, woken)
		},
		close: func() error {
			err := read.Close()
			writes.Close()
			reads.Close()
			return err
		},
	}, nil
}

type postgresWriter struct {
	pool    *pgxpool.Pool
	dialect Dialect
}

func (w postgresWriter) begin(ctx context.Context) (session, error) {
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a connection: %w", err)
	}
	return &postgresSession{conn: conn, dialect: w.dialect}, nil
}

type postgresSession struct {
	conn    *pgxpool.Conn
	dialect Dialect
	open    bool
}

func (s *postgresSession) run(ctx context.Context, statements []statement, commit bool) error {
	if err := ctx.Err(); err != nil {
		return &notCommitted{err}
	}
	p := &pipeline{conn: s.conn.Conn(), dialect: s.dialect}
	// What is sent up to one Sync is a transaction without BEGIN and COMMIT (PostgreSQL
	// documentation, "Pipelining").
	switch {
	case !s.open && !commit:
		statements = append([]statement{{sql: "BEGIN"}}, statements...)
	case s.open && commit:
		statements = append(statements, statement{sql: "COMMIT"})
	}
	for _, st := range statements {
		if err := p.add(ctx, st); err != nil {
			return &notCommitted{err}
		}
	}
	s.open = s.open || !commit
	if err := p.run(ctx); err != nil {
		// A server that ends the session may have committed; one that refuses has not.
		var refusal *pgconn.PgError
		if errors.As(err, &refusal) && refusal.SeverityUnlocalized == "ERROR" {
			return &notCommitted{err}
		}
		return err
	}
	s.open = !commit
	return nil
}

func (s *postgresSession) abort() {
	if s.open && !s.conn.Conn().IsClosed() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if _, err := s.conn.Exec(ctx, "ROLLBACK"); err != nil {
			// A connection in an unknown state must not go back to the pool.
			_ = s.conn.Conn().Close(ctx)
		}
	}
	s.conn.Release()
}

// postgresUnavailable tells failures of the connection, of resources and of waiting from
// failures of what was asked, by SQLSTATE class (PostgreSQL documentation, appendix A).
func postgresUnavailable(err error) bool {
	if err == nil {
		return false
	}
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		switch refusal.Code[:2] {
		case "08", "53", "57", "58": // connection, resources, operator intervention, system
			return true
		}
		switch refusal.Code {
		case "55P03", "25P03", "25006": // lock timeout, idle in transaction, read-only standby
			return true
		}
		return false
	}
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &network) || errors.As(err, &connect) || pgconn.SafeToRetry(err) ||
		errors.Is(err, context.DeadlineExceeded) || isClosed(err) || strings.Contains(err.Error(), "conn closed") ||
		strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "closed pool")
}

// listen holds one connection of its own and returns only when ctx ends; a lost connection
// counts as a wake-up, since notifications may have been missed meanwhile.
func listen(ctx context.Context, config *pgx.ConnConfig, channel string, here *presence, woken func(note string)) {
	wait := 50 * time.Millisecond
	for {
		// However the connection was lost, it is mended the same way.
		_ = listenOnce(ctx, config, channel, here, func(note string) { wait = 50 * time.Millisecond; woken(note) })
		if ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, 2*time.Second)
	}
}

func listenOnce(ctx context.Context, config *pgx.ConnConfig, channel string, here *presence, woken func(note string)) error {
	conn, err := pgx.ConnectConfig(ctx, config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	here.begin()
	defer here.end()
	woken("")
	for {
		notification, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if !here.took(notification.Payload) {
			woken(notification.Payload)
		}
	}
}

func postgresDuplicate(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code == "23505"
}
