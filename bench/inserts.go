package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lib/pq"
	"github.com/segmentio/ksuid"
)

const (
	insertName      = "one INSERT a transaction, 64 conn."
	insertAloneName = "one INSERT a transaction, 1 conn."
)

const (
	referenceTrigger = "3MWpTO8ZEuORgXsK8JE0OTscFOH"
	referenceRows    = 500 // of one statement of many rows
)

// worker is one connection of a reference: do writes some rows and tells how many.
type worker struct {
	do    func(ctx context.Context) (int, error)
	close func()
}

// references are the database's own speeds for rows of the same content as a call's. What is
// returned beside them ends their connections.
func (r *report) references(ctx context.Context, s settings, h *host) ([]*subject, func(), error) {
	if h.store == "sqlite" {
		return h.sqliteReferences(ctx)
	}
	url, drop, err := h.database(ctx, "reference")
	if err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(64)
	db.SetMaxIdleConns(64)
	end := func() {
		_ = db.Close()
		if err := drop(); err != nil {
			progress("%v", err)
		}
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE reference (id text PRIMARY KEY, trigger_id text NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now())"); err != nil {
		end()
		return nil, nil, err
	}
	single := insertSingle(db, "INSERT INTO reference (id, trigger_id, body) VALUES ($1, $2, $3)")
	many := insertMany(db)
	copied := copyMany(url)
	var subjects []*subject
	for _, one := range []struct {
		name        string
		connections int
		open        func(context.Context) (worker, error)
		always      bool
	}{
		{insertAloneName, 1, single, true},
		{"one INSERT a transaction, 16 conn.", 16, single, false},
		{insertName, 64, single, true},
		{"INSERT of 500 rows, 1 conn.", 1, many, true},
		{"INSERT of 500 rows, 4 conn.", 4, many, true},
		{"COPY of 500 rows, 1 conn.", 1, copied, true},
		{"COPY of 500 rows, 4 conn.", 4, copied, true},
	} {
		if one.always || !s.short {
			subjects = append(subjects, &subject{name: one.name, database: h.databasePID(), run: drive(one.connections, one.open)})
		}
	}
	return subjects, end, nil
}

// sqliteReferences is a lone commit of the same library and settings; the store has one
// writer, so more connections would only wait.
func (h *host) sqliteReferences(ctx context.Context) ([]*subject, func(), error) {
	file := filepath.Join(h.dir, "reference.db")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE reference (id text PRIMARY KEY, trigger_id text NOT NULL, body text NOT NULL, at text NOT NULL DEFAULT CURRENT_TIMESTAMP)"); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	single := insertSingle(db, "INSERT INTO reference (id, trigger_id, body) VALUES (?, ?, ?)")
	return []*subject{{name: insertAloneName, run: drive(1, single)}}, func() { _ = db.Close() }, nil
}

func insertSingle(db *sql.DB, text string) func(context.Context) (worker, error) {
	body := string(benchBody())
	return func(ctx context.Context) (worker, error) {
		conn, err := db.Conn(ctx)
		if err != nil {
			return worker{}, err
		}
		statement, err := conn.PrepareContext(ctx, text)
		if err != nil {
			return worker{}, errors.Join(err, conn.Close())
		}
		return worker{
			do: func(ctx context.Context) (int, error) {
				_, err := statement.ExecContext(ctx, ksuid.New().String(), referenceTrigger, body)
				return 1, err
			},
			close: func() { _ = errors.Join(statement.Close(), conn.Close()) },
		}, nil
	}
}

func insertMany(db *sql.DB) func(context.Context) (worker, error) {
	body := string(benchBody())
	return func(ctx context.Context) (worker, error) {
		conn, err := db.Conn(ctx)
		if err != nil {
			return worker{}, err
		}
		do := func(ctx context.Context) (int, error) {
			ids, triggers, bodies := make([]string, referenceRows), make([]string, referenceRows), make([]string, referenceRows)
			for i := range referenceRows {
				ids[i], triggers[i], bodies[i] = ksuid.New().String(), referenceTrigger, body
			}
			_, err := conn.ExecContext(ctx, "INSERT INTO reference (id, trigger_id, body) SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[])",
				pq.Array(ids), pq.Array(triggers), pq.Array(bodies))
			return referenceRows, err
		}
		return worker{do: do, close: func() { _ = conn.Close() }}, nil
	}
}

// copyMany is COPY of the same rows, through pgx because lib/pq offers it no more.
func copyMany(url string) func(context.Context) (worker, error) {
	body := string(benchBody())
	return func(ctx context.Context) (worker, error) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return worker{}, err
		}
		do := func(ctx context.Context) (int, error) {
			copied, err := conn.CopyFrom(ctx, pgx.Identifier{"reference"}, []string{"id", "trigger_id", "body"}, pgx.CopyFromSlice(referenceRows, func(int) ([]any, error) {
				return []any{ksuid.New().String(), referenceTrigger, body}, nil
			}))
			return int(copied), err
		}
		return worker{do: do, close: func() { _ = conn.Close(context.WithoutCancel(ctx)) }}, nil
	}
}

// drive writes on a number of connections until the time is over.
func drive(connections int, open func(context.Context) (worker, error)) func(context.Context, time.Duration) (outcome, error) {
	return func(ctx context.Context, duration time.Duration) (outcome, error) {
		workers := make([]worker, 0, connections)
		defer func() {
			for _, w := range workers {
				w.close()
			}
		}()
		for range connections { // before the clock runs
			w, err := open(ctx)
			if err != nil {
				return outcome{}, fmt.Errorf("connect: %w", err)
			}
			workers = append(workers, w)
		}
		parts, errs := make([]outcome, connections), make([]error, connections)
		var wg sync.WaitGroup
		began := time.Now()
		for i, w := range workers {
			wg.Go(func() {
				for time.Since(began) < duration && errs[i] == nil {
					at := time.Now()
					var rows int
					rows, errs[i] = w.do(ctx)
					parts[i].done += rows
					parts[i].times = append(parts[i].times, time.Since(at))
				}
			})
		}
		wg.Wait()
		total := outcome{took: time.Since(began)}
		for _, part := range parts {
			total.done += part.done
			total.times = append(total.times, part.times...)
		}
		slices.Sort(total.times)
		return total, errors.Join(errs...)
	}
}
