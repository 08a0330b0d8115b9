package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/gofiber/fiber/v2"

	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

// decode reads a JSON object into a struct. Fields are also taken in camelCase, and under
// the further names of aliases. Fields that the struct lacks are accepted, since clients
// of several versions send more than we know, and returned as warnings.
func decode(c *fiber.Ctx, into any, aliases map[string]string) ([]string, error) {
	body := bytes.Clone(c.Request().Body())
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return nil, fault.New(fault.UnsupportedMediaType, "a compressed body is not taken here")
	}
	kind, err := payload.CheckJSON(body)
	if err != nil {
		return nil, err
	}
	if kind != payload.Object {
		return nil, fault.New(fault.InvalidJSON, "the body must be a JSON object")
	}
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil, fault.New(fault.InvalidJSON, "the body cannot be read as a JSON object")
	}
	target := reflect.ValueOf(into).Elem()
	fields := fieldsOf(target)
	values, warnings, err := match(sent, fields, aliases)
	if err != nil {
		return nil, err
	}
	wrong := map[string]string{}
	for name, value := range values {
		if bytes.Equal(bytes.TrimSpace(value), []byte("null")) && fields[name].Kind() != reflect.Slice {
			continue // null is the same as absent, unless the field is raw JSON
		}
		decoder := json.NewDecoder(bytes.NewReader(value))
		if name == "runner" {
			decoder.DisallowUnknownFields()
		}
		if err := decoder.Decode(fields[name].Addr().Interface()); err != nil {
			path, why := explainType(name, err)
			wrong[path] = why
		}
	}
	return warnings, fault.Fields(wrong)
}

func fieldsOf(target reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range target.NumField() {
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = target.Field(i)
	}
	return fields
}

// match finds the field that each sent name means. Two spellings of one field with
// different values are refused.
func match(sent map[string]json.RawMessage, fields map[string]reflect.Value, aliases map[string]string) (map[string]json.RawMessage, []string, error) {
	values := map[string]json.RawMessage{}
	spelling := map[string]string{}
	var warnings []string
	names := make([]string, 0, len(sent))
	for name := range sent {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := name
		if alias, known := aliases[name]; known {
			field = alias
		} else if _, known := fields[name]; !known {
			field = snakeCase(name)
			if alias, known := aliases[field]; known {
				field = alias
			}
		}
		if _, known := fields[field]; !known {
			warnings = append(warnings, fmt.Sprintf("unknown field %.100q was ignored", name))
			continue
		}
		if before, twice := values[field]; twice && !bytes.Equal(bytes.TrimSpace(before), bytes.TrimSpace(sent[name])) {
			return nil, nil, fault.Field(field, "is given twice with different values, as %s and %s", spelling[field], name)
		}
		values[field], spelling[field] = sent[name], name
	}
	return values, warnings, nil
}

func snakeCase(name string) string {
	var out strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) {
			if i > 0 {
				out.WriteByte('_')
			}
			r = unicode.ToLower(r)
		}
		out.WriteRune(r)
	}
	return out.String()
}

func explainType(name string, err error) (string, string) {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		path := name
		if mismatch.Field != "" {
			path += "." + mismatch.Field
		}
		return path, "must be " + typeName(mismatch.Type) + ", not " + mismatch.Value
	}
	if _, unknown, found := strings.Cut(err.Error(), "unknown field "); found {
		return name + "." + strings.Trim(unknown, `"`), "is not a field of " + name
	}
	return name, "cannot be read: a time must be by RFC 3339, such as 2026-01-31T12:00:00Z"
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Pointer:
		return typeName(t.Elem())
	default:
		return "an object"
	}
}
