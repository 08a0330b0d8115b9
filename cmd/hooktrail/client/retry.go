package client

import (
	"context"
	"fmt"
	"strconv"
	"time"

	hooktrail "hooktrail/sdk/go"
)

type executionsRetry struct {
	ID      []string      `arg:"" optional:"" help:"Ids of executions; else the flags say which."`
	Trigger string        `help:"Those that this trigger caused." placeholder:"ID"`
	Agent   string        `help:"Those of this agent." placeholder:"ID"`
	Status  string        `help:"completed, failed or cancelled; default is failed." enum:",completed,failed,cancelled" default:"" placeholder:"STATUS"`
	Since   string        `help:"From this time (RFC 3339) or age (1d, 24h) on." placeholder:"TIME"`
	Until   string        `help:"Up to this time or age; default is now." placeholder:"TIME"`
	Limit   int           `help:"The most to retry, the latest ones, up to 1000." placeholder:"N"`
	Key     string        `help:"Retry each once under this key, however often it is said." name:"idempotency-key" placeholder:"KEY"`
	DryRun  bool          `help:"Only show which."`
	Wait    time.Duration `help:"Wait for the end of the only one and print its output." placeholder:"30s"`
	Confirmation
	Server
	Format
}

// Help is shown with --help.
func (executionsRetry) Help() string {
	return "Each as a new execution, on the same input.\n\n" + example(
		"hooktrail executions retry $EXECUTION --wait 1m",
		"hooktrail executions retry --trigger $TRIGGER --since 1d --dry-run",
	)
}

// one says that a single execution is meant, which is then shown itself.
func (c executionsRetry) one() bool { return len(c.ID) == 1 && !c.DryRun && c.Key == "" }

// Validate is called by the parser.
func (c executionsRetry) Validate() error {
	narrowed := c.Trigger != "" || c.Agent != "" || c.Status != "" || c.Since != "" || c.Until != ""
	switch {
	case len(c.ID) > 0 && narrowed:
		return usage("ids take no --trigger, --agent, --status, --since and --until beside them")
	case len(c.ID) == 0 && c.Since == "":
		return usage("say which: ids, or --since with --trigger, --agent and --status as wanted")
	case c.Wait > 0 && !c.one():
		return usage("--wait is for one execution")
	}
	return nil
}

// Run retries.
func (c *executionsRetry) Run(s *Session) error {
	if c.one() {
		return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
			return s.begin(ctx, connected, c.Format, c.Wait, func(option hooktrail.RequestOption) (*hooktrail.Execution, error) {
				return connected.Executions.Retry(ctx, c.ID[0], option)
			})
		})
	}
	which := hooktrail.RetryExecutions{
		IDs: c.ID, TriggerID: c.Trigger, AgentID: c.Agent, Status: c.Status, Limit: c.Limit, DryRun: c.DryRun, IdempotencyKey: c.Key,
	}
	if len(c.ID) == 0 {
		since, err := readTime("since", days(c.Since))
		if err != nil {
			return err
		}
		until := time.Now() // what is counted first and retried then is to be the same
		if c.Until != "" {
			if until, err = readTime("until", days(c.Until)); err != nil {
				return err
			}
		}
		since, until = since.UTC(), until.UTC()
		which.Since, which.Until = &since, &until
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		if !c.DryRun && len(c.ID) == 0 {
			first := which
			first.DryRun = true
			counted, err := connected.Executions.RetryMany(ctx, first)
			if err != nil {
				return err
			}
			if counted.Retried > 0 {
				if err := s.confirm(c.Confirmation, "Retry %d executions%s?", counted.Retried, limited(counted.More)); err != nil {
					return err
				}
			}
		}
		_, err := show(s, c.Format, s.printRetried, func(option hooktrail.RequestOption) (*hooktrail.RetriedExecutions, error) {
			return connected.Executions.RetryMany(ctx, which, option)
		})
		return err
	})
}

func limited(more bool) string {
	if more {
		return ", the latest of more"
	}
	return ""
}

func (s *Session) printRetried(r hooktrail.RetriedExecutions) error {
	label := "Retried"
	if r.DryRun {
		label = "Would be retried"
	}
	already := ""
	if r.Already > 0 {
		already = strconv.Itoa(r.Already)
	}
	fields := []field{{label, text("%d%s", r.Retried, limited(r.More))}, {"Retried before", text("%s", already)}}
	if len(r.Skipped) > 0 {
		fields = append(fields, field{"Skipped", text("%d", len(r.Skipped))})
	}
	if err := s.printFields(fields); err != nil {
		return err
	}
	var rows [][]cell
	for _, e := range r.Executions {
		rows = append(rows, []cell{text("%s", e.RetryOf), text("%s", e.ExecutionID), text("")})
	}
	for _, e := range r.Skipped {
		rows = append(rows, []cell{text("%s", e.ExecutionID), text(""), text("%s", e.Reason)})
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(s.Out)
	return printTable(s.Out, s.colourful(), []string{"EXECUTION", "RETRIED AS", "WHY NOT"}, rows)
}
