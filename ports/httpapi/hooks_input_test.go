//go:build unix

package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/token"
	"hooktrail/domain/trigger"
)

// readable reads everything there is in every way; the contract's check parses each answer.
func (a *api) readable(t testing.TB, id string) execution {
	t.Helper()
	var seen execution
	a.must(t, 200, &seen, "GET", executions+"/"+id, "")
	for _, path := range []string{executions + "?limit=100", events + "?limit=100", events + "?limit=100&stream=execution-" + id, triggers, agents} {
		a.must(t, 200, nil, "GET", path, "")
	}
	return seen
}

// TestOddBodies sends what is valid but rarely seen: the agent gets it, and it can be read
// again, number by number and escape by escape.
func TestOddBodies(t *testing.T) {
	bodies := map[string]string{
		"nothing in it":             `{}`,
		"space around":              " \t\r\n{ \"a\" : 1 }\n",
		"NUL":                       `{"a":"\u0000","\u0000":1}`,
		"lone surrogates":           `{"a":"\ud800","b":"\udc00\ud800"}`,
		"a lone surrogate as a key": `{"\ud800":1}`,
		"an emoji, escaped and not": `{"a":"\ud83c\udf89🎉"}`,
		"100 levels":                strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100),
		"a number of 1000 digits":   `{"a":0.` + strings.Repeat("3", 999) + `}`,
		"the largest float":         `{"a":1.7976931348623157e308}`,
		"the smallest float":        `{"a":5e-324}`,
		"beyond 53 bits":            `{"a":9007199254740993}`,
		"numbers as text":           `{"a":1.0,"b":1.50e+02,"c":-0,"d":0e0,"e":1E5}`,
		"names of prototypes":       `{"__proto__":{"x":1},"constructor":2,"toString":3}`,
		"an empty key":              `{"":1}`,
		"keys that differ in case":  `{"a":1,"A":2}`,
		"a long key":                `{"` + strings.Repeat("k", 100_000) + `":1}`,
		"many keys":                 `{` + strings.TrimSuffix(fields(20_000), ",") + `}`,
		"HTML":                      `{"a":"</script><script>alert(1)</script>&amp;"}`,
		"line separators":           "{\"a\":\"\u2028\u2029\"}",
		"control characters":        `{"a":"\b\f\n\r\t\u001f\u007f"}`,
		"text like SQL":             `{"a":"'; DROP TABLE events; --"}`,
		"fields like ours":          `{"id":1,"execution_id":null,"data":{"status":"x"},"error":"y"}`,
		"a null":                    `{"a":null,"b":[null,[],{}]}`,
	}
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		for name, body := range bodies {
			t.Run(name, func(t *testing.T) {
				answer := a.hook(t, made.Token, body, "Prefer", "wait=30")
				require.Equal(t, 200, answer.Status, answer.Body)
				var ended execution
				answer.Decode(t, &ended)
				require.Equal(t, "completed", ended.Status)
				seen := a.readable(t, ended.ID)
				var exact bytes.Buffer
				require.NoError(t, json.Compact(&exact, []byte(body)))
				require.Equal(t, exact.String(), string(seen.Input))
				require.Equal(t, exact.String(), string(seen.Output), "the echo")
			})
		}
	})
}

