package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	hooktrail "hooktrail/sdk/go"
)

// Executions are the commands about executions.
type Executions struct {
	List     executionsList     `cmd:"" help:"List executions."`
	Get      executionsGet      `cmd:"" help:"Show an execution with its attempts, input and output."`
	Received executionsReceived `cmd:"" help:"Show what the webhook call brought."`
	Wait     executionsWait     `cmd:"" help:"Wait for the end of an execution and print its output."`
	Cancel   executionsCancel   `cmd:"" help:"Cancel an execution."`
	Erase    executionsErase    `cmd:"" help:"Erase the input and output of an execution."`
	Retry    executionsRetry    `cmd:"" help:"Run executions that have ended once more."`
}

// Help is shown with --help.
func (Executions) Help() string {
	return example("hooktrail executions list --status failed", "hooktrail executions retry $EXECUTION --wait 1m")
}

type anExecution struct {
	ID string `arg:"" help:"Id of the execution."`
	Server
	Format
}

type executionsList struct {
	Agent   string `help:"Only those of this agent." placeholder:"ID"`
	Trigger string `help:"Only those that this trigger caused." placeholder:"ID"`
	Session string `help:"Only those of this session." placeholder:"ID"`
	Status  string `help:"pending, running, completed, failed or cancelled." enum:",pending,running,completed,failed,cancelled" default:"" placeholder:"STATUS"`
	since
	Paging
	Server
	Format
}

// Help is shown with --help.
func (executionsList) Help() string {
	return example("hooktrail executions list --status failed --since 24h")
}

// Run lists.
func (c *executionsList) Run(s *Session) error {
	from, to, err := c.times()
	if err != nil {
		return err
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		head := []string{"ID", "STATUS", "ATTEMPT", "TOOK", "CREATED", "ERROR"}
		return showList(s, c.Format, c.Paging, head, func(e hooktrail.Execution) []cell {
			return []cell{text("%s", e.ID), state(e.Status), text("%d", e.Attempt), text("%s", took(e)), ago(&e.CreatedAt, ""), name(e.Error)}
		}, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Execution], error) {
			return connected.Executions.List(ctx, hooktrail.ListExecutions{
				AgentID: c.Agent, TriggerID: c.Trigger, SessionID: c.Session, Status: c.Status, Since: from, Until: to, ListOptions: part,
			}, option)
		})
	})
}

func took(e hooktrail.Execution) string {
	if e.DurationMS == nil {
		return ""
	}
	return (time.Duration(*e.DurationMS) * time.Millisecond).String()
}

func tokens(used *hooktrail.TokenUsage) string {
	if used == nil {
		return ""
	}
	return fmt.Sprintf("%d (prompt %d, completion %d)", used.TotalTokens, used.PromptTokens, used.CompletionTokens)
}

// since are the flags for a span of time.
type since struct {
	Since string `help:"Only from this time (RFC 3339) or age (24h) on." placeholder:"TIME"`
	Until string `help:"Only up to this time." placeholder:"TIME"`
}

func (c since) times() (from, to time.Time, err error) {
	if from, err = readTime("since", c.Since); err != nil {
		return from, to, err
	}
	to, err = readTime("until", c.Until)
	return from, to, err
}

func readTime(flag, given string) (time.Time, error) {
	if given == "" {
		return time.Time{}, nil
	}
	if age, err := time.ParseDuration(given); err == nil {
		return time.Now().Add(-age), nil
	}
	at, err := time.Parse(time.RFC3339, given)
	if err != nil {
		return at, usage("--%s must be a time such as 2026-01-31T12:00:00Z, or an age such as 24h", flag)
	}
	return at, nil
}

type executionsGet struct {
	AsOf string `help:"As it was at a time (RFC 3339) or just behind a position." placeholder:"TIME|POSITION"`
	anExecution
}

// Help is shown with --help.
func (executionsGet) Help() string {
	return example("hooktrail executions get $EXECUTION --as-of 2026-01-31T12:00:00Z")
}

// Run shows.
func (c *executionsGet) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, s.printExecution, func(option hooktrail.RequestOption) (*hooktrail.Execution, error) {
			if c.AsOf != "" {
				return connected.Executions.GetAsOf(ctx, c.ID, c.AsOf, option)
			}
			return connected.Executions.Get(ctx, c.ID, option)
		})
		return err
	})
}

type executionsReceived struct{ anExecution }

// Help is shown with --help.
func (executionsReceived) Help() string {
	return "By the id of the execution or, for a call that was filtered, of its event. The body\nis as it was sent, before any mapping.\n\n" +
		example("hooktrail executions received $EXECUTION")
}

// Run shows.
func (c *executionsReceived) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, s.printReceived, func(option hooktrail.RequestOption) (*hooktrail.Received, error) {
			return connected.Executions.Received(ctx, c.ID, option)
		})
		return err
	})
}

func (s *Session) printReceived(r hooktrail.Received) error {
	body := "erased"
	if r.Body != nil {
		body = ""
	}
	err := s.printFields([]field{
		{"Event", text("%s (%s)", r.EventID, r.Type)},
		{"Sender's event", text("%s", r.Event)},
		{"Media type", text("%s", r.MediaType)},
		{"Size", text("%d bytes", r.Size)},
		{"SHA-256", text("%s", r.SHA256)},
		{"Mapped", yesNo(r.Mapped)},
		{"Body", text("%s", body)},
	})
	if err == nil && r.Body != nil {
		_, err = fmt.Fprintf(s.Out, "\n%s\n", cleanText(*r.Body))
	}
	return err
}

