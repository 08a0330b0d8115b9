package hooktrail_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	hooktrail "hooktrail/sdk/go"
)

// The example of docs.github.com, "Validating webhook deliveries".
const (
	githubSecret    = "It's a Secret to Everybody"
	githubBody      = "Hello, World!"
	githubSignature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
)

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	body := []byte(githubBody)
	require.Equal(t, githubSignature, hooktrail.Sign(body, githubSecret))
	require.True(t, hooktrail.Verify(body, githubSignature, githubSecret))
	require.True(t, hooktrail.Verify(body, githubSignature, "another", githubSecret), "while a secret is rotated")
	for name, signature := range map[string]string{
		"empty": "", "no prefix": githubSignature[7:], "cut": githubSignature[:len(githubSignature)-2], "no hex": githubSignature[:70] + "z",
		"other": hooktrail.Sign(body, "another"), "of another body": hooktrail.Sign([]byte("Hello"), githubSecret),
	} {
		require.False(t, hooktrail.Verify(body, signature, githubSecret), name)
	}
	require.False(t, hooktrail.Verify(body, githubSignature))
	require.False(t, hooktrail.Verify(body, hooktrail.Sign(body, ""), ""), "an empty secret proves nothing")
}

// TestVectors holds us to what all libraries are held to.
func TestVectors(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../vectors/signatures.json")
	require.NoError(t, err)
	type vector struct {
		Name, Body, Signature string
		Secret                hooktrail.Secret
		Base64                []byte `json:"body_base64"`
	}
	var vectors struct{ Signed, Accepted, Refused []vector }
	require.NoError(t, json.Unmarshal(content, &vectors))
	require.NotEmpty(t, vectors.Accepted)
	require.NotEmpty(t, vectors.Refused)
	bytes := func(v vector) []byte {
		if v.Base64 != nil {
			return v.Base64
		}
		return []byte(v.Body)
	}
	for _, v := range vectors.Signed {
		require.Equal(t, v.Signature, hooktrail.Sign(bytes(v), v.Secret), v.Name)
	}
	for _, v := range append(vectors.Signed, vectors.Accepted...) {
		require.True(t, hooktrail.Verify(bytes(v), v.Signature, v.Secret), v.Name)
	}
	for _, v := range vectors.Refused {
		require.False(t, hooktrail.Verify(bytes(v), v.Signature, v.Secret), v.Name)
	}
}

func TestSchemes(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	s := &scripted{replies: []reply{{202, `{"data": {"id": "x1", "status": "pending"}}`, map[string]string{"Idempotent-Replayed": "true"}}}}
	client := scriptedClient(t, s, nil)
	fire := func(scheme hooktrail.Scheme) http.Header {
		t.Helper()
		begun, err := client.Fire(t.Context(), hooktrail.Call{
			Token: "wht_x", Secret: secret, Scheme: scheme, Body: []byte(githubBody), IdempotencyKey: "delivery-1", Wait: 1500 * time.Millisecond,
		})
		require.NoError(t, err)
		require.True(t, begun.Replayed)
		sent := s.seen[len(s.seen)-1]
		require.Equal(t, "wait=2", sent.Header.Get("Prefer"))
		require.Equal(t, githubBody, s.bodies[len(s.bodies)-1])
		return sent.Header
	}
	require.Equal(t, hooktrail.Sign([]byte(githubBody), secret), fire("").Get("X-Webhook-Signature"))
	header := fire(hooktrail.SchemeGitHub)
	require.Equal(t, hooktrail.Sign([]byte(githubBody), secret), header.Get("X-Hub-Signature-256"))
	require.Equal(t, "delivery-1", header.Get("X-Github-Delivery"))
	header = fire(hooktrail.SchemeStandardWebhooks)
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	require.NoError(t, verifier.Verify([]byte(githubBody), header))
	require.NoError(t, hooktrail.VerifyRequest(header, []byte(githubBody), secret, 0))
	_, err = client.Fire(t.Context(), hooktrail.Call{Token: "wht_x", Secret: secret, Scheme: "stripe"})
	require.ErrorContains(t, err, "stripe")
	_, err = client.Fire(t.Context(), hooktrail.Call{Token: "wht_x", Secret: "no base64!", Scheme: hooktrail.SchemeStandardWebhooks})
	require.ErrorContains(t, err, "whsec_")
	require.NotContains(t, err.Error(), "no base64!")
}

func TestVerifyRequest(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	body := []byte(`{"test": 2432232314}`)
	signer, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	signed := func(at time.Time) http.Header {
		signature, err := signer.Sign("msg_1", at, body)
		require.NoError(t, err)
		header := http.Header{}
		header.Set("webhook-id", "msg_1")
		header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32))+" "+signature)
		return header
	}
	now := time.Now()
	require.NoError(t, hooktrail.VerifyRequest(signed(now), body, secret, 0))
	require.NoError(t, hooktrail.VerifyRequest(signed(now.Add(-time.Hour)), body, secret, 2*time.Hour))
	for name, change := range map[string]func(h http.Header){
		"old":          func(h http.Header) { copyInto(h, signed(now.Add(-6*time.Minute))) },
		"ahead":        func(h http.Header) { copyInto(h, signed(now.Add(6*time.Minute))) },
		"another id":   func(h http.Header) { h.Set("webhook-id", "msg_2") },
		"no id":        func(h http.Header) { h.Del("webhook-id") },
		"no time":      func(h http.Header) { h.Set("webhook-timestamp", "now") },
		"no signature": func(h http.Header) { h.Del("webhook-signature") },
		"other scheme": func(h http.Header) {
			h.Set("webhook-signature", strings.ReplaceAll(h.Get("webhook-signature"), "v1,", "v1a,"))
		},
	} {
		header := signed(now)
		change(header)
		require.Error(t, hooktrail.VerifyRequest(header, body, secret, 0), name)
	}
	require.Error(t, hooktrail.VerifyRequest(signed(now), body[1:], secret, 0))
	require.Error(t, hooktrail.VerifyRequest(signed(now), body, "", 0))
}

func copyInto(h, from http.Header) {
	for name, values := range from {
		h[name] = values
	}
}

func ExampleVerify() {
	fmt.Println(hooktrail.Verify([]byte(githubBody), githubSignature, githubSecret))
	// Output: true
}
