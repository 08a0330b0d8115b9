package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// atOnce bounds how long any body may keep the server, with much room for a busy machine.
const atOnce = 5 * time.Second

func zipped(t testing.TB, body string) string {
	t.Helper()
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, err := writer.Write([]byte(body))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return packed.String()
}

func TestOddBodies(t *testing.T) {
	nested := func(depth int) string {
		return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
	}
	padded := func(size int) string { return `{"a":"` + strings.Repeat("x", size-8) + `"}` }
	gzipHeader := []string{"Content-Encoding", "gzip"}
	refused := map[string]struct {
		status  int
		body    string
		headers []string
	}{
		"empty":                {400, "", nil},
		"not JSON":             {400, `{"a": }`, nil},
		"unfinished":           {400, `{"a": "`, nil},
		"trailing data":        {400, `{} {}`, nil},
		"duplicate keys":       {400, `{"a": 1, "\u0061": 2}`, nil},
		"deep duplicate keys":  {400, `{"a": [{"b": 1, "b": 2}]}`, nil},
		"invalid UTF-8":        {400, "{\"a\": \"\xff\xfe\"}", nil},
		"byte order mark":      {400, "\ufeff{}", nil},
		"raw NUL":              {400, "{\"a\": \"\x00\"}", nil},
		"a list":               {400, `[1]`, nil},
		"a string":             {400, `"text"`, nil},
		"too deep":             {400, nested(101), nil},
		"far too deep":         {400, strings.Repeat("[", 500_000), nil},
		"deep objects":         {400, strings.Repeat(`{"a":`, 150_000), nil},
		"too great a number":   {400, `{"a": 1e999}`, nil},
		"too long a number":    {400, `{"a": ` + strings.Repeat("9", 1001) + `}`, nil},
		"NaN":                  {400, `{"a": NaN}`, nil},
		"too large":            {413, padded(1<<20 + 1), nil},
		"zip bomb":             {413, zipped(t, padded(50<<20)), gzipHeader},
		"not zipped":           {400, `{}`, gzipHeader},
		"other encoding":       {415, `{}`, []string{"Content-Encoding", "br"}},
		"other type":           {415, `<a/>`, []string{"Content-Type", "text/xml"}},
		"other character set":  {415, `{}`, []string{"Content-Type", "application/json; charset=utf-16"}},
		"broken form":          {400, "a=%zz", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		"form of surrogates":   {400, "a=%ed%a0%80", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		"broken key":           {400, `{}`, []string{"Idempotency-Key", strings.Repeat("k", 256)}},
		"duplicate keys, many": {400, `{` + strings.Repeat(`"a":1,`, 100_000) + `"a":1}`, nil},
	}
	accepted := map[string]struct {
		body    string
		headers []string
	}{
		"NUL escapes":        {`{"\u0000": "\u0000", "a": ["\u0000"]}`, nil},
		"lone surrogates":    {`{"\ud800": "\udc00\ud800"}`, nil},
		"as deep as allowed": {nested(100), nil},
		"great numbers":      {`{"a": 1e308, "b": -0, "c": 0.1000000000000000055511151231257827, "d": ` + strings.Repeat("9", 300) + `}`, nil},
		"many keys":          {manyKeys(20_000), nil},
		"unusual text":       {`{"__proto__": {"x": 1}, "constructor": null, "": "", "data": {}, "error": "\u2028\u202e</script>"}`, nil},
		"as large as may be": {padded(1 << 20), nil},
		"zipped":             {zipped(t, `{"a": 1}`), gzipHeader},
		"JSON of some kind":  {`{"a": 1}`, []string{"Content-Type", "application/cloudevents+json; charset=UTF-8"}},
		"form":               {"a=%00&a=2&b[c]=1&=x", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		"white space":        {" \t\r\n{ } \n", nil},
	}
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		c := &service.client
		made := c.echoTrigger()
		fire := func(name, body string, headers []string) answer {
			t.Helper()
			began := time.Now()
			// The standard type comes first; one among the headers takes its place.
			request, err := http.NewRequest(http.MethodPost, service.base+hookPath, strings.NewReader(body))
			require.NoError(t, err)
			request.Header.Set("Authorization", "Bearer "+made.Token)
			request.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(headers); i += 2 {
				request.Header.Set(headers[i], headers[i+1])
			}
			a, err := c.do(request)
			require.NoError(t, err, name)
			require.Less(t, time.Since(began), atOnce, name)
			require.True(t, json.Valid([]byte(a.body)), "%s: %s", name, a.body)
			return a
		}
		for name, test := range refused {
			a := fire(name, test.body, test.headers)
			require.Equal(t, test.status, a.status, "%s: %s", name, a.body)
			require.Contains(t, a.body, `"error":{"code":`, name)
		}
		require.Zero(t, c.total("/api/v1/executions?"), "what is refused leaves nothing")
		events := c.total("/api/v1/events?")

		for name, test := range accepted {
			a := fire(name, test.body, test.headers)
			require.Equal(t, http.StatusAccepted, a.status, "%s: %s", name, a.body)
			events += 3
			execution := c.awaitExecution(read[executionData](t, a).ID, "completed")
			if test.headers == nil {
				require.Equal(t, compact(t, test.body), string(execution.Input), name)
				require.Equal(t, compact(t, test.body), string(execution.Output), name)
			}
			for _, list := range []string{"/api/v1/executions?limit=100", "/api/v1/executions?trigger_id=" + made.ID, "/api/v1/webhook-triggers", "/api/v1/events?limit=100", "/api/v1/events?after=0"} {
				require.True(t, json.Valid([]byte(c.get(list).body)), "%s after %s", list, name)
			}
		}
		require.Equal(t, events, c.total("/api/v1/events?"))
		require.Equal(t, len(accepted), c.total("/api/v1/executions?status=completed"))
		rebuild(t, s, events)
		require.Equal(t, len(accepted), c.total("/api/v1/executions?status=completed"))
		service.stop()
	})
}

func manyKeys(count int) string {
	object := map[string]int{}
	for i := range count {
		object[strings.Repeat("k", i%50)+string(rune('a'+i%26))+strings.Repeat("z", i/1300)] = i
	}
	text, _ := json.Marshal(object) // a map of numbers always has a text
	return string(text)
}

// compact takes out the white space, which answers do not keep, and nothing else.
func compact(t testing.TB, body string) string {
	t.Helper()
	var text bytes.Buffer
	require.NoError(t, json.Compact(&text, []byte(body)))
	return text.String()
}
