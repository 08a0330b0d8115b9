package senders

import (
	"crypto/sha256"
	"strings"
	"time"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// stripe: docs.stripe.com/webhooks, "Verify webhook signatures manually". The key is the whole
// text whsec_…, which is not decoded. Signatures v0 are of test calls and prove nothing.
type stripe struct {
	usual

	tolerance time.Duration
}

func newStripe(s trigger.Signature) application.Sender {
	return stripe{tolerance: toleranceOf(s, usualTolerance)}
}

func (s stripe) Verify(m *application.Message) error {
	const header = "Stripe-Signature"
	value, err := one(m, header)
	if err != nil {
		return err
	}
	var timestamp string
	var signatures [][]byte
	for item := range strings.SplitSeq(value, ",") {
		name, text, found := strings.Cut(strings.TrimSpace(item), "=")
		switch {
		case !found:
			return bad("the header %s cannot be read: it must be t=<time>,v1=<hex HMAC-SHA256>", header)
		case name == "t" && timestamp != "":
			return bad("the header %s has more than one time", header)
		case name == "t":
			timestamp = text
		case name == "v1":
			if signature, readable := inHex(text); readable {
				signatures = append(signatures, signature)
			}
		}
	}
	at, isTime := unixTime(timestamp)
	if !isTime || len(signatures) == 0 {
		return bad("the header %s has no time t or no signature v1", header)
	}
	if !matches(sha256.New, m.Secrets, signatures, []byte(timestamp+"."), m.Signed) {
		return bad("the header %s has no signature v1 of the time and the exact body by the trigger's secret", header)
	}
	return checkTime("the time t in "+header, at, m.Now, s.tolerance)
}

// Delivery is by the event's id. What stands beside it changes: pending_webhooks counts down.
func (stripe) Delivery(m *application.Message) application.Delivery {
	var event struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	}
	read(m.Body, &event)
	return application.Delivery{ID: event.ID, Proven: true, Event: event.Type}
}
