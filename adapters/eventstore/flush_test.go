package eventstore_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

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
