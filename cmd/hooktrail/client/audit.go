package client

import (
	"context"

	hooktrail "hooktrail/sdk/go"
)

// AuditReceipt gets the proof that an event is in the log.
type AuditReceipt struct {
	Event string `arg:"" help:"Id of the event."`
	Server
}

// Help is shown with --help.
func (AuditReceipt) Help() string {
	return "Asks the server; a new event is covered within 10 seconds. The receipt is JSON, and\nverify-receipt checks it without any server.\n\n" +
		example("hooktrail audit receipt $EVENT | tee receipt.json")
}

// Run prints what the API answered.
func (c *AuditReceipt) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		var answer hooktrail.Answer
		if _, err := connected.Audit.Receipt(ctx, c.Event, hooktrail.WithAnswer(&answer)); err != nil {
			return err
		}
		return s.printAnswer(answer)
	})
}
