package trigger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// SignatureHeaders are the headers in which the default scheme takes a signature: ours,
// the one the page's command line client names, and GitHub's, so that GitHub works
// without configuration (docs.github.com, "Validating webhook deliveries").
var SignatureHeaders = []string{"X-Webhook-Signature", "X-PromptRails-Signature", "X-Hub-Signature-256"}

const signaturePrefix = "sha256="

// Sign gives the value of the signature header for a body: "sha256=" and the lower-case
// hex HMAC-SHA256 of its exact bytes.
func Sign(secret, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return signaturePrefix + hex.EncodeToString(mac.Sum(nil))
}

// Verify reports whether the signatures, at least one, are each made by one of the secrets
// over the exact bytes of the body. It takes the same time wherever a signature differs.
func Verify(signatures []string, secrets [][]byte, body []byte) bool {
	if len(signatures) == 0 || len(secrets) == 0 {
		return false
	}
	given := make([][]byte, len(signatures))
	for i, signature := range signatures {
		digest, found := strings.CutPrefix(strings.TrimSpace(signature), signaturePrefix)
		decoded, err := hex.DecodeString(digest)
		if !found || err != nil || len(decoded) != sha256.Size {
			return false
		}
		given[i] = decoded
	}
	good := make([]bool, len(given))
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		expected := mac.Sum(nil)
		for i, signature := range given {
			good[i] = good[i] || hmac.Equal(expected, signature)
		}
	}
	for _, ok := range good {
		if !ok {
			return false
		}
	}
	return true
}
