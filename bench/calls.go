package main

import (
	"context"
	"fmt"
	"time"
)

// calls measures webhook calls, in turns with the references.
func (r *report) calls(ctx context.Context, s settings, h *host, b *bed) error {
	plain, err := b.create(ctx, "none", 1, false)
	if err != nil {
		return err
	}
	signed, err := b.create(ctx, "none", 1, true)
	if err != nil {
		return err
	}
	spread, err := b.create(ctx, "none", 1000, false)
	if err != nil {
		return err
	}
	hmac, bearer, many := b.requests(signed, signature()), b.requests(plain, ""), b.requests(spread, "")
	// Every trigger is loaded once before it is measured.
	for _, requests := range [][][]byte{hmac, bearer, many} {
		if _, err := b.run(ctx, load{connections: 64, duration: 500 * time.Millisecond, requests: requests}); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
	subjects, end, err := r.references(ctx, s, h)
	if err != nil {
		return fmt.Errorf("references: %w", err)
	}
	defer end()
	for _, c := range []struct {
		name        string
		connections int
		requests    [][]byte
		always      bool
	}{
		{hmacName(1), 1, hmac, true},
		{hmacName(16), 16, hmac, false},
		{hmacName(64), 64, hmac, true},
		{hmacName(256), 256, hmac, true},
		{"bearer, 1 connection", 1, bearer, false},
		{"bearer, 16 connections", 16, bearer, false},
		{hotName, 64, bearer, true},
		{"bearer, 256 connections", 256, bearer, false},
		{spreadName, 64, many, true},
	} {
		if c.always || !s.short {
			subjects = append(subjects, b.calls(c.name, c.connections, c.requests))
		}
	}
	kept := subjects[:0]
	for _, one := range subjects {
		if s.wants(one.name) {
			kept = append(kept, one)
		}
	}
	if err := r.alternate(ctx, s, h, bareName, kept); err != nil {
		return err
	}
	return r.half(ctx, s, h, b, hmac)
}

const (
	hotName    = "bearer, 64 connections, 1 trigger"
	spreadName = "bearer, 64 conn., 1,000 triggers"
	halfName   = "hmac, 64 conn., half of the highest"
)

var connectionCounts = []int{1, 16, 64, 256}

func hmacName(connections int) string {
	if connections == 1 {
		return "hmac, 1 connection"
	}
	return fmt.Sprintf("hmac, %d connections", connections)
}

// calls is a cell of webhook calls on a bed.
func (b *bed) calls(name string, connections int, requests [][]byte) *subject {
	return &subject{name: name, server: b.pid(), database: b.host.databasePID(), bed: b, run: func(ctx context.Context, duration time.Duration) (outcome, error) {
		return b.run(ctx, load{connections: connections, duration: duration, requests: requests})
	}}
}

// half measures the times of calls when half as many come as the server can take at most.
func (r *report) half(ctx context.Context, s settings, h *host, b *bed, requests [][]byte) error {
	highest := 0.0
	for _, connections := range connectionCounts {
		c, _ := r.find(r.store, hmacName(connections))
		highest = max(highest, c.PerSecond)
	}
	if highest == 0 || !s.wants(halfName) {
		return nil
	}
	return r.beside(ctx, s, h, func() ([]cell, error) {
		half := b.calls(halfName, 64, nil)
		half.run = func(ctx context.Context, duration time.Duration) (outcome, error) {
			return b.run(ctx, load{connections: 64, duration: duration, rate: int(highest / 2), requests: requests})
		}
		var err error
		half.sample, err = half.measure(ctx, s.duration)
		c := half.cell()
		c.Paced = true
		return []cell{c}, err
	})
}
