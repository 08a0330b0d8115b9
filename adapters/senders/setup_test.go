package senders_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

func TestSetUp(t *testing.T) {
	const base = "https://hooks.example.com/hooks/wht_x"
	for name, c := range map[string]struct {
		scheme  trigger.Scheme
		call    call
		kind    string // "" for no handshake
		answer  string
		refused fault.Code
	}{
		"meta":                      {scheme: trigger.Meta, call: call{method: "GET", url: base + "?hub.mode=subscribe&hub.verify_token=the+token&hub.challenge=12%2034"}, kind: "subscribe", answer: "12 34"},
		"meta, wrong token":         {scheme: trigger.Meta, call: call{method: "GET", url: base + "?hub.mode=subscribe&hub.verify_token=the+tokem&hub.challenge=1"}, refused: fault.Forbidden},
		"meta, no token":            {scheme: trigger.Meta, call: call{method: "GET", url: base + "?hub.mode=subscribe&hub.challenge=1"}, refused: fault.Forbidden},
		"meta, another mode":        {scheme: trigger.Meta, call: call{method: "GET", url: base + "?hub.mode=unsubscribe&hub.verify_token=the+token"}},
		"meta, POST":                {scheme: trigger.Meta, call: call{url: base + "?hub.mode=subscribe&hub.verify_token=the+token&hub.challenge=1"}},
		"graph":                     {scheme: trigger.MicrosoftGraph, call: call{url: base + "?validationToken=a%3Ab+c%26"}, kind: "validation", answer: "a:b c&"},
		"graph, GET":                {scheme: trigger.MicrosoftGraph, call: call{method: "GET", url: base + "?validationToken=a"}},
		"graph, no token":           {scheme: trigger.MicrosoftGraph, call: call{url: base}},
		"x":                         {scheme: trigger.X, call: call{method: "GET", url: base + "?crc_token=abc-_1", secrets: []string{ourSecret}}, kind: "crc", answer: `{"response_token":"sha256=` + crcAnswer + `"}`},
		"x, a body to be signed":    {scheme: trigger.X, call: call{method: "GET", url: base + "?crc_token=%7B%22a%22%3A1%7D", secrets: []string{ourSecret}}, refused: fault.Validation},
		"x, without a secret":       {scheme: trigger.X, call: call{method: "GET", url: base + "?crc_token=abc"}, refused: fault.Validation},
		"okta":                      {scheme: trigger.Okta, call: call{method: "GET", headers: []string{"X-Okta-Verification-Challenge", `a"b`}}, kind: "verification", answer: `{"verification":"a\"b"}`},
		"okta, POST":                {scheme: trigger.Okta, call: call{headers: []string{"X-Okta-Verification-Challenge", "a"}}},
		"cloudevents":               {scheme: trigger.CloudEvents, call: call{method: "OPTIONS", headers: []string{"WebHook-Request-Origin", "eventemitter.example.com"}}, kind: "validation", answer: `{"data":{"status":"granted"}}`},
		"cloudevents, no origin":    {scheme: trigger.CloudEvents, call: call{method: "OPTIONS"}},
		"cloudevents, by GET":       {scheme: trigger.CloudEvents, call: call{method: "GET", headers: []string{"WebHook-Request-Origin", "a"}}},
		"github sets nothing up":    {scheme: trigger.GitHub, call: call{method: "GET", url: base + "?hub.mode=subscribe&hub.verify_token=the+token&hub.challenge=1"}},
		"slack signs its set-up":    {scheme: trigger.Slack, call: call{body: `{"type":"url_verification","challenge":"c"}`}},
		"a header of somebody else": {scheme: trigger.Meta, call: call{method: "GET", headers: []string{"X-Okta-Verification-Challenge", "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.call.message()
			m.VerifyToken, m.RateLimit = "the token", 30
			handshake, err := of(trigger.Signature{Scheme: c.scheme}).SetUp(m)
			require.Equal(t, c.refused, fault.CodeOf(err), "%v", err)
			if c.kind == "" {
				require.Nil(t, handshake)
				return
			}
			require.Equal(t, c.kind, handshake.Kind)
			require.Equal(t, c.answer, string(handshake.Body))
		})
	}
}

// crcAnswer is the base64 HMAC-SHA256 of "abc-_1" under our secret, computed by OpenSSL.
const crcAnswer = "Pe+qRRr969RcIpCq6yZq324b5r6ghoaHXx8x+PEh9Hg="

func TestGrantOfCloudEvents(t *testing.T) {
	m := call{method: http.MethodOptions, headers: []string{"WebHook-Request-Origin", "eventemitter.example.com", "WebHook-Request-Callback", "http://127.0.0.1:1/"}}.message()
	m.RateLimit = 30
	h, err := of(trigger.Signature{Scheme: trigger.CloudEvents}).SetUp(m)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Allow": "POST", "WebHook-Allowed-Origin": "eventemitter.example.com", "WebHook-Allowed-Rate": "30"}, h.Header)
	m.RateLimit = 0
	h, err = of(trigger.Signature{Scheme: trigger.CloudEvents}).SetUp(m)
	require.NoError(t, err)
	require.Equal(t, "*", h.Header["WebHook-Allowed-Rate"])
}

func TestMetaWithoutAVerifyToken(t *testing.T) {
	for _, given := range []string{"", "x"} {
		m := call{method: "GET", url: "https://h/?hub.mode=subscribe&hub.challenge=1&hub.verify_token=" + given}.message()
		_, err := of(trigger.Signature{Scheme: trigger.Meta}).SetUp(m)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err))
		require.ErrorContains(t, err, "has no options.signature.verify_token")
	}
}

