package senders_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/senders"
	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// request is what the port reads of a request.
type request struct {
	method, url string
	header      http.Header
}

func (r request) Method() string              { return r.method }
func (r request) Header(name string) []string { return r.header.Values(name) }
func (r request) URL(bool) string             { return r.url }

func (r request) Query(name string) string {
	parsed, err := url.Parse(r.url)
	if err != nil {
		return ""
	}
	return parsed.Query().Get(name)
}

func (r request) URI() string {
	parsed, err := url.Parse(r.url)
	if err != nil {
		return ""
	}
	return parsed.RequestURI()
}

// moment is when the vectors that we computed were signed.
var moment = time.Unix(1714000000, 0)

const (
	ourSecret = "whsec_test_secret"
	ourBody   = `{"id":"evt_1","hello":"world"}`
)

// call is a message that a test signs or spoils.
type call struct {
	secrets []string
	body    string
	headers []string // names and values in turn
	now     time.Time
	url     string
	media   string
	method  string
}

func (c call) message() *application.Message {
	header := http.Header{}
	for i := 0; i < len(c.headers); i += 2 {
		header.Add(c.headers[i], c.headers[i+1])
	}
	if c.method == "" {
		c.method = http.MethodPost
	}
	if c.url == "" {
		c.url = "https://hooks.example.com/hooks/wht_x"
	}
	return &application.Message{
		Sent: request{c.method, c.url, header}, ContentType: c.media, Body: []byte(c.body), Signed: []byte(c.body), URLs: []string{"https://other.example.com/", c.url},
		Secrets: c.secrets, Now: c.now,
	}
}

func (c call) with(change func(*call)) call {
	c.headers = append([]string{}, c.headers...)
	c.secrets = append([]string{}, c.secrets...)
	change(&c)
	return c
}

// set replaces a header, or takes it away.
func (c *call) set(name, value string) {
	for i := 0; i < len(c.headers); i += 2 {
		if c.headers[i] == name {
			c.headers[i+1] = value
			if value == "" {
				c.headers = append(c.headers[:i:i], c.headers[i+2:]...)
			}
			return
		}
	}
	panic("the call has no header " + name)
}

func of(s trigger.Signature) application.Sender { return senders.Of(s) }

func accepted(t *testing.T, s trigger.Signature, c call) {
	t.Helper()
	require.NoError(t, of(s).Verify(c.message()))
}

func refused(t *testing.T, s trigger.Signature, c call, because string) {
	t.Helper()
	err := of(s).Verify(c.message())
	require.Equal(t, fault.InvalidSignature, fault.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, because)
	for _, secret := range c.secrets {
		if secret != "" {
			require.NotContains(t, err.Error(), secret)
		}
	}
}

func mac(algorithm func() hash.Hash, secret, signed string) []byte {
	m := hmac.New(algorithm, []byte(secret))
	m.Write([]byte(signed))
	return m.Sum(nil)
}

func hexOf(secret, signed string) string { return hex.EncodeToString(mac(sha256.New, secret, signed)) }

// vector is a call that must pass, and where it is from.
type vector struct {
	source string
	scheme trigger.Signature
	call   call
	// sig is the header of the signature, stamp the one of its time; "" where the time is
	// elsewhere or not signed.
	sig, stamp string
	tolerance  time.Duration // 0 when no time is signed
}

