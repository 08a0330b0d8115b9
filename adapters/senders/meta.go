package senders

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// meta is Facebook, Instagram, Messenger and WhatsApp: developers.facebook.com, "Webhooks:
// Getting Started". The key is the app secret.
type meta struct{ bodyMAC }

func newMeta(trigger.Signature) application.Sender {
	return meta{bodyMAC{header: "X-Hub-Signature-256", prefix: "sha256=", encoding: inHex}}
}

// WantsOK: the documentation asks for 200 OK, and says nothing of others.
func (meta) WantsOK() bool { return true }

func (meta) SetUp(m *application.Message) (*application.Handshake, error) {
	if m.Method() != http.MethodGet || m.Query("hub.mode") != "subscribe" {
		return nil, nil
	}
	switch {
	case m.VerifyToken == "":
		return nil, fault.New(fault.Forbidden, "the trigger has no options.signature.verify_token")
	case !isOneOf(m.Query("hub.verify_token"), []string{m.VerifyToken}):
		return nil, fault.New(fault.Forbidden, "hub.verify_token is not the trigger's options.signature.verify_token")
	}
	return &application.Handshake{Kind: "subscribe", ContentType: contentText, Body: []byte(m.Query("hub.challenge"))}, nil
}

// Delivery is by what is signed alone: Meta gives no id, and its bodies tell apart what happened
// by ids and times of their own.
func (meta) Delivery(m *application.Message) application.Delivery {
	digest := sha256.Sum256(m.Signed)
	return application.Delivery{ID: hex.EncodeToString(digest[:]), Proven: true}
}
