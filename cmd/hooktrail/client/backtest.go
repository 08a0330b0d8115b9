package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	hooktrail "hooktrail/sdk/go"
)

// Backtest is the command that tries something else on invocations of the past.
type Backtest struct {
	Trigger string `help:"Only invocations of this trigger." placeholder:"ID"`
	Event   string `help:"Only those with this sender's name for what happened." placeholder:"NAME"`
	Status  string `help:"Only those that ended so: completed, failed, cancelled." enum:",completed,failed,cancelled" default:"" placeholder:"STATUS"`
	Agent   string `help:"Agent to try; default is the trigger's." placeholder:"ID"`
	Filter  string `help:"Filter to try in place of the trigger's: CEL, or @FILE." placeholder:"EXPR"`
	Mapping string `help:"File with the input_mapping to try, as JSON." type:"existingfile" placeholder:"FILE"`
	Since   string `help:"From this time (RFC 3339) or age (7d, 24h) on." required:"" placeholder:"TIME"`
	Until   string `help:"Up to this time or age; default is now." placeholder:"TIME"`

	Limit       int     `help:"Most invocations, the latest ones." default:"10000" placeholder:"N"`
	Concurrency int     `help:"Runs at one time, 1 to 16." default:"2" placeholder:"N"`
	Rate        float64 `help:"Runs that may begin in a second; 0 is no bound." placeholder:"N"`
	Examples    int     `help:"Differences to show, up to 100." default:"5" placeholder:"N"`
	DryRun      bool    `help:"Only count."`
	Detach      bool    `help:"Do not wait for the end."`
	Confirmation
	Server
	Format
}

// Help is shown with --help.
func (Backtest) Help() string {
	return "Runs them once more in shadow, and compares: nothing of it is recorded beside\nwhat happened, and no subscriber is told. Agents get the header\n" +
		"Hooktrail-Shadow: true. Ctrl-C cancels. The exit code is 1 when it does not\ncomplete; whether anything differs does not count.\n\n" +
		example(
			"hooktrail backtest --trigger $TRIGGER --agent $AGENT --since 7d --dry-run",
			"hooktrail backtest --trigger $TRIGGER --agent $AGENT --since 7d --rate 20",
			"hooktrail backtest --trigger $TRIGGER --filter 'payload.n > 5' --since 24h",
		)
}

// Validate is called by the parser.
func (c Backtest) Validate() error {
	switch {
	case c.Agent == "" && c.Filter == "" && c.Mapping == "":
		return usage("say what is to be tried: --agent, --filter or --mapping")
	case c.Trigger == "" && (c.Filter != "" || c.Mapping != ""):
		return usage("--filter and --mapping are those of a trigger: say which with --trigger")
	case c.Examples < 0 || c.Examples > 100:
		return usage("--examples must be from 0 to 100")
	}
	return nil
}

// days lets an age be given in days, which the language's durations do not know.
func days(given string) string {
	if n, err := strconv.Atoi(strings.TrimSuffix(given, "d")); err == nil && strings.HasSuffix(given, "d") && n >= 0 && n < 100_000 {
		return strconv.Itoa(n*24) + "h"
	}
	return given
}

func (c *Backtest) request(s *Session) (hooktrail.CreateBacktest, error) {
	r := hooktrail.CreateBacktest{
		TriggerID: c.Trigger, Event: c.Event, Status: c.Status, AgentID: c.Agent, Limit: c.Limit, Concurrency: c.Concurrency, Rate: c.Rate,
	}
	var err error
	if r.Since, err = readTime("since", days(c.Since)); err != nil {
		return r, err
	}
	// What is counted first and tried then is to be the same.
	until := time.Now()
	if c.Until != "" {
		if until, err = readTime("until", days(c.Until)); err != nil {
			return r, err
		}
	}
	r.Since, until = r.Since.UTC(), until.UTC()
	r.Until = &until
	options := map[string]any{}
	if c.Filter != "" {
		filter, err := s.read(c.Filter)
		if err != nil {
			return r, err
		}
		options["filter"] = strings.TrimSpace(string(filter))
	}
	if c.Mapping != "" {
		if options["input_mapping"], err = s.readJSON("mapping", "@"+c.Mapping); err != nil {
			return r, err
		}
	}
	if len(options) > 0 {
		r.Options = options
	}
	return r, nil
}

