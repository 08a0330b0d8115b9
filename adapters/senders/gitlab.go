package senders

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"

	"hooktrail/application"
	"hooktrail/domain/token"
	"hooktrail/domain/trigger"
)

// gitlab sends its secret token as it is or, with a signing token (whsec_…), signs by Standard
// Webhooks (docs.gitlab.com, "Webhooks"). Which of the two is wanted follows from the secret, so
// that whoever has read a plain token from a request cannot get past a signing token.
type gitlab struct {
	usual

	signed standardWebhooks
}

func newGitLab(s trigger.Signature) application.Sender {
	return gitlab{signed: standardWebhooks{tolerance: toleranceOf(s, usualTolerance)}}
}

func (g gitlab) CheckSecret(secret string) string {
	if strings.HasPrefix(secret, token.StandardWebhooksPrefix) {
		return g.signed.CheckSecret(secret)
	}
	return ""
}

func (g gitlab) Verify(m *application.Message) error {
	var plain []string
	signing := *m
	signing.Secrets = nil
	for _, secret := range m.Secrets {
		if strings.HasPrefix(secret, token.StandardWebhooksPrefix) {
			signing.Secrets = append(signing.Secrets, secret)
		} else {
			plain = append(plain, secret)
		}
	}
	if len(signing.Secrets) > 0 && (len(plain) == 0 || first(m, "webhook-signature") != "") {
		return g.signed.Verify(&signing)
	}
	given, err := one(m, "X-Gitlab-Token")
	if err != nil {
		return err
	}
	if !isOneOf(given, plain) {
		return bad("the header X-Gitlab-Token is not the trigger's secret")
	}
	return nil
}

// isOneOf compares in constant time, the lengths included.
func isOneOf(given string, secrets []string) bool {
	digest := sha256.Sum256([]byte(given))
	good := false
	for _, secret := range secrets {
		expected := sha256.Sum256([]byte(secret))
		good = hmac.Equal(digest[:], expected[:]) && secret != "" || good
	}
	return good
}

// Delivery is by webhook-id, which is the same as Idempotency-Key where GitLab sends both, and
// signed only where GitLab signs.
func (g gitlab) Delivery(m *application.Message) application.Delivery {
	const event = "X-Gitlab-Event"
	if len(m.Secrets) > 0 && strings.HasPrefix(m.Secrets[0], token.StandardWebhooksPrefix) && first(m, "webhook-signature") != "" {
		d := g.signed.Delivery(m)
		d.Event = first(m, event)
		return d
	}
	if d := delivery(m, "Idempotency-Key", event); d.ID != "" {
		return d
	}
	return delivery(m, "X-Gitlab-Event-UUID", event)
}
