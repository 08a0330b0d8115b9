package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/adapters/dump"
	"hooktrail/cmd/hooktrail/client"
	"hooktrail/cmd/hooktrail/serve"
)

type importCommand struct {
	serve.Storage
	File string `arg:"" help:"File that export wrote; - is standard input."`
}

// Validate is called by the parser.
func (c *importCommand) Validate() error { return c.Storage.Validate() }

// Help is shown with --help.
func (*importCommand) Help() string {
	return `SQLite or PostgreSQL, whichever the file came from. Needs the old master key, in
HOOKTRAIL_MASTER_KEY or as master.key in the data directory. All is held against
the signed checkpoints before any is kept; broken off, it can be repeated.

` + example("hooktrail import store.jsonl --data-dir ./hooktrail-data")
}

// Run imports.
func (c *importCommand) Run(console client.Console) error {
	in := console.In
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("read the file: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	if err := c.MasterKeyMissing(); err != nil { // before anything is made
		return fmt.Errorf("%w; put the master.key of the old store there, or its key into HOOKTRAIL_MASTER_KEY", err)
	}
	if c.Embedded() {
		release, err := c.Lock()
		if err != nil {
			return err
		}
		defer release()
	}
	return onDatabase(c.OpenDatabase, func(ctx context.Context, db *database.DB) error { return c.fill(ctx, db, in, console.Err) })
}

func (c *importCommand) fill(ctx context.Context, db *database.DB, in io.Reader, errs io.Writer) error {
	master, err := c.MasterKeys()
	if err != nil {
		return err
	}
	if _, err := db.Migrate(ctx); err != nil {
		return err
	}
	started := time.Now()
	progress := client.NewProgress(errs)
	report, err := dump.Import(ctx, db, in, master, func(done, total int64) { progress.Show(done, total, "events") })
	progress.Done()
	var wrong *dump.LineError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s, %w; nothing was imported", c.File, err)
	}
	if err != nil {
		return err
	}
	tell(errs, "imported", report, time.Since(started))
	return nil
}
