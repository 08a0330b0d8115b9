package client

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	hooktrail "hooktrail/sdk/go"
)

// Triggers are the commands about triggers.
type Triggers struct {
	List         triggersList         `cmd:"" help:"List triggers."`
	Get          triggersGet          `cmd:"" help:"Show a trigger, as it is or as it was."`
	Create       triggersCreate       `cmd:"" help:"Create a trigger."`
	Update       triggersUpdate       `cmd:"" help:"Change a trigger."`
	Enable       triggersEnable       `cmd:"" help:"Take calls again."`
	Disable      triggersDisable      `cmd:"" help:"Take no calls from now on."`
	RotateToken  triggersRotateToken  `cmd:"" help:"Put a new token in place."`
	RotateSecret triggersRotateSecret `cmd:"" help:"Put a first or new signing secret in place."`
	RemoveSecret triggersRemoveSecret `cmd:"" help:"Take calls unsigned from now on."`
	Run          triggersRun          `cmd:"" help:"Run a trigger's agent now, as its schedule would."`
	Test         triggersTest         `cmd:"" help:"Try a call, or those on record, without running anything."`
	Delete       triggersDelete       `cmd:"" help:"Delete a trigger."`
	Events       triggersEvents       `cmd:"" help:"List what happened to a trigger."`
}

// Help is shown with --help.
func (Triggers) Help() string {
	return example("hooktrail triggers create --name 'PR review' --agent $AGENT", "hooktrail triggers list")
}

// aTrigger is the flags and the argument of commands about one trigger.
type aTrigger struct {
	ID string `arg:"" help:"Id of the trigger."`
	Server
	Format
}

type triggersList struct {
	Agent  string `help:"Only those of this agent." placeholder:"ID"`
	Name   string `help:"Only those with this in their name." placeholder:"TEXT"`
	Active *bool  `help:"Only active, or (--no-active) inactive ones." negatable:""`
	Paging
	Server
	Format
}

// Help is shown with --help.
func (triggersList) Help() string { return example("hooktrail triggers list --name review --active") }

// Run lists.
func (c *triggersList) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		head := []string{"ID", "NAME", "STATE", "SIGNED", "TOKEN", "LAST USED", "AGENT"}
		return showList(s, c.Format, c.Paging, head, func(t hooktrail.Trigger) []cell {
			return []cell{text("%s", t.ID), name(t.Name), activity(t.IsActive), yesNo(t.HasSecret), prefix(t.TokenPrefix), ago(t.LastUsedAt, "never"), text("%s", t.AgentID)}
		}, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Trigger], error) {
			return connected.WebhookTriggers.List(ctx, hooktrail.ListTriggers{AgentID: c.Agent, Name: c.Name, IsActive: c.Active, ListOptions: part}, option)
		})
	})
}

func (s *Session) printTrigger(t hooktrail.Trigger, more ...field) error {
	active := activity(t.IsActive)
	if t.Deleted {
		active = text("deleted")
	}
	options := compact(t.Options)
	if options == "{}" {
		options = ""
	}
	return s.printFields(append([]field{
		{"Id", text("%s", t.ID)},
		{"Name", text("%s", t.Name)},
		{"State", active},
		{"Agent", text("%s", t.AgentID)},
		{"Signed", yesNo(t.HasSecret)},
		{"Token", prefix(t.TokenPrefix)},
		{"URL", text("%s", t.URL)},
		{"Options", text("%s", options)},
		{"Next runs", text("%s", nextRuns(t.NextRuns))},
		{"Last used", moment(t.LastUsedAt, "never")},
		{"Created", moment(&t.CreatedAt, "")},
		{"Updated", moment(&t.UpdatedAt, "")},
		{"Version", text("%d", t.Version)},
	}, more...))
}

func nextRuns(times []time.Time) string {
	stamps := make([]string, len(times))
	for i, at := range times {
		stamps[i] = stamp(at)
	}
	if len(stamps) == 0 {
		return ""
	}
	return strings.Join(stamps, ", ") + " UTC"
}

// issue makes a request whose answer has what is shown only once.
func (s *Session) issue(f Format, ask func(option hooktrail.RequestOption) (*hooktrail.IssuedTrigger, error)) error {
	issued, err := show(s, f, func(t hooktrail.IssuedTrigger) error {
		return s.printTrigger(
			t.Trigger,
			field{"New token", text("%s", string(t.Token))},
			field{"New hook URL", text("%s", string(t.HookURL))},
			field{"New secret", text("%s", string(t.Secret))},
		)
	}, ask)
	if err != nil {
		return err
	}
	switch {
	case issued.Token != "" && issued.Secret != "":
		s.shownOnce("the token, the hook URL (it holds the token) and the secret")
	case issued.Token != "":
		s.shownOnce("the token and the hook URL (it holds the token)")
	case issued.Secret != "":
		s.shownOnce("the secret")
	}
	return nil
}

type triggersGet struct {
	AsOf string `help:"As it was at a time (RFC 3339) or just behind a position." placeholder:"TIME|POSITION"`
	aTrigger
}

