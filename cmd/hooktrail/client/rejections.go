package client

import (
	"context"

	hooktrail "hooktrail/sdk/go"
)

// Rejections are the commands about refused calls.
type Rejections struct {
	List rejectionsList `cmd:"" help:"List refused webhook calls."`
}

// Help is shown with --help.
func (Rejections) Help() string {
	return example("hooktrail rejections list --reason invalid_signature --since 24h")
}

type rejectionsList struct {
	Trigger string `help:"Only those of this trigger." placeholder:"ID"`
	Reason  string `help:"Only those refused with this code: invalid_signature." placeholder:"CODE"`
	since
	Paging
	Server
	Format
}

// Help is shown with --help.
func (rejectionsList) Help() string {
	return "The latest first; alike ones of a minute are one entry with a count. Those\nwithout a known token are shown to keys with scope admin.\n\n" +
		example("hooktrail rejections list --trigger $TRIGGER --since 24h")
}

// Run lists.
func (c *rejectionsList) Run(s *Session) error {
	from, to, err := c.times()
	if err != nil {
		return err
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		head := []string{"LAST", "COUNT", "REASON", "TRIGGER", "CLIENT", "MESSAGE"}
		return showList(s, c.Format, c.Paging, head, func(r hooktrail.Rejection) []cell {
			return []cell{ago(&r.LastAt, ""), text("%d", r.Count), text("%s", r.Reason), text("%s", r.TriggerID), text("%s", r.ClientIP), text("%s", r.Message)}
		}, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.Rejection], error) {
			return connected.Rejections.List(ctx, hooktrail.ListRejections{
				TriggerID: c.Trigger, Reason: c.Reason, Since: from, Until: to, ListOptions: part,
			}, option)
		})
	})
}
