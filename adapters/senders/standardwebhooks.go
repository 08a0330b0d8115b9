package senders

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"hooktrail/application"
	"hooktrail/domain/token"
	"hooktrail/domain/trigger"
)

// standardWebhooks: the specification at github.com/standard-webhooks, by its own library. The
// library's check of the time is not used: it has its own clock and a tolerance that is fixed.
type standardWebhooks struct {
	usual

	tolerance time.Duration
}

func newStandardWebhooks(s trigger.Signature) application.Sender {
	return standardWebhooks{tolerance: toleranceOf(s, usualTolerance)}
}

// The specification's bounds of a key, in bytes.
const minKey, maxKey = 24, 64

func (standardWebhooks) CheckSecret(secret string) string {
	encoded, found := strings.CutPrefix(secret, token.StandardWebhooksPrefix)
	if !found {
		return "must begin with whsec_, as secrets of Standard Webhooks do"
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "must be base64 after whsec_"
	}
	if len(key) < minKey || len(key) > maxKey {
		return "must be the base64 of 24 to 64 bytes after whsec_"
	}
	return ""
}

func (standardWebhooks) NewSecret(random io.Reader) (string, error) {
	return token.NewStandardWebhooksSecret(random)
}

func (s standardWebhooks) Verify(m *application.Message) error {
	headers := http.Header{}
	for _, name := range []string{standardwebhooks.HeaderWebhookID, standardwebhooks.HeaderWebhookTimestamp, standardwebhooks.HeaderWebhookSignature} {
		value, err := one(m, name)
		if err != nil {
			return err
		}
		headers.Set(name, value)
	}
	at, isTime := unixTime(headers.Get(standardwebhooks.HeaderWebhookTimestamp))
	if !isTime {
		return unreadable(standardwebhooks.HeaderWebhookTimestamp)
	}
	good := false
	for _, secret := range m.Secrets {
		if s.CheckSecret(secret) != "" {
			continue // of another scheme, in its grace period
		}
		webhook, err := standardwebhooks.NewWebhook(secret)
		good = err == nil && webhook.VerifyIgnoringTimestamp(m.Signed, headers) == nil || good
	}
	if !good {
		return bad("the header %s has no signature v1 of the id, the time and the exact body by the trigger's secret", standardwebhooks.HeaderWebhookSignature)
	}
	return checkTime(standardwebhooks.HeaderWebhookTimestamp, at, m.Now, s.tolerance)
}

func (standardWebhooks) Delivery(m *application.Message) application.Delivery {
	return application.Delivery{ID: first(m, standardwebhooks.HeaderWebhookID), Proven: true}
}
