package agent

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// placeholder is {{input}}, the whole input, or a value in it: {{input.repository.name}},
// {{input.commits.0.message}}. There are no functions, so that nothing a person writes into a
// prompt can take long or reach anything but the input.
var placeholder = regexp.MustCompile(`\{\{\s*input((?:\.[A-Za-z0-9_$@-]+)*)\s*\}\}`)

// checkPrompt refuses what looks like a placeholder and is none.
func checkPrompt(prompt string) error {
	rest := placeholder.ReplaceAllLiteralString(prompt, "")
	at := strings.Index(rest, "{{")
	if at < 0 {
		return nil
	}
	excerpt := rest[at:]
	if end := strings.Index(excerpt, "}}"); end >= 0 {
		excerpt = excerpt[:end+2]
	}
	return fmt.Errorf("has %.40q, which is no placeholder; write {{input}} for the input, or {{input.name}} for a value in it", excerpt)
}

// FillPrompt puts values of the input, as JSON, into the placeholders of a prompt. frame marks
// each as data. Where a prompt has no placeholder, the input follows it. A value that the
// input lacks is null.
func FillPrompt(prompt string, input json.RawMessage, frame func(json.RawMessage) string) string {
	if !placeholder.MatchString(prompt) {
		return strings.TrimLeft(prompt+"\n\n"+frame(input), "\n")
	}
	return placeholder.ReplaceAllStringFunc(prompt, func(match string) string {
		value := input
		if path := placeholder.FindStringSubmatch(match)[1]; path != "" {
			for name := range strings.SplitSeq(path[1:], ".") {
				value = member(value, name)
			}
		}
		return frame(value)
	})
}

// member gives a member of an object, or an entry of a list by its number from 0; null where
// there is none.
func member(value json.RawMessage, name string) json.RawMessage {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) == nil {
		if found, has := object[name]; has {
			return found
		}
	}
	var list []json.RawMessage
	if at, err := strconv.Atoi(name); err == nil && json.Unmarshal(value, &list) == nil && at >= 0 && at < len(list) {
		return list[at]
	}
	return json.RawMessage("null")
}
