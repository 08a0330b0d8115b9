// Package expression compiles and evaluates the filters and mappings of triggers: CEL, jq,
// templates and the mappings that come with Hooktrail. Evaluation has no effects, but it may take
// any time and memory that its expression asks for; who runs it sets the bounds
// (adapters/evaluator).
package expression

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"hooktrail/domain/fault"
	"hooktrail/domain/label"
	"hooktrail/domain/trigger"
)

const (
	// MaxPayload is the largest payload, in bytes, that expressions are evaluated on.
	MaxPayload = 4 << 20
	// MaxInput is the largest input, in bytes, that a mapping may make.
	MaxInput = 1 << 20

	filterField  = "options.filter"
	mappingField = "options.input_mapping"
)

// Source is the filter and the mapping of a trigger, as they are written.
type Source struct {
	Filter  string           `json:"filter,omitempty"`
	Mapping *trigger.Mapping `json:"input_mapping,omitempty"`
}

// Message is what expressions see of a call.
type Message struct {
	Payload []byte // JSON that payload.CheckJSON has passed
	trigger.Seen
}

// Result is what became of a message.
type Result struct {
	// Filtered says that the filter was false; then there is no input.
	Filtered bool
	// Input is what the mapping made, as JSON; nil without a mapping.
	Input []byte
}

// Program is a compiled Source. It may be used by many at the same time.
type Program struct {
	filter  *celProgram
	mapping mapping
}

// mapping makes the agent's input. The errors are faults of the code ExpressionFailed.
type mapping interface {
	apply(ctx context.Context, v *values) (any, error)
}

// values are a message in the forms that the engines take.
type values struct {
	payload any // numbers as json.Number
	seen    trigger.Seen
	cel     map[string]any // made when the first CEL expression is evaluated
}

// Compile checks a source. The faults are of the code Validation and name the option, and the
// line and column in it.
func Compile(s Source) (*Program, error) {
	p := &Program{}
	var err error
	if s.Filter != "" {
		if err := checkHeaders(filterField, s.Filter); err != nil {
			return nil, err
		}
		if p.filter, err = compileFilter(s.Filter); err != nil {
			return nil, err
		}
	}
	if m := s.Mapping; m != nil {
		switch {
		case m.JQ != "":
			p.mapping, err = compileJQ(mappingField+".jq", m.JQ)
		case m.Preset != "":
			p.mapping, err = compilePreset(m.Preset)
		case m.CEL != nil:
			p.mapping, err = compileCEL(m.CEL)
		default:
			p.mapping, err = compileTemplates(m.Template)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Run evaluates the program on a message. The faults are of the code ExpressionFailed: Details
// name the option, and what went wrong. When ctx ends, which not every step can see, the error
// is ctx's.
func (p *Program) Run(ctx context.Context, m Message) (Result, error) {
	if len(m.Payload) > MaxPayload {
		return Result{}, fault.New(fault.ExpressionFailed, "the payload has more than %d bytes, which is too large for a filter or a mapping", MaxPayload)
	}
	v := &values{seen: m.Seen}
	decoder := json.NewDecoder(bytes.NewReader(m.Payload))
	decoder.UseNumber() // a number that is only copied keeps its digits
	if err := decoder.Decode(&v.payload); err != nil {
		return Result{}, fault.Wrap(err, fault.InvalidJSON, "the payload is not valid JSON")
	}
	if p.filter != nil {
		pass, err := p.filter.test(ctx, v)
		if err != nil || !pass {
			return Result{Filtered: err == nil}, err
		}
	}
	if p.mapping == nil {
		return Result{}, nil
	}
	made, err := p.mapping.apply(ctx, v)
	if err != nil {
		return Result{}, err
	}
	input, err := encode(made)
	if err != nil {
		return Result{}, failed(mappingField, err)
	}
	if len(input) > MaxInput {
		return Result{}, failed(mappingField, fmt.Errorf("gives an input of more than %d bytes", MaxInput))
	}
	return Result{Input: input}, nil
}

// failed is the fault of an expression that could not be evaluated.
func failed(field string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	why := shorten(err.Error())
	f := fault.New(fault.ExpressionFailed, "%s cannot be evaluated on this payload: %s", field, why)
	f.Details = map[string]string{field: why}
	return f
}

// longestReason bounds (bytes) what an engine says: it may quote the payload.
const longestReason = 300

func shorten(text string) string {
	return label.Shorten(strings.ToValidUTF8(text, "\uFFFD"), longestReason)
}

// wrongAt is the fault of an expression that does not compile. line and column count from 1.
func wrongAt(field string, line, column int, why string) error {
	return fault.Field(field, "does not compile: line %d, column %d: %s", line, column, shorten(why))
}

// placeOf gives line and column, from 1 and in characters, of a byte offset.
func placeOf(source string, offset int) (line, column int) {
	before := source[:min(max(offset, 0), len(source))]
	line = strings.Count(before, "\n") + 1
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

// object makes an object of fields in the order of their names.
func object(ctx context.Context, v *values, fields map[string]mapping) (any, error) {
	made := make(map[string]any, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value, err := fields[name].apply(ctx, v)
		if err != nil {
			return nil, err
		}
		if value != absent {
			made[name] = value
		}
	}
	return made, nil
}

// absent is the value of a field that is left out.
var absent any = new(struct{ _ byte })
