// Hooktrail runs AI agents on webhook calls and keeps a trail of every step.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"hooktrail/adapters/evaluator"
	"hooktrail/cmd/hooktrail/client"
	"hooktrail/cmd/hooktrail/serve"
)

// commandLine is all commands.
type commandLine struct {
	Config  configFile       `help:"YAML file with settings." placeholder:"FILE" env:"HOOKTRAIL_CONFIG"`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Serve       serveCommand       `cmd:"" group:"server" help:"Serve the API and run executions."`
	Demo        demoCommand        `cmd:"" group:"server" help:"Show the main job on a throw-away store, then serve."`
	Migrate     migrateCommand     `cmd:"" group:"server" help:"Bring the database schema up to date."`
	Doctor      doctorCommand      `cmd:"" group:"server" help:"Check the settings, the database and the keys."`
	Projections projectionsCommand `cmd:"" group:"server" help:"Manage the read models."`
	Export      exportCommand      `cmd:"" group:"server" help:"Write a whole store into a file."`
	Import      importCommand      `cmd:"" group:"server" help:"Fill an empty store from a file."`
	Audit       auditCommand       `cmd:"" group:"server" help:"Prove that the event log was not changed."`

	Triggers      client.Triggers      `cmd:"" group:"client" help:"Manage triggers."`
	Agents        client.Agents        `cmd:"" group:"client" help:"Manage and run agents."`
	Executions    client.Executions    `cmd:"" group:"client" help:"Follow, cancel and retry executions."`
	Backtest      client.Backtest      `cmd:"" group:"client" help:"Try another agent, filter or mapping on past calls."`
	Events        client.Events        `cmd:"" group:"client" help:"Read, follow and export the log."`
	Subscriptions client.Subscriptions `cmd:"" group:"client" help:"Have events posted to services of yours."`
	Rejections    client.Rejections    `cmd:"" group:"client" help:"List refused webhook calls."`
	Keys          keysCommand          `cmd:"" group:"client" help:"Manage API keys and the master key."`
	Fire          client.Fire          `cmd:"" group:"client" help:"Sign and send a webhook call."`
	Whoami        client.Whoami        `cmd:"" group:"client" help:"Show the API key in use and what it may do."`
	Profiles      client.Profiles      `cmd:"" group:"client" help:"Keep servers and keys by name."`
	Completion    completionCommand    `cmd:"" group:"client" help:"Print a script for the completion of a shell."`
}

// Help is shown with --help.
func (*commandLine) Help() string {
	return example("hooktrail demo") + "\n\n" + client.ExitCodes
}

// example is the part of a command's help that shows its use.
func example(lines ...string) string {
	return "Example:\n\n    " + strings.Join(lines, "\n    ")
}

func main() {
	os.Exit(run(os.Args[1:], client.Console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// newParser makes the parser of all commands.
func newParser(cli *commandLine, console client.Console, exit func(code int)) (*kong.Kong, error) {
	return kong.New(cli,
		kong.Name("hooktrail"),
		kong.Description("Run AI agents on webhook calls, with every step on record."),
		kong.Vars{"version": serve.Version},
		kong.Writers(console.Out, console.Err),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 80}),
		kong.ExplicitGroups([]kong.Group{{Key: "server", Title: "Server:"}, {Key: "client", Title: "Client:"}}),
		kong.BindTo(console.Out, (*io.Writer)(nil)),
		kong.Bind(console),
	)
}

// run is main with its surroundings as arguments; it returns the exit code.
func run(args []string, console client.Console) int {
	fail := func(text any, code int) int {
		fmt.Fprintln(console.Err, "hooktrail:", text)
		return code
	}
	cli := commandLine{}
	exit := -1
	parser, err := newParser(&cli, console, func(code int) { exit = code })
	if err != nil {
		return fail(err, 1)
	}
	if len(args) == 1 && args[0] == evaluator.Command {
		return evaluator.Serve(os.Stdin, console.Out) // as a process of a server, which has no settings of its own
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if err := cli.Config.find(args); err != nil {
		return fail(err, 2)
	}
	if cli.Config.values != nil {
		if err := kong.Resolvers(cli.Config).Apply(parser); err != nil {
			return fail(err, 1)
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
		return fail(err, 2)
	}
	session := client.NewSession(console, command)
	if err := command.Run(session); err != nil {
		text, code := session.Explain(err)
		if text != "" {
			fail(text, code)
		}
		return code
	}
	return 0
}

// exitCode ends the program with that code; whoever returns it has said why.
type exitCode = client.ExitCode
