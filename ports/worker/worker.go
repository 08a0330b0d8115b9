// Package worker drives the execution of agents: it claims what is due, runs it, and
// reports that it is alive.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hooktrail/application"
)

// Config bounds a worker.
type Config struct {
	ID string // unique to the process
	// Concurrency is how many agents run at one time (default 64).
	Concurrency int
	// Lease is how long after the last sign of life others take over (default 15 s).
	Lease time.Duration
	// Poll is how long to wait at most before looking for due executions (default 1 s).
	Poll time.Duration
	// Grace is how long runs may go on when the process is told to stop (default 20 s).
	Grace time.Duration
}

func (c Config) withDefaults() Config {
	if c.Concurrency == 0 {
		c.Concurrency = 64
	}
	if c.Lease == 0 {
		c.Lease = 15 * time.Second
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Grace == 0 {
		c.Grace = 20 * time.Second
	}
	return c
}

// Worker runs executions.
type Worker struct {
	app    *application.Application
	config Config
	logger *slog.Logger
	slots  chan struct{}
	freed  chan struct{}
	runs   sync.WaitGroup
}

// New makes a worker.
func New(app *application.Application, config Config, logger *slog.Logger) *Worker {
	config = config.withDefaults()
	return &Worker{app: app, config: config, logger: logger, slots: make(chan struct{}, config.Concurrency), freed: make(chan struct{}, 1)}
}

// Run works until ctx ends. Then it claims nothing more, lets what runs go on for the
// grace period, stops the rest, and gives up its lease so that others take over at once.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.firstSign(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	alive, silence := context.WithCancel(running)
	var heart sync.WaitGroup
	heart.Go(func() { w.beat(alive) })

	w.claimLoop(ctx, running)

	finished := make(chan struct{})
	go func() { w.runs.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(w.config.Grace):
		w.logger.Warn("stopping runs that did not end in time; others will take them over")
		stop()
		<-finished
	}
	silence()
	heart.Wait()
	retiring, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return w.app.Queue.Retire(retiring, w.config.ID)
}

// firstSign takes the lease before anything is claimed under it.
func (w *Worker) firstSign(ctx context.Context) error {
	for {
		err := w.app.Queue.KeepAlive(ctx, w.config.ID, w.config.Lease)
		if err == nil {
			return nil
		}
		w.logger.Warn("the worker cannot take its lease yet", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(w.config.Poll):
		}
	}
}

func (w *Worker) beat(ctx context.Context) {
	ticker := time.NewTicker(w.config.Lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := errors.Join(w.app.Queue.KeepAlive(ctx, w.config.ID, w.config.Lease), w.app.StopCancelled(ctx)); err != nil && ctx.Err() == nil {
			w.logger.Warn("the worker could not report that it is alive", "error", err)
		}
	}
}

func (w *Worker) claimLoop(ctx, running context.Context) {
	for ctx.Err() == nil {
		appended := w.app.Appended.Next()
		free := w.config.Concurrency - len(w.slots)
		if free == 0 {
			select {
			case <-ctx.Done():
			case <-w.freed:
			}
			continue
		}
		claimed, err := w.app.ClaimExecutions(ctx, w.config.ID, free)
		if err != nil && ctx.Err() == nil {
			w.logger.Warn("executions could not be claimed", "error", err)
		}
		for _, c := range claimed {
			w.start(running, c)
		}
		if len(claimed) > 0 {
			continue
		}
		w.pause(ctx, appended, err)
	}
}

// pause waits for something new in the log, the time of the next retry, or the poll.
func (w *Worker) pause(ctx context.Context, appended <-chan struct{}, failed error) {
	wait := w.config.Poll
	if failed == nil {
		if next, found, err := w.app.Queue.NextDue(ctx); err == nil && found {
			// One that is due already was passed over: its agent runs as many as it may.
			wait = min(wait, max(next.Sub(w.app.Now()), passedOverPause))
		}
	} else {
		appended = nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-appended:
	case <-w.freed:
	case <-timer.C:
	}
}

const passedOverPause = 10 * time.Millisecond

func (w *Worker) start(running context.Context, c application.Claimed) {
	w.slots <- struct{}{}
	w.runs.Go(func() {
		defer func() {
			<-w.slots
			select {
			case w.freed <- struct{}{}:
			default:
			}
		}()
		w.app.RunExecution(running, c)
	})
}
