package senders

import (
	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// sentry: docs.sentry.io, "Integration Platform: Webhooks". Neither Sentry-Hook-Timestamp nor
// the id is signed.
type sentry struct{ bodyMAC }

func newSentry(trigger.Signature) application.Sender {
	return sentry{bodyMAC{header: "Sentry-Hook-Signature", encoding: inHex}}
}

func (sentry) Delivery(m *application.Message) application.Delivery {
	return delivery(m, "Request-ID", "Sentry-Hook-Resource")
}
