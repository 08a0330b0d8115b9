package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	hooktrail "hooktrail/sdk/go"
)

// Agents are the commands about agents.
type Agents struct {
	List    agentsList    `cmd:"" help:"List agents."`
	Get     agentsGet     `cmd:"" help:"Show an agent."`
	Create  agentsCreate  `cmd:"" help:"Register an agent."`
	Update  agentsUpdate  `cmd:"" help:"Change an agent."`
	Delete  agentsDelete  `cmd:"" help:"Archive an agent that no trigger runs."`
	Execute agentsExecute `cmd:"" help:"Run an agent without a trigger."`
}

// Help is shown with --help.
func (Agents) Help() string {
	return example("hooktrail agents create --name Echo --runner echo", `hooktrail agents execute $AGENT -d '{"n": 1}' --wait 30s`)
}

type anAgent struct {
	ID string `arg:"" help:"Id of the agent."`
	Server
	Format
}

type agentsList struct {
	Name string `help:"Only those with this in their name." placeholder:"TEXT"`
	Paging
	Server
	Format
}

// Help is shown with --help.
func (agentsList) Help() string { return example("hooktrail agents list --name review") }

// Run lists.
func (c *agentsList) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		head := []string{"ID", "NAME", "STATE", "RUNNER", "TIMEOUT", "UPDATED"}
		return showList(s, c.Format, c.Paging, head, func(a hooktrail.Agent) []cell {
			return []cell{text("%s", a.ID), name(a.Name), state(a.Status), name(runnerOf(a)), text("%s", seconds(a.TimeoutSeconds)), ago(&a.UpdatedAt, "")}
		}, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Agent], error) {
			return connected.Agents.List(ctx, hooktrail.ListAgents{Name: c.Name, ListOptions: part}, option)
		})
	})
}

// runnerOf tells a runner in short: its kind, and where it is.
func runnerOf(a hooktrail.Agent) string {
	var runner struct {
		Kind, URL string
		Command   []string
	}
	if json.Unmarshal(a.Runner, &runner) != nil {
		return compact(a.Runner)
	}
	return strings.TrimSpace(runner.Kind + " " + runner.URL + strings.Join(runner.Command, " "))
}

func seconds(n int) string { return (time.Duration(n) * time.Second).String() }

func (s *Session) printAgent(a hooktrail.Agent, more ...field) error {
	concurrency := "no bound"
	if a.MaxConcurrency > 0 {
		concurrency = fmt.Sprint(a.MaxConcurrency)
	}
	credential := ""
	switch {
	case a.CredentialHint != "":
		credential = "kept, ends in " + a.CredentialHint
	case a.HasCredential:
		credential = "kept"
	}
	schema := compact(a.InputSchema)
	if schema == "null" {
		schema = ""
	}
	return s.printFields(append([]field{
		{"Id", text("%s", a.ID)},
		{"Name", text("%s", a.Name)},
		{"State", state(a.Status)},
		{"Type", text("%s", a.Type)},
		{"Description", text("%s", a.Description)},
		{"Runner", text("%s", compact(a.Runner))},
		{"Credential", text("%s", credential)},
		{"Input schema", text("%s", schema)},
		{"Timeout", text("%s", seconds(a.TimeoutSeconds))},
		{"Attempts", text("%d", a.Retry.MaxAttempts)},
		{"Concurrency", text("%s", concurrency)},
		{"Created", moment(&a.CreatedAt, "")},
		{"Updated", moment(&a.UpdatedAt, "")},
		{"Version", text("%d", a.Version)},
	}, more...))
}

// issueAgent makes a request whose answer may have the signing secret.
func (s *Session) issueAgent(f Format, ask func(option hooktrail.RequestOption) (*hooktrail.IssuedAgent, error)) error {
	issued, err := show(s, f, func(a hooktrail.IssuedAgent) error {
		return s.printAgent(a.Agent, field{"Signing secret", text("%s", string(a.SigningSecret))})
	}, ask)
	if err == nil && issued.SigningSecret != "" {
		s.shownOnce("the signing secret, with which the agent verifies our requests")
	}
	return err
}

