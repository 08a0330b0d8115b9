package senders

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// x: docs.x.com, "Securing webhooks". The key is the app's consumer secret.
type x struct{ bodyMAC }

func newX(trigger.Signature) application.Sender {
	return x{bodyMAC{header: "X-Twitter-Webhooks-Signature", prefix: "sha256=", encoding: inBase64}}
}

// Verify takes JSON objects only. The challenge-response check signs whatever text it is asked
// to, so a text that could be asked for must not pass for a call.
func (s x) Verify(m *application.Message) error {
	if !bytes.HasPrefix(bytes.TrimSpace(m.Signed), []byte("{")) {
		return bad("the body must be a JSON object, as all that X sends")
	}
	return s.bodyMAC.Verify(m)
}

// WantsOK: the documentation asks for the status 200, and says nothing of others.
func (x) WantsOK() bool { return true }

const maxCRCToken = 256 // bytes

func (x) SetUp(m *application.Message) (*application.Handshake, error) {
	token := m.Query("crc_token")
	if m.Method() != http.MethodGet || token == "" {
		return nil, nil
	}
	if len(m.Secrets) == 0 || len(token) > maxCRCToken || strings.ContainsFunc(token, notInToken) {
		return nil, fault.Field("crc_token", "must be up to %d letters, digits and -_+/=.", maxCRCToken)
	}
	mac := hmac.New(sha256.New, []byte(m.Secrets[0]))
	mac.Write([]byte(token))
	answer := quoted("response_token", "sha256="+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return &application.Handshake{Kind: "crc", ContentType: contentJSON, Body: answer}, nil
}

func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_+/=.", r)
}