var githubCall = call{
	secrets: []string{"It's a Secret to Everybody"}, body: "Hello, World!", now: moment,
	headers: []string{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
}

func bodyOnly(scheme trigger.Scheme, header, value string) vector {
	return vector{"computed", trigger.Signature{Scheme: scheme}, call{
		secrets: []string{ourSecret}, body: ourBody, now: moment, headers: []string{header, value},
	}, header, "", 0}
}

const (
	ourHex    = "3993298d1a1d62f7199b9f9365e2d4c423c77395f029d74f8c05cc58001faf28"
	ourBase64 = "OZMpjRodYvcZm5+TZeLUxCPHc5XwKddPjAXMWAAfryg="
)

const slackBody = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"

const linearBody = `{"action":"create","webhookTimestamp":1714000000123}`

var vectors = map[string]vector{
	"github": {"docs.github.com, Validating webhook deliveries, Testing the webhook payload validation", trigger.Signature{Scheme: trigger.GitHub}, githubCall, "X-Hub-Signature-256", "", 0},
	"meta":   {"the same algorithm as GitHub's", trigger.Signature{Scheme: trigger.Meta}, githubCall, "X-Hub-Signature-256", "", 0},
	"slack": {"docs.slack.dev, Verifying requests from Slack", trigger.Signature{Scheme: trigger.Slack}, call{
		secrets: []string{"8f742231b10e8888abcd99yyyzzz85a5"}, body: slackBody, now: time.Unix(1531420618, 0), media: "application/x-www-form-urlencoded",
		headers: []string{"X-Slack-Request-Timestamp", "1531420618", "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"},
	}, "X-Slack-Signature", "X-Slack-Request-Timestamp", 5 * time.Minute},
	"standard-webhooks": {"github.com/standard-webhooks, libraries/go/webhook_test.go", trigger.Signature{Scheme: trigger.StandardWebhooks}, standardCall, "webhook-signature", "webhook-timestamp", 5 * time.Minute},
	"gitlab, signing":   {"the same as Standard Webhooks", trigger.Signature{Scheme: trigger.GitLab}, standardCall, "webhook-signature", "webhook-timestamp", 5 * time.Minute},
	"gitlab, plain": {"docs.gitlab.com, Webhooks: the token itself", trigger.Signature{Scheme: trigger.GitLab}, call{
		secrets: []string{ourSecret[6:]}, body: ourBody, now: moment, headers: []string{"X-Gitlab-Token", ourSecret[6:]},
	}, "X-Gitlab-Token", "", 0},
	"twilio": {"twilio-go, client/request_validator_test.go", trigger.Signature{Scheme: trigger.Twilio}, call{
		secrets: []string{"12345"}, now: moment, url: "https://mycompany.com/myapp.php?foo=1&bar=2", media: "application/x-www-form-urlencoded",
		body:    "Digits=1234&CallSid=CA1234567890ABCDE&To=%2B18005551212&Caller=%2B14158675309&From=%2B14158675309",
		headers: []string{"X-Twilio-Signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="},
	}, "X-Twilio-Signature", "", 0},
	"stripe": {"computed", trigger.Signature{Scheme: trigger.Stripe}, call{
		secrets: []string{ourSecret}, body: ourBody, now: moment,
		headers: []string{"Stripe-Signature", "t=1714000000,v1=8eec79be1682f1e681edee64825c4bdbba492538417855c9aa66e845681e691e"},
	}, "Stripe-Signature", "", 5 * time.Minute},
	"grafana": bodyOnly(trigger.Grafana, "X-Grafana-Alerting-Signature", ourHex),
	"grafana, with a time": {"computed", trigger.Signature{Scheme: trigger.Grafana, TimestampHeader: "X-Time"}, call{
		secrets: []string{ourSecret}, body: ourBody, now: moment,
		headers: []string{"X-Time", "1714000000", "X-Grafana-Alerting-Signature", "d223c15ec0365d5daf7655120605febf53c5b1a2ba62cb77f6e09a36fd13a886"},
	}, "X-Grafana-Alerting-Signature", "X-Time", 5 * time.Minute},
	"linear": {"computed", trigger.Signature{Scheme: trigger.Linear}, call{
		secrets: []string{ourSecret}, body: linearBody, now: moment, headers: []string{"Linear-Signature", hexOf(ourSecret, linearBody)},
	}, "Linear-Signature", "", time.Minute},
	"jira":        bodyOnly(trigger.Jira, "X-Hub-Signature", "sha256="+ourHex),
	"sentry":      bodyOnly(trigger.Sentry, "Sentry-Hook-Signature", ourHex),
	"pagerduty":   bodyOnly(trigger.PagerDuty, "X-PagerDuty-Signature", "v1="+ourHex),
	"shopify":     bodyOnly(trigger.Shopify, "X-Shopify-Hmac-SHA256", ourBase64),
	"typeform":    bodyOnly(trigger.Typeform, "Typeform-Signature", "sha256="+ourBase64),
	"x":           bodyOnly(trigger.X, "X-Twitter-Webhooks-Signature", "sha256="+ourBase64),
	"cloudevents": bodyOnly(trigger.CloudEvents, "X-Webhook-Signature", "sha256="+ourHex),
	"hooktrail":   {"computed", trigger.Signature{Scheme: trigger.Hooktrail, Header: "X-Mine"}, call{secrets: []string{ourSecret}, body: ourBody, now: moment, headers: []string{"X-Mine", "sha256=" + ourHex}}, "X-Mine", "", 0},
	"okta": {"developer.okta.com, Event hooks: the header itself", trigger.Signature{Scheme: trigger.Okta}, call{
		secrets: []string{ourSecret}, body: ourBody, now: moment, headers: []string{"Authorization", ourSecret},
	}, "Authorization", "", 0},
	"custom": {"computed", trigger.Signature{Scheme: trigger.Custom, Header: "X-Sig", Algorithm: "sha1", Prefix: "sha1="}, call{
		secrets: []string{ourSecret}, body: ourBody, now: moment, headers: []string{"X-Sig", "sha1=daa52984903b543fd1ff4b1a0df68f5b37cda5c1"},
	}, "X-Sig", "", 0},
	"custom, as Stripe signs": {"computed", trigger.Signature{
		Scheme: trigger.Custom, Header: "X-Sig", Prefix: "v1=", SigningString: []string{"timestamp", ".", "body"}, TimestampHeader: "X-Time", ToleranceSeconds: new(30),
	}, call{
		secrets: []string{ourSecret}, body: ourBody, now: moment,
		headers: []string{"X-Time", "1714000000", "X-Sig", "v1=8eec79be1682f1e681edee64825c4bdbba492538417855c9aa66e845681e691e"},
	}, "X-Sig", "X-Time", 30 * time.Second},
}

var standardCall = call{
	secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, body: `{"test": 2432232314}`, now: time.Unix(1614265330, 0),
	headers: []string{"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330", "webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
}

// another is a secret of the same form as one.
func another(secret string) string {
	if strings.HasPrefix(secret, "whsec_M") {
		return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	}
	return secret + "x"
}

// TestVectors spoils every vector in all the ways in which it can be spoilt.
func TestVectors(t *testing.T) {
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) {
			good := v.call
			accepted(t, v.scheme, good)
			secret := good.secrets[0]
			accepted(t, v.scheme, good.with(func(c *call) { c.secrets = []string{another(secret), secret} }))
			accepted(t, v.scheme, good.with(func(c *call) { c.secrets = []string{secret, another(secret)} }))
			refused(t, v.scheme, good.with(func(c *call) { c.secrets = []string{another(secret)} }), v.sig)
			refused(t, v.scheme, good.with(func(c *call) { c.secrets = nil }), "")
			refused(t, v.scheme, good.with(func(c *call) { c.secrets = []string{""} }), "")
			refused(t, v.scheme, good.with(func(c *call) { c.set(v.sig, "") }), "the header "+v.sig+" is missing")
			refused(t, v.scheme, good.with(func(c *call) { c.headers = append(c.headers, v.sig, "x") }), "the header "+v.sig+" is there more than once")
			value := http.Header{}
			for i := 0; i < len(good.headers); i += 2 {
				value.Set(good.headers[i], good.headers[i+1])
			}
			signature := value.Get(v.sig)
			last := len(signature) - 2 // before a base64's padding
			for at := range signature {
				if at <= last && !(v.sig == "Stripe-Signature" && at < 2) { // of t= a word that is not known is not read
					spoilt := []byte(signature)
					spoilt[at] = map[bool]byte{true: '1', false: '0'}[spoilt[at] == '0']
					refused(t, v.scheme, good.with(func(c *call) { c.set(v.sig, string(spoilt)) }), "")
				}
			}
			refused(t, v.scheme, good.with(func(c *call) { c.set(v.sig, signature[:len(signature)-1]) }), "")
			if v.scheme.Scheme != trigger.GitLab || v.sig != "X-Gitlab-Token" {
				for _, body := range []string{good.body + " ", good.body[:len(good.body)-1], strings.Replace(good.body, "1", "2", 1)} {
					if v.scheme.Scheme == trigger.Okta || body == good.body {
						continue
					}
					refused(t, v.scheme, good.with(func(c *call) { c.body = body }), "")
				}
			}
			if v.stamp != "" {
				refused(t, v.scheme, good.with(func(c *call) { c.set(v.stamp, "") }), "the header "+v.stamp+" is missing")
				for _, no := range []string{"x", "-1714000000", "1714000000.5", "0x1", "99999999999999999999"} {
					refused(t, v.scheme, good.with(func(c *call) { c.set(v.stamp, no) }), "the header "+v.stamp+" is not a time")
				}
				moved, _ := strconv.Atoi(value.Get(v.stamp))
				refused(t, v.scheme, good.with(func(c *call) { c.set(v.stamp, strconv.Itoa(moved+1)) }), "signature")
			}
			if v.tolerance > 0 {
				accepted(t, v.scheme, good.with(func(c *call) { c.now = c.now.Add(v.tolerance) }))
				accepted(t, v.scheme, good.with(func(c *call) { c.now = c.now.Add(-v.tolerance + time.Second) }))
				stale := fmt.Sprintf("more than %d s away", int(v.tolerance.Seconds()))
				refused(t, v.scheme, good.with(func(c *call) { c.now = c.now.Add(v.tolerance + time.Second) }), stale)
				refused(t, v.scheme, good.with(func(c *call) { c.now = c.now.Add(-v.tolerance - time.Second) }), stale)
				wider := v.scheme
				wider.ToleranceSeconds = new(86400)
				accepted(t, wider, good.with(func(c *call) { c.now = c.now.Add(23 * time.Hour) }))
			} else {
				accepted(t, v.scheme, good.with(func(c *call) { c.now = c.now.AddDate(1, 0, 0) }))
			}
		})
	}
}

