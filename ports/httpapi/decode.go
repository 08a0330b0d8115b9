package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/gofiber/fiber/v2"

	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

// decode reads a JSON object into a struct. Fields are also taken in camelCase, and under
// the further names of aliases. Fields that the struct lacks are accepted, since clients
// of several versions send more than we know, and returned as warnings; only in a runner,
// where a typo would quietly change what runs, they are refused.
func (s *Server) decode(c *fiber.Ctx, into any, aliases map[string]string) ([]string, error) {
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return nil, fault.New(fault.UnsupportedMediaType, "a compressed body is not taken here")
	}
	body, err := readBody(c, s.config.MaxBodyBytes)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	kind, err := payload.CheckJSON(body)
	if err != nil {
		return nil, err
	}
	if kind != payload.Object {
		return nil, fault.New(fault.InvalidJSON, "the body must be a JSON object")
	}
	r := reader{aliases: aliases, wrong: map[string]string{}}
	if err := r.object("", body, reflect.ValueOf(into).Elem()); err != nil {
		return nil, err
	}
	return r.warnings, fault.Fields(r.wrong)
}

// reader collects what is to be said about a body while it is read.
type reader struct {
	aliases  map[string]string
	warnings []string
	wrong    map[string]string // by path
}

// object reads a JSON object whose fields have paths that begin with prefix.
func (r *reader) object(prefix string, object []byte, target reflect.Value) error {
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(object, &sent); err != nil {
		r.wrong[strings.TrimSuffix(prefix, ".")] = "must be an object"
		return nil //nolint:nilerr // it is told with all the others
	}
	fields := fieldsOf(target)
	values, unknown, err := match(sent, fields, r.aliases)
	if err != nil {
		return err
	}
	for _, name := range unknown {
		if prefix == "runner." {
			r.wrong[prefix+name] = "is not a field of runner"
		} else {
			r.warnings = append(r.warnings, fmt.Sprintf("unknown field %.100q was ignored", prefix+name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := r.value(prefix+name, values[name], fields[name]); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) value(path string, value json.RawMessage, field reflect.Value) error {
	if field.Type() == reflect.TypeFor[json.RawMessage]() {
		if path == "options" { // other raw fields are the client's own JSON, kept as sent
			value = plainMembers(value)
		}
		field.SetBytes(value)
		return nil
	}
	if bytes.Equal(value, []byte("null")) {
		return nil // the same as absent
	}
	if nested := field.Type(); nested.Kind() == reflect.Pointer && nested.Elem().Kind() == reflect.Struct && nested.Elem() != reflect.TypeFor[time.Time]() {
		field.Set(reflect.New(nested.Elem()))
		return r.object(path+".", value, field.Elem())
	}
	if holdsNUL(value) {
		r.wrong[path] = "must not hold a NUL character"
		return nil
	}
	if isWhole(field.Type()) {
		value = plain(value)
	}
	if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
		path, why := explainType(path, err)
		r.wrong[path] = why
	}
	return nil
}

func isWhole(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Int
}

// maxExact bounds the whole numbers that a float64 holds exactly.
const maxExact = 1 << 53

// plain writes a whole number without fraction and exponent: to JSON Schema 60.0 is a whole
// number as well, and clients whose numbers are floats send it so.
func plain(value json.RawMessage) json.RawMessage {
	if !bytes.ContainsAny(value, ".eE") {
		return value
	}
	number, err := strconv.ParseFloat(string(value), 64)
	if err != nil || number != math.Trunc(number) || math.Abs(number) > maxExact {
		return value
	}
	return strconv.AppendInt(nil, int64(number), 10)
}

func plainMembers(object json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil || members == nil {
		return object
	}
	for name, value := range members {
		members[name] = plain(value)
	}
	rewritten, err := json.Marshal(members)
	if err != nil {
		return object
	}
	return rewritten
}

// holdsNUL reports whether a string in a JSON value has the character that PostgreSQL's
// texts cannot hold.
func holdsNUL(value []byte) bool {
	if !bytes.Contains(value, []byte(`\u0000`)) {
		return false
	}
	for decoder := json.NewDecoder(bytes.NewReader(value)); ; {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		if text, isText := token.(string); isText && strings.ContainsRune(text, 0) {
			return true
		}
	}
}

func fieldsOf(target reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range target.NumField() {
		if target.Type().Field(i).Anonymous {
			maps.Copy(fields, fieldsOf(target.Field(i)))
			continue
		}
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		if name == "" && target.Type().Field(i).Anonymous {
			maps.Copy(fields, fieldsOf(target.Field(i)))
			continue
		}
		fields[name] = target.Field(i)
	}
	return fields
}

// match finds the field that each sent name means. Two spellings of one field with
// different values are refused. Names that mean no field are given back, in order.
func match(sent map[string]json.RawMessage, fields map[string]reflect.Value, aliases map[string]string) (map[string]json.RawMessage, []string, error) {
	values := map[string]json.RawMessage{}
	spelling := map[string]string{}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(sent)) {
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
			unknown = append(unknown, name)
			continue
		}
		if before, twice := values[field]; twice && !bytes.Equal(before, sent[name]) {
			return nil, nil, fault.Field(field, "is given twice with different values, as %s and %s", spelling[field], name)
		}
		values[field], spelling[field] = sent[name], name
	}
	return values, unknown, nil
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
