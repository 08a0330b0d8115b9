package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// cost counts what an execution, with its call, costs the store. It is apart from the
// measuring of speed because counting statements costs something itself.
func (b *bed) cost(ctx context.Context, name string, duration time.Duration, rate int, requests [][]byte) ([]cell, error) {
	counts, err := b.host.counter(ctx, b)
	if err != nil {
		return nil, err
	}
	before, err := counts.read(ctx)
	if err != nil {
		return nil, err
	}
	e, err := b.execute(ctx, duration, rate, requests)
	if err != nil {
		return nil, err
	}
	after, err := counts.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := counts.end(ctx); err != nil {
		return nil, err
	}
	c := cell{Name: name, Paced: true, PerSecond: float64(e.done) / e.took.Seconds(), Cost: map[string]float64{}}
	for what, count := range after {
		c.Cost[what] = (count - before[what]) / float64(max(e.done, 1))
	}
	parts := make([]string, 0, len(c.Cost))
	for what, count := range c.Cost {
		parts = append(parts, fmt.Sprintf("%s %.3g", what, count))
	}
	slices.Sort(parts)
	c.Note = "each: " + strings.Join(parts, ", ") + " (" + counts.source + ")"
	return []cell{c}, nil
}

// counter reads totals of what a store has done.
type counter struct {
	source string
	read   func(ctx context.Context) (map[string]float64, error)
	end    func(ctx context.Context) error
}

func (h *host) counter(ctx context.Context, b *bed) (counter, error) {
	if h.url == "" {
		// What statements the library runs inside SQLite is not counted anywhere.
		return counter{"by the server's metrics", b.appended, func(context.Context) error { return nil }}, nil
	}
	var seen bool
	err := h.onServer(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements')").Scan(&seen)
	})
	if err != nil {
		return counter{}, err
	}
	if !seen {
		return counter{"by pg_stat_database and pg_stat_user_tables", b.tuples, func(context.Context) error { return nil }}, nil
	}
	return counter{"by pg_stat_statements, without BEGIN and COMMIT", b.statements, func(ctx context.Context) error { return h.trackStatements(ctx, "none") }}, h.trackStatements(ctx, "top")
}

func (b *bed) appended(ctx context.Context) (map[string]float64, error) {
	commits, appends, err := b.commits(ctx)
	if err != nil {
		return nil, err
	}
	events, err := metric(ctx, b.addr, "hooktrail_events_appended_total")
	return map[string]float64{"commits": commits, "appends": appends, "events": events}, err
}

// statements counts what the bed's database was asked. Rows are those of statements that
// begin with the word, which is how all of ours are written. BEGIN and COMMIT are left out:
// those prepared before the counting was switched on escape it.
func (b *bed) statements(ctx context.Context) (map[string]float64, error) {
	counts, err := b.appended(ctx)
	if err != nil {
		return nil, err
	}
	var statements, inserted, updated, deleted float64
	err = b.host.onServer(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT coalesce(sum(calls), 0)::float8,
			coalesce(sum(rows) FILTER (WHERE query ILIKE 'insert%'), 0)::float8,
			coalesce(sum(rows) FILTER (WHERE query ILIKE 'update%'), 0)::float8,
			coalesce(sum(rows) FILTER (WHERE query ILIKE 'delete%'), 0)::float8
			FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1) AND upper(query) NOT IN ('BEGIN', 'COMMIT')`, b.databaseName()).
			Scan(&statements, &inserted, &updated, &deleted)
	})
	counts["statements"], counts["rows inserted"], counts["rows updated"], counts["rows deleted"] = statements, inserted, updated, deleted
	return counts, err
}

// statisticsDelay is how long a connection without work keeps its counts to itself.
const statisticsDelay = 11 * time.Second

// tuples counts commits and rows where statements are not counted.
func (b *bed) tuples(ctx context.Context) (map[string]float64, error) {
	if err := pause(ctx, statisticsDelay); err != nil {
		return nil, err
	}
	counts, err := b.appended(ctx)
	if err != nil {
		return nil, err
	}
	var transactions, inserted, updated, deleted float64
	err = onDatabase(ctx, b.url, func(conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, "SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()").Scan(&transactions)
		if err != nil {
			return err
		}
		return conn.QueryRow(ctx, "SELECT coalesce(sum(n_tup_ins), 0)::float8, coalesce(sum(n_tup_upd), 0)::float8, coalesce(sum(n_tup_del), 0)::float8 FROM pg_stat_user_tables").
			Scan(&inserted, &updated, &deleted)
	})
	counts["transactions, reading ones included"], counts["rows inserted"], counts["rows updated"], counts["rows deleted"] = transactions, inserted, updated, deleted
	return counts, err
}

func (b *bed) databaseName() string {
	config, err := pgx.ParseConfig(b.url)
	if err != nil {
		return ""
	}
	return config.Database
}

// loadStatementCounts makes the private server count statements when asked to, if it has
// the module. It counts none while speed is measured.
func (h *host) loadStatementCounts(ctx context.Context) error {
	var available bool
	err := h.onServer(ctx, func(conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements')").Scan(&available)
		if err != nil || !available {
			return err
		}
		_, err = conn.Exec(ctx, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
		return err
	})
	if err != nil || !available {
		return err
	}
	h.server.Kill9() // there is nothing on it yet that a crash could harm
	if err := h.server.Restart(ctx); err != nil {
		return fmt.Errorf("start PostgreSQL with pg_stat_statements: %w", err)
	}
	return errors.Join(h.onServer(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE EXTENSION pg_stat_statements")
		return err
	}), h.trackStatements(ctx, "none"))
}

// trackStatements switches the counting on a server of our own; another keeps its setting.
func (h *host) trackStatements(ctx context.Context, which string) error {
	if h.server == nil {
		return nil
	}
	err := h.onServer(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "ALTER SYSTEM SET pg_stat_statements.track = '"+which+"'"); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "SELECT pg_reload_conf()")
		return err
	})
	if err != nil {
		return err
	}
	return pause(ctx, 200*time.Millisecond) // until all connections have read it
}
