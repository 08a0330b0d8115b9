package e2e_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
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
)

// delivery is one call as its sender makes it: headers are names and values in turn.
type delivery struct {
	body    string
	headers []string
}

// sender is a scheme with a secret of its form, and how that sender signs.
type sender struct {
	signature string // options.signature
	secret    string
	// sign makes the delivery of an id at a time; repeats of an id may differ in what does not
	// count. n is told to the agent.
	sign func(s sender, id string, n int, at time.Time, hook string) delivery
	// tolerance is how old a delivery may be; 0 where no time is signed.
	tolerance time.Duration
	// numbered says that the sender gives its deliveries ids.
	numbered bool
	// wantsOK says that the sender takes no other status than 200.
	wantsOK bool
	// open says that the body may be changed: nothing covers it.
	open bool
}

func digest(algorithm func() hash.Hash, key []byte, signed string) []byte {
	mac := hmac.New(algorithm, key)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

func inHex(secret, signed string) string {
	return hex.EncodeToString(digest(sha256.New, []byte(secret), signed))
}

func inBase64(secret, signed string) string {
	return base64.StdEncoding.EncodeToString(digest(sha256.New, []byte(secret), signed))
}

func unix(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// byBody signs the body alone, beside a header with the delivery's id.
func byBody(header, prefix string, sign func(secret, signed string) string, idHeader string) func(sender, string, int, time.Time, string) delivery {
	return func(s sender, id string, n int, _ time.Time, _ string) delivery {
		d := delivery{body: fmt.Sprintf(`{"n":%d}`, n)}
		d.headers = []string{header, prefix + sign(s.secret, d.body)}
		if idHeader != "" {
			d.headers = append(d.headers, idHeader, id)
		}
		return d
	}
}

// byMember signs a body that has the delivery's id in it.
func byMember(member, header, prefix string, sign func(secret, signed string) string) func(sender, string, int, time.Time, string) delivery {
	return func(s sender, id string, n int, _ time.Time, _ string) delivery {
		d := delivery{body: fmt.Sprintf(`{"n":%d,%q:%q}`, n, member, id)}
		d.headers = []string{header, prefix + sign(s.secret, d.body)}
		return d
	}
}

func standardWebhooks(s sender, id string, n int, at time.Time, _ string) delivery {
	d := delivery{body: fmt.Sprintf(`{"n":%d}`, n)}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.secret, "whsec_"))
	signature := "v1," + base64.StdEncoding.EncodeToString(digest(sha256.New, key, id+"."+unix(at)+"."+d.body))
	d.headers = []string{"webhook-id", id, "webhook-timestamp", unix(at), "webhook-signature", "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= " + signature}
	return d
}

const standardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var knownSenders = map[string]sender{
	"hooktrail, a header of its own": {signature: `{"scheme":"hooktrail","header":"X-Mine"}`, sign: byBody("X-Mine", "sha256=", inHex, "Idempotency-Key"), numbered: true},
	"github":                         {signature: `{"scheme":"github"}`, secret: "It's a Secret to Everybody", sign: byBody("X-Hub-Signature-256", "sha256=", inHex, "X-GitHub-Delivery"), numbered: true},
	"gitlab, plain": {signature: `{"scheme":"gitlab"}`, open: true, numbered: true, sign: func(s sender, id string, n int, _ time.Time, _ string) delivery {
		return delivery{fmt.Sprintf(`{"n":%d}`, n), []string{"X-Gitlab-Token", s.secret, "Idempotency-Key", id}}
	}},
	"gitlab, signing":   {signature: `{"scheme":"gitlab"}`, secret: standardSecret, sign: standardWebhooks, tolerance: 5 * time.Minute, numbered: true},
	"standard-webhooks": {signature: `{"scheme":"standard-webhooks"}`, secret: standardSecret, sign: standardWebhooks, tolerance: 5 * time.Minute, numbered: true},
	"slack": {signature: `{"scheme":"slack"}`, secret: "8f742231b10e8888abcd99yyyzzz85a5", tolerance: 5 * time.Minute, numbered: true, sign: func(s sender, id string, n int, at time.Time, _ string) delivery {
		d := delivery{body: fmt.Sprintf(`{"type":"event_callback","event_id":%q,"n":%d}`, id, n)}
		d.headers = []string{"X-Slack-Request-Timestamp", unix(at), "X-Slack-Signature", "v0=" + inHex(s.secret, "v0:"+unix(at)+":"+d.body)}
		return d
	}},
	"stripe": {signature: `{"scheme":"stripe","tolerance_seconds":60}`, secret: "whsec_test_secret", tolerance: time.Minute, numbered: true, sign: func(s sender, id string, n int, at time.Time, _ string) delivery {
		d := delivery{body: fmt.Sprintf(`{"id":%q,"n":%d,"pending_webhooks":%d}`, id, n, at.Nanosecond())}
		d.headers = []string{"Stripe-Signature", "t=" + unix(at) + ",v1=" + strings.Repeat("0", 64) + ",v1=" + inHex(s.secret, unix(at)+"."+d.body)}
		return d
	}},
	"shopify":   {signature: `{"scheme":"shopify"}`, sign: byBody("X-Shopify-Hmac-SHA256", "", inBase64, "X-Shopify-Event-Id"), numbered: true},
	"jira":      {signature: `{"scheme":"jira"}`, sign: byBody("X-Hub-Signature", "sha256=", inHex, "X-Atlassian-Webhook-Identifier"), numbered: true},
	"sentry":    {signature: `{"scheme":"sentry"}`, sign: byBody("Sentry-Hook-Signature", "", inHex, "Request-ID"), numbered: true},
	"pagerduty": {signature: `{"scheme":"pagerduty"}`, sign: byBody("X-PagerDuty-Signature", "v1="+strings.Repeat("0", 64)+",v1=", inHex, "X-Webhook-Id"), numbered: true},
	"typeform":  {signature: `{"scheme":"typeform"}`, sign: byMember("event_id", "Typeform-Signature", "sha256=", inBase64), numbered: true},
	"linear": {signature: `{"scheme":"linear"}`, tolerance: time.Minute, numbered: true, sign: func(s sender, id string, n int, at time.Time, _ string) delivery {
		d := delivery{body: fmt.Sprintf(`{"n":%d,"webhookTimestamp":%d}`, n, at.UnixMilli())}
		d.headers = []string{"Linear-Delivery", id, "Linear-Signature", inHex(s.secret, d.body)}
		return d
	}},
	"twilio": {signature: `{"scheme":"twilio"}`, numbered: true, sign: func(s sender, id string, n int, _ time.Time, hook string) delivery {
		d := delivery{body: url.Values{"n": {strconv.Itoa(n)}, "To": {"+18005551212"}, "From": {"+14158675309"}}.Encode()}
		signed := hook + "From+14158675309To+18005551212n" + strconv.Itoa(n)
		d.headers = []string{
			"Content-Type", "application/x-www-form-urlencoded", "I-Twilio-Idempotency-Token", id,
			"X-Twilio-Signature", base64.StdEncoding.EncodeToString(digest(sha1.New, []byte(s.secret), signed)),
		}
		return d
	}},
	"grafana": {signature: `{"scheme":"grafana"}`, sign: byBody("X-Grafana-Alerting-Signature", "", inHex, "")},
	"grafana, with a time": {signature: `{"scheme":"grafana","timestamp_header":"X-Time"}`, tolerance: 5 * time.Minute, sign: func(s sender, _ string, n int, at time.Time, _ string) delivery {
		d := delivery{body: fmt.Sprintf(`{"n":%d}`, n)}
		d.headers = []string{"X-Time", unix(at), "X-Grafana-Alerting-Signature", inHex(s.secret, unix(at)+":"+d.body)}
		return d
	}},
	"meta": {signature: `{"scheme":"meta"}`, wantsOK: true, sign: byMember("id", "X-Hub-Signature-256", "sha256=", inHex), numbered: true},
	"x":    {signature: `{"scheme":"x"}`, wantsOK: true, sign: byBody("X-Twitter-Webhooks-Signature", "sha256=", inBase64, "")},
	"cloudevents": {signature: `{"scheme":"cloudevents"}`, numbered: true, sign: func(s sender, id string, n int, _ time.Time, _ string) delivery {
		d := delivery{body: fmt.Sprintf(`{"specversion":"1.0","type":"t","source":"/s","id":%q,"n":%d}`, id, n)}
		d.headers = []string{"Content-Type", "application/cloudevents+json", "X-Webhook-Signature", "sha256=" + inHex(s.secret, d.body)}
		return d
	}},
	"microsoft-graph": {signature: `{"scheme":"microsoft-graph"}`, open: true, sign: func(s sender, _ string, n int, _ time.Time, _ string) delivery {
		return delivery{body: fmt.Sprintf(`{"n":%d,"value":[{"clientState":%q}]}`, n, s.secret)}
	}},
	"okta": {signature: `{"scheme":"okta"}`, open: true, numbered: true, sign: func(s sender, id string, n int, _ time.Time, _ string) delivery {
		return delivery{fmt.Sprintf(`{"eventId":%q,"n":%d}`, id, n), []string{"Authorization", s.secret}}
	}},
	"custom": {
		signature: `{"scheme":"custom","header":"X-Sig","algorithm":"sha256","encoding":"base64","prefix":"v1=","timestamp_header":"X-Time","tolerance_seconds":30,"delivery_header":"X-Id","signing_string":["id",".","timestamp",".","body"]}`,
		tolerance: 30 * time.Second, numbered: true,
		sign: func(s sender, id string, n int, at time.Time, _ string) delivery {
			d := delivery{body: fmt.Sprintf(`{"n":%d}`, n)}
			d.headers = []string{"X-Id", id, "X-Time", strconv.FormatInt(at.UnixMilli(), 10), "X-Sig", "v1=" + inBase64(s.secret, id+"."+strconv.FormatInt(at.UnixMilli(), 10)+"."+d.body)}
			return d
		},
	},
}