// TestRefusedBodies sends what is not JSON as we take it. It is refused in bounded time.
func TestRefusedBodies(t *testing.T) {
	bodies := map[string]string{
		"a duplicate key":                   `{"a":1,"a":1}`,
		"a duplicate key, escaped":          `{"a":1,"\u0061":2}`,
		"a duplicate key deep inside":       `{"x":[{"y":{"a":1,"b":2,"a":3}}]}`,
		"invalid UTF-8":                     "{\"a\":\"\xff\"}",
		"invalid UTF-8 in a key":            "{\"\xc3\x28\":1}",
		"UTF-16":                            "\xff\xfe{\x00}\x00",
		"a byte order mark":                 "\uFEFF{}",
		"a second value":                    `{} {}`,
		"more behind the value":             `{}x`,
		"NUL behind the value":              "{}\x00",
		"101 levels":                        strings.Repeat(`{"a":`, 101) + "1" + strings.Repeat("}", 101),
		"500 000 levels":                    strings.Repeat(`[`, 500_000),
		"a number beyond float64":           `{"a":1e400}`,
		"a number below float64":            `{"a":1e-400}`,
		"a number of 1001 digits":           `{"a":0.` + strings.Repeat("3", 1000) + `}`,
		"a number of a million digits":      `{"a":` + strings.Repeat("3", 1_000_000) + `}`,
		"an exponent of a million digits":   `{"a":1e` + strings.Repeat("0", 1_000_000) + `1}`,
		"NaN":                               `{"a":NaN}`,
		"Infinity":                          `{"a":-Infinity}`,
		"a leading zero":                    `{"a":01}`,
		"a plus sign":                       `{"a":+1}`,
		"hexadecimal":                       `{"a":0x1}`,
		"no digits behind the point":        `{"a":1.}`,
		"single quotes":                     `{'a':1}`,
		"a comment":                         `{"a":1 /* one */}`,
		"a comma at the end":                `{"a":1,}`,
		"a key without quotes":              `{a:1}`,
		"a raw line break in a string":      "{\"a\":\"x\ny\"}",
		"an escape that is none":            `{"a":"\x41"}`,
		"half an escape":                    `{"a":"\u00`,
		"cut off":                           `{"a":[1,2`,
		"a form sent as JSON":               `a=1&b=2`,
		"XML":                               `<a/>`,
		"only space":                        "  \n ",
		"a list":                            `[{"a":1}]`,
		"a string":                          `"a"`,
		"a number":                          `1`,
		"true":                              `true`,
		"null":                              `null`,
		"a list of a million empty objects": `[` + strings.Repeat(`{},`, 300_000) + `{}]`,
	}
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		before := a.head(t)
		for name, body := range bodies {
			began := time.Now()
			answer := a.hook(t, made.Token, body)
			require.Equal(t, 400, answer.Status, "%s: %s", name, answer.Body)
			require.Equal(t, "invalid_json", refusalOf(t, answer).Error.Code, name)
			require.Less(t, len(answer.Body), 1000, name)
			require.Less(t, time.Since(began), 5*time.Second, name)
		}
		require.Empty(t, a.eventsAfter(t, before))
	})
}

func TestSchemas(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		token := func(schema string) string {
			return a.trigger(t, a.agent(t, `{"name": "A", "runner": {"kind": "echo"}, "input_schema": `+schema+`}`), "").Token
		}
		anything := token(`{"type": ["array", "string", "number", "boolean", "null", "object"]}`)
		for _, body := range []string{`[1,"\u0000"]`, `"text"`, `1.50`, `true`, `null`, `{}`} {
			seen := a.readable(t, a.accepted(t, anything, body))
			require.Equal(t, body, string(seen.Input))
		}
		strict := token(`{"type": "object", "required": ["repo"], "properties": {"repo": {"type": "string"}, "pr": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}}}`)
		refused := refusalOf(t, a.hook(t, strict, `{"pr": {"n": 0.5, "title": "hunter2"}}`))
		require.Equal(t, "schema_mismatch", refused.Error.Code)
		require.Contains(t, refused.Error.Details, "/pr/n")
		require.Len(t, refused.Error.Details, 2)
		form := a.hook(t, strict, `repo=x&pr=1`, "Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, 422, form.Status, form.Body)
		a.accepted(t, strict, `{"repo": "x", "pr": {"n": 1}}`)
	})
}

func TestForms(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		for body, input := range map[string]string{
			`a=1&b=x+y&c=%F0%9F%8E%89`:       `{"a":"1","b":"x y","c":"🎉"}`,
			`a=1&b=2&a=3`:                    `{"a":["1","3"],"b":"2"}`,
			`payload=%7B%22ok%22%3Atrue%7D`:  `{"payload":"{\"ok\":true}"}`,
			`a=%00&%00=`:                     `{"a":"\u0000","\u0000":""}`,
			`a`:                              `{"a":""}`,
			`__proto__[x]=1&a[]=2&&=3`:       `{"__proto__[x]":"1","a[]":"2","":"3"}`,
			`a=<script>&b="quoted"&c=back\s`: `{"a":"<script>","b":"\"quoted\"","c":"back\\s"}`,
		} {
			answer := a.oddly().hook(t, made.Token, body, "Content-Type", "application/x-www-form-urlencoded", "Prefer", "wait=30")
			require.Equal(t, 200, answer.Status, answer.Body)
			var ended execution
			answer.Decode(t, &ended)
			seen := a.readable(t, ended.ID)
			require.Equal(t, input, string(seen.Input), body)
			require.Equal(t, input, string(seen.Output), body)
		}
		for _, body := range []string{`a=%zz`, `a=%f`, `a=%ff`, "a=\xff", strings.Repeat("a=1&", 1001)} {
			answer := a.hook(t, made.Token, body, "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			require.Equal(t, 400, answer.Status, answer.Body)
		}
	})
}

