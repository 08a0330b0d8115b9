package trigger_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/trigger"
)

// Vectors that others have published or computed, not made with the code under test.
var vectors = map[string]struct{ secret, body, signature string }{
	// docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation".
	"GitHub": {
		"It's a Secret to Everybody", "Hello, World!",
		"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
	},
	// HMAC-SHA256 computed with another implementation; Linear, PagerDuty and Sentry send the same hex.
	"X-Webhook-Signature": {
		"whsec_test_secret", `{"id":"evt_1","hello":"world"}`,
		"sha256=3993298d1a1d62f7199b9f9365e2d4c423c77395f029d74f8c05cc58001faf28",
	},
	// RFC 4231, section 4.3, test case 2.
	"RFC 4231": {
		"Jefe", "what do ya want for nothing?",
		"sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
	},
}

func verify(signatures []string, secret, body string) bool {
	return trigger.Verify(signatures, []*trigger.Key{trigger.NewKey([]byte(secret))}, []byte(body))
}

func TestSignatureVectors(t *testing.T) {
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, v.signature, trigger.Sign([]byte(v.secret), []byte(v.body)))
			require.True(t, verify([]string{v.signature}, v.secret, v.body))
			require.False(t, verify([]string{v.signature}, v.secret, v.body+"\n"), "one byte more")
			require.False(t, verify([]string{v.signature}, v.secret+" ", v.body), "another secret")
		})
	}
}

func TestVerify(t *testing.T) {
	v := vectors["GitHub"]
	hex := strings.TrimPrefix(v.signature, "sha256=")
	const wrong = "sha256=0000000000000000000000000000000000000000000000000000000000000000"
	for name, c := range map[string]struct {
		signatures []string
		want       bool
	}{
		"as sent":                        {[]string{v.signature}, true},
		"with space around":              {[]string{" " + v.signature + "\t"}, true},
		"in upper-case hex":              {[]string{"sha256=" + strings.ToUpper(hex)}, true},
		"in two headers":                 {[]string{v.signature, v.signature}, true},
		"one of two is wrong":            {[]string{v.signature, wrong}, false},
		"the other of two is wrong":      {[]string{wrong, v.signature}, false},
		"one of two is no signature":     {[]string{v.signature, "x"}, false},
		"none":                           {nil, false},
		"empty":                          {[]string{""}, false},
		"without its prefix":             {[]string{hex}, false},
		"with the prefix of another":     {[]string{"sha1=" + hex}, false},
		"with its prefix in upper case":  {[]string{"SHA256=" + hex}, false},
		"with its prefix twice":          {[]string{"sha256=" + v.signature}, false},
		"only its prefix":                {[]string{"sha256="}, false},
		"cut short":                      {[]string{v.signature[:len(v.signature)-2]}, false},
		"too long":                       {[]string{v.signature + "00"}, false},
		"an odd number of digits":        {[]string{v.signature[:len(v.signature)-1]}, false},
		"not hex":                        {[]string{"sha256=" + strings.Repeat("zz", 32)}, false},
		"two in one header":              {[]string{v.signature + "," + v.signature}, false},
		"wrong in its first byte":        {[]string{"sha256=" + "00" + hex[2:]}, false},
		"wrong in its last byte":         {[]string{"sha256=" + hex[:62] + "00"}, false},
		"of an empty body, as a replay":  {[]string{trigger.Sign([]byte(v.secret), nil)}, false},
		"made with an empty secret":      {[]string{trigger.Sign(nil, []byte(v.body))}, false},
		"made with a part of the secret": {[]string{trigger.Sign([]byte(v.secret[1:]), []byte(v.body))}, false},
	} {
		require.Equal(t, c.want, verify(c.signatures, v.secret, v.body), name)
	}
}

func TestVerifyWithSeveralSecrets(t *testing.T) {
	body := []byte(`{}`)
	current, old, gone := []byte("current secret"), []byte("old secret"), []byte("gone secret")
	keys := []*trigger.Key{trigger.NewKey(current), trigger.NewKey(old)}
	require.True(t, trigger.Verify([]string{trigger.Sign(current, body)}, keys, body))
	require.True(t, trigger.Verify([]string{trigger.Sign(old, body)}, keys, body))
	require.True(t, trigger.Verify([]string{trigger.Sign(old, body), trigger.Sign(current, body)}, keys, body), "each header by one of them")
	require.False(t, trigger.Verify([]string{trigger.Sign(gone, body)}, keys, body))
	require.False(t, trigger.Verify([]string{trigger.Sign(current, body), trigger.Sign(gone, body)}, keys, body))
	require.False(t, trigger.Verify([]string{trigger.Sign(nil, body)}, nil, body), "without a secret nothing is signed")
	require.True(t, trigger.Verify([]string{trigger.Sign(current, nil)}, keys, nil), "an empty body can be signed")
}
