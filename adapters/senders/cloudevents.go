package senders

import (
	"net/http"
	"strconv"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// cloudEvents: github.com/cloudevents/spec, "HTTP 1.1 Web Hooks for Event Delivery". It leaves
// signatures open: with a secret, calls are signed as by the usual scheme.
type cloudEvents struct{ bodyMAC }

func newCloudEvents(trigger.Signature) application.Sender {
	return cloudEvents{bodyMAC{header: trigger.SignatureHeaders[0], prefix: "sha256=", encoding: inHex}}
}

// SetUp grants who asks for it to send. WebHook-Request-Callback is not called: a permission
// that is given at once needs no second request, and nobody should choose whom we call.
func (cloudEvents) SetUp(m *application.Message) (*application.Handshake, error) {
	origin := first(m, "WebHook-Request-Origin")
	if m.Method() != http.MethodOptions || origin == "" {
		return nil, nil
	}
	rate := "*"
	if m.RateLimit > 0 {
		rate = strconv.Itoa(m.RateLimit)
	}
	return &application.Handshake{Kind: "validation", ContentType: contentJSON, Body: []byte(`{"data":{"status":"granted"}}`), Header: map[string]string{
		"Allow": http.MethodPost, "WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": rate,
	}}, nil
}

// Delivery is by source and id, which together name an event (CloudEvents, "id"): in headers, or
// in the body, which is signed if there is a secret.
func (cloudEvents) Delivery(m *application.Message) application.Delivery {
	if source, id := first(m, "ce-source"), first(m, "ce-id"); source != "" && id != "" {
		return application.Delivery{ID: source + " " + id, Event: first(m, "ce-type")}
	}
	var event struct {
		SpecVersion string `json:"specversion"`
		Source      string `json:"source"`
		ID          string `json:"id"`
		Type        string `json:"type"`
	}
	if !read(m.Body, &event) || event.SpecVersion == "" || event.Source == "" || event.ID == "" {
		return application.Delivery{}
	}
	return application.Delivery{ID: event.Source + " " + event.ID, Proven: true, Event: event.Type}
}
