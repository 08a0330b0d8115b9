package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/adapters/dump"
	"hooktrail/cmd/hooktrail/client"
)

type exportCommand struct {
	auditStorage
	File string `arg:"" help:"File to write, which must not exist; - is standard output."`
}

// Help is shown with --help.
func (*exportCommand) Help() string {
	return `The whole store as it is at one moment, as JSON Lines, for 'hooktrail import'.
The service may run meanwhile; to move, stop it first.

Payloads are in the clear; credentials are sealed by the master key, which is not
in the file.

` + example("hooktrail export store.jsonl --data-dir ./hooktrail-data")
}

// Run exports.
func (c *exportCommand) Run(console client.Console) error {
	return onDatabase(c.open, func(ctx context.Context, db *database.DB) (err error) {
		out := console.Out
		if c.File != "-" {
			file, opened := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(opened, fs.ErrExist) {
				return fmt.Errorf("%s exists already; name another file", c.File)
			}
			if opened != nil {
				return fmt.Errorf("make the file: %w", opened)
			}
			out = file
			defer func() { err = finish(file, err) }()
		}
		return export(ctx, db, out, console.Err)
	})
}

// finish puts a file on disk; after an error it takes it away.
func finish(file *os.File, err error) error {
	if err == nil {
		if err = errors.Join(file.Sync(), file.Close()); err != nil {
			err = fmt.Errorf("write the file: %w", err)
		}
	} else {
		_ = file.Close()
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

func export(ctx context.Context, db *database.DB, out, errs io.Writer) error {
	started := time.Now()
	progress := client.NewProgress(errs)
	report, err := dump.Export(ctx, db, out, started, func(done, total int64) { progress.Show(done, total, "events") })
	progress.Done()
	if errors.Is(err, auditlog.ErrInconsistent) {
		return fmt.Errorf("nothing was exported: %w; find the place with: hooktrail audit verify", err)
	}
	if err != nil {
		return err
	}
	tell(errs, "exported", report, time.Since(started))
	if behind := report.Events - report.Covered; behind > 0 {
		fmt.Fprintf(errs, "%d events behind the last checkpoint are not signed yet; a server that is stopped signs them first\n", behind)
	}
	return nil
}

// tell says what was moved; the root is the same on both sides.
func tell(out io.Writer, what string, report dump.Report, took time.Duration) {
	rows := int64(0)
	for _, count := range report.Rows {
		rows += count
	}
	fmt.Fprintf(out, "%s %d events and %d rows beside them in %s (%.0f events/s)\n", what, report.Events, rows, took.Round(time.Millisecond), float64(report.Events)/took.Seconds())
	fmt.Fprintf(out, "root %s, signed up to position %d\n", hex.EncodeToString(report.Root), report.Covered)
}
