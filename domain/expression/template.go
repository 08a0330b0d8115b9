package expression

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
)

// textTemplate is a text with values of the call in it. Of Go's templates it has the syntax of
// {{ .payload.a.b }} and {{ index .payload.list 0 "key" }}, and no functions, loops or conditions.
type textTemplate struct{ parts []part }

// part is text, or the path to a value when it is not nil.
type part struct {
	text string
	path []any
}

type templates map[string]mapping

func (t templates) apply(ctx context.Context, v *values) (any, error) { return object(ctx, v, t) }

func compileTemplates(fields map[string]string) (mapping, error) {
	compiled := templates{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		t, err := compileTemplate(mappingField+".template."+name, fields[name])
		if err != nil {
			return nil, err
		}
		compiled[name] = t
	}
	return compiled, nil
}

var parserLine = regexp.MustCompile(`^template: [^:]*:(\d+):(?:\d+:)? ?`)

func compileTemplate(field, source string) (*textTemplate, error) {
	if err := checkHeaders(field, source); err != nil {
		return nil, err
	}
	trees, err := parse.Parse("text", source, "", "", map[string]any{"index": true})
	if err != nil {
		line := 1
		if found := parserLine.FindStringSubmatch(err.Error()); found != nil {
			line, _ = strconv.Atoi(found[1])
		}
		// The parser tells no column: it is that of the last value on the line.
		lines := strings.Split(source, "\n")
		column := max(strings.LastIndex(lines[min(line, len(lines))-1], "{{"), 0) + 1
		return nil, wrongAt(field, line, column, parserLine.ReplaceAllString(err.Error(), ""))
	}
	t := &textTemplate{}
	if trees["text"] == nil || trees["text"].Root == nil {
		return t, nil // an empty text
	}
	for _, node := range trees["text"].Root.Nodes {
		p, err := partOf(node)
		if err != nil {
			line, column := placeOf(source, int(node.Position()))
			return nil, wrongAt(field, line, column, err.Error())
		}
		t.parts = append(t.parts, p)
	}
	return t, nil
}

var errTemplateForm = errors.New(`a template has values only, as {{ .payload.name }} or {{ index .payload.list 0 }}; use jq or cel for more`)

func partOf(node parse.Node) (part, error) {
	if text, isText := node.(*parse.TextNode); isText {
		return part{text: string(text.Text)}, nil
	}
	action, isAction := node.(*parse.ActionNode)
	if !isAction || len(action.Pipe.Decl) > 0 || len(action.Pipe.Cmds) != 1 {
		return part{}, errTemplateForm
	}
	args := action.Pipe.Cmds[0].Args
	if function, isFunction := args[0].(*parse.IdentifierNode); isFunction && function.Ident == "index" {
		args = args[1:]
	} else if len(args) != 1 {
		return part{}, errTemplateForm
	}
	if len(args) == 0 {
		return part{}, errTemplateForm
	}
	base, isField := args[0].(*parse.FieldNode)
	if !isField {
		return part{}, errTemplateForm
	}
	if !slices.Contains([]string{"payload", "headers", "query", "event"}, base.Ident[0]) {
		return part{}, errors.New("." + base.Ident[0] + " is none of .payload, .headers, .query and .event")
	}
	var path []any
	for _, name := range base.Ident {
		path = append(path, name)
	}
	for _, arg := range args[1:] {
		switch key := arg.(type) {
		case *parse.StringNode:
			if base.Ident[0] == "headers" {
				key.Text = strings.ToLower(key.Text)
			}
			path = append(path, key.Text)
		case *parse.NumberNode:
			if !key.IsInt {
				return part{}, errTemplateForm
			}
			path = append(path, int(key.Int64))
		default:
			return part{}, errTemplateForm
		}
	}
	return part{path: path}, nil
}

// apply fills the values in. A text that is nothing but one value is that value, of whatever
// type; within a text, what is missing or null is nothing.
func (t *textTemplate) apply(_ context.Context, v *values) (any, error) {
	if len(t.parts) == 1 && t.parts[0].path != nil {
		return v.find(t.parts[0].path), nil
	}
	var out strings.Builder
	for _, p := range t.parts {
		if p.path == nil {
			out.WriteString(p.text)
			continue
		}
		switch value := v.find(p.path).(type) {
		case nil:
		case string:
			out.WriteString(value)
		case json.Number:
			out.WriteString(string(value))
		default:
			text, err := encode(value)
			if err != nil {
				return nil, failed(mappingField+".template", err)
			}
			out.Write(text)
		}
		if out.Len() > MaxInput {
			return nil, failed(mappingField+".template", errors.New("the text is too long"))
		}
	}
	return out.String(), nil
}

func (v *values) find(path []any) any {
	var root any
	switch path[0] {
	case "payload":
		root = v.payload
	case "event":
		root = v.seen.Event
	default:
		texts := v.seen.Headers
		if path[0] == "query" {
			texts = v.seen.Query
		}
		if len(path) != 2 {
			return nil
		}
		name, _ := path[1].(string)
		if text, given := texts[name]; given {
			return text
		}
		return nil
	}
	value, err := follow(root, path[1:])
	if err != nil {
		return nil
	}
	return value
}
