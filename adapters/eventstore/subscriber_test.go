package eventstore_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/pgtest"
)

const group = "followers"

// trail is a log with subscribers to it.
type trail struct {
	*testing.T

	backend  *databasetest.Backend
	db       *database.DB
	store    *eventstore.Store
	appended *application.Broadcast
}

type noProjection struct{}

func (noProjection) Apply(context.Context, *database.Tx, []eventlog.Recorded) error { return nil }

func onTrail(t *testing.T, test func(t *trail)) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		appended := application.NewBroadcast()
		db := b.Open(t)
		store := eventstore.New(db, noProjection{}, eventstore.Config{Appended: appended.Send})
		t.Cleanup(store.Close)
		test(&trail{T: t, backend: b, db: db, store: store, appended: appended})
	})
}

// append records a decision followed by a fact, n times, each pair on one of three streams.
func (t *trail) append(n int) {
	t.Helper()
	for i := range n {
		stream := eventlog.Stream(eventlog.TriggerStream, strconv.Itoa(i%3)+ksuid.New().String())
		_, err := t.store.Append(t.Context(), eventlog.Append{WorkspaceID: "w", Stream: stream, Meta: eventlog.Metadata{Actor: eventlog.System}, Events: []eventlog.Proposed{
			{ID: ksuid.New().String(), Type: "test.decided", Schema: 1, Data: []byte(`{}`)},
			{ID: ksuid.New().String(), Type: "test.happened", Schema: 1, Data: []byte(`{"n":` + strconv.Itoa(i) + `}`), Fact: true},
		}})
		require.NoError(t, err)
	}
}

// member joins the group through a connection of its own.
func (t *trail) member(s eventstore.Subscription) (message.Subscriber, <-chan *message.Message) {
	t.Helper()
	if s.Group == "" {
		s.Group = group
	}
	if s.Wake == nil {
		s.Wake = t.appended.Next
	}
	if s.Poll == 0 {
		s.Poll = 10 * time.Millisecond
	}
	subscriber, err := eventstore.Subscribe(t.backend.Open(t), s, watermill.NopLogger{})
	require.NoError(t, err)
	messages, err := subscriber.Subscribe(t.Context(), eventstore.Topic)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, subscriber.Close()) })
	return subscriber, messages
}

func (t *trail) receive(messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, open := <-messages:
		require.True(t, open, "the messages have ended")
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no message came")
		return nil
	}
}

func positionOf(m *message.Message) int {
	position, err := strconv.Atoi(m.Metadata.Get(eventstore.MetadataPosition))
	if err != nil {
		panic(err)
	}
	return position
}

func (t *trail) expect(messages <-chan *message.Message, positions ...int) {
	t.Helper()
	for _, want := range positions {
		m := t.receive(messages)
		require.Equal(t, want, positionOf(m))
		m.Ack()
	}
}

// position is how far the group has come.
func (t *trail) position() int {
	t.Helper()
	var position int
	require.NoError(t, t.db.Get(t.Context(), &position, "SELECT position FROM consumer_offsets WHERE consumer_group = ?", group))
	return position
}

func (t *trail) awaitPosition(want int) {
	t.Helper()
	require.Eventually(t, func() bool { return t.position() == want }, 20*time.Second, time.Millisecond)
}

func upTo(last int) (list []int) {
	for i := range last {
		list = append(list, i+1)
	}
	return list
}

func TestSubscriberReadsInOrder(t *testing.T) {
	onTrail(t, func(t *trail) {
		t.append(20)
		_, messages := t.member(eventstore.Subscription{Batch: 7})
		_, facts := t.member(eventstore.Subscription{Group: "facts", Where: "fact", Batch: 7})
		var writing sync.WaitGroup
		writing.Go(func() { t.append(20) })
		log := map[int]*message.Message{}
		for i := range 80 {
			m := t.receive(messages)
			require.Equal(t, i+1, positionOf(m))
			log[i+1] = m
			m.Ack()
		}
		for i := range 40 {
			t.expect(facts, 2*i+2)
		}
		writing.Wait()
		t.awaitPosition(80)
		events, err := t.store.After(t.Context(), 0, 100)
		require.NoError(t, err)
		for _, e := range events {
			m := log[int(e.Position)]
			require.Equal(t, e.ID, m.UUID)
			require.Equal(t, string(e.Data), string(m.Payload))
			require.Equal(t, message.Metadata{
				eventstore.MetadataPosition: strconv.Itoa(int(e.Position)), eventstore.MetadataStream: string(e.Stream),
				eventstore.MetadataType: e.Type, eventstore.MetadataTime: strconv.FormatInt(e.At.UnixMicro(), 10),
			}, m.Metadata)
		}
	})
}