// Run tries.
func (c *Backtest) Run(s *Session) error {
	request, err := c.request(s)
	if err != nil {
		return err
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		if c.DryRun {
			_, err := show(s, c.Format, s.printBacktestCount, func(option hooktrail.RequestOption) (*hooktrail.BacktestCount, error) {
				return connected.Backtests.Count(ctx, request, option)
			})
			return err
		}
		count, err := connected.Backtests.Count(ctx, request)
		if err != nil {
			return err
		}
		if count.Invocations > 0 { // else the server says what to do
			fmt.Fprintln(s.Err, clean(counted(*count)))
			if err := s.confirm(c.Confirmation, "Run them in shadow?"); err != nil {
				return err
			}
		}
		if c.Detach {
			_, err := show(s, c.Format, s.printBacktest, func(option hooktrail.RequestOption) (*hooktrail.Backtest, error) {
				return connected.Backtests.Create(ctx, request, option)
			})
			return err
		}
		begun, err := connected.Backtests.Create(ctx, request)
		if err != nil {
			return err
		}
		return c.follow(ctx, s, connected, begun)
	})
}

func counted(n hooktrail.BacktestCount) string {
	which := strconv.Itoa(n.Invocations) + " invocations"
	if n.Invocations == 1 {
		which = "1 invocation"
	}
	if n.More {
		which = fmt.Sprintf("the latest %d of more invocations", n.Invocations)
	}
	return fmt.Sprintf("%s from %s to %s UTC, by agent %s (%s)", which, stamp(n.Since), stamp(n.Until), n.AgentID, n.AgentName)
}

func (s *Session) printBacktestCount(n hooktrail.BacktestCount) error {
	more := ""
	if n.More {
		more = fmt.Sprintf(", and there are more than the limit of %d", n.Limit)
	}
	return s.printFields([]field{
		{"Invocations", text("%d%s", n.Invocations, more)},
		{"From", text("%s UTC", stamp(n.Since))},
		{"To", text("%s UTC", stamp(n.Until))},
		{"Trigger", text("%s", n.TriggerID)},
		{"Agent", text("%s (%s)", n.AgentID, n.AgentName)},
	})
}

// follow shows how far a backtest is, to its end, and what it has come to. When the program is told
// to stop, it cancels it.
func (c *Backtest) follow(ctx context.Context, s *Session, connected *hooktrail.Client, begun *hooktrail.Backtest) error {
	told := s.progress(begun)
	ended, err := connected.Backtests.Wait(ctx, begun.ID, told)
	if ctx.Err() != nil {
		closing, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer stop()
		if ended, err = connected.Backtests.Cancel(closing, begun.ID, "interrupted"); err != nil {
			return fmt.Errorf("%w\nThe backtest %s may go on", err, begun.ID)
		}
		ctx = closing
	}
	if err != nil {
		return err
	}
	var answer hooktrail.Answer
	final, err := connected.Backtests.Get(ctx, ended.ID, hooktrail.WithAnswer(&answer))
	if err != nil {
		return err
	}
	if c.json() {
		err = s.printAnswer(answer)
	} else if err = s.printBacktest(*final); err == nil {
		err = c.printDifferences(ctx, s, connected, *final)
	}
	if err != nil {
		return err
	}
	if final.Status != hooktrail.StatusCompleted {
		fmt.Fprintf(s.Err, "backtest %s %s: %s\n", final.ID, wasOrHas(final.Status), clean(final.Error+final.Reason))
		return ExitCode(exitRefused)
	}
	return nil
}

// progress gives what tells of it: a bar on a terminal, else a line for every tenth.
func (s *Session) progress(begun *hooktrail.Backtest) func(*hooktrail.Backtest) {
	if !isTerminal(s.Err) {
		tenth := 0
		return func(b *hooktrail.Backtest) {
			t := b.Tally
			now := 10 * t.Done / max(t.Total, 1)
			if now > tenth || b.Ended() {
				tenth = now
				fmt.Fprintf(s.Err, "backtest %s: %d of %d done, %d same, %d differ, %d failed, %d skipped\n", b.ID, t.Done, t.Total, t.Same, t.Differs, t.Failed, t.Skipped)
			}
		}
	}
	bar := progressbar.NewOptions(begun.Tally.Total, progressbar.OptionSetWriter(s.Err), progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionSetDescription("backtest"))
	return func(b *hooktrail.Backtest) {
		bar.Describe(fmt.Sprintf("%d differ, %d failed", b.Tally.Differs, b.Tally.Failed))
		_ = bar.Set(b.Tally.Done) // it fails for a number behind the total alone
		if b.Ended() {
			_ = bar.Clear()
		}
	}
}

