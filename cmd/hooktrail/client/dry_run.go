package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	hooktrail "hooktrail/sdk/go"
)

type triggersTest struct {
	Data      string            `short:"d" help:"Body of the call: JSON, @FILE or @-." xor:"what" placeholder:"JSON"`
	Execution string            `help:"A call on record: its execution, or filtered event." xor:"what" placeholder:"ID"`
	Since     string            `help:"All calls on record since a time or age (24h)." xor:"what" placeholder:"TIME"`
	Limit     int               `help:"How many calls --since tries, up to 1000." placeholder:"N"`
	Options   string            `help:"Options in place of the trigger's: JSON, @FILE, @-." placeholder:"JSON"`
	Header    map[string]string `help:"A header of the call; can be repeated." placeholder:"NAME=VALUE"`
	aTrigger
}

// Help is shown with --help.
func (triggersTest) Help() string {
	return "Shows whether it would be accepted, filtered or refused, and what the agent\nwould get. A call that would be refused ends with code 1.\n\n" +
		example(
			`hooktrail triggers test $TRIGGER -d '{"n": 1}' --header X-GitHub-Event=push`,
			"hooktrail triggers test $TRIGGER --since 24h --options @new.json",
		)
}

// Validate is called by the parser.
func (c triggersTest) Validate() error {
	if c.Data == "" && c.Execution == "" && c.Since == "" {
		return usage("say what is to be tried: --data, --execution or --since")
	}
	if c.Limit != 0 && c.Since == "" {
		return usage("--limit belongs to --since, which is missing")
	}
	return nil
}

// Run tries.
func (c *triggersTest) Run(s *Session) error {
	call := hooktrail.TestTrigger{ExecutionID: c.Execution, Headers: c.Header}
	var err error
	if call.Payload, err = s.readJSON("data", c.Data); err != nil {
		return err
	}
	if call.Options, err = s.readJSON("options", c.Options); err != nil {
		return err
	}
	from, err := readTime("since", c.Since)
	if err != nil {
		return err
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		if c.Since != "" {
			past := hooktrail.TestSince{Since: from.UTC(), Limit: c.Limit, Options: call.Options, Headers: c.Header}
			_, err := show(s, c.Format, s.printSummary, func(option hooktrail.RequestOption) (*hooktrail.TestSummary, error) {
				return connected.WebhookTriggers.TestSince(ctx, c.ID, past, option)
			})
			return err
		}
		outcome, err := show(s, c.Format, s.printOutcome, func(option hooktrail.RequestOption) (*hooktrail.TestOutcome, error) {
			return connected.WebhookTriggers.Test(ctx, c.ID, call, option)
		})
		if err == nil && outcome.Status == "refused" {
			return ExitCode(exitRefused)
		}
		return err
	})
}

// why tells of an error with the fields that it names.
func why(e *hooktrail.TestError) string {
	if e == nil {
		return ""
	}
	told := e.Code + ": " + e.Message
	for _, field := range slices.Sorted(maps.Keys(e.Details)) {
		if reason := e.Details[field]; !strings.Contains(e.Message, reason) {
			told += "; " + field + ": " + reason
		}
	}
	return told
}

func (s *Session) printOutcome(o hooktrail.TestOutcome) error {
	if err := s.printFields([]field{
		{"Status", text("%s", o.Status)},
		{"Error", text("%s", why(o.Error))},
		{"Trigger", activity(o.IsActive)},
		{"Signature", text("%s", strings.ReplaceAll(o.Signature, "_", " "))},
		{"Event", text("%s", o.Event)},
	}); err != nil {
		return err
	}
	return s.printBlock("Input", o.Input)
}

func (s *Session) printSummary(sum hooktrail.TestSummary) error {
	examined := fmt.Sprint(sum.Examined)
	if !sum.Complete {
		examined += ", and there are more"
	}
	fields := []field{
		{"Examined", text("%s", examined)},
		{"Accepted", text("%d", sum.Accepted)},
		{"Filtered", text("%d", sum.Filtered)},
		{"Refused", text("%d", sum.Refused)},
		{"Changed", text("%d", sum.Changed)},
	}
	if sum.Erased > 0 {
		fields = append(fields, field{"Erased", text("%d", sum.Erased)})
	}
	for _, reason := range sum.Reasons {
		fields = append(fields, field{fmt.Sprintf("Refused %d", reason.Calls), text("%s", reason.Message)})
	}
	if err := s.printFields(fields); err != nil || len(sum.Examples) == 0 {
		return err
	}
	fmt.Fprintln(s.Out)
	var rows [][]cell
	for _, e := range sum.Examples {
		rows = append(rows, []cell{text("%s", e.ExecutionID), ago(&e.CreatedAt, ""), text("%s", e.Was), text("%s", e.Would), text("%s", e.Event), name(why(e.Error))})
	}
	return printTable(s.Out, s.colourful(), []string{"CALL", "CREATED", "WAS", "WOULD", "EVENT", "ERROR"}, rows)
}
