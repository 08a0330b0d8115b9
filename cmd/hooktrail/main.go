// Hooktrail runs AI agents on webhook calls and keeps a trail of every step.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"hooktrail/adapters/evaluator"
	"hooktrail/cmd/hooktrail/serve"
)

// commandLine is all commands.
type commandLine struct {
	Config  configFile       `help:"YAML file with settings, named as the flags with _ for -. Flags and the environment are stronger." placeholder:"FILE" env:"HOOKTRAIL_CONFIG"`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Serve       serveCommand       `cmd:"" help:"Serve the API and run executions."`
	Demo        demoCommand        `cmd:"" help:"Show the main job on a store that is thrown away, then go on serving."`
	Migrate     migrateCommand     `cmd:"" help:"Bring the database schema up to date (serve does so by itself)."`
	Doctor      doctorCommand      `cmd:"" help:"Check that the settings, the database and the keys are in order."`
	Fire        fireCommand        `cmd:"" help:"Sign and send a webhook call."`
	Keys        keysCommand        `cmd:"" help:"Manage the keys that protect stored secrets."`
	Projections projectionsCommand `cmd:"" help:"Manage the read models."`
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments; it returns the exit code.
func run(args []string, out, errs io.Writer) int {
	cli := commandLine{}
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("hooktrail"),
		kong.Description("Run AI agents on webhook calls, with every step on record."),
		kong.Vars{"version": serve.Version},
		kong.Writers(out, errs),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(out, (*io.Writer)(nil)),
	)
	if err != nil {
		fmt.Fprintln(errs, "hooktrail:", err)
		return 1
	}
	if len(args) == 1 && args[0] == evaluator.Command {
		return evaluator.Serve(os.Stdin, out) // as a process of a server, which has no settings of its own
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if err := cli.Config.find(args); err != nil {
		fmt.Fprintln(errs, "hooktrail:", err)
		return 2
	}
	if cli.Config.values != nil {
		if err := kong.Resolvers(cli.Config).Apply(parser); err != nil {
			fmt.Fprintln(errs, "hooktrail:", err)
			return 1
		}
	}
	command, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err == nil {
		err = unknownEnvironment(parser, os.Environ())
	}
	if err != nil {
		fmt.Fprintln(errs, "hooktrail:", err)
		return 2
	}
	if err := command.Run(); err != nil {
		var code exitCode
		if errors.As(err, &code) {
			return int(code)
		}
		fmt.Fprintln(errs, "hooktrail:", err)
		return 1
	}
	return 0
}

// exitCode ends the program with that code; whoever returns it has said why.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

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
