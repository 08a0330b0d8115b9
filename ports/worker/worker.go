// Package worker drives the execution of agents: it claims what is due, runs it, and
// reports that it is alive.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
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
	signed atomic.Int64 // when the lease was last extended, in nanoseconds since 1970
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
		err := w.sign(ctx)
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

// sign extends the lease.
func (w *Worker) sign(ctx context.Context) error {
	at := w.app.Now()
	if err := w.app.Queue.KeepAlive(ctx, w.config.ID, w.config.Lease); err != nil {
		return err
	}
	w.signed.Store(at.UnixNano())
	return nil
}

// ensureSigned extends a lease that may have lapsed, as after an outage of the database:
// what is claimed without one is taken away by the next who looks.
func (w *Worker) ensureSigned(ctx context.Context) error {
	if w.app.Now().Sub(time.Unix(0, w.signed.Load())) < w.config.Lease/2 {
		return nil
	}
	return w.sign(ctx)
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
		if err := errors.Join(w.sign(ctx), w.app.StopCancelled(ctx)); err != nil && ctx.Err() == nil {
			w.logger.Warn("the worker could not report that it is alive", "error", err)
		}
	}
}

func (w *Worker) claimLoop(ctx, running context.Context) {
	var looked time.Time
	woken := false // by something that can be claimed, as far as is known
	for ctx.Err() == nil {
		due := w.app.Due.Next()
		free := w.config.Concurrency - len(w.slots)
		if free == 0 {
			select {
			case <-ctx.Done():
			case <-w.freed:
				woken = true
			}
			continue
		}
		// Without a reason to claim, one look at an index tells when there will be one. What lost
		// workers left is looked for now and then.
		var wait time.Duration
		var err error
		if !woken {
			wait, err = w.untilDue(ctx)
		}
		if err == nil && (wait <= 0 || w.app.Now().Sub(looked) >= w.config.Lease/3) {
			looked = w.app.Now()
			var claimed []application.Claimed
			if err = w.ensureSigned(ctx); err == nil {
				claimed, err = w.app.ClaimExecutions(ctx, w.config.ID, free)
			}
			for _, c := range claimed {
				w.start(running, c)
			}
			if err == nil && (woken || len(claimed) > 0) {
				woken = len(claimed) == free
				continue
			}
			wait = max(wait, passedOverPause) // what is due and was not claimed: its agent runs as many as it may
		}
		if err != nil {
			if ctx.Err() == nil {
				w.logger.Warn("executions could not be claimed", "error", err)
			}
			wait, due = w.config.Poll, nil
		}
		woken = w.pause(ctx, due, wait)
	}
}

// untilDue is the time until the next execution becomes due, but no longer than the poll.
func (w *Worker) untilDue(ctx context.Context) (time.Duration, error) {
	next, found, err := w.app.Queue.NextDue(ctx)
	if err != nil || !found {
		return w.config.Poll, err
	}
	return min(w.config.Poll, next.Sub(w.app.Now())), nil
}

// passedOverPause keeps a queue of which nothing may start from being looked at without end.
const passedOverPause = 10 * time.Millisecond

// pause waits for something to run, a run that ends, or the time given; it reports whether
// it was one of the first two.
func (w *Worker) pause(ctx context.Context, due <-chan struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-due:
		return true
	case <-w.freed:
		return true
	case <-timer.C:
	}
	return false
}

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
