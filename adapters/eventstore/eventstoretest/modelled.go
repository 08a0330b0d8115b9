package eventstoretest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var modelled = map[string]func(*testing.T, *databasetest.Backend){"like a model": testLikeModel}

// model is what a store does, said as simply as possible.
type model struct {
	base     eventlog.Position // of the log before
	log      []eventlog.Recorded
	versions map[eventlog.StreamID]int64
	keys     map[string]eventlog.IdempotencyKey
}

func (m *model) append(a eventlog.Append, now time.Time) (eventlog.Appended, error) {
	refused := m.check(a)
	again := m.recorded(a)
	switch {
	case refused != nil && again != nil:
		return eventlog.Appended{Events: again}, nil
	case refused != nil:
		return eventlog.Appended{}, refused
	}
	if k := a.Idempotency; k != nil {
		name := k.Scope + " " + k.Key
		if first, used := m.keys[name]; used && first.ExpiresAt.After(now) {
			if string(first.Digest) != string(k.Digest) {
				return eventlog.Appended{}, eventlog.ErrIdempotencyMismatch
			}
			return eventlog.Appended{Replayed: first.Subject}, nil
		}
		m.keys[name] = *k
	}
	if again != nil {
		return eventlog.Appended{Events: again}, nil
	}
	first := len(m.log)
	for _, e := range a.Events {
		if !e.Fact {
			m.versions[a.Stream]++
		}
		m.log = append(m.log, eventlog.Recorded{
			Position: m.base + eventlog.Position(len(m.log)+1), ID: e.ID, WorkspaceID: a.WorkspaceID, Stream: a.Stream,
			Version: m.versions[a.Stream], Fact: e.Fact, Type: e.Type, Schema: e.Schema, At: now, Meta: a.Meta, Data: e.Data,
		})
	}
	return eventlog.Appended{Events: m.log[first:]}, nil
}

func (m *model) check(a eventlog.Append) error {
	for _, g := range append([]eventlog.Guard{{Stream: a.Stream, Version: a.Expected}}, a.Guards...) {
		if actual := m.versions[g.Stream]; actual != g.Version {
			return &eventlog.ConflictError{Stream: g.Stream, Expected: g.Version, Actual: actual}
		}
	}
	return nil
}

// recorded gives the events of an append that was made before; nil when it was not.
func (m *model) recorded(a eventlog.Append) []eventlog.Recorded {
	var found []eventlog.Recorded
	for _, e := range m.log {
		for _, p := range a.Events {
			if p.ID == e.ID {
				found = append(found, e)
			}
		}
	}
	return found
}

func testLikeModel(t *testing.T, b *databasetest.Backend) {
	now := newClock()
	stores := []*eventstore.Store{newStore(t, b, eventstore.Config{Now: now.now}), newStore(t, b, eventstore.Config{Now: now.now})}
	rapid.Check(t, func(rt *rapid.T) {
		base, err := stores[0].Head(t.Context())
		require.NoError(rt, err)
		m := &model{base: base, versions: map[eventlog.StreamID]int64{}, keys: map[string]eventlog.IdempotencyKey{}}
		streams := []eventlog.StreamID{newStream(), newStream(), newStream()}
		scope := newID()
		var made []eventlog.Append
		stream := rapid.SampledFrom(streams)
		near := func(s eventlog.StreamID) int64 { // mostly the right version
			return max(0, m.versions[s]+rapid.SampledFrom([]int64{0, 0, 0, 0, -1, 1}).Draw(rt, "off by"))
		}
		fresh := func() eventlog.Append {
			s := stream.Draw(rt, "stream")
			a := decide(s, near(s))
			for range rapid.IntRange(1, 3).Draw(rt, "events") {
				e := event()
				e.Fact = rapid.Bool().Draw(rt, "fact")
				a.Events = append(a.Events, e)
			}
			for range rapid.IntRange(0, 2).Draw(rt, "guards") {
				g := stream.Draw(rt, "guarded")
				a.Guards = append(a.Guards, eventlog.Guard{Stream: g, Version: near(g)})
			}
			if rapid.Bool().Draw(rt, "keyed") {
				a.Idempotency = &eventlog.IdempotencyKey{
					Scope: scope, Key: fmt.Sprint(rapid.IntRange(1, 4).Draw(rt, "key")), Digest: []byte(rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "digest")),
					Subject: a.Events[0].ID, ExpiresAt: now.now().Add(time.Duration(rapid.IntRange(1, 20).Draw(rt, "seconds")) * time.Second),
				}
			}
			return a
		}
		for range rapid.IntRange(1, 15).Draw(rt, "appends") {
			var a eventlog.Append
			if len(made) > 0 && rapid.IntRange(0, 4).Draw(rt, "again") == 0 {
				a = rapid.SampledFrom(made).Draw(rt, "earlier")
			} else {
				a = fresh()
			}
			made = append(made, a)
			at := now.move(time.Duration(rapid.IntRange(0, 3).Draw(rt, "pass")) * time.Second)
			want, wantErr := m.append(a, at)
			got, err := rapid.SampledFrom(stores).Draw(rt, "store").Append(t.Context(), a)
			if wantErr != nil {
				require.Equal(rt, wantErr, err)
				continue
			}
			require.NoError(rt, err)
			require.Equal(rt, want, got)
		}
		log, err := stores[1].After(t.Context(), base, 1000)
		require.NoError(rt, err)
		require.Len(rt, log, len(m.log))
		for i, e := range m.log {
			require.Equal(rt, e, log[i])
		}
	})
}
