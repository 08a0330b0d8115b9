// Package schedule does what is due from time to time.
package schedule

import (
	"context"
	"log/slog"
	"time"
)

// Job is one thing to do again and again.
type Job struct {
	Name  string
	Every time.Duration
	Do    func(ctx context.Context) error
}

// Run does the jobs until ctx ends. A job that fails is done again at its next time.
func Run(ctx context.Context, logger *slog.Logger, jobs ...Job) {
	done := make(chan struct{})
	for _, job := range jobs {
		go func() {
			defer func() { done <- struct{}{} }()
			ticker := time.NewTicker(job.Every)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				if err := job.Do(ctx); err != nil && ctx.Err() == nil {
					logger.Warn("a scheduled job failed", "job", job.Name, "error", err)
				}
			}
		}()
	}
	for range jobs {
		<-done
	}
}

const (
	// lookEvery bounds how late a new schedule begins, and how late one goes on after an outage.
	lookEvery = time.Second
	soonest   = 5 * time.Millisecond
)

// Fire fires schedules until ctx ends: fire makes the runs that are due and says when the next is.
func Fire(ctx context.Context, logger *slog.Logger, now func() time.Time, fire func(ctx context.Context) (next time.Time, waiting bool, err error)) {
	for {
		next, waiting, err := fire(ctx)
		wait := lookEvery
		switch {
		case err != nil && ctx.Err() == nil:
			logger.Warn("schedules could not be fired", "error", err)
		case err == nil && waiting:
			wait = min(max(next.Sub(now()), soonest), lookEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
