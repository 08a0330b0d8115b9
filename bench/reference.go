package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/jackc/pgx/v5"
	"github.com/lib/pq"
	"github.com/segmentio/ksuid"

	"hooktrail/domain/trigger"
)

const (
	bareName        = "bare fiber handler, HMAC, 64 conn."
	insertName      = "one INSERT a transaction, 64 conn."
	insertAloneName = "one INSERT a transaction, 1 conn."
	benchSecret     = "bench-secret-of-32-bytes-exactly"
)

// serveBare is a handler that verifies the HMAC and answers, and does nothing else.
func serveBare(addr string) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true, Immutable: true})
	app.Get("/", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusOK) })
	app.Post("/api/v1/webhook/trigger", func(c *fiber.Ctx) error {
		if !hmac.Equal([]byte(trigger.Sign([]byte(benchSecret), bytes.Clone(c.Request().Body()))), []byte(c.Get("X-Webhook-Signature"))) {
			return c.SendStatus(fiber.StatusUnauthorized)
		}
		c.Status(fiber.StatusAccepted).Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.SendString(`{"data":{"id":"3MWpTLSykDzjmfiOJ5Les47XdGw","status":"pending"}}`)
	})
	return app.Listen(addr)
}

func (r *report) bareHandler(ctx context.Context, s settings) error {
	r.store = "reference"
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := launch(ctx, addr, "/", nil, self, "-bare", addr)
	if err != nil {
		return err
	}
	defer p.stop()
	body := benchBody()
	l := load{addr: addr, connections: 64, duration: s.duration, status: 202, requests: [][]byte{request(addr, "wht_none", trigger.Sign([]byte(benchSecret), body), body)}}
	return r.measure(ctx, bareName, l, p, 0, nil)
}

// benchBody is a JSON object of 1 KiB.
func benchBody() []byte {
	body := []byte(`{"action":"opened","number":42,"repository":{"full_name":"acme/widgets","private":true},"labels":["bug","p1"],"text":"`)
	return append(append(body, strings.Repeat("x", 1024-len(body)-2)...), `"}`...)
}

const referenceTable = `CREATE TABLE IF NOT EXISTS reference (id text PRIMARY KEY, trigger_id text NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now())`

// inserts are the database's own speeds for rows of the same content.
func (r *report) inserts(ctx context.Context, s settings, url string, pid int) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(64)
	db.SetMaxIdleConns(64)
	if _, err := db.ExecContext(ctx, referenceTable); err != nil {
		return err
	}
	body := string(benchBody())
	single := func(ctx context.Context, conn *sql.Conn) func() (int, error) {
		statement, err := conn.PrepareContext(ctx, "INSERT INTO reference (id, trigger_id, body) VALUES ($1, $2, $3)")
		return func() (int, error) {
			if err != nil {
				return 0, err
			}
			_, err := statement.ExecContext(ctx, ksuid.New().String(), "3MWpTO8ZEuORgXsK8JE0OTscFOH", body)
			return 1, err
		}
	}
	many := func(ctx context.Context, conn *sql.Conn) func() (int, error) {
		const rows = 500
		return func() (int, error) {
			ids, triggers, bodies := make([]string, rows), make([]string, rows), make([]string, rows)
			for i := range rows {
				ids[i], triggers[i], bodies[i] = ksuid.New().String(), "3MWpTO8ZEuORgXsK8JE0OTscFOH", body
			}
			_, err := conn.ExecContext(ctx, "INSERT INTO reference (id, trigger_id, body) SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[])", pq.Array(ids), pq.Array(triggers), pq.Array(bodies))
			return rows, err
		}
	}
	for _, reference := range []struct {
		name        string
		connections int
		step        func(context.Context, *sql.Conn) func() (int, error)
	}{{insertAloneName, 1, single}, {insertName, 64, single}, {"INSERT of 500 rows, 1 conn.", 1, many}} {
		if err := r.drive(ctx, reference.name, db, reference.connections, s.duration, pid, reference.step); err != nil {
			return fmt.Errorf("%s: %w", reference.name, err)
		}
	}
	if err := r.copies(ctx, s, url, pid); err != nil {
		return fmt.Errorf("COPY: %w", err)
	}
	_, err = db.ExecContext(ctx, "DROP TABLE reference")
	return err
}

// copies measures COPY of the same rows, which lib/pq offers no more.
func (r *report) copies(ctx context.Context, s settings, url string, pid int) error {
	const rows = 500
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	body := string(benchBody())
	before, own, began := usageOf(pid), usageOf(os.Getpid()), time.Now()
	var total outcome
	for time.Since(began) < s.duration && ctx.Err() == nil {
		at := time.Now()
		_, err := conn.CopyFrom(ctx, pgx.Identifier{"reference"}, []string{"id", "trigger_id", "body"}, pgx.CopyFromSlice(rows, func(int) ([]any, error) {
			return []any{ksuid.New().String(), "3MWpTO8ZEuORgXsK8JE0OTscFOH", body}, nil
		}))
		if err != nil {
			return err
		}
		total.done += rows
		total.times = append(total.times, time.Since(at))
	}
	total.took = time.Since(began)
	slices.Sort(total.times)
	c := summarise("COPY of 500 rows, 1 conn.", total)
	c.DatabaseCPU, c.LoadCPU = perCall(usageOf(pid).cpu-before.cpu, total.done), perCall(usageOf(os.Getpid()).cpu-own.cpu, total.done)
	r.add(c)
	return nil
}

func (r *report) drive(ctx context.Context, name string, db *sql.DB, connections int, duration time.Duration, pid int, step func(context.Context, *sql.Conn) func() (int, error)) error {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		total  outcome
		failed error
	)
	before := usageOf(pid)
	own := usageOf(os.Getpid())
	began := time.Now()
	for range connections {
		wg.Go(func() {
			rows, times, err := func() (int, []time.Duration, error) {
				conn, err := db.Conn(ctx)
				if err != nil {
					return 0, nil, err
				}
				defer func() { _ = conn.Close() }()
				rows := 0
				var times []time.Duration
				do := step(ctx, conn)
				for time.Since(began) < duration && ctx.Err() == nil {
					at := time.Now()
					n, err := do()
					if err != nil {
						return rows, times, err
					}
					rows += n
					times = append(times, time.Since(at))
				}
				return rows, times, nil
			}()
			mu.Lock()
			defer mu.Unlock()
			total.done += rows
			total.times = append(total.times, times...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	total.took = time.Since(began)
	slices.Sort(total.times)
	if failed != nil {
		return failed
	}
	c := summarise(name, total)
	c.DatabaseCPU = perCall(usageOf(pid).cpu-before.cpu, total.done)
	c.LoadCPU = perCall(usageOf(os.Getpid()).cpu-own.cpu, total.done)
	r.add(c)
	return nil
}
