package senders

import (
	"net/http"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// okta is the event hooks: developer.okta.com, "Event hooks". Nothing is signed; the secret, if
// there is one, is what Okta sends as Authorization.
type okta struct{ usual }

func newOkta(trigger.Signature) application.Sender { return okta{} }

func (okta) SetUp(m *application.Message) (*application.Handshake, error) {
	challenge := first(m, "X-Okta-Verification-Challenge")
	if m.Method() != http.MethodGet || challenge == "" {
		return nil, nil
	}
	return &application.Handshake{Kind: "verification", ContentType: contentJSON, Body: quoted("verification", challenge)}, nil
}

func (okta) Verify(m *application.Message) error {
	given, err := one(m, "Authorization")
	if err != nil {
		return err
	}
	if !isOneOf(given, m.Secrets) {
		return bad("the header Authorization is not the trigger's secret")
	}
	return nil
}

func (okta) Delivery(m *application.Message) application.Delivery {
	var event struct {
		ID   string `json:"eventId"`
		Type string `json:"eventType"`
	}
	read(m.Body, &event)
	return application.Delivery{ID: event.ID, Proven: true, Event: event.Type}
}
