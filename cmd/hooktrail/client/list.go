package client

import (
	"encoding/json"
	"fmt"

	hooktrail "hooktrail/sdk/go"
)

// Paging says which part of a list is shown.
type Paging struct {
	Limit  int    `help:"Entries a page, 1 to 100." default:"20" placeholder:"N"`
	Page   int    `help:"Which page, from 1." placeholder:"N"`
	Cursor string `help:"Go on where a part has ended." placeholder:"TEXT"`
	All    bool   `help:"All pages."`
}

// Validate is called by the parser.
func (p Paging) Validate() error {
	if p.All && (p.Page != 0 || p.Cursor != "") {
		return usage("--all takes neither --page nor --cursor")
	}
	return nil
}

func (p Paging) options() hooktrail.ListOptions {
	if p.All {
		return hooktrail.ListOptions{Limit: 100}
	}
	return hooktrail.ListOptions{Limit: p.Limit, Page: p.Page, Cursor: p.Cursor}
}

// showList prints a list: one page, or all of them as one.
func showList[T any](s *Session, f Format, p Paging, head []string, row func(T) []cell,
	list func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[T], error),
) error {
	var rows [][]cell
	var raw []json.RawMessage
	part := p.options()
	for {
		var answer hooktrail.Answer
		got, err := list(part, hooktrail.WithAnswer(&answer))
		if err != nil {
			return err
		}
		if f.json() && !p.All {
			return s.printAnswer(answer)
		}
		var entries struct{ Data []json.RawMessage }
		if err := json.Unmarshal(answer.Body, &entries); err != nil {
			return err
		}
		raw = append(raw, entries.Data...)
		for _, entry := range got.Data {
			rows = append(rows, row(entry))
		}
		if part.Cursor = got.Meta.NextCursor; p.All && part.Cursor != "" {
			continue
		}
		if f.json() {
			return s.printAll(raw)
		}
		if err := printTable(s.Out, s.colourful(), head, rows); err != nil {
			return err
		}
		if part.Cursor != "" {
			more := ""
			if got.Meta.TotalCapped {
				more = "at least "
			}
			fmt.Fprintf(s.Err, "%d of %s%d; go on with --cursor %s, or take --all\n", len(rows), more, got.Meta.Total, part.Cursor)
		}
		return nil
	}
}

// printAll prints the entries of all parts as one document.
func (s *Session) printAll(entries []json.RawMessage) error {
	if entries == nil {
		entries = []json.RawMessage{}
	}
	encoder := json.NewEncoder(s.Out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(map[string]any{"data": entries})
}