func TestPing(t *testing.T) {
	form := "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
		scheme trigger.Scheme
		call   call
		kind   string
		answer string
	}{
		"slack":                  {trigger.Slack, call{body: `{"token":"t","type":"url_verification","challenge":"3eZ\u0022"}`}, "url_verification", `{"challenge":"3eZ\""}`},
		"slack, an event":        {trigger.Slack, call{body: `{"type":"event_callback","challenge":"c"}`}, "", ""},
		"slack, no JSON":         {trigger.Slack, call{body: `{"type":"url_verification"`}, "", ""},
		"slack, the certificate": {trigger.Slack, call{body: "token=t&ssl_check=1", media: form}, "ssl_check", ""},
		"slack, a command":       {trigger.Slack, call{body: "token=t&command=%2Fa", media: form}, "", ""},
		"github":                 {trigger.GitHub, call{body: `{}`, headers: []string{"X-GitHub-Event", "ping"}}, "ping", ""},
		"github, a push":         {trigger.GitHub, call{body: `{}`, headers: []string{"X-GitHub-Event", "push"}}, "", ""},
		"pagerduty":              {trigger.PagerDuty, call{body: `{"event":{"event_type":"pagey.ping"}}`}, "pagey.ping", ""},
		"pagerduty, an incident": {trigger.PagerDuty, call{body: `{"event":{"event_type":"incident.triggered"}}`}, "", ""},
		"stripe has none":        {trigger.Stripe, call{body: `{"type":"ping"}`}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := of(trigger.Signature{Scheme: c.scheme}).Ping(c.call.message())
			if c.kind == "" {
				require.Nil(t, h)
				return
			}
			require.Equal(t, c.kind, h.Kind)
			if c.answer != "" {
				require.Equal(t, c.answer, string(h.Body))
			}
		})
	}
}

