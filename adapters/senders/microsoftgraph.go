package senders

import (
	"net/http"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// microsoftGraph: learn.microsoft.com, "Receive change notifications through webhooks". Nothing
// is signed; the secret, if there is one, is the subscription's clientState.
type microsoftGraph struct{ usual }

func newMicrosoftGraph(trigger.Signature) application.Sender { return microsoftGraph{} }

// SetUp answers the validation of the endpoint, which has no body and no clientState yet.
func (microsoftGraph) SetUp(m *application.Message) (*application.Handshake, error) {
	token := m.Query("validationToken")
	if m.Method() != http.MethodPost || token == "" {
		return nil, nil
	}
	return &application.Handshake{Kind: "validation", ContentType: contentText, Body: []byte(token)}, nil
}

func (microsoftGraph) Verify(m *application.Message) error {
	var body struct {
		Value []struct {
			ClientState string `json:"clientState"`
		} `json:"value"`
	}
	good := read(m.Body, &body) && len(body.Value) > 0
	for _, notification := range body.Value {
		good = isOneOf(notification.ClientState, m.Secrets) && good
	}
	if !good {
		return bad("every notification in the body must have the trigger's secret as its clientState")
	}
	return nil
}
