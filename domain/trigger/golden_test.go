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
	created := trigger.Created{
		AgentID: "agent-1", Name: "Grüße <&> \"x\"", Active: true, TokenID: "token-1", TokenPrefix: "wht_abcdef", SecretID: "secret-1", Options: options,
	}
	configured := trigger.Configured{Options: options}
	options.Filter = "payload.action == 'opened'"
	options.InputMapping = &trigger.Mapping{
		JQ: ".pull_request", CEL: map[string]string{"title": "payload.title"}, Template: map[string]string{"text": "{{ .payload.title }}"}, Preset: "github",
	}
	created2, configured2 := created, trigger.Configured{Options: options}
	created2.Options = options
	digest := trigger.Digest{SHA256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", Size: 2}
	seen := trigger.Seen{Event: "push", Headers: map[string]string{"x-github-event": "push"}, Query: map[string]string{"env": "live"}}
	eventlogtest.Golden(t, trigger.Codec, map[string]eventlog.Event{
		"trigger.created.v1":        created,
		"trigger.created.v2":        created2,
		"trigger.renamed.v1":        trigger.Renamed{Name: "orders"},
		"trigger.configured.v1":     configured,
		"trigger.configured.v2":     configured2,
		"trigger.rebound.v1":        trigger.Rebound{AgentID: "agent-2"},
		"trigger.activated.v1":      trigger.Activated{},
		"trigger.deactivated.v1":    trigger.Deactivated{},
		"trigger.token_rotated.v1":  trigger.TokenRotated{TokenID: "token-2", TokenPrefix: "wht_ghijkl", PreviousUntil: &until},
		"trigger.secret_set.v1":     trigger.SecretSet{SecretID: "secret-2", PreviousUntil: &until},
		"trigger.secret_removed.v1": trigger.SecretRemoved{},
		"trigger.invoked.v1": trigger.Invoked{
			ExecutionID: "execution-1", AgentID: "agent-1", Runs: true,
			Input: trigger.Digest{SHA256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", Size: 2}, MediaType: "application/x-www-form-urlencoded",
			TokenID: "token-1", Signed: true, IdempotencyKey: "delivery-1", ClientIP: "192.0.2.7",
		},
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
