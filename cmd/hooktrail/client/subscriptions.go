package client

import (
	"context"
	"strings"
	"time"

	hooktrail "hooktrail/sdk/go"
)

// Subscriptions are the commands about receivers of events.
type Subscriptions struct {
	List         subscriptionsList         `cmd:"" help:"List subscriptions."`
	Get          subscriptionsGet          `cmd:"" help:"Show a subscription and how its deliveries go."`
	Create       subscriptionsCreate       `cmd:"" help:"Have events posted to a URL."`
	Update       subscriptionsUpdate       `cmd:"" help:"Change a subscription."`
	Pause        subscriptionsPause        `cmd:"" help:"Deliver nothing from now on."`
	Resume       subscriptionsResume       `cmd:"" help:"Go on where deliveries ended."`
	RotateSecret subscriptionsRotateSecret `cmd:"" help:"Put a new signing secret in place."`
	Deliveries   subscriptionsDeliveries   `cmd:"" help:"List what waits, what failed and what was taken last."`
	Redeliver    subscriptionsRedeliver    `cmd:"" help:"Send one event once more, now."`
	Rewind       subscriptionsRewind       `cmd:"" help:"Go on with deliveries from another position."`
	Skip         subscriptionsSkip         `cmd:"" help:"Give up the event that is failing."`
	Delete       subscriptionsDelete       `cmd:"" help:"Delete a subscription."`
}

// Help is shown with --help.
func (Subscriptions) Help() string {
	return example("hooktrail subscriptions create --name books --to $URL --types 'execution.*'", "hooktrail subscriptions list")
}

// aSubscription is the flags and the argument of commands about one subscription.
type aSubscription struct {
	ID string `arg:"" help:"Id of the subscription."`
	Server
	Format
}

// about makes a request about the subscription and shows it.
func (c *aSubscription) about(s *Session, ask func(ctx context.Context, subscriptions *hooktrail.Subscriptions, option hooktrail.RequestOption) (*hooktrail.Subscription, error)) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, s.printSubscription, func(option hooktrail.RequestOption) (*hooktrail.Subscription, error) {
			return ask(ctx, connected.Subscriptions, option)
		})
		return err
	})
}

type subscriptionsList struct {
	Active *bool `help:"Only active, or (--no-active) inactive ones." negatable:""`
	Paging
	Server
	Format
}

// Help is shown with --help.
func (subscriptionsList) Help() string { return example("hooktrail subscriptions list --active") }

// Run lists.
func (c *subscriptionsList) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		head := []string{"ID", "NAME", "STATE", "POSITION", "FAILING", "URL"}
		return showList(s, c.Format, c.Paging, head, func(sub hooktrail.Subscription) []cell {
			return []cell{text("%s", sub.ID), name(sub.Name), activity(sub.IsActive), positionOf(sub), failing(sub.Failing), text("%s", sub.URL)}
		}, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Subscription], error) {
			return connected.Subscriptions.List(ctx, hooktrail.ListSubscriptions{IsActive: c.Active, ListOptions: part}, option)
		})
	})
}

func positionOf(sub hooktrail.Subscription) cell {
	if sub.Position == nil {
		return text("")
	}
	return text("%d", *sub.Position)
}

func failing(d *hooktrail.Delivery) cell {
	if d == nil {
		return text("–")
	}
	return text("#%d", d.Position)
}

func (s *Session) printSubscription(sub hooktrail.Subscription) error {
	return s.printFields(subscriptionFields(sub))
}

func subscriptionFields(sub hooktrail.Subscription) []field {
	active := activity(sub.IsActive)
	if sub.Deleted {
		active = text("deleted")
	}
	fields := []field{
		{"Id", text("%s", sub.ID)},
		{"Name", text("%s", sub.Name)},
		{"State", active},
		{"Why", text("%s", sub.DisabledReason)},
		{"URL", text("%s", sub.URL)},
		{"Types", text("%s", orAll(sub.Types))},
		{"Streams", text("%s", orAll(sub.Streams))},
		{"Trigger", text("%s", sub.TriggerID)},
		{"Agent", text("%s", sub.AgentID)},
		{"Position", positionOf(sub)},
	}
	if f := sub.Failing; f != nil {
		fields = append(fields, field{"Failing", text("#%d %s, %d times: %s", f.Position, f.Type, f.Attempts, f.Error)}, field{"Tried next", moment(f.NextAttemptAt, "")})
	}
	if last := sub.LastSuccess; last != nil {
		fields = append(fields, field{"Last taken", text("#%d %s", last.Position, last.Type)})
	}
	return append(fields, field{"Created", moment(&sub.CreatedAt, "")}, field{"Updated", moment(&sub.UpdatedAt, "")}, field{"Version", text("%d", sub.Version)})
}

func orAll(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ", ")
}

type subscriptionsGet struct {
	AsOf string `help:"As it was at a time (RFC 3339) or just behind a position." placeholder:"TIME|POSITION"`
	aSubscription
}

