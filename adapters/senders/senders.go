// Package senders knows how the services that send webhooks sign, number and set up their calls:
// a file for each. What their documentation says, and where, is in docs/senders.md.
package senders

import (
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/domain/token"
	"hooktrail/domain/trigger"
)

// Of gives the sender of a signature option that the domain has found valid; nil for a scheme
// that there is not.
func Of(s trigger.Signature) application.Sender {
	if sender, known := table[s.Scheme]; known {
		return sender(s)
	}
	return nil
}

var table = map[trigger.Scheme]func(trigger.Signature) application.Sender{
	trigger.Hooktrail:        newHooktrail,
	trigger.GitHub:           newGitHub,
	trigger.GitLab:           newGitLab,
	trigger.Slack:            newSlack,
	trigger.Stripe:           newStripe,
	trigger.StandardWebhooks: newStandardWebhooks,
	trigger.Shopify:          newShopify,
	trigger.Linear:           newLinear,
	trigger.Jira:             newJira,
	trigger.Twilio:           newTwilio,
	trigger.Sentry:           newSentry,
	trigger.PagerDuty:        newPagerDuty,
	trigger.Typeform:         newTypeform,
	trigger.Grafana:          newGrafana,
	trigger.Meta:             newMeta,
	trigger.X:                newX,
	trigger.MicrosoftGraph:   newMicrosoftGraph,
	trigger.Okta:             newOkta,
	trigger.CloudEvents:      newCloudEvents,
	trigger.Custom:           newCustom,
}

// usual is what most senders have in common: any text is a secret, nothing sets the hook up or
// tests it, and deliveries have no id.
type usual struct{}

func (usual) CheckSecret(string) string                                  { return "" }
func (usual) NewSecret(random io.Reader) (string, error)                 { return token.NewSecret(random) }
func (usual) SetUp(*application.Message) (*application.Handshake, error) { return nil, nil }
func (usual) Ping(*application.Message) *application.Handshake           { return nil }
func (usual) Delivery(*application.Message) application.Delivery         { return application.Delivery{} }
func (usual) WantsOK() bool                                              { return false }

// bad is the refusal of a signature, for whoever sets the sender up to read.
func bad(format string, args ...any) error {
	return fault.New(fault.InvalidSignature, format, args...)
}

// one gives the value of a header that must be there once: of two, nobody could say which one
// the sender meant.
func one(m *application.Message, header string) (string, error) {
	switch values := m.Header(header); {
	case len(values) == 0 || strings.TrimSpace(values[0]) == "":
		return "", bad("a signed call is required, and the header %s is missing", header)
	case len(values) > 1:
		return "", bad("the header %s is there more than once", header)
	default:
		return strings.TrimSpace(values[0]), nil
	}
}

// first gives the first value of a header, "" when there is none.
func first(m *application.Message, header string) string {
	if values := m.Header(header); len(values) > 0 {
		return strings.TrimSpace(values[0])
	}
	return ""
}

// delivery is the one that a header names, and another its event; "" when none does. The
// signature covers neither.
func delivery(m *application.Message, id, event string) application.Delivery {
	d := application.Delivery{ID: first(m, id)}
	if event != "" {
		d.Event = first(m, event)
	}
	return d
}

// read reads the members of a JSON object that into names; false when it is not a proper one.
func read(body []byte, into any) bool { return json.Unmarshal(body, into) == nil }

// quoted gives a JSON object of one string.
func quoted(name, value string) []byte {
	object, _ := json.Marshal(map[string]string{name: value}) // what is no text is replaced
	return object
}

// pong answers a ping.
func pong(kind string) *application.Handshake {
	return &application.Handshake{Kind: kind, ContentType: contentJSON, Body: []byte(`{"data":{"status":"pong"}}`)}
}

const (
	contentJSON = "application/json"
	contentText = "text/plain; charset=utf-8"
	contentForm = "application/x-www-form-urlencoded"
)

const (
	usualTolerance  = 5 * time.Minute
	linearTolerance = time.Minute
)

// toleranceOf is how far a signed time may be from now.
func toleranceOf(s trigger.Signature, otherwise time.Duration) time.Duration {
	if s.ToleranceSeconds != nil {
		return time.Duration(*s.ToleranceSeconds) * time.Second
	}
	return otherwise
}

// checkTime checks a signed time, after the signature: then whoever reads the refusal knows that
// the secret is right and a clock is wrong, or that the call is an old one.
func checkTime(what string, at, now time.Time, tolerance time.Duration) error {
	if away := now.Sub(at); away > tolerance || away < -tolerance {
		return bad("%s is more than %d s away from this server's time", what, int(tolerance.Seconds()))
	}
	return nil
}

// unixTime reads digits that are seconds since 1970, or milliseconds when there are so many that
// they would be seconds after the year 5000.
func unixTime(text string) (time.Time, bool) {
	const mostDigits, firstMilliseconds = 15, 100_000_000_000
	if text == "" || len(text) > mostDigits {
		return time.Time{}, false
	}
	var n int64
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		n = n*10 + int64(c-'0')
	}
	if n >= firstMilliseconds {
		return time.UnixMilli(n), true
	}
	return time.Unix(n, 0), true
}

func unreadable(header string) error {
	return bad("the header %s is not a time in seconds since 1970", header)
}