// TestSubscriberIsWoken appends one event at a time to a member that would poll in an hour.
func TestSubscriberIsWoken(t *testing.T) {
	onTrail(t, func(t *trail) {
		_, messages := t.member(eventstore.Subscription{Poll: time.Hour})
		for i := range 100 {
			t.append(1)
			t.expect(messages, 2*i+1, 2*i+2)
		}
	})
}

func TestTwoMembersOfAGroup(t *testing.T) {
	onTrail(t, func(t *trail) {
		var mu sync.Mutex
		var seen []int
		done := make(chan struct{})
		var members sync.WaitGroup
		t.Cleanup(members.Wait)
		for range 2 {
			_, messages := t.member(eventstore.Subscription{Batch: 5})
			members.Go(func() {
				for m := range messages {
					mu.Lock()
					seen = append(seen, positionOf(m))
					if len(seen) == 200 {
						close(done)
					}
					mu.Unlock()
					m.Ack()
				}
			})
		}
		t.append(100)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("not all came")
		}
		t.awaitPosition(200)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, upTo(200), seen)
	})
}

// TestTakeover lets a member hold a message for longer than its lease.
func TestTakeover(t *testing.T) {
	onTrail(t, func(t *trail) {
		t.append(5)
		_, slow := t.member(eventstore.Subscription{Lease: 50 * time.Millisecond, Batch: 4})
		t.expect(slow, 1, 2)
		held := t.receive(slow)
		require.Equal(t, 3, positionOf(held))

		_, other := t.member(eventstore.Subscription{Lease: time.Hour, Batch: 4})
		t.expect(other, upTo(10)...) // from where the position stood
		t.awaitPosition(10)

		held.Ack()
		t.append(1)
		t.expect(other, 11, 12)
		t.awaitPosition(12)
		select {
		case m := <-slow:
			t.Fatalf("the member that lost its lease goes on with %d", positionOf(m))
		default:
		}
	})
}

func TestCloseLetsAnotherBegin(t *testing.T) {
	onTrail(t, func(t *trail) {
		t.append(3)
		first, messages := t.member(eventstore.Subscription{Lease: time.Hour, Batch: 2})
		t.expect(messages, 1, 2, 3)
		m := t.receive(messages)
		require.Equal(t, 4, positionOf(m))
		_, next := t.member(eventstore.Subscription{Lease: time.Hour, Batch: 10})
		require.NoError(t, first.Close())
		require.NoError(t, first.Close())
		m.Ack() // too late
		t.expect(next, 4, 5, 6)
		t.awaitPosition(6)
	})
}

func TestNackBringsAMessageBack(t *testing.T) {
	onTrail(t, func(t *trail) {
		t.append(2)
		_, messages := t.member(eventstore.Subscription{})
		t.expect(messages, 1)
		for range 3 {
			m := t.receive(messages)
			require.Equal(t, 2, positionOf(m))
			m.Nack()
		}
		t.expect(messages, 2, 3, 4)
		t.awaitPosition(4)
	})
}

// TestALostLeaseMovesNothing is the fence: what another member has taken over cannot be moved.
func TestALostLeaseMovesNothing(t *testing.T) {
	onTrail(t, func(t *trail) {
		t.append(3)
		flushed := make(chan error, 100)
		flush := func(ctx context.Context, position eventlog.Position, owner string) error {
			err := t.db.Write(ctx, func(tx *database.Tx) error {
				tx.Exec("INSERT INTO settings (name, value) VALUES (?, ?)", owner+strconv.Itoa(int(position)), []byte("x"))
				return eventstore.MovePosition(ctx, tx, group, owner, position)
			})
			flushed <- err
			return err
		}
		_, messages := t.member(eventstore.Subscription{Lease: time.Hour, Flush: flush, Batch: 2})
		t.expect(messages, 1, 2)
		require.NoError(t, <-flushed)
		held := t.receive(messages)
		require.NoError(t, t.db.Write(t.Context(), func(tx *database.Tx) error {
			tx.Exec("UPDATE consumer_offsets SET owner = 'another', lease_until = 9000000000000000 WHERE consumer_group = ?", group)
			return nil
		}))
		held.Ack()
		t.expect(messages, 4)
		require.ErrorIs(t, <-flushed, eventstore.ErrLeaseLost)
		require.Equal(t, 2, t.position())
		var kept int
		require.NoError(t, t.db.Get(t.Context(), &kept, "SELECT count(*) FROM settings"))
		require.Equal(t, 1, kept, "nothing is kept of what was flushed without the lease")
	})
}

