package eventstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
)

// Subscription is a consumer group's place in the log.
type Subscription struct {
	// Group names the consumer group. One member of it reads at a time, in order.
	Group string
	// Where narrows the events by an SQL condition; "" is all.
	Where string
	// Batch is how many events are read at once (default 500).
	Batch int
	// Lease is how long a member that stops reporting keeps the others waiting (default 10 s).
	Lease time.Duration
	// Linger is the least time between two reads, so that a busy log is read in large parts.
	Linger time.Duration
	// Poll is how long to wait at most for a wake-up (default 1 s).
	Poll time.Duration
	// Wake gives a channel that is closed when there may be something new (default: never).
	Wake func() <-chan struct{}
	// CountByStream reads, instead of events, one message for each stream in a batch, whose
	// payload is the number of its events. It goes with Flush: such a batch counts whole.
	CountByStream bool
	// Encode, if set, makes the payload of a message of the whole event; else it is the event's data.
	// It does not go with CountByStream.
	Encode func(eventlog.Recorded) ([]byte, error)
	// FromNow lets a group that is new begin behind the last event, and not with the first.
	FromNow bool
	// Begin, if set, is called before a batch is read. What was gathered of an earlier batch
	// and not flushed must be dropped: that batch was broken off, and its events come again.
	Begin func()
	// Flush, if set, is called when all messages of a batch are acknowledged. It must move
	// the group's position itself, by MovePosition in the transaction that keeps its results.
	Flush func(ctx context.Context, position eventlog.Position, owner string) error
}

// errBrokenOff ends a batch of which nothing may be flushed.
var errBrokenOff = errors.New("the batch was broken off")

// ErrLeaseLost says that another member has taken over the group.
var ErrLeaseLost = errors.New("consumer group lease is lost")

// The metadata of a message, beside its uuid (the event's id) and payload (its data).
const (
	MetadataPosition  = "position"
	MetadataWorkspace = "workspace" // with Encode only
	MetadataStream    = "stream"
	MetadataType      = "type"
	MetadataTime      = "recorded_at"
)

// Topic is the name under which the log is subscribed to.
const Topic = "events"

// consumer reads the log for one subscriber of a group through watermill-sql, which has no
// transaction open while a handler runs: what it takes for one is the lease.
type consumer struct {
	db      *database.DB
	s       Subscription
	owner   string
	renewed time.Time
	read    time.Time
	woken   <-chan struct{}
	pending atomic.Int64 // the position up to which a flush has to be made
	closing chan struct{}
	once    sync.Once
	ended   <-chan struct{} // by the context of the subscription
}

// Subscribe joins a consumer group. The messages stop when ctx ends; the lease is given back
// when the subscriber is closed.
func Subscribe(db *database.DB, s Subscription, logger watermill.LoggerAdapter) (message.Subscriber, error) {
	if s.Batch == 0 {
		s.Batch = 500
	}
	if s.Lease == 0 {
		s.Lease = 10 * time.Second
	}
	if s.Poll == 0 {
		s.Poll = time.Second
	}
	if s.Wake == nil {
		s.Wake = func() <-chan struct{} { return nil }
	}
	if s.Where == "" {
		s.Where = "TRUE"
	}
	c := &consumer{db: db, s: s, owner: watermill.NewUUID(), closing: make(chan struct{})}
	noDeadline := time.Duration(0)
	inner, err := wsql.NewSubscriber(c, wsql.SubscriberConfig{
		ConsumerGroup: s.Group, AckDeadline: &noDeadline, ResendInterval: 100 * time.Millisecond,
		SchemaAdapter: c, OffsetsAdapter: offsets{c}, BackoffManager: c,
	}, logger)
	if err != nil {
		return nil, fmt.Errorf("subscribe to the log: %w", err)
	}
	return &subscriber{inner: inner, consumer: c}, nil
}

type subscriber struct {
	inner    *wsql.Subscriber
	consumer *consumer
}

