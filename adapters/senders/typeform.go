package senders

import (
	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// typeform: typeform.com/developers/webhooks, "Secure your webhooks".
type typeform struct{ bodyMAC }

func newTypeform(trigger.Signature) application.Sender {
	return typeform{bodyMAC{header: "Typeform-Signature", prefix: "sha256=", encoding: inBase64}}
}

func (typeform) Delivery(m *application.Message) application.Delivery {
	var event struct {
		ID   string `json:"event_id"`
		Type string `json:"event_type"`
	}
	read(m.Body, &event)
	return application.Delivery{ID: event.ID, Proven: true, Event: event.Type}
}
