// Package backtest drives backtests: it looks for those that wait and has each worked on by one
// process at a time, beside the executions and with places of their own.
package backtest

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"hooktrail/application"
)

// Config bounds the backtests of one process.
type Config struct {
	// Owners are unique to the process; each works on one backtest at a time.
	Owners []string
	// Lease is how long after the last sign of life others take over (default 15 s).
	Lease time.Duration
	// Poll is the time between two looks (default 1 s).
	Poll time.Duration
}

// Run works on backtests until ctx ends.
func Run(ctx context.Context, app *application.Application, config Config, logger *slog.Logger) {
	if config.Lease == 0 {
		config.Lease = 15 * time.Second
	}
	if config.Poll == 0 {
		config.Poll = time.Second
	}
	var working sync.WaitGroup
	for _, owner := range config.Owners {
		working.Go(func() {
			for ctx.Err() == nil {
				worked, err := one(ctx, app, owner, config.Lease)
				if err != nil && ctx.Err() == nil {
					logger.Warn("a backtest cannot go on yet", "error", err)
				}
				if worked && err == nil {
					continue
				}
				timer := time.NewTimer(config.Poll)
				select {
				case <-ctx.Done():
				case <-timer.C:
				}
				timer.Stop()
			}
		})
	}
	working.Wait()
}

// one works on a backtest, if one waits. A panic is an error: it must not end the process, and with
// it the runs of others.
func one(ctx context.Context, app *application.Application, owner string, lease time.Duration) (worked bool, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("it panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	b, found, err := app.Backtests.Claim(ctx, owner, lease)
	if err != nil || !found {
		return false, err
	}
	return true, app.RunBacktest(ctx, b, owner, lease)
}
