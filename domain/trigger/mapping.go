package trigger

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The most that filters and mappings may be.
const (
	MaxFilterBytes   = 16 << 10
	MaxMappingBytes  = 64 << 10 // of all expressions of a mapping together
	MaxMappingFields = 100
)

// Mapping says how the agent's input is made of a call, in one of four languages.
type Mapping struct {
	// JQ is a program that gives the input; it gets the payload and has $headers, $query and $event.
	JQ string `json:"jq,omitempty"`
	// CEL has an expression for each field of the input.
	CEL map[string]string `json:"cel,omitempty"`
	// Template has a text for each field of the input, with values of the call in {{ }}.
	Template map[string]string `json:"template,omitempty"`
	// Preset names a mapping that comes with Hooktrail, such as "github".
	Preset string `json:"preset,omitempty"`
}

var mappingFields = []string{"jq", "cel", "template", "preset"}

// malformed is what is wrong with a mapping before its fields are looked at.
type malformed string

func (m malformed) Error() string { return string(m) }

// UnmarshalJSON reads a mapping and refuses fields that no mapping has.
func (m *Mapping) UnmarshalJSON(data []byte) error {
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(data, &sent); err != nil {
		return malformed("the wrong type: it must be an object with one of " + strings.Join(mappingFields, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		if !slices.Contains(mappingFields, name) {
			return malformed(fmt.Sprintf("the unknown field %.100q: a mapping has one of %s", name, strings.Join(mappingFields, ", ")))
		}
	}
	type plain Mapping
	return json.Unmarshal(data, (*plain)(m))
}

// engines counts the languages that the mapping is written in.
func (m *Mapping) engines() int {
	n := 0
	for _, given := range []bool{m.JQ != "", m.CEL != nil, m.Template != nil, m.Preset != ""} {
		if given {
			n++
		}
	}
	return n
}

// Evaluates reports whether calls need more than their checks: a filter or a mapping.
func (o Options) Evaluates() bool { return o.Filter != "" || o.InputMapping != nil }

// checkMapping says what is wrong with the filter and the mapping before they are compiled.
func (o Options) checkMapping(wrong map[string]string) {
	if len(o.Filter) > MaxFilterBytes {
		wrong["options.filter"] = fmt.Sprintf("is longer than %d bytes", MaxFilterBytes)
	}
	m := o.InputMapping
	if m == nil {
		return
	}
	if m.engines() != 1 {
		wrong["options.input_mapping"] = "must have exactly one of " + strings.Join(mappingFields, ", ")
	}
	size := len(m.JQ)
	for name, fields := range map[string]map[string]string{"cel": m.CEL, "template": m.Template} {
		if fields != nil && len(fields) == 0 {
			wrong["options.input_mapping."+name] = "must have at least one field of the input"
		}
		if len(fields) > MaxMappingFields {
			wrong["options.input_mapping."+name] = fmt.Sprintf("has more than %d fields", MaxMappingFields)
		}
		for field, text := range fields {
			size += len(field) + len(text)
		}
	}
	if size > MaxMappingBytes {
		wrong["options.input_mapping"] = fmt.Sprintf("is longer than %d bytes", MaxMappingBytes)
	}
}