func TestDeliveries(t *testing.T) {
	with := func(body string, headers ...string) call { return call{body: body, headers: headers} }
	for name, c := range map[string]struct {
		scheme trigger.Scheme
		call   call
		want   application.Delivery
	}{
		"github":                  {trigger.GitHub, with(`{}`, "X-GitHub-Delivery", "g"), application.Delivery{ID: "g"}},
		"github, none":            {trigger.GitHub, with(`{}`), application.Delivery{}},
		"gitlab":                  {trigger.GitLab, with(`{}`, "Idempotency-Key", "k", "X-Gitlab-Event-UUID", "u"), application.Delivery{ID: "k"}},
		"gitlab, an older one":    {trigger.GitLab, with(`{}`, "X-Gitlab-Event-UUID", "u"), application.Delivery{ID: "u"}},
		"slack":                   {trigger.Slack, with(`{"event_id":"Ev1"}`), application.Delivery{ID: "Ev1", Proven: true}},
		"slack, another case":     {trigger.Slack, with(`{"EVENT_ID":"Ev1"}`), application.Delivery{Proven: true}},
		"stripe":                  {trigger.Stripe, with(`{"id":"evt_1"}`), application.Delivery{ID: "evt_1", Proven: true}},
		"shopify":                 {trigger.Shopify, with(`{}`, "X-Shopify-Event-Id", "s"), application.Delivery{ID: "s"}},
		"linear":                  {trigger.Linear, with(`{"b":2,"webhookTimestamp":5,"a":{"z":1,"y":2}}`, "Linear-Delivery", "l"), application.Delivery{ID: "l", Material: []byte(`{"a":{"z":1,"y":2},"b":2}`)}},
		"jira":                    {trigger.Jira, with(`{}`, "X-Atlassian-Webhook-Identifier", "j"), application.Delivery{ID: "j"}},
		"twilio":                  {trigger.Twilio, with(`CallSid=C`, "I-Twilio-Idempotency-Token", "t"), application.Delivery{ID: "t"}},
		"sentry":                  {trigger.Sentry, with(`{}`, "Request-ID", "r"), application.Delivery{ID: "r"}},
		"pagerduty":               {trigger.PagerDuty, with(`{}`, "X-Webhook-Id", "p"), application.Delivery{ID: "p"}},
		"typeform":                {trigger.Typeform, with(`{"event_id":"f"}`), application.Delivery{ID: "f", Proven: true}},
		"okta":                    {trigger.Okta, with(`{"eventId":"o"}`), application.Delivery{ID: "o", Proven: true}},
		"cloudevents, binary":     {trigger.CloudEvents, with(`{}`, "ce-id", "1", "ce-source", "/s"), application.Delivery{ID: "/s 1"}},
		"cloudevents, structured": {trigger.CloudEvents, with(`{"specversion":"1.0","id":"1","source":"/s"}`), application.Delivery{ID: "/s 1", Proven: true}},
		"cloudevents, half":       {trigger.CloudEvents, with(`{"specversion":"1.0","id":"1"}`, "ce-id", "1"), application.Delivery{}},
		"grafana has none":        {trigger.Grafana, with(`{"groupKey":"g"}`), application.Delivery{}},
		"hooktrail has its own":   {trigger.Hooktrail, with(`{}`, "Idempotency-Key", "k"), application.Delivery{}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, of(trigger.Signature{Scheme: c.scheme}).Delivery(c.call.message()))
		})
	}
	for scheme, c := range map[trigger.Scheme]call{
		trigger.GitHub:      with(`{}`, "X-GitHub-Event", "happened"),
		trigger.GitLab:      with(`{}`, "X-Gitlab-Event", "happened"),
		trigger.Slack:       with(`{"type":"event_callback","event":{"type":"happened"}}`),
		trigger.Stripe:      with(`{"type":"happened"}`),
		trigger.Shopify:     with(`{}`, "X-Shopify-Topic", "happened"),
		trigger.Linear:      with(`{}`, "Linear-Event", "happened"),
		trigger.Jira:        with(`{"webhookEvent":"happened"}`),
		trigger.Sentry:      with(`{}`, "Sentry-Hook-Resource", "happened"),
		trigger.PagerDuty:   with(`{"event":{"event_type":"happened"}}`),
		trigger.Typeform:    with(`{"event_type":"happened"}`),
		trigger.Okta:        with(`{"eventType":"happened"}`),
		trigger.CloudEvents: with(`{"specversion":"1.0","type":"happened","source":"s","id":"1"}`),
	} {
		require.Equal(t, "happened", of(trigger.Signature{Scheme: scheme}).Delivery(c.message()).Event, scheme)
	}
	binary := with(`{}`, "ce-id", "1", "ce-source", "s", "ce-type", "happened")
	require.Equal(t, "happened", of(trigger.Signature{Scheme: trigger.CloudEvents}).Delivery(binary.message()).Event)
	first, second := with(`{"a":1}`).message(), with(`{"a":2}`).message()
	meta := of(trigger.Signature{Scheme: trigger.Meta})
	require.Equal(t, meta.Delivery(first), meta.Delivery(with(`{"a":1}`).message()))
	require.NotEqual(t, meta.Delivery(first), meta.Delivery(second))
}