func compressed(t testing.TB, body string) string {
	t.Helper()
	var out bytes.Buffer
	writer, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	require.NoError(t, err)
	_, err = io.WriteString(writer, body)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return out.String()
}

func TestCompressedBodies(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), `{"generate_secret": true}`)
		unknown, err := token.New(token.TriggerPrefix, rand.Reader)
		require.NoError(t, err)
		call := func(token, body, encoding string) int {
			return a.oddly().hook(t, token, body, "Content-Encoding", encoding, "X-Webhook-Signature", trigger.Sign([]byte(made.Secret), []byte(body))).Status
		}
		zipped := compressed(t, `{"a": 1}`)
		bomb := compressed(t, strings.Repeat("\x00", 64<<20))
		require.Less(t, len(bomb), 1<<20, "the bomb itself is small enough")
		require.Equal(t, 202, call(made.Token, zipped, "gzip"), "the signature is over the bytes as sent")
		require.Equal(t, 202, call(made.Token, zipped, "GZIP"))
		require.Equal(t, 202, call(made.Token, `{"a": 1}`, "identity"))
		require.Equal(t, 401, a.hook(t, made.Token, zipped, "Content-Encoding", "gzip", "X-Webhook-Signature", trigger.Sign([]byte(made.Secret), []byte(`{"a": 1}`))).Status)
		require.Equal(t, 413, call(made.Token, bomb, "gzip"))
		require.Equal(t, 413, call(unknown, bomb, "gzip"), "the size comes before the token")
		for encoding, body := range map[string]string{"gzip": `{"a": 1}`, "gzip ": zipped[:len(zipped)-9], "Gzip": ""} {
			require.Equal(t, 400, call(made.Token, body, encoding))
			require.Equal(t, 401, call(unknown, body, encoding), "the token comes before parsing")
		}
		for _, encoding := range []string{"br", "deflate", "gzip, gzip", "zstd"} {
			require.Equal(t, 415, call(made.Token, zipped, encoding), encoding)
			require.Equal(t, 401, call(unknown, zipped, encoding), encoding)
		}
		var list []execution
		a.must(t, 200, &list, "GET", executions, "")
		require.Len(t, list, 3)
		for _, each := range list {
			require.JSONEq(t, `{"a": 1}`, string(each.Input))
		}
	})
}

// TestLargestBodies takes 25 MiB where a trigger says so, in each way of sending it, not one
// byte more, and a list of such executions stays small.
func TestLargestBodies(t *testing.T) {
	const most = 25 << 20
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`), `{"options": {"max_body_bytes": 26214400}}`)
		largest := `{"a":"` + strings.Repeat("x", most-8) + `"}`
		id := a.accepted(t, made.Token, largest)
		for _, body := range []string{largest, largest + " "} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+"/hooks/"+made.Token, io.MultiReader(strings.NewReader(body)))
			require.NoError(t, err)
			require.Equal(t, int64(0), request.ContentLength, "sent in chunks")
			want := 202
			if len(body) > most {
				want = 413
			}
			answer := a.Send(t, request)
			require.Equal(t, want, answer.Status, answer.Body)
		}
		require.Equal(t, 413, a.hook(t, made.Token, largest+" ").Status)
		require.Equal(t, 202, a.oddly().hook(t, made.Token, compressed(t, largest), "Content-Encoding", "gzip").Status)
		require.Equal(t, 413, a.hook(t, made.Token, compressed(t, largest+" "), "Content-Encoding", "gzip").Status)

		list := a.must(t, 200, nil, "GET", executions, "")
		require.Less(t, len(list.Body), 10_000)
		require.Equal(t, 3, metaOf(t, list).Total)
		var seen execution
		a.Do(t, "GET", executions+"/"+id, "", nil).Decode(t, &seen)
		require.Len(t, seen.Input, most)
	})
}
