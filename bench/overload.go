package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	shedName      = "shed: 6,000 conn., database stalled 2 s"
	shedAfterName = "after it, hmac, 64 connections"
)

// shed measures what a server does with more calls than it may queue while its database
// does not answer: it must refuse the rest with 503, stay small, and lose nothing.
func (r *report) shed(ctx context.Context, s settings, h *host) error {
	b, err := h.bed(ctx, "shed")
	if err != nil {
		return err
	}
	defer b.remove()
	list, err := b.create(ctx, "none", 1, true)
	if err != nil {
		return err
	}
	requests := b.requests(list, signature())
	// Default queue 4,096 and a batch of 512 under way: the rest of the connections is refused.
	over := b.calls(shedName, 6000, requests)
	over.run = func(ctx context.Context, duration time.Duration) (outcome, error) {
		stalled := make(chan error, 1)
		go func() {
			err := pause(ctx, time.Second)
			if err == nil {
				err = b.stall(ctx, 2*time.Second)
			}
			stalled <- err
		}()
		o, err := b.run(ctx, load{connections: 6000, duration: duration, requests: requests})
		if stall := <-stalled; err == nil {
			err = stall
		}
		return o, err
	}
	if over.sample, err = over.measure(ctx, 5*time.Second); err != nil {
		return err
	}
	r.add(over.cell())
	after := b.calls(shedAfterName, 64, requests)
	if after.sample, err = after.measure(ctx, min(s.duration, 2*time.Second)); err != nil {
		return err
	}
	r.add(after.cell())
	return r.checkLedger(ctx, b)
}

// stall keeps the database from committing appends for a while, as a slow disk would.
func (b *bed) stall(ctx context.Context, d time.Duration) error {
	if b.url == "" {
		db, err := sql.Open("sqlite", "file:"+b.file()+"?_pragma=busy_timeout(5000)&_txlock=immediate")
		if err != nil {
			return err
		}
		defer db.Close()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("stall the database: %w", err)
		}
		defer tx.Rollback()
		return pause(ctx, d)
	}
	return onDatabase(ctx, b.url, func(conn *pgx.Conn) error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		if _, err := tx.Exec(ctx, "LOCK TABLE events IN EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("stall the database: %w", err)
		}
		return pause(ctx, d)
	})
}

func soakName(minute int) string { return fmt.Sprintf("soak, minute %d", minute) }

// soak calls at full load for long, a cell a minute, and compares answers and log at the end.
func (r *report) soak(ctx context.Context, s settings, h *host) error {
	b, err := h.bed(ctx, "soak")
	if err != nil {
		return err
	}
	defer b.remove()
	list, err := b.create(ctx, "none", 1, true)
	if err != nil {
		return err
	}
	requests := b.requests(list, signature())
	began := time.Now()
	for minute := 1; time.Since(began) < s.soak; minute++ {
		err := r.beside(ctx, settings{duration: 2 * time.Second}, h, func() ([]cell, error) {
			one := b.calls(soakName(minute), 64, requests)
			var err error
			one.sample, err = one.measure(ctx, min(time.Minute, s.soak-time.Since(began)))
			return []cell{one.cell()}, err
		})
		if err != nil {
			return err
		}
	}
	return r.checkLedger(ctx, b)
}
