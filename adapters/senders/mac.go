package senders

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"

	"hooktrail/application"
)

// encoding reads a signature as it is written; false when it is not written so.
type encoding func(text string) ([]byte, bool)

func inHex(text string) ([]byte, bool) {
	decoded, err := hex.DecodeString(text)
	return decoded, err == nil
}

func inBase64(text string) ([]byte, bool) {
	decoded, err := base64.StdEncoding.Strict().DecodeString(text)
	return decoded, err == nil
}

// matches reports whether one of the secrets gives one of the signatures for the parts of what
// is signed. It takes the same time wherever a signature differs.
func matches(algorithm func() hash.Hash, secrets []string, signatures [][]byte, parts ...[]byte) bool {
	good := false
	for _, secret := range secrets {
		if secret == "" {
			continue // an empty key is everybody's
		}
		mac := hmac.New(algorithm, []byte(secret))
		for _, part := range parts {
			mac.Write(part)
		}
		expected := mac.Sum(nil)
		for _, signature := range signatures {
			good = hmac.Equal(expected, signature) || good
		}
	}
	return good
}

// bodyMAC is a sender that puts the HMAC-SHA256 of its body, with a prefix, into a header.
type bodyMAC struct {
	usual

	header, prefix string
	encoding       encoding
}

func (s bodyMAC) Verify(m *application.Message) error {
	value, err := one(m, s.header)
	if err != nil {
		return err
	}
	text, found := strings.CutPrefix(value, s.prefix)
	signature, readable := s.encoding(text)
	if !found || !readable || !matches(sha256.New, m.Secrets, [][]byte{signature}, m.Signed) {
		return s.refusal()
	}
	return nil
}

func (s bodyMAC) refusal() error {
	written := "hex"
	if decoded, isBase64 := s.encoding("+/8="); isBase64 && len(decoded) == 2 {
		written = "base64"
	}
	return bad("the header %s is not the signature of the exact body by the trigger's secret: %s<%s HMAC-SHA256>", s.header, s.prefix, written)
}
