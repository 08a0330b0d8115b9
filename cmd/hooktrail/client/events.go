package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	hooktrail "hooktrail/sdk/go"
)

// Events are the commands about the log.
type Events struct {
	List    eventsList    `cmd:"" help:"List events."`
	Tail    eventsTail    `cmd:"" help:"Follow the log until interrupted."`
	History eventsHistory `cmd:"" help:"Tell who did what to something, and what that changed."`
	Export  eventsExport  `cmd:"" help:"Write the log to a file, as JSON Lines."`
}

// Help is shown with --help.
func (Events) Help() string {
	return example("hooktrail events tail --type trigger.invoked", "hooktrail events export --to events.jsonl")
}

// eventFilter are the flags that narrow the log.
type eventFilter struct {
	Stream string `help:"Only those of this stream: KIND-ID." placeholder:"STREAM"`
	Type   string `help:"Only those of this type: trigger.invoked." placeholder:"TYPE"`
	Actor  string `help:"Only those of this actor: KIND:ID or system." placeholder:"ACTOR"`
}

var eventHead = []string{"POSITION", "TIME (UTC)", "TYPE", "STREAM", "ACTOR"}

func eventRow(e hooktrail.Event) []cell {
	return []cell{text("%d", e.Position), text("%s", stamp(e.Time)), text("%s", e.Type), text("%s", e.Stream), text("%s", e.Actor)}
}

type eventsList struct {
	eventFilter
	since
	After *int64 `help:"Onwards from behind this position, 0 for all." placeholder:"POSITION"`
	Paging
	Server
	Format
}

// Help is shown with --help.
func (eventsList) Help() string {
	return "The newest first; with --after, in the order in which they happened.\n\n" + example("hooktrail events list --type trigger.invoked --since 1h")
}

// Run lists.
func (c *eventsList) Run(s *Session) error {
	from, to, err := c.times()
	if err != nil {
		return err
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		return showList(s, c.Format, c.Paging, eventHead, eventRow, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Event], error) {
			return connected.Events.List(ctx, hooktrail.ListEvents{
				Stream: c.Stream, Type: c.Type, Actor: c.Actor, Since: from, Until: to, After: c.After, ListOptions: part,
			}, option)
		})
	})
}

type eventsTail struct {
	eventFilter
	After *int64 `help:"Begin behind this position, 0 for all; default is now." placeholder:"POSITION"`
	Server
	Format
}

// Help is shown with --help.
func (eventsTail) Help() string {
	return "Restarts of the server are waited out, and no event is left out or comes\ntwice. With -o json each event is a line. Ctrl-C ends it with code 0.\n\n" +
		example("hooktrail events tail --after 0 -o json | jq .type")
}

// Run follows.
func (c *eventsTail) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		tail := hooktrail.TailEvents{
			Stream: c.Stream, Type: c.Type, Actor: c.Actor, After: c.After,
			OnInterruption: func(err error, wait time.Duration) {
				fmt.Fprintf(s.Err, "%v; trying again in %s\n", err, wait.Round(100*time.Millisecond))
			},
		}
		headed := c.json()
		for event, err := range connected.Events.Tail(ctx, tail) {
			if err != nil {
				if errors.Is(ctx.Err(), context.Canceled) {
					return nil // that is how it ends
				}
				return err
			}
			if !headed {
				headed = true
				fmt.Fprintf(s.Err, "%9s  %-19s  %-26s  %-38s  %s\n", "POSITION", "TIME (UTC)", "TYPE", "STREAM", "ACTOR")
			}
			if c.json() {
				_, err = fmt.Fprintln(s.Out, compact(event.Raw))
			} else {
				_, err = fmt.Fprintf(s.Out, "%9d  %s  %-26s  %-38s  %s\n", event.Position, stamp(event.Time), clean(event.Type), clean(event.Stream), clean(event.Actor))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
