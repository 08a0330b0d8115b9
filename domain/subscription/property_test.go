package subscription_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/subscription"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func list(events ...eventlog.Event) []eventlog.Event { return events }

// history records events in the stream of one subscription, as the log does.
type history struct {
	recorded []eventlog.Recorded
	version  int64
}

func (h *history) record(t require.TestingT, event eventlog.Event) eventlog.Recorded {
	proposed, err := subscription.Codec.Encode(event)
	require.NoError(t, err)
	if !proposed.Fact {
		h.version++
	}
	n := len(h.recorded) + 1
	recorded := eventlog.Recorded{
		Position: eventlog.Position(n), WorkspaceID: "workspace-1", Stream: eventlog.Stream(eventlog.SubscriptionStream, "1"), Version: h.version,
		Fact: proposed.Fact, Type: proposed.Type, Schema: proposed.Schema, At: noon.Add(time.Duration(n) * time.Second),
		Meta: eventlog.Metadata{Actor: eventlog.ActorOf("api_key", "key-1")}, Data: proposed.Data,
	}
	h.recorded = append(h.recorded, recorded)
	return recorded
}

func (h *history) replayed(t require.TestingT, facts bool) subscription.Subscription {
	var state subscription.Subscription
	for _, recorded := range h.recorded {
		if recorded.Fact && !facts {
			continue
		}
		event, err := subscription.Codec.Decode(recorded)
		require.NoError(t, err)
		state = state.Evolve(recorded, event)
	}
	return state
}

func given(t *testing.T, events ...eventlog.Event) subscription.Subscription {
	t.Helper()
	h := &history{}
	for _, event := range events {
		h.record(t, event)
	}
	return h.replayed(t, true)
}

func someSettings(t *rapid.T) subscription.Settings {
	return subscription.Settings{
		Name:      rapid.SampledFrom([]string{"", "billing", "größer <&>"}).Draw(t, "name"),
		URL:       rapid.SampledFrom([]string{"", "https://a.example.com/?a=1&b=2", "http://b.example.com"}).Draw(t, "url"),
		Types:     rapid.SampledFrom([][]string{nil, {}, {"*"}, {"trigger.*", "execution.failed"}, {"nothing.*"}}).Draw(t, "types"),
		Streams:   rapid.SampledFrom([][]string{nil, {}, {"trigger-*"}}).Draw(t, "streams"),
		TriggerID: rapid.SampledFrom([]string{"", "t-1"}).Draw(t, "trigger"),
	}.Defaults()
}

func TestAnyLifeOfASubscription(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{}
		var live subscription.Subscription
		ended := false
		apply := func(events []eventlog.Event, err error) bool {
			if err != nil {
				require.Empty(t, events)
				return false
			}
			require.False(t, ended && len(events) > 0, "nothing happens to a deleted subscription")
			for _, event := range events {
				live = live.Evolve(h.record(t, event), event)
			}
			return true
		}
		if rapid.IntRange(0, 9).Draw(t, "created") > 0 {
			apply(subscription.Create(someSettings(t), known, 3, "secret-0"))
		}
		secrets := 0
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				require.Equal(t, live, h.replayed(t, true), "replaying the record gives the state that decisions were made on")
				require.Equal(t, live, h.replayed(t, false), "facts change nothing")
				require.Equal(t, ended, live.Deleted)
				if live.Version > 0 {
					require.NoError(t, live.Validate(known), "no subscription ever has bad settings")
					require.Equal(t, !live.Deleted, len(live.Secrets) > 0, "what is delivered is signed")
				}
			},
			"update": func(t *rapid.T) {
				s, active := someSettings(t), rapid.SampledFrom([]*bool{nil, new(true), new(false)}).Draw(t, "active")
				if apply(live.Update(s, known, active)) {
					require.True(t, active == nil || *active == live.Active())
					again, err := live.Update(s, known, active)
					require.NoError(t, err)
					require.Empty(t, again, "the same once more changes nothing")
				}
			},
			"rotate": func(t *rapid.T) {
				secrets++
				before := live.Secrets
				events, forget, err := live.SetSecret("secret-"+string(rune('a'+secrets%26)), time.Duration(rapid.IntRange(0, 5).Draw(t, "grace"))*time.Second, noon.Add(time.Duration(len(h.recorded)+1)*time.Second))
				if apply(events, err) {
					require.Len(t, live.Secrets, 1+len(before)-len(forget), "each older secret is kept or forgotten")
				}
			},
			"give up": func(t *rapid.T) {
				events, err := live.GiveUp(subscription.Disabled{Code: subscription.Unreachable, Reason: "x"})
				apply(events, err)
				require.False(t, live.Active())
			},
			"skip": func(t *rapid.T) {
				if live.Version > 0 && !ended {
					apply(list(subscription.Skipped{Position: 1, EventID: "e"}), nil)
				}
			},
			"delete": func(t *rapid.T) {
				events, _, err := live.Delete()
				ended = apply(events, err) || ended
			},
		})
	})
}
