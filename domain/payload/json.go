// Package payload says what the body of a webhook call must be before anything is done
// with it, and whether an agent's input fits the agent's schema.
package payload

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"hooktrail/domain/fault"
)

// Kind is what a JSON text is at its top, in the words of JSON Schema.
type Kind string

// The kinds of JSON values.
const (
	Object  Kind = "object"
	Array   Kind = "array"
	String  Kind = "string"
	Number  Kind = "number"
	Boolean Kind = "boolean"
	Null    Kind = "null"
)

// Limits of the JSON we accept.
const (
	MaxDepth        = 100   // objects and arrays inside each other
	MaxNumberDigits = 1_000 // digits in one number, the exponent's included
	MaxExponent     = 400   // magnitude of a number's exponent; float64 ends at 308
)

// A pooled decoder keeps tables as large as the largest object it has met; those of bodies
// above this size (bytes) are left to the garbage collector.
const largestPooled = 64 << 10

type checker struct {
	body    bytes.Buffer
	decoder jsontext.Decoder
}

var checkers = sync.Pool{New: func() any { return new(checker) }}

// Lone surrogates written as escapes (\ud800) are JSON by RFC 8259 §8.2, and the tokenizer
// takes them only together with invalid UTF-8. CheckJSON refuses the latter by itself.
var checkOptions = jsontext.AllowInvalidUTF8(true)

var noBody = bytes.NewReader(nil)

// CheckJSON reads body once and tells what kind of value it is. It refuses, with an
// InvalidJSON fault that says what is wrong and at which byte (counted from 0): anything
// that is not one JSON text by RFC 8259, invalid UTF-8, two keys of one object that are
// equal once unescaped, nesting beyond MaxDepth, and numbers that float64 holds only as
// infinite or, although not zero, as zero, or that exceed MaxNumberDigits or MaxExponent.
// Escaped NULs and lone surrogates pass; as parts of keys, lone surrogates count as equal
// to each other, since that is how most readers decode them. The time it takes grows
// linearly with len(body).
func CheckJSON(body []byte) (Kind, error) {
	if !utf8.Valid(body) {
		return "", refuse(invalidUTF8At(body), "", "invalid UTF-8")
	}
	if bytes.HasPrefix(body, []byte("\uFEFF")) {
		return "", refuse(0, "", "a byte order mark before the value")
	}
	c := checkers.Get().(*checker)
	kind, err := c.check(body)
	if len(body) <= largestPooled {
		c.body = bytes.Buffer{}
		c.decoder.Reset(noBody)
		checkers.Put(c)
	}
	return kind, err
}

func (c *checker) check(body []byte) (Kind, error) {
	// The decoder reads straight from a bytes.Buffer, without a copy, and never writes to it.
	c.body = *bytes.NewBuffer(body)
	d := &c.decoder
	d.Reset(&c.body, checkOptions)

	first := d.PeekKind()
	for {
		token, err := d.ReadToken()
		if err != nil {
			return "", explain(err, len(body))
		}
		switch token.Kind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			if d.StackDepth() > MaxDepth {
				return "", refuse(int(d.InputOffset())-1, "", "nesting deeper than "+strconv.Itoa(MaxDepth)+" levels")
			}
		case jsontext.KindNumber:
			end := int(d.InputOffset())
			start := numberStart(body, end)
			if wrong := numberFault(body[start:end]); wrong != "" {
				return "", refuse(start, d.StackPointer(), wrong)
			}
		default:
		}
		if d.StackDepth() == 0 {
			break
		}
	}
	end := int(d.InputOffset())
	if rest := bytes.TrimLeft(body[end:], " \t\r\n"); len(rest) > 0 {
		return "", refuse(len(body)-len(rest), "", "data after the end of the value")
	}
	return kindOf(first), nil
}

func kindOf(k jsontext.Kind) Kind {
	switch k {
	case jsontext.KindBeginObject:
		return Object
	case jsontext.KindBeginArray:
		return Array
	case jsontext.KindString:
		return String
	case jsontext.KindNumber:
		return Number
	case jsontext.KindNull:
		return Null
	default:
		return Boolean
	}
}

// numberStart finds where the number that ends at end begins, which is at body's start or
// after a byte that no number contains.
func numberStart(body []byte, end int) int {
	for end > 0 {
		switch c := body[end-1]; {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			end--
		default:
			return end
		}
	}
	return 0
}

// A number whose length (bytes) and exponent together stay below this is inside float64's
// range: below 1e300 and, unless zero, at least 1e-300.
const surelyInRange = 300

// numberFault says why we refuse a number of valid syntax, or "".
func numberFault(text []byte) string {
	exponentAt := bytes.IndexAny(text, "eE")
	if exponentAt < 0 && len(text) < surelyInRange {
		return ""
	}
	digits, zero := 0, true
	for i, c := range text {
		if c >= '0' && c <= '9' {
			digits++
			if c != '0' && (exponentAt < 0 || i < exponentAt) {
				zero = false
			}
		}
	}
	if digits > MaxNumberDigits {
		return "a number of more than " + strconv.Itoa(MaxNumberDigits) + " digits"
	}
	exponent := 0
	if exponentAt >= 0 {
		var err error
		exponent, err = strconv.Atoi(string(text[exponentAt+1:]))
		if err != nil || exponent > MaxExponent || exponent < -MaxExponent {
			return "a number whose exponent is beyond ±" + strconv.Itoa(MaxExponent)
		}
	}
	if len(text)+max(exponent, -exponent) < surelyInRange {
		return ""
	}
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return "a number too large for a float64"
	}
	if value == 0 && !zero {
		return "a number too small for a float64"
	}
	return ""
}

// The tokenizer's own texts quote the payload. These are the endings of them that do not.
var places = []string{
	"at start of value",
	"at start of string (expecting '\"')",
	"after object name (expecting ':')",
	"after object value (expecting ',' or '}')",
	"after array element (expecting ',' or ']')",
	"in string (expecting non-control character)",
	"in number (expecting digit)",
}

func explain(err error, size int) error {
	if errors.Is(err, io.EOF) {
		return fault.New(fault.InvalidJSON, "the body is empty: a JSON value is required")
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return fault.Wrap(err, fault.InvalidJSON, "the body is not valid JSON")
	}
	offset := int(syntax.ByteOffset)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(size, "", "the end of the body inside a value")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return refuse(offset, syntax.JSONPointer, "a duplicate key")
	case errors.Is(err, jsontext.ErrNonStringName):
		return refuse(offset, "", "an object key that is not a string")
	}
	text := syntax.Err.Error()
	for _, place := range places {
		if strings.HasSuffix(text, place) {
			return refuse(offset, "", "an unexpected character "+place)
		}
	}
	if strings.Contains(text, "invalid escape sequence") {
		return refuse(offset, "", "an invalid escape sequence in a string")
	}
	return refuse(offset, "", "invalid syntax")
}

// longestPath bounds (bytes) the JSON path in a message: keys may be as long as the body.
const longestPath = 120

func refuse(offset int, path jsontext.Pointer, what string) error {
	if path == "" || len(path) > longestPath {
		return fault.New(fault.InvalidJSON, "the body has %s at byte %d", what, offset)
	}
	return fault.New(fault.InvalidJSON, "the body has %s at byte %d (%q)", what, offset, string(path))
}

func invalidUTF8At(body []byte) int {
	for i := 0; i < len(body); {
		if body[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(body[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(body)
}
