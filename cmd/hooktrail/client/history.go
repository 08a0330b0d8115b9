package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	hooktrail "hooktrail/sdk/go"
)

type eventsHistory struct {
	Kind string `arg:"" enum:"trigger,agent,execution,key,subscription" help:"trigger, agent, execution, key or subscription."`
	ID   string `arg:"" help:"Its id."`
	From string `help:"After this time (RFC 3339) or position." placeholder:"TIME|POSITION"`
	To   string `help:"Up to this time (RFC 3339) or position." placeholder:"TIME|POSITION"`
	Diff bool   `help:"Only what is different between the two."`
	Server
	Format
}

// Help is shown with --help.
func (eventsHistory) Help() string {
	return "Who did what, by which key, and what that changed, also of what was deleted.\n\n" +
		example("hooktrail events history trigger $TRIGGER", "hooktrail events history agent $AGENT --from 12 --to 40 --diff")
}

func (c *eventsHistory) ask(ctx context.Context, connected *hooktrail.Client, part hooktrail.HistoryRange, option hooktrail.RequestOption) (*hooktrail.History, error) {
	switch c.Kind {
	case "agent":
		return connected.Agents.History(ctx, c.ID, part, option)
	case "execution":
		return connected.Executions.History(ctx, c.ID, part, option)
	case "key":
		return connected.APIKeys.History(ctx, c.ID, part, option)
	case "subscription":
		return connected.Subscriptions.History(ctx, c.ID, part, option)
	}
	return connected.WebhookTriggers.History(ctx, c.ID, part, option)
}

// Run tells the history, all parts of it; as JSON the first part, as answered.
func (c *eventsHistory) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		part := hooktrail.HistoryRange{From: c.From, To: c.To}
		for {
			told, err := show(s, c.Format, func(h hooktrail.History) error {
				if c.Diff {
					return s.printChanges(h.Changes)
				}
				return s.printHistory(h.Events)
			}, func(option hooktrail.RequestOption) (*hooktrail.History, error) {
				return c.ask(ctx, connected, part, option)
			})
			if err != nil {
				return err
			}
			if told.NextFrom == 0 || c.Diff {
				return nil
			}
			if c.json() {
				fmt.Fprintf(s.Err, "that is not all; go on with --from %d\n", told.NextFrom)
				return nil
			}
			part.From = fmt.Sprint(told.NextFrom)
		}
	})
}

func (s *Session) printHistory(events []hooktrail.HistoryEvent) error {
	for _, e := range events {
		line := fmt.Sprintf("%s  #%-6d %s  %s", stamp(e.Time), e.Position, actorText(e.Actor), clean(e.Summary))
		if len(e.Changes) == 1 {
			line += "   " + changeText(e.Changes[0], 0)
		}
		if _, err := fmt.Fprintln(s.Out, line); err != nil {
			return err
		}
		if len(e.Changes) > 1 {
			if err := s.printChanges(e.Changes); err != nil {
				return err
			}
		}
	}
	return nil
}

// actorText names who did something as a person would.
func actorText(a hooktrail.Actor) string {
	_, id, _ := strings.Cut(a.ID, ":")
	switch {
	case a.Kind == "api_key" && a.Name == "":
		return "key " + clean(id)
	case a.Kind == "api_key":
		return fmt.Sprintf("key '%s' (%s)", name(a.Name).text, prefix(a.Prefix).text)
	case a.Name != "":
		return fmt.Sprintf("%s '%s'", clean(a.Kind), name(a.Name).text)
	case id != "":
		return clean(a.Kind + " " + id)
	}
	return clean(a.Kind)
}

func (s *Session) printChanges(changes []hooktrail.Change) error {
	width := 0
	for _, change := range changes {
		width = max(width, utf8.RuneCountInString(change.Field))
	}
	for _, change := range changes {
		if _, err := fmt.Fprintln(s.Out, "    "+changeText(change, width)); err != nil {
			return err
		}
	}
	return nil
}

// changeText tells a change; the fields of several are as wide as the widest.
func changeText(change hooktrail.Change, width int) string {
	return fmt.Sprintf("%-*s %s → %s", width+1, clean(change.Field)+":", valueText(change.Before), valueText(change.After))
}

// longestValue is where values are cut; --output json has them whole.
const longestValue = 80

func valueText(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "–"
	}
	text := compact(raw)
	var plain string
	if json.Unmarshal(raw, &plain) == nil && plain != "" && !strings.Contains(plain, " ") {
		text = plain
	}
	if runes := []rune(clean(text)); len(runes) > longestValue {
		return string(runes[:longestValue-1]) + "…"
	}
	return clean(text)
}