type agentsGet struct {
	AsOf string `help:"As it was at a time (RFC 3339) or just behind a position." placeholder:"TIME|POSITION"`
	anAgent
}

// Help is shown with --help.
func (agentsGet) Help() string {
	return example("hooktrail agents get $AGENT --as-of 2026-01-31T12:00:00Z")
}

// Run shows.
func (c *agentsGet) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, func(a hooktrail.Agent) error { return s.printAgent(a) }, func(option hooktrail.RequestOption) (*hooktrail.Agent, error) {
			if c.AsOf != "" {
				return connected.Agents.GetAsOf(ctx, c.ID, c.AsOf, option)
			}
			return connected.Agents.Get(ctx, c.ID, option)
		})
		return err
	})
}

// agentFlags are what agents are made of.
type agentFlags struct {
	Type           *string        `help:"A label of your own." placeholder:"TEXT"`
	Description    *string        `help:"What it does." placeholder:"TEXT"`
	Runner         string         `help:"echo, none, http, command, or JSON, @FILE, @-." placeholder:"KIND|JSON"`
	RunnerURL      string         `help:"URL of the runner http." name:"runner-url" placeholder:"URL"`
	Command        []string       `help:"Program of the runner command, then arguments." sep:"none" placeholder:"ARG"`
	InputSchema    string         `help:"JSON Schema that inputs must fit: JSON, @FILE, @-." placeholder:"JSON"`
	Timeout        *time.Duration `help:"How long one attempt may take." placeholder:"5m"`
	MaxAttempts    *int           `help:"How often a run is tried." placeholder:"N"`
	MaxConcurrency *int           `help:"Runs at one time; 0 is no bound." placeholder:"N"`
}

// Validate is called by the parser.
func (f agentFlags) Validate() error {
	if f.Timeout != nil && (*f.Timeout < 0 || *f.Timeout%time.Second != 0) {
		return usage("--timeout must be whole seconds")
	}
	return nil
}

// runner makes the runner of the flags; nil when they say nothing.
func (f agentFlags) runner(s *Session) (any, error) {
	if strings.HasPrefix(f.Runner, "{") || strings.HasPrefix(f.Runner, "@") {
		if f.RunnerURL != "" || f.Command != nil {
			return nil, usage("a --runner in JSON takes neither --runner-url nor --command")
		}
		return s.readJSON("runner", f.Runner)
	}
	runner := map[string]any{"kind": f.Runner}
	switch {
	case f.RunnerURL != "" && f.Command != nil:
		return nil, usage("--runner-url and --command exclude each other")
	case f.RunnerURL != "":
		runner["kind"], runner["url"] = "http", f.RunnerURL
	case f.Command != nil:
		runner["kind"], runner["command"] = "command", f.Command
	case f.Runner == "":
		return nil, nil
	}
	if f.Runner != "" && f.Runner != runner["kind"] {
		return nil, usage("--runner %s does not go with --runner-url or --command", f.Runner)
	}
	return runner, nil
}

func (f agentFlags) changes(s *Session) (hooktrail.UpdateAgent, error) {
	changes := hooktrail.UpdateAgent{Type: f.Type, Description: f.Description, MaxConcurrency: f.MaxConcurrency}
	var err error
	if changes.Runner, err = f.runner(s); err != nil {
		return changes, err
	}
	if changes.InputSchema, err = s.readJSON("input-schema", f.InputSchema); err != nil {
		return changes, err
	}
	if f.Timeout != nil {
		changes.TimeoutSeconds = new(int(f.Timeout.Seconds()))
	}
	return changes, nil
}

type agentsCreate struct {
	Name string `help:"Name to show." required:"" placeholder:"NAME"`
	agentFlags
	Server
	Format
}

