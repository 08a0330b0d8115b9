package payload_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

func nested(depth int) string {
	return strings.Repeat(`[{"a":`, depth/2) + strings.Repeat("[", depth%2) + strings.Repeat("]", depth%2) + lastValue(depth) + strings.Repeat("}]", depth/2)
}

func lastValue(depth int) string {
	if depth%2 == 0 {
		return "0"
	}
	return ""
}

func TestCheckJSONAccepts(t *testing.T) {
	for body, kind := range map[string]payload.Kind{
		`{}`:                          payload.Object,
		" \t\r\n{\"a\":1} \n":         payload.Object,
		`[1,2]`:                       payload.Array,
		`"text"`:                      payload.String,
		`-0`:                          payload.Number,
		`0`:                           payload.Number,
		`true`:                        payload.Boolean,
		`false`:                       payload.Boolean,
		`null`:                        payload.Null,
		`"\u0000"`:                    payload.String,
		`{"\u0000":"\ud800"}`:         payload.Object,
		`"\udc00\ud800"`:              payload.String,
		"\"caf\u00e9 \U0001F600\"":    payload.String,
		"\"\uFFFD\"":                  payload.String,
		`{"a":{"a":1},"b":[{"a":1}]}`: payload.Object,
		`12345678901234567890123456789012345678901234567890`: payload.Number,
		strings.Repeat("1", 309):                             payload.Number,
		`0.` + strings.Repeat("9", 999):                      payload.Number,
		`1e308`:                                              payload.Number,
		`-1.7976931348623157e308`:                            payload.Number,
		`5e-324`:                                             payload.Number,
		`0e400`:                                              payload.Number,
		`0.0e-400`:                                           payload.Number,
		`1E+0000000000000000000000000000000000000005`: payload.Number,
		`0.` + strings.Repeat("0", 320) + `1e20`:      payload.Number,
		nested(payload.MaxDepth):                      payload.Array,
		nested(payload.MaxDepth - 1):                  payload.Array,
	} {
		got, err := payload.CheckJSON([]byte(body))
		require.NoError(t, err, "%.80q", body)
		require.Equal(t, kind, got, "%.80q", body)
	}
}

