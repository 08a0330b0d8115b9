package eventstore_test

import (
	"context"
	"strconv"
	"strings"
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
		store := eventstore.New(db, noProjection{}, eventstore.Config{Appended: func(bool) { appended.Send() }})
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
	require.Eventually(t, func() bool { return t.position() == want }, time.Minute, time.Millisecond)
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

// TestSubscriberEncodes checks that a group can get whole events, and begin behind those that are there.
func TestSubscriberEncodes(t *testing.T) {
	onTrail(t, func(t *trail) {
		t.append(1)
		encode := func(e eventlog.Recorded) ([]byte, error) {
			return []byte(strconv.FormatInt(int64(e.Position), 10) + " " + e.Type + " " + string(e.Meta.Actor) + " " + string(e.Data)), nil
		}
		_, fromNow := t.member(eventstore.Subscription{Group: "late", Encode: encode, FromNow: true})
		_, fromBeginning := t.member(eventstore.Subscription{Group: "early", Encode: encode})
		t.append(1)
		for messages, want := range map[<-chan *message.Message][]string{
			fromNow:       {"3 test.decided system {}", `4 test.happened system {"n":0}`},
			fromBeginning: {"1 test.decided system {}", `2 test.happened system {"n":0}`, "3 test.decided system {}"},
		} {
			for _, payload := range want {
				m := t.receive(messages)
				require.Equal(t, payload, strings.ReplaceAll(string(m.Payload), " \"n\": ", "\"n\":"))
				require.Equal(t, "w", m.Metadata.Get(eventstore.MetadataWorkspace))
				m.Ack()
			}
		}
	})
}