// TestEveryScheme holds the table against the domain's list, and secrets that are made against
// what is taken.
func TestEveryScheme(t *testing.T) {
	tested := map[trigger.Scheme]bool{}
	for _, v := range vectors {
		tested[v.scheme.Scheme] = true
	}
	tested[trigger.MicrosoftGraph] = true // TestMicrosoftGraph
	for _, scheme := range trigger.Schemes {
		sender := of(trigger.Signature{Scheme: scheme})
		require.NotNil(t, sender, scheme)
		require.True(t, tested[scheme], "%s has no vector", scheme)
		made, err := sender.NewSecret(rand.Reader)
		require.NoError(t, err)
		require.Empty(t, sender.CheckSecret(made), scheme)
		require.GreaterOrEqual(t, len(made), 32)
	}
	require.Nil(t, of(trigger.Signature{Scheme: "carrier-pigeon"}))
}

func TestSecretsOfStandardWebhooks(t *testing.T) {
	whsec := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for secret, why := range map[string]string{
		whsec(24): "", whsec(64): "", whsec(23): "24 to 64 bytes", whsec(65): "24 to 64 bytes", "whsec_": "24 to 64 bytes",
		"whsec_not base64!": "base64 after whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "begin with whsec_",
	} {
		got := of(trigger.Signature{Scheme: trigger.StandardWebhooks}).CheckSecret(secret)
		require.Equal(t, why == "", got == "", secret)
		require.Contains(t, got, why)
		if strings.HasPrefix(secret, "whsec_") {
			require.Equal(t, got, of(trigger.Signature{Scheme: trigger.GitLab}).CheckSecret(secret))
		}
	}
	require.Empty(t, of(trigger.Signature{Scheme: trigger.GitLab}).CheckSecret("a plain token of some length"))
}

