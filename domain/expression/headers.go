package expression

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// eventHeaders are those in which senders name what has happened, in lower case.
var eventHeaders = []string{
	"x-github-event", "x-gitlab-event", "x-gitea-event", "x-gogs-event", "x-event-key", "x-shopify-topic", "linear-event",
	"sentry-hook-resource", "ce-type",
}

// named finds the headers and parameters that an expression names: headers["x-a"], headers.a,
// "x-a" in headers, and {{ index .headers "x-a" }}.
var (
	access  = regexp.MustCompile(`\b(headers|query)\s*(?:\.?\s*\[\s*\??\s*["']([^"'\\]+)["']\s*\]|\.\s*\??\s*(?:"([^"\\]+)"|([A-Za-z_][A-Za-z0-9_]*)))`)
	tested  = regexp.MustCompile(`["']([^"'\\]+)["']\s+in\s+(headers|query)\b`)
	indexed = regexp.MustCompile(`\bindex\s+\.(headers|query)\s+["` + "`" + `]([^"` + "`" + `\\]+)["` + "`" + `]`)
	hasKey  = regexp.MustCompile(`\$(headers|query)\s*\|\s*has\(\s*"([^"\\]+)"\s*\)`)
)

// secretWords are parts of the names of headers and parameters that carry credentials.
var secretWords = []string{"authorization", "cookie", "signature", "token", "secret", "password", "api-key", "api_key", "apikey", "hmac", "hub-signature"}

// Secret reports whether a header or a parameter of that name may carry a credential. Such are
// never given to expressions, and so get into no event and no input.
func Secret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(name, word) })
}

func namesIn(source string) (headers, query []string) {
	add := func(kind, name string) {
		if kind == "headers" {
			headers = append(headers, strings.ToLower(name))
		} else {
			query = append(query, name)
		}
	}
	for _, m := range access.FindAllStringSubmatch(source, -1) {
		add(m[1], m[2]+m[3]+m[4])
	}
	for _, m := range tested.FindAllStringSubmatch(source, -1) {
		add(m[2], m[1])
	}
	for _, expression := range []*regexp.Regexp{indexed, hasKey} {
		for _, m := range expression.FindAllStringSubmatch(source, -1) {
			add(m[1], m[2])
		}
	}
	return headers, query
}

// checkHeaders refuses an expression that asks for a credential.
func checkHeaders(field, source string) error {
	headers, query := namesIn(source)
	for _, name := range headers {
		if Secret(name) {
			return fault.Field(field, "asks for the header %.80q, which may carry a credential: such headers are not given to expressions", name)
		}
	}
	for _, name := range query {
		if Secret(name) {
			return fault.Field(field, "asks for the parameter %.80q, which may carry a credential: such parameters are not given to expressions", name)
		}
	}
	return nil
}

// Names lists the headers, in lower case, and the query parameters that the source is given.
func (s Source) Names() (headers, query []string) {
	texts := []string{s.Filter}
	if m := s.Mapping; m != nil {
		texts = append(texts, m.JQ, presetSource(m.Preset))
		texts = slices.AppendSeq(texts, maps.Values(m.CEL))
		texts = slices.AppendSeq(texts, maps.Values(m.Template))
	}
	headers = slices.Clone(eventHeaders)
	for _, text := range texts {
		h, q := namesIn(text)
		headers, query = append(headers, h...), append(query, q...)
	}
	tidy := func(names []string) []string {
		names = slices.DeleteFunc(names, Secret)
		slices.Sort(names)
		return slices.Compact(names)
	}
	return tidy(headers), tidy(query)
}

// Sent gives the values of a header, and the first of a query parameter.
type Sent interface {
	Header(name string) []string
	Query(name string) string
}

// SeenOf collects what a source is given of a call beside its body; sent may be nil.
func SeenOf(headers, query []string, sent Sent) trigger.Seen {
	seen := trigger.Seen{}
	if sent == nil {
		return seen
	}
	for _, name := range headers {
		if values := sent.Header(name); len(values) > 0 {
			put(&seen.Headers, name, strings.Join(values, ", "))
		}
	}
	for _, name := range query {
		if value := sent.Query(name); value != "" {
			put(&seen.Query, name, value)
		}
	}
	for _, name := range eventHeaders {
		if event := seen.Headers[name]; event != "" {
			seen.Event = event
			break
		}
	}
	return seen
}

// put keeps a text in the form that events and expressions can hold.
func put(into *map[string]string, name, value string) {
	if *into == nil {
		*into = map[string]string{}
	}
	(*into)[name] = strings.ToValidUTF8(strings.ReplaceAll(value, "\x00", ""), "\uFFFD")
}
