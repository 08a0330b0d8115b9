package main

import (
	"context"
	"fmt"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/adapters/readmodel"
	"hooktrail/cmd/hooktrail/client"
	"hooktrail/domain/eventlog"
)

type projectionsCommand struct {
	Rebuild rebuildCommand `cmd:"" help:"Make all read models anew from the event log, while the service goes on."`
}

// Help is shown with --help.
func (*projectionsCommand) Help() string { return example("hooktrail projections rebuild") }

type rebuildCommand struct {
	unsealed
	Resume    bool   `help:"Go on where the last rebuild was broken off; it must have been by this version."`
	PublicURL string `help:"As for serve." env:"HOOKTRAIL_PUBLIC_URL" placeholder:"URL"`
}

// Help is shown with --help.
func (*rebuildCommand) Help() string {
	return example("hooktrail projections rebuild --data-dir ./hooktrail-data")
}

// Run rebuilds.
func (c *rebuildCommand) Run(console client.Console) error {
	out := console.Out
	return onDatabase(c.OpenDatabase, func(ctx context.Context, db *database.DB) error {
		started := time.Now()
		var done eventlog.Position
		progress := client.NewProgress(console.Err)
		err := readmodel.Rebuild(ctx, db, c.PublicURL, c.Resume, func(at, total eventlog.Position) {
			done = at
			progress.Show(int64(at), int64(total), "events")
		})
		progress.Done()
		if err != nil {
			return err
		}
		took := time.Since(started)
		fmt.Fprintf(out, "rebuilt all read models from %d events in %s (%.0f events/s)\n", done, took.Round(time.Millisecond), float64(done)/took.Seconds())
		return nil
	})
}