// TestStripeHeaders has the cases of stripe-go, webhook/client_test.go.
func TestStripeHeaders(t *testing.T) {
	v := vectors["stripe"]
	good := "8eec79be1682f1e681edee64825c4bdbba492538417855c9aa66e845681e691e"
	for header, because := range map[string]string{
		"":                             "is missing",
		"v1":                           "cannot be read",
		"v1,t=1":                       "cannot be read",
		"i have no equals":             "cannot be read",
		"t=1714000000":                 "no time t or no signature v1",
		"v1=" + good:                   "no time t or no signature v1",
		"t=,v1=" + good:                "no time t or no signature v1",
		"t=now,v1=" + good:             "no time t or no signature v1",
		"t=1714000000,v0=" + good:      "no time t or no signature v1",
		"t=1714000000,v2=" + good:      "no time t or no signature v1",
		"t=1714000000,v1=unreadable":   "no time t or no signature v1",
		"t=1714000000,v1=" + ourHex:    "has no signature v1 of the time",
		"t=1,t=1714000000,v1=" + good:  "more than one time",
		"t=1714000001,v1=" + good:      "has no signature v1 of the time",
		"t=1714000000,v1=" + good[:62]: "has no signature v1 of the time",
	} {
		refused(t, v.scheme, v.call.with(func(c *call) {
			if header == "" {
				c.headers = nil
			} else {
				c.set("Stripe-Signature", header)
			}
		}), because)
	}
	for _, header := range []string{
		"t=1714000000,v1=" + ourHex + ",v1=" + good, "t=1714000000,v1=" + good + ",v1=" + ourHex, "v1=" + good + ",t=1714000000",
		"t=1714000000,v1=unreadable,v1=" + good, "t=1714000000,v0=" + ourHex + ",v1=" + good, "t=1714000000, v1=" + good,
	} {
		accepted(t, v.scheme, v.call.with(func(c *call) { c.set("Stripe-Signature", header) }))
	}
}