func TestCheckJSONRefuses(t *testing.T) {
	for name, c := range map[string]struct{ body, message string }{
		"nothing":               {"", "the body is empty: a JSON value is required"},
		"only space":            {" \n\t", "the body is empty: a JSON value is required"},
		"byte order mark":       {"\uFEFF{}", "the body has a byte order mark before the value at byte 0"},
		"raw invalid UTF-8":     {"{\"a\":\"\xff\"}", "the body has invalid UTF-8 at byte 6"},
		"raw surrogate":         {"\"\xed\xa0\x80\"", "the body has invalid UTF-8 at byte 1"},
		"overlong":              {"\"é\xc0\xaf\"", "the body has invalid UTF-8 at byte 3"},
		"cut off UTF-8":         {"\"ab\xe2\x82", "the body has invalid UTF-8 at byte 3"},
		"duplicate key":         {`{"a":1,"b":{"c":1,"c":2}}`, `the body has a duplicate key at byte 18 ("/b/c")`},
		"duplicate, escaped":    {`{"a":1,"\u0061":2}`, `the body has a duplicate key at byte 7 ("/a")`},
		"duplicate, slash":      {`{"a/b":1,"a\/b":2}`, `the body has a duplicate key at byte 9 ("/a~1b")`},
		"duplicate, surrogates": {`{"\ud83d\ude00":1,"😀":2}`, `the body has a duplicate key at byte 18 ("/😀")`},
		"duplicate, long":       {`{"` + strings.Repeat("k", 500) + `":1,"` + strings.Repeat("k", 500) + `":1}`, "the body has a duplicate key at byte 506"},
		"trailing value":        {`{} {}`, "the body has data after the end of the value at byte 3"},
		"trailing brace":        {`{}}`, "the body has data after the end of the value at byte 2"},
		"trailing word":         {"1 \nx", "the body has data after the end of the value at byte 3"},
		"trailing comma":        {`1,`, "the body has data after the end of the value at byte 1"},
		"number then minus":     {`1-2`, "the body has data after the end of the value at byte 1"},
		"too deep":              {nested(payload.MaxDepth + 1), "the body has nesting deeper than 100 levels at byte 300"},
		"far too deep":          {strings.Repeat("[", 1_000_000), "the body has nesting deeper than 100 levels at byte 100"},
		"too large":             {`{"secret":[0,1e309]}`, `the body has a number too large for a float64 at byte 13 ("/secret/1")`},
		"too large, plain":      {strings.Repeat("9", 310), "the body has a number too large for a float64 at byte 0"},
		"too small":             {`{"a":-1e-325}`, `the body has a number too small for a float64 at byte 5 ("/a")`},
		"too small, plain":      {`[0.` + strings.Repeat("0", 330) + `1]`, `the body has a number too small for a float64 at byte 1 ("/0")`},
		"too small, by its end": {`0.` + strings.Repeat("0", 200) + `1e-200`, "the body has a number too small for a float64 at byte 0"},
		"huge exponent":         {`1e999999999999999999999`, "the body has a number whose exponent is beyond ±400 at byte 0"},
		"huge exponent of zero": {`0e401`, "the body has a number whose exponent is beyond ±400 at byte 0"},
		"huge negative":         {`{"n":0.1E-401}`, `the body has a number whose exponent is beyond ±400 at byte 5 ("/n")`},
		"1,001 digits":          {`0.` + strings.Repeat("1", 1000), "the body has a number of more than 1000 digits at byte 0"},
		"exponent of 1,001":     {`1e` + strings.Repeat("0", 1000), "the body has a number of more than 1000 digits at byte 0"},
		"a fault far inside":    {strings.Repeat(`{"`+strings.Repeat("k", 50)+`":`, 5) + "1e999", "the body has a number whose exponent is beyond ±400 at byte 270"},
		"a bad escape":          {`{"a":"\x"}`, "the body has an invalid escape sequence in a string at byte 6"},
		"a bad unicode escape":  {`"\uZZZZ"`, "the body has an invalid escape sequence in a string at byte 1"},
		"a raw control":         {"\"a\nb\"", "the body has an unexpected character in string (expecting non-control character) at byte 2"},
		"an open string":        {`{"a":"b`, "the body has the end of the body inside a value at byte 7"},
		"an open object":        {`{"a":1`, "the body has the end of the body inside a value at byte 6"},
		"a number as key":       {`{1:2}`, "the body has an object key that is not a string at byte 1"},
		"no colon":              {`{"a" 1}`, "the body has an unexpected character after object name (expecting ':') at byte 5"},
		"no comma":              {`{"a":1 "b":2}`, "the body has an unexpected character after object value (expecting ',' or '}') at byte 7"},
		"no comma in array":     {`[1 2]`, "the body has an unexpected character after array element (expecting ',' or ']') at byte 3"},
		"crossed brackets":      {`[1}`, "the body has an unexpected character after array element (expecting ',' or ']') at byte 2"},
		"a word":                {`hunter2`, "the body has an unexpected character at start of value at byte 0"},
		"a bad literal":         {`nuLL`, "the body has invalid syntax at byte 2"},
		"a leading zero":        {`01`, "the body has data after the end of the value at byte 1"},
		"NaN":                   {`NaN`, "the body has an unexpected character at start of value at byte 0"},
		"a plus":                {`+1`, "the body has an unexpected character at start of value at byte 0"},
		"a bare point":          {`{"a":1.}`, "the body has an unexpected character in number (expecting digit) at byte 7"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := payload.CheckJSON([]byte(c.body))
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			require.Equal(t, fault.InvalidJSON, f.Code)
			require.Equal(t, c.message, f.Message)
			require.Empty(t, f.Details)
		})
	}
}

func TestCheckJSONLeavesTheBodyAlone(t *testing.T) {
	body := pullRequest(70 << 10)
	before := bytes.Clone(body)
	_, err := payload.CheckJSON(body)
	require.NoError(t, err)
	require.Equal(t, before, body)
}

func TestCheckJSONAfterARefusalStartsAfresh(t *testing.T) {
	for range 100 {
		_, err := payload.CheckJSON([]byte(`{"a":{"b":[1,{"c":`))
		require.Error(t, err)
		kind, err := payload.CheckJSON([]byte(`{"a":1,"c":2}`))
		require.NoError(t, err)
		require.Equal(t, payload.Object, kind)
	}
}

// timeOf gives the shortest of a few runs, each of so many checks: noise can only lengthen them.
func timeOf(t *testing.T, body []byte, checks int) time.Duration {
	shortest := time.Duration(math.MaxInt64)
	for range 5 {
		start := cpuTime(t)
		for range checks {
			_, _ = payload.CheckJSON(body)
		}
		shortest = min(shortest, cpuTime(t)-start)
	}
	return shortest
}

