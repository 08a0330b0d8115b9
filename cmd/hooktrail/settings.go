package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// fromKubernetes are the variables that a cluster gives every container when it has a
// service by our name (kubernetes.io, "Discovering services").
var fromKubernetes = regexp.MustCompile(`^HOOKTRAIL_(PORT|PORT_\d+_.*|SERVICE_HOST|SERVICE_PORT(_.*)?)$`)

// unknownEnvironment refuses variables that look like settings and are none: a typo there
// would quietly leave a default in force.
func unknownEnvironment(parser *kong.Kong, environment []string) error {
	known := []string{"HOOKTRAIL_CONFIG"}
	_ = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known = append(known, flag.Envs...)
		}
		return next(nil)
	})
	var unknown []string
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "HOOKTRAIL_") && !strings.HasPrefix(name, "HOOKTRAIL_TEST_") && !fromKubernetes.MatchString(name) && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("unknown setting in the environment: %s (hooktrail serve --help lists them all)", strings.Join(unknown, ", "))
}

// configFile is a file with settings. It is the weakest source: flags and the environment
// come first.
type configFile struct {
	path   string
	values map[string]any
}

// Decode takes the flag, which find has read before.
func (f *configFile) Decode(c *kong.DecodeContext) error {
	return c.Scan.PopValueInto("file", &f.path)
}

// find reads the file that the arguments or the environment name.
func (f *configFile) find(args []string) error {
	f.path = os.Getenv("HOOKTRAIL_CONFIG")
	for i, arg := range args {
		if value, found := strings.CutPrefix(arg, "--config="); found {
			f.path = value
		} else if arg == "--config" && i+1 < len(args) {
			f.path = args[i+1]
		}
	}
	if f.path == "" {
		return nil
	}
	content, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	f.values = map[string]any{}
	if err := yaml.Unmarshal(content, &f.values); err != nil {
		return fmt.Errorf("read the settings in %s: %w", f.path, err)
	}
	return nil
}

// Validate refuses settings that no command has.
func (f configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known[settingName(flag)] = true
		}
		return next(nil)
	})
	for name := range f.values {
		if !known[name] {
			return fmt.Errorf("unknown setting %q in %s", name, f.path)
		}
	}
	return nil
}

// Resolve gives a flag the value of the file, unless the environment has one.
func (f configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	value := f.values[settingName(flag)]
	if list, ok := value.([]any); ok {
		parts := make([]string, len(list))
		for i, entry := range list {
			parts[i] = fmt.Sprint(entry)
		}
		return strings.Join(parts, ","), nil
	}
	if value == nil {
		return nil, nil
	}
	return fmt.Sprint(value), nil
}

func settingName(flag *kong.Flag) string { return strings.ReplaceAll(flag.Name, "-", "_") }
