package expression

import (
	"embed"
	"io/fs"
	"path"
	"strings"

	"hooktrail/domain/fault"
)

// presets are mappings of well-known senders, a jq program each. They make an object of event,
// action, title, url, actor, subject, text and what the sender calls the place of it (repository,
// project, channel, service), without fields that the payload does not have.
//
//go:embed presets/*.jq
var presets embed.FS

// common is in front of every preset.
const common = `def maybe(f): [f] | first;
def given(f): [f | select(. != null and . != "")] | first;
def compact: with_entries(select(.value != null and .value != "" and .value != {} and .value != []));
def name_of: if type == "object" then (.login // .username // .display_name // .displayName // .name // .full_name // .email // .summary // .id) else . end;
def short: if type == "string" then .[0:4000] else . end;
`

// Presets lists the names of the mappings that come with Hooktrail.
func Presets() []string {
	files, _ := fs.Glob(presets, "presets/*.jq") // fails for a bad pattern only
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(path.Base(file), ".jq")
	}
	return names
}

func presetSource(name string) string {
	if name == "" || strings.ContainsAny(name, "./\\") {
		return ""
	}
	content, err := presets.ReadFile("presets/" + name + ".jq")
	if err != nil {
		return ""
	}
	return string(content)
}

func compilePreset(name string) (mapping, error) {
	field := mappingField + ".preset"
	source := presetSource(name)
	if source == "" {
		return nil, fault.Field(field, "is none of %s", strings.Join(Presets(), ", "))
	}
	return compileJQ(field, common+source)
}
