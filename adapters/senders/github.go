package senders

import (
	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// github: docs.github.com, "Validating webhook deliveries". The legacy header X-Hub-Signature,
// by SHA-1, is not looked at. The delivery id is not signed, nor is a time.
type github struct{ bodyMAC }

func newGitHub(trigger.Signature) application.Sender {
	return github{bodyMAC{header: "X-Hub-Signature-256", prefix: "sha256=", encoding: inHex}}
}

func (github) Ping(m *application.Message) *application.Handshake {
	if first(m, "X-GitHub-Event") == "ping" {
		return pong("ping")
	}
	return nil
}

func (github) Delivery(m *application.Message) application.Delivery {
	return delivery(m, "X-GitHub-Delivery", "X-GitHub-Event")
}
