package subscription_test

import (
	"testing"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/subscription"
	"hooktrail/internal/eventlogtest"
)

func TestGoldenEvents(t *testing.T) {
	until := time.Date(2026, 3, 1, 12, 30, 0, 123456000, time.UTC)
	settings := subscription.Settings{
		Name: "Grüße <&> \"x\"", URL: "https://receiver.example.com/events?a=1&b=2", Types: []string{"trigger.*", "execution.failed"},
		Streams: []string{"trigger-*"}, TriggerID: "trigger-1", AgentID: "agent-1", Format: subscription.CloudEvents,
	}
	eventlogtest.Golden(t, subscription.Codec, map[string]eventlog.Event{
		"subscription.created.v1":           subscription.Created{Settings: settings, StartAfter: 41, SecretID: "secret-1"},
		"subscription.updated.v1":           subscription.Updated{Settings: settings},
		"subscription.secret_set.v1":        subscription.SecretSet{SecretID: "secret-2", PreviousUntil: &until},
		"subscription.disabled.v1":          subscription.Disabled{Code: subscription.Gone, Reason: "the receiver answered 410 Gone", Position: 42, EventID: "event-1"},
		"subscription.enabled.v1":           subscription.Enabled{},
		"subscription.deleted.v1":           subscription.Deleted{},
		"subscription.event_skipped.v1":     subscription.Skipped{Position: 42, EventID: "event-1"},
		"subscription.rewound.v1":           subscription.Rewound{After: 7},
		"subscription.event_redelivered.v1": subscription.Redelivered{Position: 42, EventID: "event-1"},
	})
}