// Help is shown with --help.
func (subscriptionsGet) Help() string { return example("hooktrail subscriptions get $SUBSCRIPTION") }

// Run shows.
func (c *subscriptionsGet) Run(s *Session) error {
	return c.about(s, func(ctx context.Context, subscriptions *hooktrail.Subscriptions, option hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		if c.AsOf != "" {
			return subscriptions.GetAsOf(ctx, c.ID, c.AsOf, option)
		}
		return subscriptions.Get(ctx, c.ID, option)
	})
}

// issueSubscription makes a request whose answer has the secret, which is shown only once.
func (s *Session) issueSubscription(f Format, ask func(option hooktrail.RequestOption) (*hooktrail.IssuedSubscription, error)) error {
	_, err := show(s, f, func(sub hooktrail.IssuedSubscription) error {
		return s.printFields(append(subscriptionFields(sub.Subscription), field{"New secret", text("%s", string(sub.Secret))}))
	}, ask)
	if err != nil {
		return err
	}
	s.shownOnce("the secret")
	return nil
}

type subscriptionsCreate struct {
	Name     string   `help:"Name to show." required:"" placeholder:"NAME"`
	To       string   `help:"URL that events are posted to." required:"" placeholder:"URL"`
	Types    []string `help:"Types of events, such as 'execution.*'; default is all." placeholder:"TYPE"`
	Streams  []string `help:"Streams, such as 'trigger-*'; default is all." placeholder:"STREAM"`
	Trigger  string   `help:"Only events of this trigger and its executions." placeholder:"ID"`
	Agent    string   `help:"Only events of this agent and its executions." placeholder:"ID"`
	From     string   `help:"now, beginning, or a position." default:"now" placeholder:"POSITION"`
	Inactive bool     `help:"Deliver nothing yet."`
	Server
	Format
}

// Help is shown with --help.
func (subscriptionsCreate) Help() string {
	return "Deliveries are signed by Standard Webhooks with the secret that is shown.\n\n" +
		example("hooktrail subscriptions create --name all --to $URL --from beginning")
}

// Run creates.
func (c *subscriptionsCreate) Run(s *Session) error {
	request := hooktrail.CreateSubscription{
		Name: c.Name, URL: c.To, Types: c.Types, Streams: c.Streams, TriggerID: c.Trigger, AgentID: c.Agent, From: c.From,
	}
	if c.Inactive {
		request.IsActive = new(false)
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.issueSubscription(c.Format, func(option hooktrail.RequestOption) (*hooktrail.IssuedSubscription, error) {
			return connected.Subscriptions.Create(ctx, request, option)
		})
	})
}

type subscriptionsUpdate struct {
	Name    *string  `help:"Another name." placeholder:"NAME"`
	To      *string  `help:"Another URL." placeholder:"URL"`
	Types   []string `help:"Types of events; '*' for all." placeholder:"TYPE"`
	Streams []string `help:"Streams; '*' for all." placeholder:"STREAM"`
	Trigger *string  `help:"Only events of this trigger; empty for all." placeholder:"ID"`
	Agent   *string  `help:"Only events of this agent; empty for all." placeholder:"ID"`
	aSubscription
}

// Help is shown with --help.
func (subscriptionsUpdate) Help() string {
	return "What is left out stays as it is. What fails is tried again at once.\n\n" +
		example("hooktrail subscriptions update $SUBSCRIPTION --types 'trigger.*'")
}

// listed gives a list for an update: nil leaves it as it is, and * alone takes it away.
func listed(given []string) *[]string {
	if len(given) == 0 {
		return nil
	}
	if len(given) == 1 && given[0] == "*" {
		return &[]string{}
	}
	return &given
}

// Run changes.
func (c *subscriptionsUpdate) Run(s *Session) error {
	return c.about(s, func(ctx context.Context, subscriptions *hooktrail.Subscriptions, option hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return subscriptions.Update(ctx, c.ID, hooktrail.UpdateSubscription{
			Name: c.Name, URL: c.To, Types: listed(c.Types), Streams: listed(c.Streams), TriggerID: c.Trigger, AgentID: c.Agent,
		}, option)
	})
}

type subscriptionsPause struct{ aSubscription }

// Help is shown with --help.
func (subscriptionsPause) Help() string {
	return example("hooktrail subscriptions pause $SUBSCRIPTION")
}

// Run pauses.
func (c *subscriptionsPause) Run(s *Session) error {
	return c.about(s, func(ctx context.Context, subscriptions *hooktrail.Subscriptions, option hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return subscriptions.Pause(ctx, c.ID, option)
	})
}

type subscriptionsResume struct{ aSubscription }

// Help is shown with --help.
func (subscriptionsResume) Help() string {
	return example("hooktrail subscriptions resume $SUBSCRIPTION")
}

// Run resumes.
func (c *subscriptionsResume) Run(s *Session) error {
	return c.about(s, func(ctx context.Context, subscriptions *hooktrail.Subscriptions, option hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return subscriptions.Resume(ctx, c.ID, option)
	})
}