func TestCheckJSONIsLinear(t *testing.T) {
	open := func(n int) []byte { return []byte(strings.Repeat(`{"a":[`, n)) }
	digits := func(n int) []byte { return []byte("[" + strings.Repeat("9", 5*n) + "]") }
	spaces := func(n int) []byte { return []byte("[" + strings.Repeat(" ", 10*n)) }
	escapes := func(n int) []byte { return []byte(`{"` + strings.Repeat(`\u0061`, n) + `":1}`) }
	objects := func(n int) []byte { return []byte("[" + strings.Repeat(`{"a":1},`, n) + "0]") }
	for name, bodyOf := range map[string]func(int) []byte{
		"keys": manyKeys, "open": open, "digits": digits, "spaces": spaces, "escapes": escapes, "objects": objects,
	} {
		t.Run(name, func(t *testing.T) {
			const n, times = 1_500, 64
			few, many := timeOf(t, bodyOf(n), times), timeOf(t, bodyOf(n*times), 1)
			// Quadratic work would take 64 times as long: the bound leaves a factor of 8 to either side, for
			// caches, and for what else the machine does.
			require.Less(t, many, 8*few)
		})
	}
}

func TestCheckJSONAcceptsWhatTheStandardLibraryWrites(t *testing.T) {
	value := rapid.Deferred(func() *rapid.Generator[any] { return anyValue(4) })
	rapid.Check(t, func(t *rapid.T) {
		body, err := json.Marshal(value.Draw(t, "value"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := payload.CheckJSON(body); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if _, err := payload.CheckJSON(append(body, 'x')); err == nil {
			t.Fatalf("%sx: accepted", body)
		}
		if body[0] == '{' && len(body) > 2 {
			doubled := append(bytes.TrimSuffix(bytes.Clone(body), []byte("}")), ',')
			doubled = append(doubled, body[1:]...)
			if _, err := payload.CheckJSON(doubled); err == nil {
				t.Fatalf("%s: accepted", doubled)
			}
		}
	})
}

func anyValue(depth int) *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.String().AsAny(), rapid.Float64().AsAny(), rapid.Int64().AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil))
	if depth == 0 {
		return scalar
	}
	inner := rapid.Deferred(func() *rapid.Generator[any] { return anyValue(depth - 1) })
	return rapid.OneOf(scalar, rapid.SliceOfN(inner, 0, 4).AsAny(), rapid.MapOfN(rapid.String(), inner, 0, 4).AsAny())
}

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `{"a":1,"\u0061":2}`, `"\ud800\u0000"`, `1e400`, `-0.0e-5`, `[1,2`, "\xff", ` {"a":[true,false,null]} `,
		`{"a":{"a":{"a":1}}}`, `1 2`, `nul`, "\uFEFF1", strings.Repeat("9", 310), `5e-325`, nested(101),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		kind, err := payload.CheckJSON(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if want := readStrictly(body); (err == nil) != (want == nil) {
			t.Fatalf("%q: CheckJSON says %v, the standard library says %v", body, err, want)
		}
		if err != nil {
			if fault.CodeOf(err) != fault.InvalidJSON {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		var value any
		if err := json.Unmarshal(body, &value); err != nil {
			t.Fatalf("%q: accepted, but %v", body, err)
		}
		if kind != kindOf(value) {
			t.Fatalf("%q: kind %q for %T", body, kind, value)
		}
	})
}

func kindOf(value any) payload.Kind {
	switch value.(type) {
	case map[string]any:
		return payload.Object
	case []any:
		return payload.Array
	case string:
		return payload.String
	case float64:
		return payload.Number
	case bool:
		return payload.Boolean
	}
	return payload.Null
}

// readStrictly is the same set of rules written over encoding/json: slow and plain.
func readStrictly(body []byte) error {
	if !utf8.Valid(body) {
		return errors.New("invalid UTF-8")
	}
	if !json.Valid(body) {
		return errors.New("not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	type level struct {
		keys    map[string]bool // nil in an array
		wantKey bool
	}
	var stack []*level
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var top *level
		if len(stack) > 0 {
			top = stack[len(stack)-1]
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '}' || v == ']' {
				stack = stack[:len(stack)-1]
				continue
			}
			if top != nil {
				top.wantKey = top.keys != nil
			}
			next := &level{}
			if v == '{' {
				next = &level{keys: map[string]bool{}, wantKey: true}
			}
			if stack = append(stack, next); len(stack) > payload.MaxDepth {
				return errors.New("too deep")
			}
			continue
		case string:
			if top != nil && top.wantKey {
				if top.keys[v] {
					return errors.New("duplicate key")
				}
				top.keys[v], top.wantKey = true, false
				continue
			}
		case json.Number:
			if err := readNumber(string(v)); err != nil {
				return err
			}
		}
		if top != nil {
			top.wantKey = top.keys != nil
		}
	}
}

func readNumber(text string) error {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
	if len(digits) > payload.MaxNumberDigits {
		return errors.New("too many digits")
	}
	if exponent != "" {
		if n, err := strconv.Atoi(exponent); err != nil || n > payload.MaxExponent || n < -payload.MaxExponent {
			return errors.New("exponent")
		}
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	if value == 0 && strings.ContainsAny(mantissa, "123456789") {
		return errors.New("underflow")
	}
	return nil
}