func (s *Session) printBacktest(b hooktrail.Backtest) error {
	t := b.Tally
	share := func(n int) cell {
		if t.Done == 0 {
			return text("%d", n)
		}
		return text("%d (%.1f %%)", n, 100*float64(n)/float64(t.Done))
	}
	skipped := share(t.Skipped)
	if t.Erased > 0 {
		skipped = text("%d, of which %d are erased", t.Skipped, t.Erased)
	}
	if err := s.printFields([]field{
		{"Backtest", text("%s", b.ID)},
		{"Status", state(b.Status)},
		{"Done", text("%d of %d", t.Done, t.Total)},
		{"Same", share(t.Same)},
		{"Differ", share(t.Differs)},
		{"Failed", share(t.Failed)},
		{"Skipped", skipped},
		{"Error", text("%s", b.Error)},
		{"Reason", text("%s", b.Reason)},
	}); err != nil || t.Done == 0 {
		return err
	}
	fmt.Fprintln(s.Out)
	rows := [][]cell{}
	for _, moved := range t.Statuses {
		rows = append(rows, []cell{text("calls"), text("%s", moved.Original), text("%s", moved.Shadow), text("%d", moved.Calls)})
	}
	if d := t.Durations; d != nil {
		rows = append(rows,
			[]cell{text("p50"), text("%.1f ms", d.Original.P50), text("%.1f ms", d.Shadow.P50), text("%d", d.Calls)},
			[]cell{text("p95"), text("%.1f ms", d.Original.P95), text("%.1f ms", d.Shadow.P95), text("%d", d.Calls)})
	}
	if u := t.Tokens; u != nil {
		rows = append(rows, []cell{text("tokens"), text("%d in %d runs", u.Original.TotalTokens, u.Original.Runs), text("%d in %d runs", u.Shadow.TotalTokens, u.Shadow.Runs), text("")})
	} else {
		rows = append(rows, []cell{text("tokens"), text("not reported"), text("not reported"), text("")})
	}
	return printTable(s.Out, s.colourful(), []string{"", "ORIGINAL", "SHADOW", "CALLS"}, rows)
}

// printDifferences shows the latest ones, those that failed first.
func (c *Backtest) printDifferences(ctx context.Context, s *Session, connected *hooktrail.Client, b hooktrail.Backtest) error {
	var rows [][]cell
	for _, verdict := range []string{hooktrail.VerdictFailed, hooktrail.VerdictDiffers} {
		if len(rows) >= c.Examples {
			break
		}
		part, err := connected.Backtests.Results(ctx, b.ID, verdict, hooktrail.ListOptions{Limit: c.Examples - len(rows)})
		if err != nil {
			return err
		}
		for _, r := range part.Data {
			rows = append(rows, []cell{text("%s", r.ExecutionID), text("%s", r.Original.Status), text("%s", r.Shadow.Status), short(difference(r))})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(s.Out)
	return printTable(s.Out, s.colourful(), []string{"EXECUTION", "WAS", "WOULD", "DIFFERENCE"}, rows)
}

// longestDifference is where a difference in a table is cut.
const longestDifference = 100

func short(full string) cell {
	runes := []rune(full)
	if len(runes) > longestDifference {
		full = string(runes[:longestDifference-1]) + "…"
	}
	return text("%s", full)
}

// difference tells of one in a line.
func difference(r hooktrail.BacktestResult) string {
	if r.Shadow.Error != "" {
		return r.Shadow.ErrorCode + ": " + r.Shadow.Error
	}
	var steps []struct {
		Op, Path string
		Value    json.RawMessage
	}
	if json.Unmarshal(r.Difference, &steps) != nil {
		return compact(r.Shadow.Output)
	}
	told := make([]string, len(steps))
	for i, step := range steps {
		told[i] = strings.TrimSpace(step.Op + " " + step.Path + " " + compact(step.Value))
	}
	return strings.Join(told, "; ")
}
