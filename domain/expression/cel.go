package expression

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

const (
	celCost          = 1_000_000 // in the library's units; visiting 100,000 elements costs about as much
	celNesting       = 4         // comprehensions inside each other
	celInterrupt     = 100       // steps of a comprehension between looks at the context
	celMaxExpression = 16 << 10  // characters
)

var celEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("payload", cel.DynType), cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("query", cel.MapType(cel.StringType, cel.StringType)), cel.Variable("event", cel.StringType),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Encoders(), ext.Math(), ext.Lists(),
		cel.ParserExpressionSizeLimit(celMaxExpression),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(celNesting)),
	)
})

// celProgram is a compiled CEL expression.
type celProgram struct {
	field   string
	program cel.Program
	// path is set when the expression only names a part of the payload, which is then copied with
	// all digits of its numbers.
	path []any
}

func compileExpression(field, source string) (*celProgram, *cel.Ast, error) {
	environment, err := celEnvironment()
	if err != nil {
		return nil, nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	checked, issues := environment.Compile(source)
	if issues != nil && len(issues.Errors()) > 0 {
		first := issues.Errors()[0]
		return nil, nil, wrongAt(field, max(first.Location.Line(), 1), max(first.Location.Column()+1, 1), first.Message)
	}
	program, err := environment.Program(checked, cel.CostLimit(celCost), cel.InterruptCheckFrequency(celInterrupt), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, nil, wrongAt(field, 1, 1, err.Error())
	}
	p := &celProgram{field: field, program: program}
	p.path, _ = pathOf(checked.NativeRep().Expr())
	return p, checked, nil
}

func compileFilter(source string) (*celProgram, error) {
	p, checked, err := compileExpression(filterField, source)
	if err != nil {
		return nil, err
	}
	if kind := checked.OutputType(); !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, wrongAt(filterField, 1, 1, "the result must be true or false, and is of the type "+kind.String())
	}
	return p, nil
}

// optional is a step of a path to something that may be missing, as the .? of CEL has it.
type optional struct{ step any }

// pathOf gives the keys and indices by which an expression names a part of the payload; false
// for every other expression.
func pathOf(e ast.Expr) ([]any, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return []any{}, e.AsIdent() == "payload"
	case ast.SelectKind:
		s := e.AsSelect()
		before, ok := pathOf(s.Operand())
		if !ok || s.IsTestOnly() {
			return nil, false
		}
		return append(before, s.FieldName()), true
	case ast.CallKind:
		call := e.AsCall()
		if len(call.Args()) != 2 || call.Args()[1].Kind() != ast.LiteralKind {
			return nil, false
		}
		var step any
		switch key := call.Args()[1].AsLiteral().(type) {
		case types.String:
			step = string(key)
		case types.Int:
			step = int(key)
		default:
			return nil, false
		}
		switch call.FunctionName() {
		case operators.Index:
		case operators.OptSelect, operators.OptIndex:
			step = optional{step}
		default:
			return nil, false
		}
		before, ok := pathOf(call.Args()[0])
		return append(before, step), ok
	default:
		return nil, false
	}
}

func (p *celProgram) eval(ctx context.Context, v *values) (ref.Val, error) {
	if v.cel == nil {
		v.cel = map[string]any{"payload": forCEL(v.payload), "headers": orEmpty(v.seen.Headers), "query": orEmpty(v.seen.Query), "event": v.seen.Event}
	}
	value, _, err := p.program.ContextEval(ctx, v.cel)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, failed(p.field, err)
	}
	return value, nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// test evaluates a filter.
func (p *celProgram) test(ctx context.Context, v *values) (bool, error) {
	value, err := p.eval(ctx, v)
	if err != nil {
		return false, err
	}
	pass, isBool := value.(types.Bool)
	if !isBool {
		return false, failed(p.field, fmt.Errorf("the result must be true or false, and is of the type %s", value.Type().TypeName()))
	}
	return bool(pass), nil
}

