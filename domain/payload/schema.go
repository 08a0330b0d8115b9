package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"hooktrail/domain/fault"
	"hooktrail/domain/label"
)

const (
	// MaxSchemaSize bounds an input schema, in bytes.
	MaxSchemaSize = 256 << 10

	schemaField = "input_schema"
	// Relative references resolve against this, so that one to another document is seen to
	// be one; nothing is ever loaded, and the domain cannot exist (RFC 2606 §2).
	schemaBase = "https://hooktrail.invalid/"
	schemaURL  = schemaBase + "input_schema"

	maxReasons      = 20
	maxReasonLength = 300 // bytes
)

// Schema is an agent's compiled input schema. It may be used concurrently.
type Schema struct {
	compiled  *jsonschema.Schema
	nonObject bool
}

// refusingLoader keeps a schema from making us open files or connections: the library's own
// loader opens file:// references.
type refusingLoader struct{}

func (refusingLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// CompileSchema reads a JSON Schema, draft 2020-12 unless its $schema names an older one.
// References must stay inside the schema, or name a published meta-schema. "format" is an
// annotation, as the draft has it, and patterns are RE2. Every failure is a Validation fault
// about the field input_schema.
func CompileSchema(raw json.RawMessage) (*Schema, error) {
	if len(raw) > MaxSchemaSize {
		return nil, fault.Field(schemaField, "is larger than %d bytes", MaxSchemaSize)
	}
	if _, err := CheckJSON(raw); err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return nil, fault.Field(schemaField, "is not valid JSON: %s", f.Message)
		}
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fault.Field(schemaField, "is not valid JSON")
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(refusingLoader{})
	if err := compiler.AddResource(schemaURL, document); err != nil {
		return nil, fault.Field(schemaField, "is not a JSON Schema: %s", shorten(err.Error()))
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		return nil, compileFault(err)
	}
	return &Schema{compiled: compiled, nonObject: namesNonObject(document)}, nil
}

func compileFault(err error) error {
	// The library's errors do not unwrap.
	var loading *jsonschema.LoadURLError
	if errors.As(err, &loading) {
		return fault.Field(schemaField, "may not refer to another document: %s", shorten(strings.TrimPrefix(loading.URL, schemaBase)))
	}
	var against *jsonschema.SchemaValidationError
	if invalid := (*jsonschema.ValidationError)(nil); errors.As(err, &against) && errors.As(against.Err, &invalid) {
		var reasons []string
		for path, why := range reasonsOf(invalid) {
			reasons = append(reasons, fmt.Sprintf("at %q: %s", path, why))
		}
		slices.Sort(reasons)
		return fault.Field(schemaField, "is not a valid JSON Schema: %s", strings.Join(reasons, "; "))
	}
	text := strings.ReplaceAll(err.Error(), schemaURL, "")
	return fault.Field(schemaField, "is not a valid JSON Schema: %s", shorten(text))
}

func namesNonObject(document any) bool {
	root, _ := document.(map[string]any)
	switch types := root["type"].(type) {
	case string:
		return types != string(Object)
	case []any:
		return slices.ContainsFunc(types, func(t any) bool { return t != string(Object) })
	}
	return false
}

// AllowsNonObject reports whether the schema says in so many words that the input may be
// something else than an object: its root has a "type" that names another one. A schema
// without "type" at its root does not.
func (s *Schema) AllowsNonObject() bool { return s.nonObject }

// Validate checks an input. The fault is InvalidJSON for what CheckJSON refuses, else
// SchemaMismatch with at most 20 Details: the JSON Pointer of a value ("/pr_number", "" for
// the whole input) and why it does not fit. The reasons name keys of the input but quote
// none of its values.
func (s *Schema) Validate(input []byte) error {
	// The library computes with exact fractions: a number of huge exponent must not reach it.
	if _, err := CheckJSON(input); err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(input))
	if err != nil {
		return fault.Wrap(err, fault.InvalidJSON, "the input is not valid JSON")
	}
	err = s.compiled.Validate(value)
	if err == nil {
		return nil
	}
	mismatch := fault.New(fault.SchemaMismatch, "the input does not fit the agent's schema")
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		mismatch.Details = map[string]string{"": "cannot be checked against the schema"}
		return mismatch
	}
	mismatch.Details = reasonsOf(invalid)
	return mismatch
}

// reasonsOf gives the innermost reasons, the first one for each path.
func reasonsOf(invalid *jsonschema.ValidationError) map[string]string {
	printer := message.NewPrinter(language.English)
	reasons := map[string]string{}
	var collect func(e *jsonschema.ValidationError)
	collect = func(e *jsonschema.ValidationError) {
		if len(reasons) >= maxReasons {
			return
		}
		for _, cause := range e.Causes {
			collect(cause)
		}
		if len(e.Causes) > 0 || len(reasons) >= maxReasons {
			return
		}
		if path := shorten(pointer(e.InstanceLocation)); reasons[path] == "" {
			reasons[path] = shorten(reason(e.ErrorKind, printer))
		}
	}
	collect(invalid)
	return reasons
}

// reason is the library's text but where that text quotes the value or lists without end.
func reason(k jsonschema.ErrorKind, printer *message.Printer) string {
	switch k := k.(type) {
	case *kind.Pattern:
		return fmt.Sprintf("does not match pattern %q", k.Want)
	case *kind.Format:
		return fmt.Sprintf("is not a valid %s", k.Want)
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		return "must be greater than " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		return "must be less than " + k.Want.RatString()
	case *kind.MultipleOf:
		return "must be a multiple of " + k.Want.RatString()
	case *kind.AdditionalProperties:
		return (&kind.AdditionalProperties{Properties: k.Properties[:min(len(k.Properties), maxReasons)]}).LocalizedString(printer)
	case *kind.MinContains:
		return fmt.Sprintf("must contain at least %d items that match, has %d", k.Want, len(k.Got))
	case *kind.MaxContains:
		return fmt.Sprintf("must contain at most %d items that match, has %d", k.Want, len(k.Got))
	case *kind.FalseSchema:
		return "is not allowed"
	}
	return k.LocalizedString(printer)
}

// pointer writes a JSON Pointer (RFC 6901).
func pointer(tokens []string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var path strings.Builder
	for _, token := range tokens {
		path.WriteByte('/')
		path.WriteString(escape.Replace(token))
	}
	return path.String()
}

func shorten(text string) string { return label.Shorten(text, maxReasonLength) }
