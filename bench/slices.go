package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// subject is what one cell measures: its requests, and the processes that serve them.
type subject struct {
	name     string
	server   int  // pid, 0 when there is none
	database int  // pid, 0 when there is none
	bed      *bed // nil for a reference
	run      func(ctx context.Context, duration time.Duration) (outcome, error)

	sample sample
}

// sample is what was seen of a subject, in one slice or in all of them.
type sample struct {
	outcome
	serverCPU, databaseCPU, loadCPU time.Duration
	serverRSS, databaseRSS          float64
	commits, appends                float64
}

func (s *sample) add(more sample) {
	s.outcome.add(more.outcome)
	s.serverCPU += more.serverCPU
	s.databaseCPU += more.databaseCPU
	s.loadCPU += more.loadCPU
	s.serverRSS, s.databaseRSS = max(s.serverRSS, more.serverRSS), max(s.databaseRSS, more.databaseRSS)
	s.commits += more.commits
	s.appends += more.appends
}

// measure runs a subject once.
func (s *subject) measure(ctx context.Context, duration time.Duration) (sample, error) {
	var m sample
	var commits, appends float64
	var err error
	if s.bed != nil {
		if commits, appends, err = s.bed.commits(ctx); err != nil {
			return m, err
		}
	}
	server, database, own := processorTime(s.server), processorTime(s.database), processorTime(os.Getpid())
	memory := watchMemory(s.server)
	m.outcome, err = s.run(ctx, duration)
	m.serverRSS = memory()
	if err != nil {
		return m, fmt.Errorf("%s: %w", s.name, err)
	}
	m.serverCPU, m.databaseCPU = processorTime(s.server)-server, processorTime(s.database)-database
	m.loadCPU, m.databaseRSS = processorTime(os.Getpid())-own, familyMiB(s.database)
	if s.bed != nil {
		if m.commits, m.appends, err = s.bed.commits(ctx); err != nil {
			return m, err
		}
		m.commits, m.appends = m.commits-commits, m.appends-appends
	}
	return m, nil
}

func (s *subject) cell() cell {
	m := s.sample
	c := cell{
		Name: s.name, PerSecond: m.perSecond(), P50: m.quantile(.5), P99: m.quantile(.99), P999: m.quantile(.999), Refused: m.refused,
		ServerCPU: perCall(m.serverCPU, m.done), DatabaseCPU: perCall(m.databaseCPU, m.done), LoadCPU: perCall(m.loadCPU, m.done),
		ServerRSS: m.serverRSS, DatabaseRSS: m.databaseRSS,
	}
	if m.commits > 0 {
		c.Commits, c.Batch = m.commits/m.took.Seconds(), m.appends/m.commits
	}
	if m.refused > 0 {
		c.Note = fmt.Sprintf("%d refused with 503", m.refused)
	}
	return c
}

func perCall(cpu time.Duration, calls int) float64 {
	return float64(cpu.Microseconds()) / float64(max(calls, 1))
}

// breath lets what one slice has left in the background end before the next begins.
const breath = 100 * time.Millisecond

// alternate measures subjects in short slices by turns, so that all of them meet the same
// machine, whatever else it does meanwhile.
func (r *report) alternate(ctx context.Context, s settings, h *host, reference string, subjects []*subject) error {
	bare := h.bareSubject()
	bare.name = reference
	all := append([]*subject{bare}, subjects...)
	for round := range s.rounds {
		progress("%s: round %d of %d over %d cells", r.store, round+1, s.rounds, len(all))
		for _, one := range all {
			if err := pause(ctx, breath); err != nil {
				return err
			}
			profiled := one.bed.startProfile(ctx, r.store+" "+one.name, s.duration)
			m, err := one.measure(ctx, s.duration/time.Duration(s.rounds))
			profiled()
			if err != nil {
				return err
			}
			one.sample.add(m)
		}
	}
	for _, one := range all {
		c := one.cell()
		c.Bare = bare.sample.perSecond()
		r.add(c)
	}
	return nil
}

// beside measures what cannot be divided into slices, with the bare handler before and after.
func (r *report) beside(ctx context.Context, s settings, h *host, measure func() ([]cell, error)) error {
	var bare outcome
	reference := func() error {
		if err := pause(ctx, breath); err != nil {
			return err
		}
		m, err := h.bareSubject().run(ctx, min(s.duration/4, time.Second))
		bare.add(m)
		return err
	}
	if err := reference(); err != nil {
		return err
	}
	cells, err := measure()
	if err != nil {
		return err
	}
	if err := reference(); err != nil {
		return err
	}
	for _, c := range cells {
		c.Bare = bare.perSecond()
		r.add(c)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