func (p *celProgram) apply(ctx context.Context, v *values) (any, error) {
	if p.path != nil {
		value, err := follow(v.payload, p.path)
		if err != nil {
			return nil, failed(p.field, err)
		}
		return value, nil
	}
	value, err := p.eval(ctx, v)
	if err != nil {
		return nil, err
	}
	made, err := fromCEL(ctx, value)
	if err != nil {
		return nil, failed(p.field, err)
	}
	return made, nil
}

// follow goes down into a value. What is missing behind an optional step is absent.
func follow(value any, path []any) (any, error) {
	mayMiss := false
	for _, step := range path {
		if o, isOptional := step.(optional); isOptional {
			step, mayMiss = o.step, true
		}
		var next any
		found := false
		switch key := step.(type) {
		case string:
			within, _ := value.(map[string]any)
			next, found = within[key]
		case int:
			within, _ := value.([]any)
			if found = key >= 0 && key < len(within); found {
				next = within[key]
			}
		}
		if !found && mayMiss {
			return absent, nil
		}
		if !found {
			return nil, missing(step)
		}
		value = next
	}
	return value, nil
}

func missing(step any) error {
	if _, isIndex := step.(int); isIndex {
		return fmt.Errorf("index out of bounds: %v", step)
	}
	return fmt.Errorf("no such key: %v", step)
}

type celFields map[string]mapping

func (f celFields) apply(ctx context.Context, v *values) (any, error) { return object(ctx, v, f) }

func compileCEL(fields map[string]string) (mapping, error) {
	compiled := celFields{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field := mappingField + ".cel." + name
		if err := checkHeaders(field, fields[name]); err != nil {
			return nil, err
		}
		p, _, err := compileExpression(field, fields[name])
		if err != nil {
			return nil, err
		}
		compiled[name] = p
	}
	return compiled, nil
}

// forCEL gives numbers the types that CEL computes with: int, else uint, else double.
func forCEL(value any) any {
	switch v := value.(type) {
	case map[string]any:
		converted := make(map[string]any, len(v))
		for key, entry := range v {
			converted[key] = forCEL(entry)
		}
		return converted
	case []any:
		converted := make([]any, len(v))
		for i, entry := range v {
			converted[i] = forCEL(entry)
		}
		return converted
	case json.Number:
		if i, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return i
		}
		if u, err := strconv.ParseUint(string(v), 10, 64); err == nil {
			return u
		}
		f, _ := v.Float64() // CheckJSON has refused what a float64 does not hold
		return f
	}
	return value
}

var errNotFinite = errors.New("the result is not a number that JSON has")

// fromCEL gives a result as JSON has it.
func fromCEL(ctx context.Context, value ref.Val) (any, error) {
	switch v := value.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.String:
		return string(v), nil
	case types.Int:
		return json.Number(strconv.FormatInt(int64(v), 10)), nil
	case types.Uint:
		return json.Number(strconv.FormatUint(uint64(v), 10)), nil
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, errNotFinite
		}
		return float64(v), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(v), nil
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return v.String(), nil
	case *types.Optional:
		if !v.HasValue() {
			return absent, nil
		}
		return fromCEL(ctx, v.GetValue())
	case traits.Mapper:
		return mapFromCEL(ctx, v)
	case traits.Lister:
		return listFromCEL(ctx, v)
	}
	return nil, fmt.Errorf("a result of the type %s is no JSON", value.Type().TypeName())
}

func mapFromCEL(ctx context.Context, from traits.Mapper) (any, error) {
	made := map[string]any{}
	for keys := from.Iterator(); keys.HasNext() == types.True; {
		key := keys.Next()
		name, isText := key.(types.String)
		if !isText {
			return nil, fmt.Errorf("the keys of an object must be strings, and one is of the type %s", key.Type().TypeName())
		}
		value, err := fromCEL(ctx, from.Get(key))
		if err != nil {
			return nil, err
		}
		if value != absent {
			made[string(name)] = value
		}
	}
	return made, ctx.Err()
}

func listFromCEL(ctx context.Context, from traits.Lister) (any, error) {
	made := []any{}
	for entries := from.Iterator(); entries.HasNext() == types.True; {
		value, err := fromCEL(ctx, entries.Next())
		if err != nil {
			return nil, err
		}
		if value != absent {
			made = append(made, value)
		}
	}
	return made, ctx.Err()
}
