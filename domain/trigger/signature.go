package trigger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strings"
	"sync"
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

// Key is a signing secret that is ready for use: setting the HMAC up for every call takes as
// long as the HMAC of a KiB.
type Key struct{ macs sync.Pool }

// NewKey makes a key of a secret.
func NewKey(secret []byte) *Key {
	return &Key{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}}
}

func (k *Key) sign(body []byte) [sha256.Size]byte {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	mac.Write(body)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return sum
}

// Verify reports whether the signatures, at least one, are each made by one of the keys
// over the exact bytes of the body. It takes the same time wherever a signature differs.
func Verify(signatures []string, keys []*Key, body []byte) bool {
	if len(signatures) == 0 || len(keys) == 0 {
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
	for _, key := range keys {
		expected := key.sign(body)
		for i, signature := range given {
			good[i] = good[i] || hmac.Equal(expected[:], signature)
		}
	}
	for _, ok := range good {
		if !ok {
			return false
		}
	}
	return true
}
