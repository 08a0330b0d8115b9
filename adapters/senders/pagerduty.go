package senders

import (
	"crypto/sha256"
	"strings"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// pagerDuty: developer.pagerduty.com, "Webhooks: Verifying Signatures". While a secret is
// exchanged there are two signatures. The delivery's id is not signed.
type pagerDuty struct{ usual }

func newPagerDuty(trigger.Signature) application.Sender { return pagerDuty{} }

func (pagerDuty) Verify(m *application.Message) error {
	const header = "X-PagerDuty-Signature"
	value, err := one(m, header)
	if err != nil {
		return err
	}
	var signatures [][]byte
	for item := range strings.SplitSeq(value, ",") {
		if text, found := strings.CutPrefix(strings.TrimSpace(item), "v1="); found {
			if signature, readable := inHex(text); readable {
				signatures = append(signatures, signature)
			}
		}
	}
	if !matches(sha256.New, m.Secrets, signatures, m.Signed) {
		return bad("the header %s has no signature of the exact body by the trigger's secret: v1=<hex HMAC-SHA256>", header)
	}
	return nil
}

func (pagerDuty) Ping(m *application.Message) *application.Handshake {
	if pagerDutyEvent(m) == "pagey.ping" {
		return pong("pagey.ping")
	}
	return nil
}

func pagerDutyEvent(m *application.Message) string {
	var body struct {
		Event struct {
			Type string `json:"event_type"`
		} `json:"event"`
	}
	if !read(m.Body, &body) {
		return ""
	}
	return body.Event.Type
}

func (pagerDuty) Delivery(m *application.Message) application.Delivery {
	d := delivery(m, "X-Webhook-Id", "")
	d.Event = pagerDutyEvent(m)
	return d
}