// TestStandardWebhooksHeaders has the cases of libraries/go/webhook_test.go.
func TestStandardWebhooksHeaders(t *testing.T) {
	v := vectors["standard-webhooks"]
	const good, other = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
	set := func(header, value string) call { return v.call.with(func(c *call) { c.set(header, value) }) }
	for _, header := range []string{
		good + " " + other, other + " " + good, other + " v2," + other[3:] + " " + good + " " + other, "v1a,xyz " + good,
	} {
		accepted(t, v.scheme, set("webhook-signature", header))
	}
	for _, header := range []string{other, "v1,", "v2" + good[2:], good[3:], "v1a" + good[2:], "v1" + good[3:], good[:len(good)-1], "v1, " + good[3:]} {
		refused(t, v.scheme, set("webhook-signature", header), "has no signature v1")
	}
	refused(t, v.scheme, set("webhook-id", "msg_other"), "has no signature v1")
	refused(t, v.scheme, set("webhook-id", ""), "webhook-id is missing")
	require.Equal(t, application.Delivery{ID: "msg_p5jXN8AQM9LWM0D4loKWxJek", Proven: true}, of(v.scheme).Delivery(v.call.message()))
	refused(t, v.scheme, v.call.with(func(c *call) { c.secrets = []string{"whs_of another scheme"} }), "has no signature v1")
}

func TestGitLabTakesNoPlainTokenForASigningToken(t *testing.T) {
	scheme := trigger.Signature{Scheme: trigger.GitLab}
	signing := standardCall.secrets[0]
	plain := call{secrets: []string{signing}, body: ourBody, now: moment, headers: []string{"X-Gitlab-Token", signing}}
	refused(t, scheme, plain, "webhook-id is missing")
	// From a plain token to a signing token: either passes until the grace period ends.
	accepted(t, scheme, plain.with(func(c *call) {
		c.secrets, c.headers = []string{signing, "the token before"}, []string{"X-Gitlab-Token", "the token before"}
	}))
	refused(t, scheme, plain.with(func(c *call) { c.secrets = []string{signing, "the token before"} }), "is not the trigger's secret")
	accepted(t, scheme, standardCall.with(func(c *call) { c.secrets = []string{"the token after", signing} }))
}

