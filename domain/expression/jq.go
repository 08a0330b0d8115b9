package expression

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/itchyny/gojq"
)

// jqProgram is a compiled jq program. It cannot read files, the environment or further inputs:
// the library does so by options that are not set.
type jqProgram struct {
	field string
	code  *gojq.Code
}

var jqVariables = []string{"$payload", "$headers", "$query", "$event"}

func compileJQ(field, source string) (*jqProgram, error) {
	if err := checkHeaders(field, source); err != nil {
		return nil, err
	}
	query, err := gojq.Parse(source)
	if err != nil {
		line, column := placeOf(source, parseOffset(source, err))
		return nil, wrongAt(field, line, column, err.Error())
	}
	code, err := gojq.Compile(query, gojq.WithVariables(jqVariables))
	if err != nil {
		line, column := placeOf(source, nameOffset(source, err.Error()))
		return nil, wrongAt(field, line, column, err.Error())
	}
	return &jqProgram{field, code}, nil
}

// parseOffset gives where a token begins that the parser did not expect; its own offset is
// behind the token.
func parseOffset(source string, err error) int {
	var wrong *gojq.ParseError
	if !errors.As(err, &wrong) {
		return len(source)
	}
	return wrong.Offset - len(wrong.Token)
}

var notDefined = regexp.MustCompile(`(?:function|variable|label) not defined: (\$?[\w:]+)`)

// nameOffset finds a name that the compiler, which tells no places, does not know.
func nameOffset(source, message string) int {
	found := notDefined.FindStringSubmatch(message)
	if found == nil {
		return 0
	}
	if at := regexp.MustCompile(regexp.QuoteMeta(found[1]) + `\b`).FindStringIndex(source); at != nil {
		return at[0]
	}
	return 0
}

func (p *jqProgram) apply(ctx context.Context, v *values) (any, error) {
	texts := func(from map[string]string) map[string]any {
		to := make(map[string]any, len(from))
		for name, value := range from {
			to[name] = value
		}
		return to
	}
	outputs := p.code.RunWithContext(ctx, v.payload, v.payload, texts(v.seen.Headers), texts(v.seen.Query), v.seen.Event)
	first, some := outputs.Next()
	if !some {
		return nil, failed(p.field, errors.New("it gives no value"))
	}
	if err, isError := first.(error); isError {
		return nil, failed(p.field, err)
	}
	second, more := outputs.Next()
	if err, isError := second.(error); more && isError {
		return nil, failed(p.field, err)
	}
	if more {
		return nil, failed(p.field, fmt.Errorf("it gives more than one value; wrap it in [ ] to collect them"))
	}
	return first, nil
}

// encode writes what an engine made. The library knows all kinds of numbers that jq has, and
// writes those that were only copied as they came.
func encode(v any) ([]byte, error) { return gojq.Marshal(v) }