func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.consumer.ended = ctx.Done()
	return s.inner.Subscribe(ctx, topic)
}

// Close stops reading and lets another member begin at once.
func (s *subscriber) Close() error {
	s.consumer.once.Do(func() { close(s.consumer.closing) })
	err := s.inner.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, released := s.consumer.exec(ctx, "UPDATE consumer_offsets SET lease_until = 0 WHERE consumer_group = ? AND owner = ?", s.consumer.s.Group, s.consumer.owner)
	return errors.Join(err, released)
}

// exec runs one statement through the writer; readers of SQLite may not write.
func (c *consumer) exec(ctx context.Context, query string, args ...any) (int64, error) {
	var changed int64
	err := c.db.Write(ctx, func(tx *database.Tx) error {
		tx.Query(func(scan database.Scan) error {
			changed++
			var one int
			return scan(&one)
		}, query+" RETURNING 1", args...)
		return nil
	})
	return changed, err
}

// BeginTx takes or renews the lease, when there is something to read.
func (c *consumer) BeginTx(ctx context.Context, _ *sql.TxOptions) (wsql.Tx, error) {
	var behind bool
	err := c.db.Get(ctx, &behind, "SELECT coalesce((SELECT position FROM consumer_offsets WHERE consumer_group = ?), 0) < coalesce((SELECT max(position) FROM events), 0)", c.s.Group)
	if err != nil {
		return nil, err
	}
	if !behind || time.Since(c.renewed) < c.s.Lease/3 {
		return lease{c}, nil
	}
	now := c.db.Dialect.Now
	changed, err := c.exec(ctx, "UPDATE consumer_offsets SET owner = ?, lease_until = "+now+" + ? WHERE consumer_group = ? AND (owner = ? OR lease_until < "+now+")",
		c.owner, c.s.Lease.Microseconds(), c.s.Group, c.owner)
	if changed > 0 {
		c.renewed = time.Now()
	}
	return lease{c}, err
}

func (c *consumer) ExecContext(ctx context.Context, query string, args ...any) (wsql.Result, error) {
	return lease{c}.ExecContext(ctx, query, args...)
}

func (c *consumer) QueryContext(ctx context.Context, query string, args ...any) (wsql.Rows, error) {
	c.read = time.Now()
	c.woken = c.s.Wake() // before reading, so that what is appended meanwhile wakes us
	if c.s.Begin != nil {
		c.s.Begin()
	}
	return c.db.Read.QueryContext(ctx, c.db.SQL(query), args...) //nolint:rowserrcheck // watermill-sql reads and checks them
}

// lease stands where watermill-sql has a transaction.
type lease struct{ *consumer }

func (lease) Commit() error   { return nil }
func (lease) Rollback() error { return nil }

func (l lease) ExecContext(ctx context.Context, query string, args ...any) (wsql.Result, error) {
	if query == flushQuery {
		return affected(1), l.s.Flush(ctx, eventlog.Position(l.pending.Load()), l.owner)
	}
	changed, err := l.exec(ctx, query, args...)
	if err == nil && changed == 0 && strings.HasPrefix(query, "UPDATE") {
		l.renewed = time.Time{}
		err = ErrLeaseLost
	}
	return affected(changed), err
}

type affected int64

func (affected) LastInsertId() (int64, error)   { return 0, errors.New("there is no such id") }
func (a affected) RowsAffected() (int64, error) { return int64(a), nil }

// InsertQuery refuses: events are appended by the store alone.
func (*consumer) InsertQuery(wsql.InsertQueryParams) (wsql.Query, error) {
	return wsql.Query{}, errors.New("events are appended through the event store only")
}

func (*consumer) SchemaInitializingQueries(wsql.SchemaInitializingQueriesParams) ([]wsql.Query, error) {
	return nil, nil
}

func (*consumer) SubscribeIsolationLevel() sql.IsolationLevel { return sql.LevelDefault }