type subscriptionsRotateSecret struct {
	GracePeriod *time.Duration `help:"How long the old one signs too; default is a day." placeholder:"24h"`
	aSubscription
}

// Help is shown with --help.
func (subscriptionsRotateSecret) Help() string {
	return example("hooktrail subscriptions rotate-secret $SUBSCRIPTION --grace-period 1h")
}

// Run rotates.
func (c *subscriptionsRotateSecret) Run(s *Session) error {
	var rotation hooktrail.RotateToken
	if c.GracePeriod != nil {
		rotation.GracePeriod = new(int(c.GracePeriod.Seconds()))
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.issueSubscription(c.Format, func(option hooktrail.RequestOption) (*hooktrail.IssuedSubscription, error) {
			return connected.Subscriptions.RotateSecret(ctx, c.ID, rotation, option)
		})
	})
}

type subscriptionsDeliveries struct{ aSubscription }

// Help is shown with --help.
func (subscriptionsDeliveries) Help() string {
	return example("hooktrail subscriptions deliveries $SUBSCRIPTION")
}

// Run lists.
func (c *subscriptionsDeliveries) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		head := []string{"POSITION", "STATUS", "TYPE", "EVENT", "FAILED", "ANSWER", "ERROR"}
		return showList(s, c.Format, Paging{}, head, func(d hooktrail.Delivery) []cell {
			answered := text("–")
			if d.ResponseStatus != 0 {
				answered = text("%d", d.ResponseStatus)
			}
			return []cell{text("%d", d.Position), state(d.Status), text("%s", d.Type), text("%s", d.EventID), text("%d", d.Attempts), answered, name(d.Error)}
		}, func(_ hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Delivery], error) {
			return connected.Subscriptions.Deliveries(ctx, c.ID, option)
		})
	})
}

type subscriptionsRedeliver struct {
	ID    string `arg:"" help:"Id of the subscription."`
	Event string `arg:"" help:"Id of the event."`
	Server
	Format
}

// Help is shown with --help.
func (subscriptionsRedeliver) Help() string {
	return "Ends with code 1 if the receiver does not take it.\n\n" + example("hooktrail subscriptions redeliver $SUBSCRIPTION $EVENT")
}

// Run sends.
func (c *subscriptionsRedeliver) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		sent, err := show(s, c.Format, func(sub hooktrail.RedeliveredSubscription) error {
			if sub.Redelivery == nil {
				return s.printSubscription(sub.Subscription)
			}
			return s.printFields([]field{{"Status", state(sub.Redelivery.Status)}, {"Answer", text("%d", sub.Redelivery.ResponseStatus)}, {"Error", text("%s", sub.Redelivery.Error)}})
		}, func(option hooktrail.RequestOption) (*hooktrail.RedeliveredSubscription, error) {
			return connected.Subscriptions.Redeliver(ctx, c.ID, c.Event, option)
		})
		if err == nil && sent.Redelivery != nil && sent.Redelivery.Status != "delivered" {
			return ExitCode(1)
		}
		return err
	})
}

type subscriptionsRewind struct {
	From string `help:"beginning, now, or the position to begin with." required:"" placeholder:"POSITION"`
	aSubscription
}

// Help is shown with --help.
func (subscriptionsRewind) Help() string {
	return example("hooktrail subscriptions rewind $SUBSCRIPTION --from 1200")
}

// Run moves.
func (c *subscriptionsRewind) Run(s *Session) error {
	return c.about(s, func(ctx context.Context, subscriptions *hooktrail.Subscriptions, option hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return subscriptions.Rewind(ctx, c.ID, c.From, option)
	})
}

type subscriptionsSkip struct {
	Event string `help:"Id of the event that must be the failing one." placeholder:"ID"`
	aSubscription
}

// Help is shown with --help.
func (subscriptionsSkip) Help() string {
	return example("hooktrail subscriptions skip $SUBSCRIPTION --event $EVENT")
}

// Run skips.
func (c *subscriptionsSkip) Run(s *Session) error {
	return c.about(s, func(ctx context.Context, subscriptions *hooktrail.Subscriptions, option hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return subscriptions.Skip(ctx, c.ID, c.Event, option)
	})
}

type subscriptionsDelete struct {
	ID string `arg:"" help:"Id of the subscription."`
	Confirmation
	Server
}

// Help is shown with --help.
func (subscriptionsDelete) Help() string {
	return example("hooktrail subscriptions delete $SUBSCRIPTION --yes")
}

// Run deletes.
func (c *subscriptionsDelete) Run(s *Session) error {
	return s.end(c.Server, c.Confirmation, "Delete subscription %s? Its receiver gets no more events.", "subscription %s is deleted", c.ID, func(ctx context.Context, connected *hooktrail.Client) error {
		return connected.Subscriptions.Delete(ctx, c.ID)
	})
}