func (s *Session) printExecution(e hooktrail.Execution) error {
	if err := s.printFields([]field{
		{"Id", text("%s", e.ID)},
		{"Status", state(e.Status)},
		{"Agent", text("%s", e.AgentID)},
		{"Trigger", text("%s", e.TriggerID)},
		{"Session", text("%s", e.SessionID)},
		{"User", text("%s", e.UserID)},
		{"Metadata", text("%s", compact(e.Metadata))},
		{"Retry of", text("%s", e.RetryOf)},
		{"Error", text("%s", e.Error)},
		{"Error code", text("%s", e.ErrorCode)},
		{"Created", moment(&e.CreatedAt, "")},
		{"Started", moment(e.StartedAt, "")},
		{"Completed", moment(e.CompletedAt, "")},
		{"Took", text("%s", took(e))},
		{"Tokens", text("%s", tokens(e.TokenUsage))},
		{"Next attempt", moment(e.NextAttemptAt, "")},
	}); err != nil {
		return err
	}
	if len(e.Attempts) > 0 {
		fmt.Fprintln(s.Out)
		var rows [][]cell
		for _, a := range e.Attempts {
			rows = append(rows, []cell{text("%d", a.Attempt), state(a.Status), moment(a.StartedAt, ""), name(a.Error)})
		}
		if err := printTable(s.Out, s.colourful(), []string{"ATTEMPT", "STATUS", "STARTED", "ERROR"}, rows); err != nil {
			return err
		}
	}
	if err := s.printBlock("Input", e.Input); err != nil {
		return err
	}
	return s.printBlock("Output", e.Output)
}

type executionsWait struct {
	Timeout time.Duration `help:"Give up after this time; 0s never does." default:"5m"`
	anExecution
}

// Help is shown with --help.
func (executionsWait) Help() string {
	return "The output goes to standard output. The exit code is 1 when the execution\ndoes not complete.\n\n" +
		example("hooktrail executions wait $EXECUTION --timeout 10m")
}

// Run waits.
func (c *executionsWait) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return s.await(ctx, connected, c.Format, c.Timeout, c.ID)
	})
}

// await waits for an execution and prints its output.
func (s *Session) await(ctx context.Context, connected *hooktrail.Client, f Format, timeout time.Duration, id string) error {
	var answer hooktrail.Answer
	e, err := connected.Executions.Wait(ctx, id, hooktrail.WaitOptions{Timeout: timeout}, hooktrail.WithAnswer(&answer))
	switch {
	case errors.Is(err, hooktrail.ErrStillRunning):
		return fmt.Errorf("execution %s has not ended after %s\nWait on with: hooktrail executions wait %s", id, timeout, id)
	case err != nil:
		return err
	}
	if f.json() {
		err = s.printAnswer(answer)
	} else if len(e.Output) > 0 {
		err = printJSON(s.Out, e.Output)
	}
	if err != nil {
		return err
	}
	if e.Status != hooktrail.StatusCompleted {
		fmt.Fprintf(s.Err, "execution %s %s: %s\n", id, wasOrHas(e.Status), clean(e.Error))
		return ExitCode(exitRefused)
	}
	fmt.Fprintf(s.Err, "execution %s completed in %s\n", id, took(*e))
	return nil
}

func wasOrHas(status string) string {
	if status == hooktrail.StatusCancelled {
		return "was cancelled"
	}
	return status
}

// begin begins an execution and prints it, or waits for its end.
func (s *Session) begin(ctx context.Context, connected *hooktrail.Client, f Format, wait time.Duration, ask func(option hooktrail.RequestOption) (*hooktrail.Execution, error)) error {
	if wait <= 0 {
		_, err := show(s, f, s.printExecution, ask)
		return err
	}
	var answer hooktrail.Answer
	begun, err := ask(hooktrail.WithAnswer(&answer))
	if err != nil {
		return err
	}
	s.warn(answer)
	return s.await(ctx, connected, f, wait, begun.ID)
}

type executionsCancel struct {
	Reason string `help:"Why, for the record." placeholder:"TEXT"`
	anExecution
}

// Help is shown with --help.
func (executionsCancel) Help() string {
	return example("hooktrail executions cancel $EXECUTION --reason 'not needed'")
}

// Run cancels.
func (c *executionsCancel) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, s.printExecution, func(option hooktrail.RequestOption) (*hooktrail.Execution, error) {
			return connected.Executions.Cancel(ctx, c.ID, c.Reason, option)
		})
		return err
	})
}

type executionsErase struct {
	Reason string `help:"Why, for the record, which cannot be erased." placeholder:"TEXT"`
	Confirmation
	anExecution
}

// Help is shown with --help.
func (executionsErase) Help() string {
	return "Its input and output, for good; the execution and its events stay.\n\n" +
		example("hooktrail executions erase $EXECUTION --reason 'asked for' --yes")
}

// Run erases.
func (c *executionsErase) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		if err := s.confirm(c.Confirmation, "Erase the input and output of execution %s for good?", c.ID); err != nil {
			return err
		}
		_, err := show(s, c.Format, s.printExecution, func(option hooktrail.RequestOption) (*hooktrail.Execution, error) {
			return connected.Executions.ErasePayloads(ctx, c.ID, c.Reason, option)
		})
		return err
	})
}