// deliver makes a call by the path, as senders do that cannot set Authorization.
func (c *client) deliver(hook string, d delivery) answer {
	c.tb.Helper()
	request, err := http.NewRequest(http.MethodPost, hook, strings.NewReader(d.body))
	require.NoError(c.tb, err)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(d.headers); i += 2 {
		request.Header.Set(d.headers[i], d.headers[i+1])
	}
	a, err := c.do(request)
	require.NoError(c.tb, err)
	return a
}

func TestEverySenderCanCall(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		agent := service.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`).ID
		for name, sender := range knownSenders {
			t.Run(name, func(t *testing.T) {
				if sender.secret == "" {
					sender.secret = "0123456789abcdef0123456789abcdef"
				}
				made := service.newTrigger(agent, fmt.Sprintf(`, "secret": %q, "options": {"signature": %s}`, sender.secret, sender.signature))
				call := func(id string, n int, at time.Time) (answer, delivery) {
					d := sender.sign(sender, id, n, at, made.HookURL)
					return service.deliver(made.HookURL, d), d
				}
				accepted := http.StatusAccepted
				if sender.wantsOK {
					accepted = http.StatusOK
				}
				now := time.Now()
				first, d := call("d-1", 1, now)
				require.Equal(t, accepted, first.status, first.body)
				require.Empty(t, first.header.Get("Idempotent-Replayed"))
				ran := read[executionData](t, first).ID

				wrong := d
				wrong.body = strings.Replace(d.body, `"n":1`, `"n":2`, 1)
				wrong.body = strings.Replace(wrong.body, `n=1`, `n=2`, 1)
				require.NotEqual(t, d.body, wrong.body)
				if !sender.open {
					a := service.deliver(made.HookURL, wrong)
					require.Equal(t, http.StatusUnauthorized, a.status, a.body)
					require.Contains(t, a.body, `"invalid_signature"`)
				}
				unsigned := service.deliver(made.HookURL, delivery{`{"n":1}`, []string{"X-GitHub-Delivery", "d-1"}})
				require.Equal(t, http.StatusUnauthorized, unsigned.status, unsigned.body)
				if sender.tolerance > 0 {
					for _, at := range []time.Time{now.Add(-sender.tolerance - 5*time.Second), now.Add(sender.tolerance + 30*time.Second)} {
						a, _ := call("d-2", 2, at)
						require.Equal(t, http.StatusUnauthorized, a.status, a.body)
						require.Contains(t, a.body, "away from this server's time")
					}
				}
				if sender.numbered {
					repeat, _ := call("d-1", 1, now.Add(2*time.Second)) // signed anew, as senders do that sign a time
					require.Equal(t, accepted, repeat.status, repeat.body)
					require.Equal(t, "true", repeat.header.Get("Idempotent-Replayed"))
					require.Equal(t, ran, read[executionData](t, repeat).ID)
				}
				next, _ := call("d-3", 3, now)
				require.Equal(t, accepted, next.status, next.body)
				require.NotEqual(t, ran, read[executionData](t, next).ID)
				require.Equal(t, 2, service.total("/api/v1/executions?trigger_id="+made.ID), "what was refused or repeated has run nothing")

				// The secret before passes while its grace period lasts.
				service.api(http.StatusOK, http.MethodPost, "/api/v1/webhook-triggers/"+made.ID+"/rotate-secret", `{"grace_period": 3600}`)
				graced, _ := call("d-4", 4, now)
				require.Equal(t, accepted, graced.status, graced.body)
				service.api(http.StatusOK, http.MethodPost, "/api/v1/webhook-triggers/"+made.ID+"/rotate-secret", `{"grace_period": 0}`)
				ended, _ := call("d-5", 5, now)
				require.Equal(t, http.StatusUnauthorized, ended.status, ended.body)
			})
		}
		for _, sender := range knownSenders {
			if sender.secret != "" {
				require.NotContains(t, service.stderr.String(), sender.secret)
			}
		}
		service.stop()
	})
}

// TestGitHubsPublishedVector is of docs.github.com, "Validating webhook deliveries". Its body is
// no JSON: that this is what is wrong with it says that the signature is good.
func TestGitHubsPublishedVector(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, nil)
		made := service.newTrigger(service.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`).ID, `, "secret": "It's a Secret to Everybody", "options": {"signature": {"scheme": "github"}}`)
		const signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
		a := service.deliver(made.HookURL, delivery{"Hello, World!", []string{"X-Hub-Signature-256", signature}})
		require.Equal(t, http.StatusBadRequest, a.status, a.body)
		require.Contains(t, a.body, `"invalid_json"`)
		a = service.deliver(made.HookURL, delivery{"Hello, World?", []string{"X-Hub-Signature-256", signature}})
		require.Equal(t, http.StatusUnauthorized, a.status, a.body)
		service.stop()
	})
}