// Help is shown with --help.
func (agentsCreate) Help() string {
	return example("hooktrail agents create --name Review --runner-url https://example.com")
}

// Run creates.
func (c *agentsCreate) Run(s *Session) error {
	made, err := c.changes(s)
	if err != nil {
		return err
	}
	request := hooktrail.CreateAgent{Name: c.Name, Runner: made.Runner, InputSchema: made.InputSchema}
	for value, given := range map[*string]*string{&request.Type: made.Type, &request.Description: made.Description} {
		if given != nil {
			*value = *given
		}
	}
	for value, given := range map[*int]*int{&request.TimeoutSeconds: made.TimeoutSeconds, &request.MaxConcurrency: made.MaxConcurrency} {
		if given != nil {
			*value = *given
		}
	}
	if c.MaxAttempts != nil {
		request.Retry = &hooktrail.Retry{MaxAttempts: *c.MaxAttempts}
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.issueAgent(c.Format, func(option hooktrail.RequestOption) (*hooktrail.IssuedAgent, error) {
			return connected.Agents.Create(ctx, request, option)
		})
	})
}

type agentsUpdate struct {
	Name *string `help:"New name." placeholder:"NAME"`
	agentFlags
	anAgent
}

// Help is shown with --help.
func (agentsUpdate) Help() string {
	return example("hooktrail agents update $AGENT --timeout 1m --max-concurrency 4")
}

// Run changes.
func (c *agentsUpdate) Run(s *Session) error {
	changes, err := c.changes(s)
	if err != nil {
		return err
	}
	changes.Name = c.Name
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		if c.MaxAttempts != nil { // the waits between them stay as they are
			before, err := connected.Agents.Get(ctx, c.ID)
			if err != nil {
				return err
			}
			changes.Retry = &before.Retry
			changes.Retry.MaxAttempts = *c.MaxAttempts
		}
		return s.issueAgent(c.Format, func(option hooktrail.RequestOption) (*hooktrail.IssuedAgent, error) {
			return connected.Agents.Update(ctx, c.ID, changes, option)
		})
	})
}

type agentsDelete struct {
	ID string `arg:"" help:"Id of the agent."`
	Confirmation
	Server
}

// Help is shown with --help.
func (agentsDelete) Help() string { return example("hooktrail agents delete $AGENT --yes") }

// Run archives.
func (c *agentsDelete) Run(s *Session) error {
	return s.end(c.Server, c.Confirmation, "Archive agent %s?", "agent %s is archived", c.ID, func(ctx context.Context, connected *hooktrail.Client) error {
		return connected.Agents.Delete(ctx, c.ID)
	})
}

type agentsExecute struct {
	Data     string            `short:"d" help:"Input: JSON, @FILE, @- for standard input." default:"{}" placeholder:"JSON"`
	Wait     time.Duration     `help:"Wait for the end and print the output." placeholder:"30s"`
	Session  string            `help:"Session that it belongs to." placeholder:"ID"`
	User     string            `help:"User that it is for." placeholder:"ID"`
	Metadata map[string]string `help:"What to keep with it." placeholder:"KEY=VALUE"`
	anAgent
}

// Help is shown with --help.
func (agentsExecute) Help() string {
	return "With --wait the output goes to standard output, and the exit code is 1\nwhen the execution does not complete.\n\n" +
		example(`hooktrail agents execute $AGENT -d '{"message": "Hello"}' --wait 30s`)
}

// Run executes.
func (c *agentsExecute) Run(s *Session) error {
	input, err := s.readJSON("data", c.Data)
	if err != nil {
		return err
	}
	request := hooktrail.ExecuteAgent{Input: input, SessionID: c.Session, UserID: c.User, Metadata: c.Metadata}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.begin(ctx, connected, c.Format, c.Wait, func(option hooktrail.RequestOption) (*hooktrail.Execution, error) {
			return connected.Agents.Execute(ctx, c.ID, request, option)
		})
	})
}
