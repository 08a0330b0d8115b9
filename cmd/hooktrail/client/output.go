package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/fatih/color"

	hooktrail "hooktrail/sdk/go"
)

// Format says how results are printed.
type Format struct {
	Output string `short:"o" help:"table, or json as answered." enum:"table,json" default:"table" env:"HOOKTRAIL_OUTPUT"`
}

func (f Format) json() bool { return f.Output == "json" }

// printAnswer prints exactly what the API answered.
func (s *Session) printAnswer(answer hooktrail.Answer) error {
	body := answer.Body
	if len(body) > 0 && body[len(body)-1] != '\n' {
		body = append(bytes.Clone(body), '\n')
	}
	_, err := s.Out.Write(body)
	return err
}

// warn tells of what the server did not know.
func (s *Session) warn(answer hooktrail.Answer) {
	if len(answer.Warnings) > 0 {
		fmt.Fprintf(s.Err, "warning: the server does not know and did not use: %s\n", clean(strings.Join(answer.Warnings, ", ")))
	}
}

// show makes a request about one thing and prints what is answered.
func show[T any](s *Session, f Format, printTable func(T) error, ask func(option hooktrail.RequestOption) (*T, error)) (*T, error) {
	var answer hooktrail.Answer
	got, err := ask(hooktrail.WithAnswer(&answer))
	if err != nil {
		return nil, err
	}
	s.warn(answer)
	if f.json() {
		return got, s.printAnswer(answer)
	}
	return got, printTable(*got)
}

// cell is a text of a table, perhaps in a colour.
type cell struct {
	text   string
	colour color.Attribute
}

// plain has a code like those of the colours, so that all cells of a column carry codes of the
// same length: the tabwriter counts them as width.
const plain = color.Attribute(39)

func text(format string, args ...any) cell { return cell{clean(fmt.Sprintf(format, args...)), plain} }

// longest is where names in tables are cut.
const longest = 40

func name(full string) cell {
	runes := []rune(clean(full))
	if len(runes) > longest {
		runes = append(runes[:longest-1], '…')
	}
	return cell{string(runes), plain}
}

// clean escapes what would move a terminal's cursor or colours: names come from anywhere.
func clean(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unprintable(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// cleanText is clean for text of several lines.
func cleanText(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = clean(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// state colours the states of triggers, agents and executions.
func state(text string) cell {
	colours := map[string]color.Attribute{
		"active": color.FgGreen, hooktrail.StatusCompleted: color.FgGreen, hooktrail.StatusFailed: color.FgRed,
		hooktrail.StatusRunning: color.FgCyan, hooktrail.StatusPending: color.FgYellow, "inactive": color.FgYellow,
	}
	colour, known := colours[text]
	if !known {
		colour = plain
	}
	return cell{clean(text), colour}
}

func activity(active bool) cell {
	if active {
		return state("active")
	}
	return state("inactive")
}

func yesNo(yes bool) cell {
	if yes {
		return text("yes")
	}
	return text("no")
}

// ago tells a time as a person would; absent is for none.
func ago(at *time.Time, absent string) cell {
	if at == nil || at.IsZero() {
		return text("%s", absent)
	}
	return text("%s", humanize.Time(*at))
}

// moment tells a time both ways.
func moment(at *time.Time, absent string) cell {
	if at == nil || at.IsZero() {
		return text("%s", absent)
	}
	return text("%s (%s)", at.UTC().Format("2006-01-02 15:04:05 MST"), humanize.Time(*at))
}

// stamp tells a time exactly, in UTC.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") }

// colourful reports whether colours are wanted: on a terminal, and unless NO_COLOR says no
// (which the library looks after).
func (s *Session) colourful() bool { return isTerminal(s.Out) && !color.NoColor }

// printTable prints rows under a head.
func printTable(out io.Writer, colourful bool, head []string, rows [][]cell) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	titles := make([]cell, len(head))
	for i, title := range head {
		titles[i] = cell{title, plain}
	}
	for _, row := range append([][]cell{titles}, rows...) {
		for i, c := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, painted(c, colourful))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func painted(c cell, colourful bool) string {
	if !colourful {
		return c.text
	}
	paint := color.New(c.colour)
	paint.EnableColor()
	return paint.Sprint(c.text)
}

// field is one line about a single thing.
type field struct {
	label string
	value cell
}

// printFields prints lines, without those that have nothing to say.
func (s *Session) printFields(fields []field) error {
	w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f.value.text != "" {
			fmt.Fprintf(w, "%s\t%s\n", f.label, painted(f.value, s.colourful()))
		}
	}
	return w.Flush()
}

// printJSON prints JSON for a person to read.
func printJSON(out io.Writer, raw json.RawMessage) error {
	var pretty bytes.Buffer
	if json.Indent(&pretty, raw, "", "  ") != nil {
		pretty.Reset()
		pretty.Write(raw)
	}
	_, err := fmt.Fprintln(out, cleanText(pretty.String()))
	return err
}

// printBlock prints JSON under a title.
func (s *Session) printBlock(title string, raw json.RawMessage) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	fmt.Fprintf(s.Out, "\n%s:\n", title)
	return printJSON(s.Out, raw)
}

// compact gives JSON in one line.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// shownOnce warns of what is not shown again.
func (s *Session) shownOnce(what string) {
	fmt.Fprintf(s.Err, "Shown only now, so store safely: %s.\n", what)
}

// prefix shows the beginning of a token or key; one that was brought may have none on record.
func prefix(beginning string) cell {
	if beginning == "" {
		return text("–")
	}
	return text("%s…", beginning)
}

// example is the part of a command's help that shows its use.
func example(lines ...string) string {
	return "Example:\n\n    " + strings.Join(lines, "\n    ")
}
