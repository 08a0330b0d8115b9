package senders_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// FuzzSenders gives every scheme a call from somebody without the secret, with the same value in
// all of its headers.
func FuzzSenders(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.call.headers[1], v.call.headers[len(v.call.headers)-1], v.call.body, "bodySHA256=00&validationToken=v&crc_token=c&hub.mode=subscribe&hub.challenge=c", v.call.media)
	}
	f.Add("t=1,v1=,v1=00", "1714000000", `{"value":[{"clientState":""}],"webhookTimestamp":1e3,"event":{"event_type":7}}`, "%zz", "application/x-www-form-urlencoded")
	var headers []string
	seen := map[string]bool{}
	for _, v := range vectors {
		for i := 0; i < len(v.call.headers); i += 2 {
			if name := v.call.headers[i]; !seen[name] && !strings.Contains(strings.ToLower(name), "time") {
				seen[name] = true
				headers = append(headers, name)
			}
		}
	}
	secret := "whsec_" + strings.Repeat("c2VjcmV0", 5)
	f.Fuzz(func(t *testing.T, value, stamp, body, query, media string) {
		if strings.Contains(value, secret) || strings.Contains(stamp, secret) || strings.Contains(body, secret) {
			return
		}
		for _, scheme := range trigger.Schemes {
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodOptions} {
				c := call{secrets: []string{secret}, body: body, now: moment, url: "https://hooks.example.com/?" + query, media: media, method: method}
				for _, name := range headers {
					c.headers = append(c.headers, name, value)
				}
				c.headers = append(c.headers, "X-Time", stamp, "webhook-timestamp", stamp, "X-Slack-Request-Timestamp", stamp)
				sender := of(trigger.Signature{Scheme: scheme, Header: "X-Sig", TimestampHeader: "X-Time", SigningString: []string{"timestamp", "url", "body"}})
				m := c.message()
				require.Equal(t, fault.InvalidSignature, fault.CodeOf(sender.Verify(m)), scheme)
				if h, err := sender.SetUp(m); err == nil && h != nil {
					require.NotContains(t, string(h.Body), secret)
				}
				sender.Ping(m)
				sender.Delivery(m)
				require.NotPanics(t, func() { sender.CheckSecret(value) })
			}
		}
	})
}