func (c *consumer) SelectQuery(wsql.SelectQueryParams) (wsql.Query, error) {
	columns := "position, event_id, stream, type, recorded_at, data"
	switch {
	case c.s.CountByStream:
		columns = "position, event_id, stream, type, recorded_at"
	case c.s.Encode != nil:
		columns = Columns
	}
	query := "SELECT " + columns + " FROM events WHERE position > (SELECT position FROM consumer_offsets WHERE consumer_group = ? AND owner = ? AND lease_until > " +
		c.db.Dialect.Now + ") AND " + c.s.Where + " ORDER BY position LIMIT " + strconv.Itoa(c.s.Batch)
	if c.s.CountByStream {
		query = "SELECT max(position), max(event_id), stream, max(type), max(recorded_at), CAST(count(*) AS TEXT) FROM (" + query + ") AS batch GROUP BY stream ORDER BY max(position)"
	}
	return wsql.Query{Query: query, Args: []any{c.s.Group, c.owner}}, nil
}

func (c *consumer) UnmarshalMessage(p wsql.UnmarshalMessageParams) (wsql.Row, error) {
	if c.s.Encode != nil {
		return c.encode(p)
	}
	var position, at int64
	var id, stream, kind string
	var data []byte
	if err := p.Row.Scan(&position, &id, &stream, &kind, &at, &data); err != nil {
		return wsql.Row{}, err
	}
	return newMessage(position, id, stream, kind, at, data), nil
}

func newMessage(position int64, id, stream, kind string, at int64, payload []byte) wsql.Row {
	m := message.NewMessage(id, payload)
	m.Metadata = message.Metadata{
		MetadataPosition: strconv.FormatInt(position, 10), MetadataStream: stream, MetadataType: kind, MetadataTime: strconv.FormatInt(at, 10),
	}
	return wsql.Row{Offset: position, UUID: []byte(id), Payload: payload, Msg: m}
}

func (c *consumer) encode(p wsql.UnmarshalMessageParams) (wsql.Row, error) {
	var r Row
	if err := p.Row.Scan(&r.Position, &r.EventID, &r.Workspace, &r.Stream, &r.Version, &r.Fact, &r.Type, &r.Schema, &r.At, &r.Actor, &r.Metadata, &r.Data); err != nil {
		return wsql.Row{}, err
	}
	event, err := r.Recorded()
	if err != nil {
		return wsql.Row{}, err
	}
	payload, err := c.s.Encode(event)
	if err != nil {
		return wsql.Row{}, fmt.Errorf("encode event %d: %w", r.Position, err)
	}
	row := newMessage(r.Position, r.EventID, r.Stream, r.Type, r.At, payload)
	row.Msg.Metadata[MetadataWorkspace] = r.Workspace
	return row, nil
}

// HandleError is the pause between two reads: until something is appended, but no longer
// than the poll interval.
func (c *consumer) HandleError(logger watermill.LoggerAdapter, noMessage bool, err error) time.Duration {
	if err != nil && !errors.Is(err, ErrLeaseLost) && !errors.Is(err, errBrokenOff) && !errors.Is(err, context.Canceled) {
		logger.Error("reading the event log failed", err, watermill.LogFields{"consumer_group": c.s.Group})
		return time.Second
	}
	if !noMessage && err == nil {
		return max(0, c.s.Linger-time.Since(c.read))
	}
	select {
	case <-c.woken:
		return max(0, c.s.Linger-time.Since(c.read))
	case <-c.closing:
	case <-c.ended:
	case <-time.After(c.s.Poll):
	}
	return 0
}

type offsets struct{ *consumer }

const flushQuery = "flush"

func (offsets) SchemaInitializingQueries(wsql.OffsetsSchemaInitializingQueriesParams) ([]wsql.Query, error) {
	return nil, nil
}

func (offsets) NextOffsetQuery(wsql.NextOffsetQueryParams) (wsql.Query, error) {
	return wsql.Query{}, nil
}

