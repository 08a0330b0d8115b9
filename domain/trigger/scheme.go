package trigger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hooktrail/domain/fault"
)

// Scheme names the way in which a sender signs, numbers and sets up its calls.
type Scheme string

// The schemes. Hooktrail is the one of triggers that name none; Custom is made of parts.
const (
	Hooktrail        Scheme = "hooktrail"
	GitHub           Scheme = "github"
	GitLab           Scheme = "gitlab"
	Slack            Scheme = "slack"
	Stripe           Scheme = "stripe"
	StandardWebhooks Scheme = "standard-webhooks"
	Shopify          Scheme = "shopify"
	Linear           Scheme = "linear"
	Jira             Scheme = "jira"
	Twilio           Scheme = "twilio"
	Sentry           Scheme = "sentry"
	PagerDuty        Scheme = "pagerduty"
	Typeform         Scheme = "typeform"
	Grafana          Scheme = "grafana"
	Meta             Scheme = "meta"
	X                Scheme = "x"
	MicrosoftGraph   Scheme = "microsoft-graph"
	Okta             Scheme = "okta"
	CloudEvents      Scheme = "cloudevents"
	Custom           Scheme = "custom"
)

// Schemes lists all schemes, as the documentation does.
var Schemes = []Scheme{
	Hooktrail, GitHub, GitLab, Slack, Stripe, StandardWebhooks, Shopify, Linear, Jira, Twilio, Sentry, PagerDuty, Typeform, Grafana, Meta,
	X, MicrosoftGraph, Okta, CloudEvents, Custom,
}

// NeedsSecret reports whether the scheme is nothing without a secret. The others take unsigned
// calls of a trigger that has none, on the word of its token.
func (s Scheme) NeedsSecret() bool {
	return !slices.Contains([]Scheme{Hooktrail, Custom, MicrosoftGraph, Okta, CloudEvents}, s)
}

// Signature is how the calls of a trigger are signed, and which requests that set the hook up
// are answered. What a field's scheme does not take is refused.
type Signature struct {
	Scheme Scheme `json:"scheme"`
	// Header holds the signature: of hooktrail and grafana in place of the usual one, of custom
	// the one there is.
	Header string `json:"header,omitempty"`
	// TimestampHeader holds the time of signing, in Unix seconds or milliseconds; of grafana and
	// custom.
	TimestampHeader string `json:"timestamp_header,omitempty"`
	// ToleranceSeconds is how far the time of signing may be from now, either way: 1 to 86400.
	// nil is the scheme's own: 300, for linear 60.
	ToleranceSeconds *int `json:"tolerance_seconds,omitempty"`

	// The parts of custom. Algorithm is sha1, sha256 (also "") or sha512; Encoding hex (also "")
	// or base64; Prefix stands before the signature in its header.
	Algorithm string `json:"algorithm,omitempty"`
	Encoding  string `json:"encoding,omitempty"`
	Prefix    string `json:"prefix,omitempty"`
	// SigningString is what is signed, in order: "body", "timestamp", "id", "url" and "method"
	// stand for what the call has, anything else for itself. Empty is the body alone.
	SigningString []string `json:"signing_string,omitempty"`
	// DeliveryHeader holds what stays the same when the sender tries again.
	DeliveryHeader string `json:"delivery_header,omitempty"`

	// VerifyTokenID names the verify token of meta, which is kept as a secret is.
	VerifyTokenID string `json:"verify_token_id,omitempty"`
}

// Plain reports whether the signature is the one of triggers without this option.
func (s *Signature) Plain() bool {
	return s == nil || s.Scheme == Hooktrail && s.Header == ""
}

// SchemeName is the scheme, which is hooktrail without this option.
func (s *Signature) SchemeName() Scheme {
	if s == nil {
		return Hooktrail
	}
	return s.Scheme
}

const (
	maxToleranceSeconds = 86400
	maxParts            = 16
	maxPartBytes        = 64
	minVerifyToken      = 8
	maxVerifyToken      = 256
)

// The parts of a signing string that stand for something of the call.
const (
	PartBody      = "body"
	PartTimestamp = "timestamp"
	PartID        = "id"
	PartURL       = "url"
	PartMethod    = "method"
)

// takenBy says which schemes take a field; scheme itself is taken by all.
var takenBy = map[string][]Scheme{
	"scheme":            Schemes,
	"header":            {Hooktrail, Grafana, Custom},
	"timestamp_header":  {Grafana, Custom},
	"tolerance_seconds": {GitLab, Slack, Stripe, StandardWebhooks, Linear, Grafana, Custom},
	"algorithm":         {Custom},
	"encoding":          {Custom},
	"prefix":            {Custom},
	"signing_string":    {Custom},
	"delivery_header":   {Custom},
	"verify_token_id":   {Meta},
}

// checkFields names the fields of a signature option that no version has, or that its scheme
// does not take: what is not used must not look as if it were.
func checkFields(value json.RawMessage, wrong map[string]string) {
	var sent map[string]json.RawMessage
	if json.Unmarshal(value, &sent) != nil {
		return // told as the wrong type
	}
	var scheme Scheme
	_ = json.Unmarshal(sent["scheme"], &scheme) // told as the wrong type
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		schemes, known := takenBy[name]
		switch {
		case !known:
			wrong["options.signature."+name] = "is not a field of signature"
		case bytes.Equal(bytes.TrimSpace(sent[name]), []byte("null")):
		case slices.Contains(Schemes, scheme) && !slices.Contains(schemes, scheme):
			wrong["options.signature."+name] = fmt.Sprintf("is not taken by the scheme %s, but by %s", scheme, listed(schemes))
		}
	}
}