// Help is shown with --help.
func (triggersGet) Help() string {
	return example("hooktrail triggers get $TRIGGER --as-of 2026-01-31T12:00:00Z")
}

// Run shows.
func (c *triggersGet) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, func(t hooktrail.Trigger) error { return s.printTrigger(t) }, func(option hooktrail.RequestOption) (*hooktrail.Trigger, error) {
			if c.AsOf != "" {
				return connected.WebhookTriggers.GetAsOf(ctx, c.ID, c.AsOf, option)
			}
			return connected.WebhookTriggers.Get(ctx, c.ID, option)
		})
		return err
	})
}

type triggersCreate struct {
	Name           string `help:"Name to show." required:"" placeholder:"NAME"`
	Agent          string `help:"Id of the agent to run." required:"" placeholder:"ID"`
	GenerateSecret bool   `help:"Make a signing secret; calls must be signed then." xor:"secret"`
	SecretFile     string `help:"File with a secret of your own, - for stdin." xor:"secret" placeholder:"FILE"`
	Inactive       bool   `help:"Take no calls yet."`
	Options        string `help:"Options: JSON, @FILE, or @- for stdin." placeholder:"JSON"`
	schedule
	Server
	Format
}

// Help is shown with --help.
func (triggersCreate) Help() string {
	return example(
		"hooktrail triggers create --name Reviews --agent $AGENT --generate-secret",
		"hooktrail triggers create --name Day --agent $AGENT --schedule '30 9 * * *'",
	)
}

// Run creates.
func (c *triggersCreate) Run(s *Session) error {
	request := hooktrail.CreateTrigger{AgentID: c.Agent, Name: c.Name, GenerateSecret: c.GenerateSecret}
	if c.Inactive {
		request.IsActive = new(false)
	}
	var err error
	if request.Options, err = s.readJSON("options", c.Options); err != nil {
		return err
	}
	if request.Options, err = c.addTo(request.Options); err != nil {
		return err
	}
	if c.SecretFile != "" {
		if request.Secret, err = s.readSecret(c.SecretFile); err != nil {
			return err
		}
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.issue(c.Format, func(option hooktrail.RequestOption) (*hooktrail.IssuedTrigger, error) {
			return connected.WebhookTriggers.Create(ctx, request, option)
		})
	})
}

type triggersUpdate struct {
	Name    *string `help:"New name." placeholder:"NAME"`
	Agent   *string `help:"Agent to run from now on." placeholder:"ID"`
	Active  *bool   `help:"Take calls, or (--no-active) take none." negatable:""`
	Options string  `help:"Options to change, null removes one: JSON, @FILE or @-." placeholder:"JSON"`
	schedule
	NoSchedule bool `help:"Fire no more by itself."`
	aTrigger
}

// Validate is called by the parser.
func (c triggersUpdate) Validate() error {
	if c.NoSchedule && c.Schedule != "" {
		return usage("--schedule and --no-schedule exclude each other: leave one out")
	}
	return c.schedule.Validate()
}

// Help is shown with --help.
func (triggersUpdate) Help() string {
	return example(`hooktrail triggers update $TRIGGER --options '{"rate_limit": 300}'`)
}

// Run changes.
func (c *triggersUpdate) Run(s *Session) error {
	changes := hooktrail.UpdateTrigger{Name: c.Name, AgentID: c.Agent, IsActive: c.Active}
	var err error
	if changes.Options, err = s.readJSON("options", c.Options); err != nil {
		return err
	}
	if changes.Options, err = c.addTo(changes.Options); err != nil {
		return err
	}
	if c.NoSchedule {
		none := func(json.RawMessage) (any, error) { return nil, nil }
		if changes.Options, err = withOption(changes.Options, "schedule", none); err != nil {
			return err
		}
	}
	if changes.Name == nil && changes.AgentID == nil && changes.IsActive == nil && changes.Options == nil {
		return usage("nothing is to be changed: say --name, --agent, --active, --no-active, --options, --schedule or --no-schedule")
	}
	return s.updateTrigger(c.aTrigger, changes)
}

func (s *Session) updateTrigger(c aTrigger, changes hooktrail.UpdateTrigger) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, func(t hooktrail.Trigger) error { return s.printTrigger(t) }, func(option hooktrail.RequestOption) (*hooktrail.Trigger, error) {
			return connected.WebhookTriggers.Update(ctx, c.ID, changes, option)
		})
		return err
	})
}

type triggersEnable struct{ aTrigger }

// Help is shown with --help.
func (triggersEnable) Help() string { return example("hooktrail triggers enable $TRIGGER") }

// Run enables.
func (c *triggersEnable) Run(s *Session) error {
	return s.updateTrigger(c.aTrigger, hooktrail.UpdateTrigger{IsActive: new(true)})
}

type triggersDisable struct{ aTrigger }

// Help is shown with --help.
func (triggersDisable) Help() string {
	return "Once this has ended, no later call is accepted, on any replica.\n\n" + example("hooktrail triggers disable $TRIGGER")
}

// Run disables.
func (c *triggersDisable) Run(s *Session) error {
	return s.updateTrigger(c.aTrigger, hooktrail.UpdateTrigger{IsActive: new(false)})
}

