package senders

import (
	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// newHooktrail is the usual scheme with a header of the trigger's own choice.
func newHooktrail(s trigger.Signature) application.Sender {
	header := s.Header
	if header == "" {
		header = trigger.SignatureHeaders[0]
	}
	return bodyMAC{header: header, prefix: "sha256=", encoding: inHex}
}