func TestPagerDutySignsTwice(t *testing.T) {
	v := vectors["pagerduty"]
	other := strings.Repeat("0", 64)
	for _, header := range []string{"v1=" + other + ",v1=" + ourHex, "v1=" + ourHex + ", v1=" + other, "v2=" + other + ",v1=" + ourHex} {
		accepted(t, v.scheme, v.call.with(func(c *call) { c.set(v.sig, header) }))
	}
	for _, header := range []string{"v2=" + ourHex, ourHex, "v1=" + other + ",v1=" + other, "v1 = " + ourHex, ","} {
		refused(t, v.scheme, v.call.with(func(c *call) { c.set(v.sig, header) }), "has no signature")
	}
}

func TestLinearNeedsATime(t *testing.T) {
	scheme := trigger.Signature{Scheme: trigger.Linear}
	for _, body := range []string{ourBody, `{"webhookTimestamp":"soon"}`, `{"webhookTimestamp":-1}`, `{"WebhookTimestamp":1714000000123}`, `[]`, `{`} {
		refused(t, scheme, call{secrets: []string{ourSecret}, body: body, now: moment, headers: []string{"Linear-Signature", hexOf(ourSecret, body)}}, "webhookTimestamp")
	}
}

func TestTwilioURLs(t *testing.T) {
	scheme := trigger.Signature{Scheme: trigger.Twilio}
	sign := func(url, parameters string) string {
		return base64.StdEncoding.EncodeToString(mac(sha1.New, ourSecret, url+parameters))
	}
	const form, signed = "b=2&a=1&b=3&b=2&c=", "a1b2b3c"
	base := call{secrets: []string{ourSecret}, body: form, media: "application/x-www-form-urlencoded; charset=UTF-8", now: moment}
	for _, c := range []struct{ ours, theirs string }{
		{"https://a.example/h?x=1", "https://a.example/h?x=1"},
		{"https://a.example/h?x=1", "https://a.example:443/h?x=1"},
		{"https://a.example:443/h", "https://a.example/h"},
		{"http://a.example/h", "http://a.example:80/h"},
		{"http://a.example:8080/h", "http://a.example/h"},
		{"https://[2001:db8::1]:8443/h", "https://[2001:db8::1]/h"},
		{"https://a.example/h%20x?y=%41", "https://a.example/h%20x?y=%41"},
	} {
		accepted(t, scheme, base.with(func(k *call) { k.url, k.headers = c.ours, []string{"X-Twilio-Signature", sign(c.theirs, signed)} }))
		refused(t, scheme, base.with(func(k *call) { k.url, k.headers = c.ours, []string{"X-Twilio-Signature", sign(c.theirs+"x", signed)} }), "X-Twilio-Signature")
	}
	const body = `{"a": 1}`
	sum := sha256.Sum256([]byte(body))
	inJSON := func(digest, media, body string) call {
		url := "https://a.example/h?bodySHA256=" + digest
		if digest == "" {
			url = "https://a.example/h"
		}
		return call{secrets: []string{ourSecret}, body: body, media: media, now: moment, url: url, headers: []string{"X-Twilio-Signature", sign(url, "")}}
	}
	accepted(t, scheme, inJSON(hex.EncodeToString(sum[:]), "application/json", body))
	refused(t, scheme, inJSON(hex.EncodeToString(sum[:]), "application/json", body+" "), "bodySHA256")
	refused(t, scheme, inJSON("", "application/json", body), "must be a form")
	refused(t, scheme, inJSON("", "application/x-www-form-urlencoded", "%zz"), "is no form")
}

