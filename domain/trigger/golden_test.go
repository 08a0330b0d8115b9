package trigger_test

import (
	"testing"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/trigger"
	"hooktrail/internal/eventlogtest"
)

func TestGoldenEvents(t *testing.T) {
	until := time.Date(2026, 3, 1, 12, 30, 0, 123456000, time.UTC)
	options := trigger.Options{
		RateLimit: new(30), AllowedIPs: []string{"192.0.2.0/24", "2001:db8::1"}, InactiveStatus: 410, ExpiresAt: &until, MaxBodyBytes: 2048,
	}
	options2 := options
	options2.Schedule = &trigger.Schedule{Cron: "30 9 * * 1-5", TimeZone: "Europe/Berlin", Payload: []byte(`{"report":"daily"}`), Missed: "skip"}
	options2.Signature = &trigger.Signature{
		Scheme: trigger.Custom, Header: "X-Sig", TimestampHeader: "X-Time", ToleranceSeconds: new(60), Algorithm: "sha512", Encoding: "base64",
		Prefix: "v1=", SigningString: []string{"id", ".", "timestamp", ".", "body"}, DeliveryHeader: "X-Id", VerifyTokenID: "token-9",
	}
	options2.Filter = "payload.action == 'opened'"
	options2.InputMapping = &trigger.Mapping{
		JQ: ".pull_request", CEL: map[string]string{"title": "payload.title"}, Template: map[string]string{"text": "{{ .payload.title }}"}, Preset: "github",
	}
	created := trigger.Created{
		AgentID: "agent-1", Name: "Grüße <&> \"x\"", Active: true, TokenID: "token-1", TokenPrefix: "wht_abcdef", SecretID: "secret-1", Options: options,
	}
	created2 := created
	created2.Options = options2
	invoked := trigger.Invoked{
		ExecutionID: "execution-1", AgentID: "agent-1", Runs: true,
		Input: trigger.Digest{SHA256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", Size: 2}, MediaType: "application/x-www-form-urlencoded",
		TokenID: "token-1", Signed: true, IdempotencyKey: "delivery-1", ClientIP: "192.0.2.7",
	}
	invoked2 := invoked
	invoked2.ScheduledFor, invoked2.NextRunAt, invoked2.SenderEvent = &until, &until, "pull_request"
	digest := trigger.Digest{SHA256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", Size: 2}
	seen := trigger.Seen{Event: "push", Headers: map[string]string{"x-github-event": "push"}, Query: map[string]string{"env": "live"}}
	eventlogtest.Golden(t, trigger.Codec, map[string]eventlog.Event{
		"trigger.created.v1":         created,
		"trigger.created.v2":         created2,
		"trigger.renamed.v1":         trigger.Renamed{Name: "orders"},
		"trigger.configured.v1":      trigger.Configured{Options: options},
		"trigger.configured.v2":      trigger.Configured{Options: options2},
		"trigger.rebound.v1":         trigger.Rebound{AgentID: "agent-2"},
		"trigger.activated.v1":       trigger.Activated{},
		"trigger.deactivated.v1":     trigger.Deactivated{},
		"trigger.token_rotated.v1":   trigger.TokenRotated{TokenID: "token-2", TokenPrefix: "wht_ghijkl", PreviousUntil: &until},
		"trigger.secret_set.v1":      trigger.SecretSet{SecretID: "secret-2", PreviousUntil: &until},
		"trigger.secret_removed.v1":  trigger.SecretRemoved{},
		"trigger.invoked.v1":         invoked,
		"trigger.invoked.v2":         invoked2,
		"trigger.schedule_missed.v1": trigger.ScheduleMissed{From: until, Until: until, Count: 3, Reason: "the agent is archived", NextRunAt: &until},
		"trigger.handshaken.v1":      trigger.Handshaken{Scheme: trigger.Slack, Kind: "url_verification", TokenID: "token-1", ClientIP: "192.0.2.7"},
		"trigger.received.v1": trigger.Received{
			ExecutionID: "execution-1", Body: digest, MediaType: "application/x-www-form-urlencoded", Seen: seen,
		},
		"trigger.filtered.v1": trigger.Filtered{
			AgentID: "agent-1", Body: digest, MediaType: "application/x-www-form-urlencoded", TokenID: "token-1", Signed: true,
			ClientIP: "192.0.2.7", Seen: seen,
		},
		"trigger.deleted.v1": trigger.Deleted{},
	})
}
