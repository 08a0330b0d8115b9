package senders

import (
	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// jira: developer.atlassian.com, "Webhooks", which sign as WebSub does, always by SHA-256. The
// identifier stays the same when Jira tries again, and is not signed.
type jira struct{ bodyMAC }

func newJira(trigger.Signature) application.Sender {
	return jira{bodyMAC{header: "X-Hub-Signature", prefix: "sha256=", encoding: inHex}}
}

func (jira) Delivery(m *application.Message) application.Delivery {
	d := delivery(m, "X-Atlassian-Webhook-Identifier", "")
	var body struct {
		Event string `json:"webhookEvent"`
	}
	if read(m.Body, &body) {
		d.Event = body.Event
	}
	return d
}
