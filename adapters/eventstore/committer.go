package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
)

// Config bounds what the store takes on at one time.
type Config struct {
	// Queue is how many appends may wait (default 4096) and QueueBytes how large their
	// payloads may be together (default 64 MiB); more is refused with ErrQueueFull.
	Queue      int
	QueueBytes int64
	// Batch is how many appends one transaction takes (default 512), and BatchBytes how large
	// their payloads may be together (default 8 MiB).
	Batch      int
	BatchBytes int64
	// Patience is how long a batch whose commit broke off is looked for again (default 5 s).
	Patience time.Duration
	Now      func() time.Time
	Logger   *slog.Logger
	// Observe is told of every committed or failed batch.
	Observe func(Batch)
	// Appended is called after every commit of this process, and told whether workers may have
	// something to run now.
	Appended func(due bool)
}

// Batch is what one transaction did.
type Batch struct {
	Appends int
	Events  int
	Waiting int // appends in the queue when it began
	Took    time.Duration
	Err     error
}

func (c Config) withDefaults() Config {
	if c.Queue == 0 {
		c.Queue = 4096
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 64 << 20
	}
	if c.Batch == 0 {
		c.Batch = 512
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 8 << 20
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(Batch) {}
	}
	if c.Appended == nil {
		c.Appended = func(bool) {}
	}
	return c
}

// committer takes all appends that arrive while one transaction is under way into the
// next. It has no timer: an append that arrives alone is committed at once.
type committer struct {
	store   *Store
	config  Config
	queue   chan *waiting
	queued  atomic.Int64 // bytes of payload
	closing chan struct{}
	closed  chan struct{}
	once    sync.Once
}

// waiting is an append in the queue and the way back to its caller.
type waiting struct {
	attempt
	size int64
	done chan struct{}
}

func newCommitter(store *Store, config Config) *committer {
	c := &committer{
		store: store, config: config,
		queue:   make(chan *waiting, config.Queue),
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
	go c.run()
	return c
}

func (c *committer) close() {
	c.once.Do(func() { close(c.closing) })
	<-c.closed
}

// reserve counts a payload against the bytes that may wait.
func (c *committer) reserve(size int64) bool {
	for {
		queued := c.queued.Load()
		if size > 0 && queued > 0 && queued+size > c.config.QueueBytes {
			return false
		}
		if c.queued.CompareAndSwap(queued, queued+size) {
			return true
		}
	}
}

func (c *committer) append(ctx context.Context, a eventlog.Append) (eventlog.Appended, error) {
	if len(a.Events) == 0 {
		return eventlog.Appended{}, nil
	}
	w := &waiting{attempt: attempt{append: &a}, done: make(chan struct{})}
	for _, e := range a.Events {
		w.size += int64(len(e.Payload))
	}
	select {
	case <-c.closing:
		return eventlog.Appended{}, fmt.Errorf("%w: the store is closing", eventlog.ErrUnavailable)
	default:
	}
	if !c.reserve(w.size) {
		return eventlog.Appended{}, eventlog.ErrQueueFull
	}
	select {
	case c.queue <- w:
	default:
		c.queued.Add(-w.size)
		return eventlog.Appended{}, eventlog.ErrQueueFull
	}
	select {
	case <-w.done:
		return w.result, w.err
	case <-ctx.Done():
		// It may still be committed; only its caller has gone.
		return eventlog.Appended{}, fmt.Errorf("%w: %w", eventlog.ErrUnavailable, ctx.Err())
	case <-c.closed:
		select {
		case <-w.done:
			return w.result, w.err
		default:
			return eventlog.Appended{}, fmt.Errorf("%w: the store is closed", eventlog.ErrUnavailable)
		}
	}
}

func (c *committer) run() {
	defer close(c.closed)
	for {
		select {
		case first := <-c.queue:
			c.commit(c.gather(first))
		case <-c.closing:
			for {
				select {
				case first := <-c.queue:
					c.commit(c.gather(first))
				default:
					return
				}
			}
		}
	}
}

// gather takes what waits behind the first, up to the bounds of a batch.
func (c *committer) gather(first *waiting) []*waiting {
	batch, size := []*waiting{first}, first.size
	for len(batch) < c.config.Batch && size < c.config.BatchBytes {
		select {
		case next := <-c.queue:
			batch = append(batch, next)
			size += next.size
		default:
			return batch
		}
	}
	return batch
}

func (c *committer) commit(batch []*waiting) {
	started := c.config.Now()
	attempts := make([]*attempt, len(batch))
	var size int64
	for i, w := range batch {
		attempts[i] = &w.attempt
		size += w.size
	}
	err := c.tryAll(attempts)
	c.queued.Add(-size) // first: who has an answer finds the room free
	events, due := 0, false
	for _, w := range batch {
		events += len(w.result.Events)
		due = due || w.append.Due && len(w.result.Events) > 0
		close(w.done)
	}
	c.config.Observe(Batch{Appends: len(batch), Events: events, Waiting: len(c.queue), Took: c.config.Now().Sub(started), Err: err})
	if events > 0 {
		c.config.Appended(due)
	}
}

const transactionTimeout = 20 * time.Second

// tryAll gives every attempt a result or an error of its own.
func (c *committer) tryAll(attempts []*attempt) error {
	ctx, cancel := context.WithTimeout(context.Background(), transactionTimeout)
	defer cancel()
	err := c.store.appendAll(ctx, attempts, false)
	if errors.Is(err, database.ErrOutcomeUnknown) {
		c.config.Logger.Warn("the connection broke while committing; looking for the batch", "appends", len(attempts), "error", err)
		err = c.lookAgain(attempts)
	}
	switch {
	case err == nil:
	case c.store.db.IsUnavailable(err) || len(attempts) == 1 && !isDuplicate(err):
		for _, a := range attempts {
			a.result, a.err = eventlog.Appended{}, c.store.translate(err)
		}
		return err
	default:
		// One of them is not accepted by the database: each gets a transaction of its own, so
		// that it fails alone.
		for _, a := range attempts {
			if alone := c.store.appendAll(ctx, []*attempt{a}, true); alone != nil {
				a.result, a.err = eventlog.Appended{}, c.store.translate(alone)
			}
		}
	}
	for _, a := range attempts {
		if eventlog.IsConflict(a.err) || errors.Is(a.err, errAlreadyRecorded) {
			c.findRecorded(ctx, a)
		}
	}
	return nil
}

func (c *committer) lookAgain(attempts []*attempt) error {
	return c.patiently(c.config.Patience, func(ctx context.Context) error { return c.store.appendAll(ctx, attempts, true) })
}

// patiently does something again while the database is away.
func (c *committer) patiently(patience time.Duration, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	wait := 10 * time.Millisecond
	for {
		err := do(ctx)
		if err == nil || !c.store.db.IsUnavailable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait = min(2*wait, 500*time.Millisecond)
		}
	}
}

// findRecorded answers an append that is in the log already with what is there.
func (c *committer) findRecorded(ctx context.Context, a *attempt) {
	ids := make([]string, len(a.append.Events))
	for i, e := range a.append.Events {
		ids[i] = e.ID
	}
	events, err := c.store.byID(ctx, ids)
	switch {
	case err != nil && errors.Is(a.err, errAlreadyRecorded):
		a.err = c.store.translate(err)
	case err == nil && len(events) == len(ids):
		a.result, a.err = eventlog.Appended{Events: events}, nil
	case errors.Is(a.err, errAlreadyRecorded):
		a.err = fmt.Errorf("event %s was recorded as part of another append", ids[0])
	}
}

func isDuplicate(err error) bool { return database.IsDuplicate(err) }