// TestFlushFails gives the events of a batch again until they are flushed.
func TestFlushFails(t *testing.T) {
	onTrail(t, func(t *trail) {
		t.append(4)
		var mu sync.Mutex
		var gathered, kept []int
		begun, tries := 0, 0
		_, messages := t.member(eventstore.Subscription{
			Batch: 3, Lease: time.Hour,
			Begin: func() {
				mu.Lock()
				defer mu.Unlock()
				gathered, begun = nil, begun+1
			},
			Flush: func(ctx context.Context, position eventlog.Position, owner string) error {
				mu.Lock()
				defer mu.Unlock()
				if tries++; tries == 2 {
					return eventstore.ErrLeaseLost // the quiet one: it is tried again at once
				}
				kept = append(kept, gathered...)
				return t.db.Write(ctx, func(tx *database.Tx) error { return eventstore.MovePosition(ctx, tx, group, owner, position) })
			},
		})
		for _, want := range []int{1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8} {
			m := t.receive(messages)
			require.Equal(t, want, positionOf(m))
			mu.Lock()
			gathered = append(gathered, want)
			mu.Unlock()
			m.Ack()
		}
		t.awaitPosition(8)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, upTo(8), kept)
		require.GreaterOrEqual(t, begun, 4)
	})
}

func TestCountByStream(t *testing.T) {
	onTrail(t, func(t *trail) {
		streams := []eventlog.StreamID{"trigger-a", "trigger-b", "trigger-c"}
		for i := range 60 {
			_, err := t.store.Append(t.Context(), eventlog.Append{WorkspaceID: "w", Stream: streams[i%7%3], Events: []eventlog.Proposed{
				{ID: ksuid.New().String(), Type: "test.happened", Schema: 1, Data: []byte(`{}`), Fact: i%5 != 0},
			}, Expected: t.version(streams[i%7%3])})
			require.NoError(t, err)
		}
		type sum struct{ count, last int64 }
		got, want := map[string]sum{}, map[string]sum{}
		var mu sync.Mutex
		batch := map[string]sum{}
		_, messages := t.member(eventstore.Subscription{
			Where: "fact", CountByStream: true, Batch: 10,
			Flush: func(ctx context.Context, position eventlog.Position, owner string) error {
				mu.Lock()
				defer mu.Unlock()
				for stream, s := range batch {
					got[stream] = sum{got[stream].count + s.count, s.last}
				}
				clear(batch)
				return t.db.Write(ctx, func(tx *database.Tx) error { return eventstore.MovePosition(ctx, tx, group, owner, position) })
			},
		})
		events, err := t.store.After(t.Context(), 0, 100)
		require.NoError(t, err)
		last := 0
		for _, e := range events {
			if e.Fact {
				last = int(e.Position)
				want[string(e.Stream)] = sum{want[string(e.Stream)].count + 1, e.At.UnixMicro()}
			}
		}
		for done := false; !done; {
			m := t.receive(messages)
			count, err := strconv.ParseInt(string(m.Payload), 10, 64)
			require.NoError(t, err)
			at, err := strconv.ParseInt(m.Metadata.Get(eventstore.MetadataTime), 10, 64)
			require.NoError(t, err)
			mu.Lock()
			batch[m.Metadata.Get(eventstore.MetadataStream)] = sum{count, at}
			mu.Unlock()
			done = positionOf(m) == last
			m.Ack()
		}
		t.awaitPosition(last)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, want, got)
	})
}

func (t *trail) version(stream eventlog.StreamID) int64 {
	t.Helper()
	decisions, err := t.store.Decisions(t.Context(), stream, 0)
	require.NoError(t, err)
	return int64(len(decisions))
}

func TestDeadLetters(t *testing.T) {
	onTrail(t, func(t *trail) {
		at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		letters := eventstore.NewDeadLetters(t.backend.Open(t), func() time.Time { return at })
		t.append(1)
		_, messages := t.member(eventstore.Subscription{})
		m := t.receive(messages)
		m.Metadata.Set("reason_poisoned", `it said "no"`)
		require.NoError(t, letters.Publish(group, m))
		require.NoError(t, letters.Publish(group, m, m), "a letter that comes again is kept once")
		require.NoError(t, letters.Publish("others", m))
		m.Ack()
		var rows []struct {
			Group    string `db:"consumer_group"`
			Position int    `db:"position"`
			Error    string `db:"error"`
			At       int64  `db:"failed_at"`
		}
		require.NoError(t, t.db.Select(t.Context(), &rows, "SELECT * FROM dead_letters ORDER BY consumer_group"))
		require.Len(t, rows, 2)
		require.Equal(t, group, rows[0].Group)
		require.Equal(t, 1, rows[0].Position)
		require.Equal(t, at.UnixMicro(), rows[0].At)
		require.Contains(t, rows[0].Error, `it said \"no\"`)
		require.Contains(t, rows[0].Error, "test.decided")
		require.Error(t, letters.Publish(group, message.NewMessage("x", nil)), "a message that is not of the log")
		require.NoError(t, letters.Close())
	})
}
