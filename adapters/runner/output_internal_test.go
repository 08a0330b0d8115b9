package runner

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/payload"
)

func TestHTTPOutput(t *testing.T) {
	deep := strings.Repeat("[", 101) + strings.Repeat("]", 101)
	for _, c := range []struct{ contentType, body, want string }{
		{"application/json", `{"a": 1.10}`, `{"a": 1.10}`},
		{"application/json; charset=utf-8", " [1]\n", `[1]`},
		{"application/problem+json", `"x"`, `"x"`},
		{"Application/JSON", `7`, `7`},
		{"", `7`, `7`},
		{"application/json", "\uFEFF{}", `{}`},
		{"text/plain; charset=utf-8", `{"a":1}`, `{"a":1}`},
		{"text/plain", "\uFEFF \n[1]", `[1]`},
		{"text/plain", `7`, `"7"`},
		{"text/plain", `true`, `"true"`},
		{"text/plain", "line\n", `"line\n"`},
		{"text/html", `<b>&amp;</b>`, `"<b>&amp;</b>"`},
		{"text/plain", "", `null`},
		{"text/plain", " \n", `null`},
		{"application/json", "", `null`},
		{"application/json", `{"a":`, `"{\"a\":"`},
		{"application/json", `{"a":1} {"b":2}`, `"{\"a\":1} {\"b\":2}"`},
		{"application/json", `{"a":1,"a":2}`, `"{\"a\":1,\"a\":2}"`},
		{"application/json", "{\"a\":\"\xff\"}", `"{\"a\":\"` + "\uFFFD" + `\"}"`},
		{"application/json", `1e999`, `"1e999"`},
		{"application/json", deep, `"` + deep + `"`},
		{"application/octet-stream", "\x00\xfe\xff", `"\u0000` + "\uFFFD" + `"`},
		{"nonsense;;;", `x`, `"x"`},
	} {
		got := httpOutput(c.contentType, []byte(c.body))
		require.Equal(t, c.want, string(got), "%s %q", c.contentType, c.body)
		_, err := payload.CheckJSON(got)
		require.NoError(t, err)
	}
}

func FuzzOutput(f *testing.F) {
	f.Add("application/json", []byte(`{"a":[1,2.50,"\ud800"]}`))
	f.Add("text/plain", []byte("\xef\xbb\xbf\xff"))
	f.Add("", []byte("1e400"))
	f.Fuzz(func(t *testing.T, contentType string, raw []byte) {
		for _, output := range [][]byte{httpOutput(contentType, raw), jsonOutput(raw)} {
			if _, err := payload.CheckJSON(output); err != nil {
				t.Fatalf("%q gave %q: %v", raw, output, err)
			}
			if !json.Valid(output) {
				t.Fatalf("%q gave %q", raw, output)
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"30":                            30 * time.Second,
		" 30 ":                          30 * time.Second,
		"3600":                          time.Hour,
		"3601":                          time.Hour,
		"99999999999999999999999":       time.Hour,
		"-5":                            0,
		"1.5":                           0,
		"soon":                          0,
		"Sun, 01 Mar 2026 12:00:45 GMT": 45 * time.Second,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0,
		"Mon, 02 Mar 2026 12:00:00 GMT": time.Hour,
	} {
		require.Equal(t, want, retryAfter(value, now), "Retry-After: %s", value)
	}
}

func TestExcerptIsOneShortLineWithoutSecrets(t *testing.T) {
	require.Equal(t, "a b c", excerpt([]byte(" a\n\n b\x00\tc "), nil))
	require.Equal(t, "key [redacted]!", excerpt([]byte("key s3cret-and-more!"), []string{"s3cret-and-more", "s3cret"}))
	long := excerpt([]byte(strings.Repeat("é", 2_000)), nil)
	require.Equal(t, strings.Repeat("é", excerptRunes)+"…", long)
	require.Equal(t, "\uFFFD", excerpt([]byte("\xff\xfe"), nil))
}

func TestTailBufferKeepsTheEnd(t *testing.T) {
	b := &tailBuffer{limit: 5}
	for _, part := range []string{"ab", "cd", "", "ef", "0123456789", "x"} {
		n, err := b.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	require.Equal(t, "6789x", b.String())
}