// TestTwilioBehindAProxy signs the URL outside, which the service knows from a trusted proxy.
func TestTwilioBehindAProxy(t *testing.T) {
	t.Parallel()
	twilio := knownSenders["twilio"]
	twilio.secret = "0123456789abcdef0123456789abcdef"
	for name, more := range map[string]environment{
		"trusted":     {"HOOKTRAIL_TRUSTED_PROXIES": "127.0.0.1"},
		"not trusted": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := sqliteStore(t).serve(t, more)
			made := service.newTrigger(service.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`).ID, `, "secret": "`+twilio.secret+`", "options": {"signature": {"scheme": "twilio"}}`)
			d := twilio.sign(twilio, "d-1", 1, time.Now(), "https://hooks.example.com/hooks/"+made.Token)
			d.headers = append(d.headers, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "hooks.example.com", "X-Forwarded-For", "192.0.2.7")
			a := service.deliver(service.base+"/hooks/"+made.Token, d)
			if more == nil {
				require.Equal(t, http.StatusUnauthorized, a.status, a.body)
				require.Contains(t, a.body, "HOOKTRAIL_TRUSTED_PROXIES")
			} else {
				require.Equal(t, http.StatusAccepted, a.status, a.body)
			}
			service.stop()
		})
	}
}

// TestSendersSetHooksUp makes the requests by which senders ask whether a hook is theirs.
func TestSendersSetHooksUp(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		agent := service.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`).ID
		trigger := func(signature string) triggerData {
			return service.newTrigger(agent, fmt.Sprintf(`, "secret": %q, "options": {"signature": %s}`, secret, signature))
		}
		ask := func(method string, made triggerData, query string, headers ...string) answer {
			return service.send(method, "/hooks/"+made.Token+query, "", headers...)
		}

		slack := trigger(`{"scheme":"slack"}`)
		challenge := `{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}`
		now := unix(time.Now())
		d := delivery{challenge, []string{"X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0=" + inHex(secret, "v0:"+now+":"+challenge)}}
		a := service.deliver(slack.HookURL, d)
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.JSONEq(t, `{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}`, a.body)
		d.headers[3] = "v0=" + strings.Repeat("0", 64)
		a = service.deliver(slack.HookURL, d)
		require.Equal(t, http.StatusUnauthorized, a.status)
		require.NotContains(t, a.body, "3eZbrw")

		meta := trigger(`{"scheme":"meta","verify_token":"meatyhamhock"}`)
		a = ask("GET", meta, "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Equal(t, "1158201444", a.body)
		a = ask("GET", meta, "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhocj")
		require.Equal(t, http.StatusForbidden, a.status)
		require.NotContains(t, a.body, "1158201444")
		require.NotContains(t, service.get("/api/v1/webhook-triggers/"+meta.ID).body, "meatyhamhock")

		x := trigger(`{"scheme":"x"}`)
		a = ask("GET", x, "?crc_token=MDk3ODM0&nonce=1")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.JSONEq(t, `{"response_token":"sha256=`+inBase64(secret, "MDk3ODM0")+`"}`, a.body)

		okta := trigger(`{"scheme":"okta"}`)
		a = ask("GET", okta, "", "X-Okta-Verification-Challenge", "abc123")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.JSONEq(t, `{"verification":"abc123"}`, a.body)

		graph := trigger(`{"scheme":"microsoft-graph"}`)
		a = ask("POST", graph, "?validationToken=Validation%3a+Testing%20client", "Content-Type", "text/plain; charset=utf-8")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Equal(t, "Validation: Testing client", a.body)
		require.Equal(t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))

		events := trigger(`{"scheme":"cloudevents"}`)
		a = ask("OPTIONS", events, "", "WebHook-Request-Origin", "eventemitter.example.com", "WebHook-Request-Rate", "120")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Equal(t, "eventemitter.example.com", a.header.Get("WebHook-Allowed-Origin"))
		require.Equal(t, "*", a.header.Get("WebHook-Allowed-Rate"))
		require.Equal(t, "POST", a.header.Get("Allow"))

		github := trigger(`{"scheme":"github"}`)
		a = service.deliver(github.HookURL, delivery{`{"zen":"z"}`, []string{"X-GitHub-Event", "ping", "X-Hub-Signature-256", "sha256=" + inHex(secret, `{"zen":"z"}`)}})
		require.Equal(t, http.StatusOK, a.status, a.body)

		// Whoever asks a trigger of another sender, or none, learns nothing.
		refusals := map[string]bool{}
		for _, made := range []triggerData{github, service.newTrigger(agent, ""), {Token: "wht_nonsense"}, {Token: strings.TrimSuffix(github.Token, github.Token[len(github.Token)-1:])}} {
			a := ask("GET", made, "?hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=1&crc_token=a", "X-Okta-Verification-Challenge", "abc123", "X-Request-Id", "same")
			require.Equal(t, http.StatusMethodNotAllowed, a.status)
			require.Equal(t, "POST", a.header.Get("Allow"))
			refusals[a.body] = true
		}
		require.Len(t, refusals, 1)

		for id, kind := range map[string]string{
			slack.ID: "url_verification", meta.ID: "subscribe", x.ID: "crc", okta.ID: "verification", graph.ID: "validation", events.ID: "validation", github.ID: "ping",
		} {
			trail := all[eventData](&service.client, "/api/v1/webhook-triggers/"+id+"/events?after=0")
			require.Len(t, trail, 2)
			require.Equal(t, "trigger.handshaken", trail[1].Type)
			require.Contains(t, string(trail[1].Data), `"kind":"`+kind+`"`)
		}
		require.Zero(t, service.total("/api/v1/executions?x=1"), "nothing ran")
		require.NotContains(t, service.stderr.String(), "meatyhamhock")
		service.stop()
	})
}