// grace is the flag of rotations.
type grace struct {
	GracePeriod *time.Duration `help:"How long the old one works too; default a day, 0s ends it." placeholder:"24h"`
}

func (g grace) seconds() *int {
	if g.GracePeriod == nil {
		return nil
	}
	return new(int(g.GracePeriod.Seconds()))
}

// Validate is called by the parser.
func (g grace) Validate() error {
	if g.GracePeriod != nil && (*g.GracePeriod < 0 || *g.GracePeriod%time.Second != 0) {
		return usage("--grace-period must be whole seconds, 0s or more")
	}
	return nil
}

type triggersRotateToken struct {
	grace
	aTrigger
}

// Help is shown with --help.
func (triggersRotateToken) Help() string {
	return example("hooktrail triggers rotate-token $TRIGGER --grace-period 1h")
}

// Run rotates.
func (c *triggersRotateToken) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.issue(c.Format, func(option hooktrail.RequestOption) (*hooktrail.IssuedTrigger, error) {
			return connected.WebhookTriggers.RotateToken(ctx, c.ID, hooktrail.RotateToken{GracePeriod: c.seconds()}, option)
		})
	})
}

type triggersRotateSecret struct {
	grace
	SecretFile string `help:"File with a secret of your own, - for stdin." placeholder:"FILE"`
	aTrigger
}

// Help is shown with --help.
func (triggersRotateSecret) Help() string {
	return example("hooktrail triggers rotate-secret $TRIGGER --grace-period 0s")
}

// Run rotates.
func (c *triggersRotateSecret) Run(s *Session) error {
	rotation := hooktrail.RotateSecret{GracePeriod: c.seconds()}
	var err error
	if c.SecretFile != "" {
		if rotation.Secret, err = s.readSecret(c.SecretFile); err != nil {
			return err
		}
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.issue(c.Format, func(option hooktrail.RequestOption) (*hooktrail.IssuedTrigger, error) {
			return connected.WebhookTriggers.RotateSecret(ctx, c.ID, rotation, option)
		})
	})
}

type triggersRemoveSecret struct {
	ID string `arg:"" help:"Id of the trigger."`
	Confirmation
	Server
}

// Help is shown with --help.
func (triggersRemoveSecret) Help() string {
	return example("hooktrail triggers remove-secret $TRIGGER --yes")
}

// Run removes.
func (c *triggersRemoveSecret) Run(s *Session) error {
	return s.end(c.Server, c.Confirmation, "Take unsigned calls of trigger %s?", "trigger %s takes unsigned calls", c.ID, func(ctx context.Context, connected *hooktrail.Client) error {
		return connected.WebhookTriggers.RemoveSecret(ctx, c.ID)
	})
}

type triggersRun struct {
	Data string        `short:"d" help:"Input: JSON, @FILE or @-; default is the schedule's." placeholder:"JSON"`
	Wait time.Duration `help:"Wait for the end and print the output." placeholder:"30s"`
	aTrigger
}

// Help is shown with --help.
func (triggersRun) Help() string {
	return "Also without a schedule. With --wait the output goes to standard output,\nand the exit code is 1 when the execution does not complete.\n\n" +
		example(`hooktrail triggers run $TRIGGER -d '{"day": "today"}' --wait 30s`)
}

// Run runs.
func (c *triggersRun) Run(s *Session) error {
	payload, err := s.readJSON("data", c.Data)
	if err != nil {
		return err
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.begin(ctx, connected, c.Format, c.Wait, func(option hooktrail.RequestOption) (*hooktrail.Execution, error) {
			return connected.WebhookTriggers.Run(ctx, c.ID, hooktrail.RunTrigger{Payload: payload}, option)
		})
	})
}

type triggersDelete struct {
	ID string `arg:"" help:"Id of the trigger."`
	Confirmation
	Server
}

// Help is shown with --help.
func (triggersDelete) Help() string {
	return "Its tokens and secrets end at once; its past stays readable.\n\n" + example("hooktrail triggers delete $TRIGGER --yes")
}

// Run deletes.
func (c *triggersDelete) Run(s *Session) error {
	return s.end(c.Server, c.Confirmation, "Delete trigger %s, its tokens and its secrets?", "trigger %s is deleted", c.ID, func(ctx context.Context, connected *hooktrail.Client) error {
		return connected.WebhookTriggers.Delete(ctx, c.ID)
	})
}

type triggersEvents struct {
	Type  string `help:"Only those of this type." placeholder:"TYPE"`
	After *int64 `help:"Onwards from behind this position, 0 for all." placeholder:"POSITION"`
	Paging
	aTrigger
}

// Help is shown with --help.
func (triggersEvents) Help() string {
	return "The newest first; with --after, in the order in which they happened.\n\n" + example("hooktrail triggers events $TRIGGER --after 0")
}

// Run lists.
func (c *triggersEvents) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return showList(s, c.Format, c.Paging, eventHead, eventRow, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Event], error) {
			return connected.WebhookTriggers.Events(ctx, c.ID, hooktrail.ListEvents{Type: c.Type, After: c.After, ListOptions: part}, option)
		})
	})
}
