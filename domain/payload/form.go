package payload

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"hooktrail/domain/fault"
)

// MaxFormFields is how many fields a form may have, repeated ones counted each time.
const MaxFormFields = 1_000

// InputJSON gives the agent's input that a body of that media type stands for: the very
// same bytes for JSON (also "" and any type ending in "+json", RFC 6839 §3.1), an object
// for a form. Parameters of the media type are ignored. It does not look into JSON:
// CheckJSON does. Faults: UnsupportedMediaType, and those of FormToJSON.
func InputJSON(mediaType string, raw []byte) (json.RawMessage, error) {
	if mediaType == "" {
		return raw, nil
	}
	name, _, err := mime.ParseMediaType(mediaType)
	switch {
	case err != nil && name == "":
	case name == "application/json", strings.HasSuffix(name, "+json"):
		return raw, nil
	case name == "application/x-www-form-urlencoded":
		return FormToJSON(raw)
	}
	return nil, fault.New(fault.UnsupportedMediaType,
		"the content type must be application/json or application/x-www-form-urlencoded")
}

type field struct {
	name   string
	values []string
}

// FormToJSON makes a JSON object of a form (WHATWG URL Standard §5.1): its keys in the order
// in which they first appear, a field sent once as a string, one sent more often as an array
// of strings. A Validation fault says what is wrong and at which byte (counted from 0): a
// broken percent escape, text that is not UTF-8, or more than MaxFormFields fields.
func FormToJSON(body []byte) ([]byte, error) {
	fields, err := parseForm(body)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(body)+len(body)/4+2)
	out = append(out, '{')
	for i, f := range fields {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendQuoted(out, f.name)
		out = append(out, ':')
		if len(f.values) == 1 {
			out = appendQuoted(out, f.values[0])
			continue
		}
		out = append(out, '[')
		for j, value := range f.values {
			if j > 0 {
				out = append(out, ',')
			}
			out = appendQuoted(out, value)
		}
		out = append(out, ']')
	}
	return append(out, '}'), nil
}

// appendQuoted appends text, which is valid UTF-8, as a JSON string.
func appendQuoted(out []byte, text string) []byte {
	out, _ = jsontext.AppendQuote(out, text) // fails on invalid UTF-8 only
	return out
}

func parseForm(body []byte) ([]field, error) {
	var fields []field
	indexOf := map[string]int{}
	count := 0
	for offset := 0; offset < len(body); {
		pair := body[offset:]
		if end := bytes.IndexByte(pair, '&'); end >= 0 {
			pair = pair[:end]
		}
		start := offset
		offset += len(pair) + 1
		if len(pair) == 0 {
			continue
		}
		if count++; count > MaxFormFields {
			return nil, fault.New(fault.Validation, "the form has more than %d fields", MaxFormFields)
		}
		rawName, rawValue, _ := bytes.Cut(pair, []byte{'='})
		name, err := unescape(rawName, start)
		if err != nil {
			return nil, err
		}
		value, err := unescape(rawValue, start+len(rawName)+1)
		if err != nil {
			return nil, err
		}
		i, known := indexOf[name]
		if !known {
			i = len(fields)
			indexOf[name] = i
			fields = append(fields, field{name: name})
		}
		fields[i].values = append(fields[i].values, value)
	}
	return fields, nil
}

// unescape decodes a name or a value that begins at byte offset of the body.
func unescape(raw []byte, offset int) (string, error) {
	text, err := url.QueryUnescape(string(raw))
	if err != nil {
		return "", fault.New(fault.Validation, "the form has an invalid percent escape at byte %d", offset+badEscape(raw))
	}
	if !utf8.ValidString(text) {
		return "", fault.New(fault.Validation, "the form has text that is not UTF-8 in the field at byte %d", offset)
	}
	return text, nil
}

func badEscape(raw []byte) int {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			continue
		}
		if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			return i
		}
		i += 2
	}
	return 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