func (o offsets) AckMessageQuery(p wsql.AckMessageQueryParams) (wsql.Query, error) {
	if o.s.Flush != nil && p.LastRow.Offset != p.Rows[len(p.Rows)-1].Offset {
		// Its handler may have done one message more than was acknowledged.
		return wsql.Query{}, errBrokenOff
	}
	if o.s.Flush != nil {
		o.pending.Store(p.LastRow.Offset)
		return wsql.Query{Query: flushQuery}, nil
	}
	return wsql.Query{
		Query: "UPDATE consumer_offsets SET position = ? WHERE consumer_group = ? AND owner = ? AND position < ?",
		Args:  []any{p.LastRow.Offset, o.s.Group, o.owner, p.LastRow.Offset},
	}, nil
}

func (o offsets) ConsumedMessageQuery(wsql.ConsumedMessageQueryParams) (wsql.Query, error) {
	if time.Since(o.renewed) < o.s.Lease/3 {
		return wsql.Query{}, nil // an empty query is not run: no commit for every message
	}
	o.renewed = time.Now()
	return wsql.Query{
		Query: "UPDATE consumer_offsets SET lease_until = " + o.db.Dialect.Now + " + ? WHERE consumer_group = ? AND owner = ?",
		Args:  []any{o.s.Lease.Microseconds(), o.s.Group, o.owner},
	}, nil
}

func (o offsets) BeforeSubscribingQueries(wsql.BeforeSubscribingQueriesParams) ([]wsql.Query, error) {
	position := "0"
	if o.s.FromNow {
		position = "(SELECT coalesce(max(position), 0) FROM events)"
	}
	return []wsql.Query{{
		Query: "INSERT INTO consumer_offsets (consumer_group, position, owner, lease_until) VALUES (?, " + position + ", '', 0) ON CONFLICT (consumer_group) DO NOTHING",
		Args:  []any{o.s.Group},
	}}, nil
}

// ReleaseGroups ends the leases of all consumer groups, for a process that knows to be the only one.
func ReleaseGroups(ctx context.Context, db *database.DB) error {
	err := db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec("UPDATE consumer_offsets SET lease_until = 0")
		return nil
	})
	return db.Failure("end the leases of consumer groups", err)
}

// MovePosition queues the move of a group to a position, for its owner only; the
// transaction fails with ErrLeaseLost when the group has another owner now.
func MovePosition(ctx context.Context, tx *database.Tx, group, owner string, position eventlog.Position) error {
	moved := false
	tx.Query(func(scan database.Scan) error {
		moved = true
		var one int
		return scan(&one)
	}, "UPDATE consumer_offsets SET position = ? WHERE consumer_group = ? AND owner = ? RETURNING 1", int64(position), group, owner)
	if err := tx.Flush(ctx); err != nil {
		return err
	}
	if !moved {
		return ErrLeaseLost
	}
	return nil
}

// DeadLetters keeps the messages that a handler could not deal with; it is the publisher
// of watermill's poison queue, and the topic is the consumer group.
type DeadLetters struct {
	db  *database.DB
	now func() time.Time
}

// NewDeadLetters makes the poison queue.
func NewDeadLetters(db *database.DB, now func() time.Time) *DeadLetters {
	return &DeadLetters{db: db, now: now}
}

// Publish keeps messages under the consumer group that gave them up.
func (d *DeadLetters) Publish(group string, messages ...*message.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return d.db.Write(ctx, func(tx *database.Tx) error {
		for _, m := range messages {
			position, err := strconv.ParseInt(m.Metadata.Get(MetadataPosition), 10, 64)
			if err != nil {
				return fmt.Errorf("dead letter without a position: %w", err)
			}
			reason, err := json.Marshal(m.Metadata)
			if err != nil {
				return fmt.Errorf("encode the reason of a dead letter: %w", err)
			}
			tx.Exec("INSERT INTO dead_letters (consumer_group, position, error, failed_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
				group, position, string(reason), database.Micros(d.now()))
		}
		return nil
	})
}

// Close does nothing: the database is closed by whoever opened it.
func (*DeadLetters) Close() error { return nil }
