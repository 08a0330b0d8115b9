package senders

import (
	"crypto/sha1" //nolint:gosec // it is Twilio's; an HMAC does not need a hash without collisions
	"crypto/sha256"
	"net"
	"net/url"
	"slices"
	"strings"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// twilio: twilio.com/docs/usage/webhooks/webhooks-security. The key is the account's auth token.
// twilio-go is not used: it brings a dozen modules, takes only the first of repeated parameters,
// and cannot tell the port of an IPv6 address.
type twilio struct{ usual }

func newTwilio(trigger.Signature) application.Sender { return twilio{} }

func (twilio) Verify(m *application.Message) error {
	const header = "X-Twilio-Signature"
	value, err := one(m, header)
	if err != nil {
		return err
	}
	signature, readable := inBase64(value)
	var parameters string
	switch digest := m.Query("bodySHA256"); {
	case digest != "":
		sum := sha256.Sum256(m.Signed)
		if given, isHex := inHex(digest); !isHex || !slices.Equal(given, sum[:]) {
			return bad("the parameter bodySHA256 is not the SHA-256 of the body")
		}
	case isForm(m):
		fields, err := url.ParseQuery(string(m.Signed))
		if err != nil {
			return bad("the body is no form")
		}
		parameters = inOrder(fields)
	default:
		return bad("the body must be a form, or the URL must have the parameter bodySHA256")
	}
	good := false
	for _, base := range m.URLs {
		for _, form := range portForms(base) {
			good = readable && matches(sha1.New, m.Secrets, [][]byte{signature}, []byte(form), []byte(parameters)) || good
		}
	}
	if !good {
		return bad("the header %s is not the signature of the URL and parameters by the trigger's secret; the URL must be the one that Twilio calls: see HOOKTRAIL_PUBLIC_URL and HOOKTRAIL_TRUSTED_PROXIES", header)
	}
	return nil
}

// inOrder writes the parameters as they are signed: by name, each name before each of its
// different values.
func inOrder(fields url.Values) string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		values := slices.Compact(slices.Sorted(slices.Values(fields[name])))
		for _, value := range values {
			out.WriteString(name)
			out.WriteString(value)
		}
	}
	return out.String()
}

// portForms gives a URL with its port and without: Twilio signs now one, now the other.
func portForms(base string) []string {
	scheme, rest, _ := strings.Cut(base, "://")
	host, path, _ := strings.Cut(rest, "/")
	forms := []string{base}
	if name, _, err := net.SplitHostPort(host); err == nil {
		if strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		return append(forms, scheme+"://"+name+"/"+path)
	}
	port := map[string]string{"https": "443", "http": "80"}[scheme]
	return append(forms, scheme+"://"+host+":"+port+"/"+path)
}

// Delivery is by a token that is not signed. MessageSid and CallSid are no ids of deliveries:
// they stay the same while a message or call goes through its states.
func (twilio) Delivery(m *application.Message) application.Delivery {
	return delivery(m, "I-Twilio-Idempotency-Token", "")
}
