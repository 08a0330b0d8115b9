// Package delivery drives the delivery of events to subscriptions: it looks for what waits when
// the log has grown, and has each subscription served by one goroutine at a time.
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"hooktrail/application"
)

// Config bounds the delivery of one process.
type Config struct {
	Owner string // unique to the process
	// Concurrency is how many subscriptions are served at one time (default 32).
	Concurrency int
	// Lease is how long after the last sign of life others take over (default 15 s).
	Lease time.Duration
	// Poll is how long to wait at most before looking again (default 1 s).
	Poll time.Duration
	// Grace is how long requests under way may go on when the process is told to stop (default 5 s).
	Grace time.Duration
	// Wake gives a channel that is closed when there may be something new.
	Wake func() <-chan struct{}
}

func (c Config) withDefaults() Config {
	if c.Concurrency == 0 {
		c.Concurrency = 32
	}
	if c.Lease == 0 {
		c.Lease = 15 * time.Second
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	return c
}

// linger lets what is appended in quick succession be looked at together.
const linger = 25 * time.Millisecond

type loop struct {
	deliverer *application.Deliverer
	config    Config
	now       func() time.Time
	logger    *slog.Logger

	mu      sync.Mutex
	serving map[string]bool // by subscription: whether it was to be served again meanwhile
	freed   chan struct{}   // something to send may be left, or a place has become free
	runs    sync.WaitGroup
}

// Run delivers until ctx ends; then it waits for what is under way and gives its leases back.
func Run(ctx context.Context, app *application.Application, config Config, logger *slog.Logger) {
	config = config.withDefaults()
	l := &loop{
		deliverer: app.NewDeliverer(config.Owner, config.Lease), config: config, now: app.Now, logger: logger,
		serving: map[string]bool{}, freed: make(chan struct{}, 1),
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	alive, silence := context.WithCancel(running)
	var heart sync.WaitGroup
	l.renew(ctx)
	heart.Go(func() { l.beat(alive) })

	l.serve(ctx, running)

	finished := make(chan struct{})
	go func() { l.runs.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(config.Grace):
		stop()
		<-finished
	}
	silence()
	heart.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := l.deliverer.Close(closing); err != nil {
		logger.Warn("the leases on deliveries could not be given back; others wait for their end", "error", err)
	}
}

func (l *loop) beat(ctx context.Context) {
	ticker := time.NewTicker(l.config.Lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.renew(ctx)
		}
	}
}

func (l *loop) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.config.Lease)
	defer cancel()
	if err := l.deliverer.Renew(ctx); err != nil && ctx.Err() == nil {
		l.logger.Warn("the lease on deliveries could not be extended", "error", err)
	}
}

func (l *loop) serve(ctx, running context.Context) {
	for ctx.Err() == nil {
		woken := l.config.Wake() // before looking, so that what is appended meanwhile wakes us
		waiting, next, err := l.deliverer.Waiting(ctx)
		if err != nil && ctx.Err() == nil {
			l.logger.Warn("deliveries to subscriptions cannot be looked for", "error", err)
			woken = nil
		}
		for _, d := range waiting {
			l.start(running, d)
		}
		wait := l.config.Poll
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(l.now()), time.Millisecond))
		}
		pause(ctx, wait, woken, l.freed)
		pause(ctx, linger)
	}
}

// pause waits for a time or one of the signals.
func pause(ctx context.Context, atMost time.Duration, signals ...<-chan struct{}) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	var first, second <-chan struct{}
	if len(signals) == 2 {
		first, second = signals[0], signals[1]
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-first:
	case <-second:
	}
}

// start serves a subscription unless it is being served, or as many are as may be.
func (l *loop) start(ctx context.Context, d application.SubscriptionDelivery) {
	id := d.Subscription.ID
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, served := l.serving[id]; served {
		l.serving[id] = true
		return
	}
	if len(l.serving) >= l.config.Concurrency {
		return
	}
	l.serving[id] = false
	l.runs.Go(func() {
		more, err := l.deliver(ctx, d)
		if err != nil && ctx.Err() == nil {
			l.logger.Warn("the delivery of events was broken off", "subscription_id", id, "error", err)
		}
		l.mu.Lock()
		more = more || l.serving[id] || len(l.serving) >= l.config.Concurrency
		delete(l.serving, id)
		l.mu.Unlock()
		if err == nil && more {
			select {
			case l.freed <- struct{}{}:
			default:
			}
		}
	})
}

// deliver keeps a panic from ending the process, and with it the deliveries of others.
func (l *loop) deliver(ctx context.Context, d application.SubscriptionDelivery) (more bool, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			more, err = false, fmt.Errorf("it panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	return l.deliverer.Deliver(ctx, d)
}