func listed(schemes []Scheme) string {
	names := make([]string, len(schemes))
	for i, s := range schemes {
		names[i] = string(s)
	}
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return names[0]
}

// validate names every field that is out of range.
func (s *Signature) validate(wrong map[string]string) {
	if s == nil {
		return
	}
	bad := func(field, format string, args ...any) {
		wrong["options.signature."+field] = fmt.Sprintf(format, args...)
	}
	if !slices.Contains(Schemes, s.Scheme) {
		bad("scheme", "must be one of %s", listed(Schemes))
		return
	}
	for field, name := range map[string]string{"header": s.Header, "timestamp_header": s.TimestampHeader, "delivery_header": s.DeliveryHeader} {
		if name != "" && !isHeaderName(name) {
			bad(field, "must be the name of a header: up to 64 letters, digits and hyphens")
		}
	}
	if t := s.ToleranceSeconds; t != nil && (*t < 1 || *t > maxToleranceSeconds) {
		bad("tolerance_seconds", "must be from 1 to %d seconds", maxToleranceSeconds)
	}
	if s.Scheme == Grafana && s.ToleranceSeconds != nil && s.TimestampHeader == "" {
		bad("tolerance_seconds", "needs timestamp_header, the one that is set in Grafana: without it no time is signed")
	}
	if s.Scheme == Custom {
		s.validateCustom(bad)
	}
}

func (s *Signature) validateCustom(bad func(field, format string, args ...any)) {
	if s.Header == "" {
		bad("header", "is required by the scheme custom")
	}
	if !slices.Contains([]string{"", "sha1", "sha256", "sha512"}, s.Algorithm) {
		bad("algorithm", "must be sha1, sha256 or sha512")
	}
	if !slices.Contains([]string{"", "hex", "base64"}, s.Encoding) {
		bad("encoding", "must be hex or base64")
	}
	if len(s.Prefix) > maxPartBytes || strings.ContainsFunc(s.Prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
		bad("prefix", "must be up to %d visible ASCII characters without commas", maxPartBytes)
	}
	count := map[string]int{}
	for _, part := range s.SigningString {
		count[part]++
		if part == "" || len(part) > maxPartBytes {
			bad("signing_string", "has a part that is empty or longer than %d bytes", maxPartBytes)
		}
	}
	switch {
	case len(s.SigningString) > maxParts:
		bad("signing_string", "has more than %d parts", maxParts)
	case len(s.SigningString) > 0 && count[PartBody] != 1:
		bad("signing_string", `must have the part "body" once: what is not signed proves nothing`)
	case count[PartTimestamp] > 0 && s.TimestampHeader == "":
		bad("timestamp_header", `is required by the part "timestamp" of signing_string`)
	case count[PartTimestamp] == 0 && s.TimestampHeader != "":
		bad("signing_string", `must have the part "timestamp": a time that is not signed proves nothing`)
	case count[PartTimestamp] == 0 && s.ToleranceSeconds != nil:
		bad("tolerance_seconds", `needs timestamp_header and the part "timestamp" in signing_string`)
	case count[PartID] > 0 && s.DeliveryHeader == "":
		bad("delivery_header", `is required by the part "id" of signing_string`)
	}
}

func isHeaderName(name string) bool {
	return len(name) <= maxPartBytes && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// TakeVerifyToken takes options.signature.verify_token out of a patch of options, because it is
// a secret and options are public. It gives "" where there is none.
func TakeVerifyToken(patch json.RawMessage) (json.RawMessage, string, error) {
	var options, signature map[string]json.RawMessage
	// Merge says what is wrong with them where they are no objects.
	_ = json.Unmarshal(patch, &options)
	_ = json.Unmarshal(options["signature"], &signature)
	sent, given := signature["verify_token"]
	if !given {
		return patch, "", nil
	}
	const field = "options.signature.verify_token"
	var scheme Scheme
	if _ = json.Unmarshal(signature["scheme"], &scheme); scheme != Meta {
		return patch, "", fault.Field(field, "is taken by the scheme meta only")
	}
	var token string
	if json.Unmarshal(sent, &token) != nil || len(token) < minVerifyToken || len(token) > maxVerifyToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return patch, "", fault.Field(field, "must be a string of %d to %d visible ASCII characters", minVerifyToken, maxVerifyToken)
	}
	delete(signature, "verify_token")
	delete(signature, "verify_token_id")
	var err error
	if options["signature"], err = json.Marshal(signature); err == nil {
		patch, err = json.Marshal(options)
	}
	if err != nil {
		return patch, "", fmt.Errorf("encode options: %w", err)
	}
	return patch, token, nil
}

// VerifyTokenID names the verify token; "" when there is none.
func (o Options) VerifyTokenID() string {
	if o.Signature == nil {
		return ""
	}
	return o.Signature.VerifyTokenID
}

// WithVerifyToken gives the options with another verify token.
func (o Options) WithVerifyToken(id string) Options {
	signature := *o.Signature
	signature.VerifyTokenID = id
	o.Signature = &signature
	return o
}

// secretFault says that the options name a scheme that needs a secret, and how to get one.
func (o Options) secretFault(advice string) error {
	if o.Signature == nil || !o.Signature.Scheme.NeedsSecret() {
		return nil
	}
	return fault.Field("options.signature.scheme", "%s needs a secret: %s", o.Signature.Scheme, advice)
}
