package hooktrail

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader is the header that carries the signature of a webhook call.
const SignatureHeader = "X-Webhook-Signature"

const signaturePrefix = "sha256="

// Sign gives the signature of a webhook call: "sha256=" and the hex HMAC-SHA256 of the exact
// bytes of the body. The key is the secret's text as it is, prefix included.
func Sign(body []byte, secret Secret) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return signaturePrefix + hex.EncodeToString(mac.Sum(nil))
}

// Verify reports whether one of the secrets made the signature over the exact bytes of the body.
// While a secret is being rotated, both can be given; an empty one never fits. It takes the same
// time wherever a signature differs.
func Verify(body []byte, signature string, secrets ...Secret) bool {
	digest, found := strings.CutPrefix(strings.TrimSpace(signature), signaturePrefix)
	given, err := hex.DecodeString(digest)
	if !found || err != nil || len(given) != sha256.Size {
		return false
	}
	good := false
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		good = hmac.Equal(mac.Sum(nil), given) || good
	}
	return good
}

// Scheme is how a webhook call is signed.
type Scheme string

// The schemes in which Fire can sign.
const (
	SchemeHooktrail        Scheme = "hooktrail"         // X-Webhook-Signature; the default
	SchemeGitHub           Scheme = "github"            // X-Hub-Signature-256
	SchemeStandardWebhooks Scheme = "standard-webhooks" // webhook-id, webhook-timestamp, webhook-signature
)

// The headers of Standard Webhooks.
const (
	headerWebhookID        = "Webhook-Id"
	headerWebhookTimestamp = "Webhook-Timestamp"
	headerWebhookSignature = "Webhook-Signature"
)

// addTo signs a call in the scheme.
func (s Scheme) addTo(header http.Header, body []byte, secret Secret, id string, at time.Time) error {
	switch s {
	case "", SchemeHooktrail:
		header.Set(SignatureHeader, Sign(body, secret))
	case SchemeGitHub:
		header.Set("X-Hub-Signature-256", Sign(body, secret))
		header.Set("X-GitHub-Delivery", id)
	case SchemeStandardWebhooks:
		key, err := standardKey(secret)
		if err != nil {
			return err
		}
		timestamp := strconv.FormatInt(at.Unix(), 10)
		header.Set(headerWebhookID, id)
		header.Set(headerWebhookTimestamp, timestamp)
		header.Set(headerWebhookSignature, "v1,"+base64.StdEncoding.EncodeToString(standardSum(key, id, timestamp, body)))
	default:
		return fmt.Errorf("hooktrail: there is no scheme %q: use hooktrail, github or standard-webhooks", string(s))
	}
	return nil
}

func standardKey(secret Secret) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(secret), "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, errors.New(`hooktrail: a secret of Standard Webhooks is "whsec_" and base64`)
	}
	return key, nil
}

func standardSum(key []byte, id, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// DefaultTolerance is how far the clock of a sender may be from ours, by Standard Webhooks.
const DefaultTolerance = 5 * time.Minute

// VerifyRequest checks, in an agent of the runner http, that a request is Hooktrail's: by its
// headers, the exact bytes of its body, and the agent's signing secret, "whsec_…". tolerance is
// how old or how far ahead it may be; 0 is DefaultTolerance. The error says what is wrong and
// is nil when nothing is. The execution id, in the header webhook-id, tells repeats.
func VerifyRequest(header http.Header, body []byte, secret Secret, tolerance time.Duration) error {
	key, err := standardKey(secret)
	if err != nil {
		return err
	}
	id, timestamp := header.Get(headerWebhookID), header.Get(headerWebhookTimestamp)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil {
		return errors.New("hooktrail: the request has no webhook-id or no webhook-timestamp")
	}
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	if off := time.Since(time.Unix(seconds, 0)).Abs(); off > tolerance {
		return errors.New("hooktrail: the request was signed too long ago, or the clocks differ")
	}
	expected, good := standardSum(key, id, timestamp, body), false
	for signature := range strings.FieldsSeq(header.Get(headerWebhookSignature)) {
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1,"))
		good = err == nil && strings.HasPrefix(signature, "v1,") && hmac.Equal(expected, given) || good
	}
	if !good {
		return errors.New("hooktrail: no signature of the request fits its body and the secret")
	}
	return nil
}
