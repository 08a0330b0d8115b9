package senders

import (
	"crypto/sha256"
	"net/url"
	"strings"
	"time"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// slack: docs.slack.dev, "Verifying requests from Slack" and "url_verification".
type slack struct {
	usual

	tolerance time.Duration
}

func newSlack(s trigger.Signature) application.Sender {
	return slack{tolerance: toleranceOf(s, usualTolerance)}
}

func (s slack) Verify(m *application.Message) error {
	const signatureHeader, timeHeader = "X-Slack-Signature", "X-Slack-Request-Timestamp"
	value, err := one(m, signatureHeader)
	if err != nil {
		return err
	}
	timestamp, err := one(m, timeHeader)
	if err != nil {
		return err
	}
	at, isTime := unixTime(timestamp)
	if !isTime {
		return unreadable(timeHeader)
	}
	text, found := strings.CutPrefix(value, "v0=")
	signature, readable := inHex(text)
	if !found || !readable || !matches(sha256.New, m.Secrets, [][]byte{signature}, []byte("v0:"+timestamp+":"), m.Signed) {
		return bad("the header %s is not the signature of the time and the exact body by the trigger's secret: v0=<hex HMAC-SHA256>", signatureHeader)
	}
	return checkTime(timeHeader, at, m.Now, s.tolerance)
}

func (slack) Ping(m *application.Message) *application.Handshake {
	if isForm(m) { // of a slash command: Slack looks at the certificate now and then
		if fields, err := url.ParseQuery(string(m.Body)); err == nil && fields.Get("ssl_check") == "1" {
			return pong("ssl_check")
		}
		return nil
	}
	var event struct {
		Type      string `json:"type"`
		Challenge string `json:"challenge"`
	}
	if !read(m.Body, &event) || event.Type != "url_verification" {
		return nil
	}
	return &application.Handshake{Kind: "url_verification", ContentType: contentJSON, Body: quoted("challenge", event.Challenge)}
}

// Delivery is by the event's id, which is the same when Slack tries again and is signed.
func (slack) Delivery(m *application.Message) application.Delivery {
	var event struct {
		ID    string `json:"event_id"`
		Event struct {
			Type string `json:"type"`
		} `json:"event"`
	}
	if isForm(m) || !read(m.Body, &event) {
		return application.Delivery{}
	}
	return application.Delivery{ID: event.ID, Proven: true, Event: event.Event.Type}
}

func isForm(m *application.Message) bool {
	mediaType, _, _ := strings.Cut(m.ContentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), contentForm)
}
