package payload_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

func TestFormToJSON(t *testing.T) {
	for form, want := range map[string]string{
		"":                            `{}`,
		"&&":                          `{}`,
		"b=2&a=1":                     `{"b":"2","a":"1"}`,
		"a=1&b=2&a=3&a=":              `{"a":["1","3",""],"b":"2"}`,
		"a&b=&=c":                     `{"a":"","b":"","":"c"}`,
		"a=x=y":                       `{"a":"x=y"}`,
		"a+b=c+d%2Be":                 `{"a b":"c d+e"}`,
		"%61=1&a=2":                   `{"a":["1","2"]}`,
		"a;b=1;2":                     `{"a;b":"1;2"}`,
		"n=%00%22%5C%0A":              `{"n":"\u0000\"\\\n"}`,
		"caf%C3%A9=%F0%9F%98%80&é=<&": "{\"café\":\"😀\",\"é\":\"<\"}",
		"payload=%7B%22a%22%3A1%7D":   `{"payload":"{\"a\":1}"}`,
	} {
		got, err := payload.FormToJSON([]byte(form))
		require.NoError(t, err, form)
		require.Equal(t, want, string(got), form)
	}
}

func TestFormToJSONRefuses(t *testing.T) {
	for form, message := range map[string]string{
		"a=1&b=%zz":                           "the form has an invalid percent escape at byte 6",
		"a=%41%4":                             "the form has an invalid percent escape at byte 5",
		"%=1":                                 "the form has an invalid percent escape at byte 0",
		"a=1&b=%FF":                           "the form has text that is not UTF-8 in the field at byte 6",
		"a=1&\xff=2":                          "the form has text that is not UTF-8 in the field at byte 4",
		"a=%ED%A0%80":                         "the form has text that is not UTF-8 in the field at byte 2",
		strings.Repeat("a=1&", 1001):          "the form has more than 1000 fields",
		strings.Repeat("a&&", 1000) + "b=%zz": "the form has more than 1000 fields",
	} {
		_, err := payload.FormToJSON([]byte(form))
		var f *fault.Error
		require.ErrorAs(t, err, &f, form)
		require.Equal(t, fault.Validation, f.Code)
		require.Equal(t, message, f.Message)
	}
	_, err := payload.FormToJSON([]byte(strings.Repeat("a=1&", payload.MaxFormFields)))
	require.NoError(t, err)
}

func TestInputJSON(t *testing.T) {
	raw := []byte(`{"a": 1.0}`)
	for _, mediaType := range []string{
		"", "application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json", "application/json; charset",
	} {
		got, err := payload.InputJSON(mediaType, raw)
		require.NoError(t, err, mediaType)
		require.Equal(t, `{"a": 1.0}`, string(got))
	}
	got, err := payload.InputJSON("application/x-www-form-urlencoded", []byte("a=1"))
	require.NoError(t, err)
	require.JSONEq(t, `{"a":"1"}`, string(got))
	for _, mediaType := range []string{"text/plain", "application/jsonp", "application/xml", "multipart/form-data; boundary=x", ";", "json"} {
		_, err := payload.InputJSON(mediaType, raw)
		require.Equal(t, fault.UnsupportedMediaType, fault.CodeOf(err), mediaType)
	}
	_, err = payload.InputJSON("application/x-www-form-urlencoded", []byte("%"))
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

// The fields of an encoded form come back, whatever is in them.
func TestFormToJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.MapOf(rapid.String(), rapid.SliceOfN(rapid.String(), 1, 4)).Draw(t, "fields")
		body, err := payload.FormToJSON([]byte(url.Values(fields).Encode()))
		if err != nil {
			t.Fatal(err)
		}
		requireSameFields(t, fields, body)
	})
}

func requireSameFields(t interface{ Fatalf(string, ...any) }, fields map[string][]string, body []byte) {
	if _, err := payload.CheckJSON(body); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if len(got) != len(fields) {
		t.Fatalf("%s: %d fields, not %d", body, len(got), len(fields))
	}
	for name, values := range fields {
		decoded, repeated := got[name].([]any)
		if !repeated {
			decoded = []any{got[name]}
		}
		if repeated != (len(values) > 1) || len(decoded) != len(values) {
			t.Fatalf("%s: %q is not %q", body, name, values)
		}
		for i, value := range values {
			if decoded[i] != value {
				t.Fatalf("%s: %q is not %q", body, name, values)
			}
		}
	}
}

func FuzzFormToJSON(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2&a=3", "a+b=%00", "%zz", "%ff=1", "&=&", "a=%E2%82%AC", "é=\x01"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, form []byte) {
		body, err := payload.FormToJSON(form)
		if err != nil {
			if fault.CodeOf(err) != fault.Validation {
				t.Fatalf("%q: %v", form, err)
			}
			return
		}
		if strings.Contains(string(form), ";") {
			return // the standard library refuses what the URL Standard takes literally
		}
		fields, err := url.ParseQuery(string(form))
		if err != nil {
			t.Fatalf("%q: accepted as %s, but %v", form, body, err)
		}
		requireSameFields(t, fields, body)
	})
}
