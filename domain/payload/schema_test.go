package payload_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

const reviewSchema = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"required": ["pr_number", "repository"],
	"properties": {
		"pr_number": {"type": "integer", "minimum": 1},
		"repository": {"$ref": "#/$defs/name"},
		"labels": {"type": "array", "items": {"$ref": "#/$defs/name"}},
		"a/b~c": {"type": "boolean"},
		"ratio": {"multipleOf": 0.1}
	},
	"additionalProperties": false,
	"$defs": {"name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 20}}
}`

func compile(t testing.TB, schema string) *payload.Schema {
	t.Helper()
	s, err := payload.CompileSchema(json.RawMessage(schema))
	require.NoError(t, err)
	return s
}

func TestValidate(t *testing.T) {
	s := compile(t, reviewSchema)
	for input, details := range map[string]map[string]string{
		`{"pr_number":7,"repository":"x","labels":["a"],"ratio":0.3}`:   nil,
		`{"pr_number":1e2,"repository":"x"}`:                            nil,
		`{"pr_number":123456789012345678901234567890,"repository":"x"}`: nil,
		`{"pr_number":"7","repository":"x"}`:                            {"/pr_number": "got string, want integer"},
		`{"pr_number":0,"repository":"x"}`:                              {"/pr_number": "must be at least 1"},
		`{"pr_number":0.5,"repository":"x"}`:                            {"/pr_number": "got number, want integer"},
		`{"repository":"x"}`:                                            {"": "missing property 'pr_number'"},
		`{"pr_number":1,"repository":"SECRET"}`:                         {"/repository": `does not match pattern "^[a-z]+$"`},
		`{"pr_number":1,"repository":"x","labels":["a",1]}`:             {"/labels/1": "got number, want string"},
		`{"pr_number":1,"repository":"x","a/b~c":1}`:                    {"/a~1b~0c": "got number, want boolean"},
		`{"pr_number":1,"repository":"x","extra":"SECRET"}`:             {"": "additional properties 'extra' not allowed"},
		`{"pr_number":1,"repository":"x","ratio":0.35}`:                 {"/ratio": "must be a multiple of 1/10"},
		`[1]`: {"": "got array, want object"},
		`{"pr_number":-1,"repository":"` + strings.Repeat("x", 21) + `"}`: {
			"/pr_number": "must be at least 1", "/repository": "maxLength: got 21, want 20",
		},
	} {
		err := s.Validate([]byte(input))
		if details == nil {
			require.NoError(t, err, input)
			continue
		}
		var f *fault.Error
		require.ErrorAs(t, err, &f, input)
		require.Equal(t, fault.SchemaMismatch, f.Code, input)
		require.Equal(t, details, f.Details, input)
		require.NotContains(t, fmt.Sprint(f.Error(), f.Details), "SECRET")
	}
}

func TestValidateRefusesWhatIsNoJSON(t *testing.T) {
	s := compile(t, `{"type":"integer","multipleOf":3}`)
	for _, input := range []string{``, `{`, `{"a":1,"a":2}`, `1e999999999`, `1e-999999999`} {
		require.Equal(t, fault.InvalidJSON, fault.CodeOf(s.Validate([]byte(input))), input)
	}
}

func TestValidateGivesAtMostTwentyReasons(t *testing.T) {
	s := compile(t, `{"items":{"type":"string"},"contains":{"const":"x"},"minContains":2}`)
	var f *fault.Error
	require.ErrorAs(t, s.Validate([]byte("["+strings.Repeat("1,", 5000)+"1]")), &f)
	require.Len(t, f.Details, 20)

	long := strings.Repeat("é", 2000)
	s = compile(t, `{"additionalProperties":false}`)
	require.ErrorAs(t, s.Validate([]byte(`{"`+long+`":1}`)), &f)
	for _, why := range f.Details {
		require.Less(t, len(why), 320)
		require.True(t, json.Valid([]byte(`"`+why+`"`)))
		require.NotContains(t, why, "\uFFFD")
	}
}

func TestSchemaIsSafeForConcurrentUse(t *testing.T) {
	s := compile(t, reviewSchema)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 50 {
				err := s.Validate(fmt.Appendf(nil, `{"pr_number":%d,"repository":"x"}`, i-4))
				if (err == nil) != (i > 4) {
					t.Errorf("pr_number %d: %v", i-4, err)
				}
			}
		})
	}
	all.Wait()
}

func TestCompileSchemaRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.json")
	require.NoError(t, os.WriteFile(outside, []byte(`{"type":"string"}`), 0o600))
	for name, c := range map[string]struct{ schema, why string }{
		"nothing":              {``, "is not valid JSON: the body is empty"},
		"broken JSON":          {`{"type":`, "is not valid JSON"},
		"duplicate keys":       {`{"type":"string","type":"object"}`, "duplicate key"},
		"a huge number":        {`{"minimum":1e999}`, "exponent"},
		"a word":               {`"object"`, "is not a valid JSON Schema"},
		"an unknown type":      {`{"type":"objekt"}`, `at "/type": value must be one of`},
		"a bad keyword inside": {`{"properties":{"a":{"minLength":-1}}}`, `at "/properties/a/minLength": must be at least 0`},
		"a bad pattern":        {`{"pattern":"("}`, "pattern"},
		"look-ahead":           {`{"pattern":"(?!x)y"}`, "pattern"},
		"a dangling reference": {`{"$ref":"#/$defs/none"}`, "none"},
		"a file":               {`{"$ref":"file://` + outside + `"}`, "may not refer to another document: file://"},
		"a file, relative":     {`{"$ref":"outside.json"}`, "may not refer to another document: outside.json"},
		"a file as dialect":    {`{"$schema":"file://` + outside + `"}`, "may not refer to another document"},
		"a file by dynamicRef": {`{"$dynamicRef":"file://` + outside + `#a"}`, "may not refer to another document"},
		"a file by its id":     {`{"$id":"file://` + filepath.Dir(outside) + `/x.json","$ref":"outside.json"}`, "may not refer to another document"},
		"the network":          {`{"properties":{"a":{"$ref":"http://127.0.0.1:1/s.json"}}}`, "may not refer to another document: http://127.0.0.1:1/s.json"},
		"too large":            {`{"description":"` + strings.Repeat("x", payload.MaxSchemaSize) + `"}`, "is larger than 262144 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := payload.CompileSchema(json.RawMessage(c.schema))
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			require.Equal(t, fault.Validation, f.Code)
			require.Contains(t, f.Details["input_schema"], c.why)
			require.NotContains(t, f.Message, "hooktrail.invalid")
		})
	}
}

func TestCompileSchemaAccepts(t *testing.T) {
	for _, schema := range []string{
		`{}`, `true`, `false`, reviewSchema,
		`{"$id":"https://example.com/root","$defs":{"a":{"$id":"a","type":"string"}},"$ref":"a"}`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{"type":"string"}},"properties":{"a":{"$ref":"#/definitions/a"}}}`,
		`{"properties":{"next":{"$ref":"#"}}}`,
		`{"$ref":"https://json-schema.org/draft/2020-12/schema"}`,
	} {
		compile(t, schema)
	}
	require.NoError(t, compile(t, `{"properties":{"at":{"format":"date-time"}}}`).Validate([]byte(`{"at":"soon"}`)))
	require.Error(t, compile(t, `false`).Validate([]byte(`{}`)))
	require.Error(t, compile(t, `{"$ref":"#"}`).Validate([]byte(`{}`)), "a reference to itself ends in an error, not in a loop")
}

func TestAllowsNonObject(t *testing.T) {
	for schema, want := range map[string]bool{
		`{}`:                           false,
		`true`:                         false,
		`{"type":"object"}`:            false,
		`{"type":["object"]}`:          false,
		`{"type":"array"}`:             true,
		`{"type":["object","array"]}`:  true,
		`{"type":["string","null"]}`:   true,
		`{"anyOf":[{"type":"array"}]}`: false,
		`{"properties":{"type":{"type":"array"}}}`: false,
	} {
		require.Equal(t, want, compile(t, schema).AllowsNonObject(), schema)
	}
}

func BenchmarkValidate(b *testing.B) {
	s := compile(b, reviewSchema)
	input := []byte(`{"pr_number":7,"repository":"x","labels":["a","b","c"]}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Validate(input); err != nil {
			b.Fatal(err)
		}
	}
}