func TestMicrosoftGraph(t *testing.T) {
	scheme := trigger.Signature{Scheme: trigger.MicrosoftGraph}
	body := func(states ...string) call {
		var notifications []string
		for _, state := range states {
			notifications = append(notifications, fmt.Sprintf(`{"clientState": %q}`, state))
		}
		return call{secrets: []string{"another secret", ourSecret}, now: moment, body: `{"value": [` + strings.Join(notifications, ",") + `]}`}
	}
	accepted(t, scheme, body(ourSecret))
	accepted(t, scheme, body(ourSecret, ourSecret))
	refused(t, scheme, body(ourSecret, "x"), "clientState")
	refused(t, scheme, body(""), "clientState")
	refused(t, scheme, body(), "clientState")
	refused(t, scheme, body(ourSecret).with(func(c *call) { c.body = `[]` }), "clientState")
	refused(t, scheme, body(ourSecret).with(func(c *call) { c.secrets = nil }), "clientState")
}

// TestNoKeyIsNobodys: with an empty key anybody could sign.
func TestNoKeyIsNobodys(t *testing.T) {
	refused(t, trigger.Signature{Scheme: trigger.GitHub}, call{secrets: []string{""}, body: ourBody, now: moment, headers: []string{"X-Hub-Signature-256", "sha256=" + hexOf("", ourBody)}}, "X-Hub-Signature-256")
	refused(t, trigger.Signature{Scheme: trigger.MicrosoftGraph}, call{secrets: []string{""}, body: `{"value": [{"clientState": ""}]}`, now: moment}, "clientState")
	signed := base64.StdEncoding.EncodeToString(mac(sha256.New, "", "msg_1.1714000000."+ourBody))
	refused(t, trigger.Signature{Scheme: trigger.StandardWebhooks}, call{
		secrets: []string{"whsec_"}, body: ourBody, now: moment,
		headers: []string{"webhook-id", "msg_1", "webhook-timestamp", "1714000000", "webhook-signature", "v1," + signed},
	}, "has no signature v1")
}

// TestXSignsNoCalls: what the challenge-response check signs for whoever asks is no call.
func TestXSignsNoCalls(t *testing.T) {
	scheme := trigger.Signature{Scheme: trigger.X}
	m := call{method: http.MethodGet, url: "https://h/?crc_token=abc", secrets: []string{ourSecret}}.message()
	h, err := of(scheme).SetUp(m)
	require.NoError(t, err)
	_, signature, _ := strings.Cut(strings.TrimSuffix(string(h.Body), `"}`), `:"`)
	refused(t, scheme, call{secrets: []string{ourSecret}, body: "abc", media: "application/x-www-form-urlencoded", now: moment, headers: []string{"X-Twitter-Webhooks-Signature", signature}}, "must be a JSON object")
}

func TestCustomParts(t *testing.T) {
	scheme := trigger.Signature{
		Scheme: trigger.Custom, Header: "X-Sig", Algorithm: "sha512", Encoding: "base64", TimestampHeader: "X-Time", DeliveryHeader: "X-Id",
		SigningString: []string{"id", ".", "timestamp", ".", "method", " ", "url", "\n", "body"},
	}
	const url = "https://hooks.example.com/hooks/wht_x?a=b"
	signed := "42.1714000000123.POST " + url + "\n" + ourBody
	good := call{
		secrets: []string{ourSecret}, body: ourBody, now: moment, url: url,
		headers: []string{"X-Id", "42", "X-Time", "1714000000123", "X-Sig", base64.StdEncoding.EncodeToString(mac(sha512.New, ourSecret, signed))},
	}
	accepted(t, scheme, good)
	require.Equal(t, application.Delivery{ID: "42", Proven: true}, of(scheme).Delivery(good.message()))
	refused(t, scheme, good.with(func(c *call) { c.set("X-Id", "43") }), "X-Sig")
	refused(t, scheme, good.with(func(c *call) { c.url += "x" }), "X-Sig")
	refused(t, scheme, good.with(func(c *call) { c.method = "PUT" }), "X-Sig")
	require.Equal(t, application.Delivery{ID: "42"}, of(trigger.Signature{Scheme: trigger.Custom, Header: "X-Sig", DeliveryHeader: "X-Id"}).Delivery(good.message()))
}
