package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"hooktrail/adapters/readmodel"
	"hooktrail/cmd/hooktrail/serve"
	"hooktrail/domain/eventlog"
)

// interruptible is a context that ends when the program is told to stop.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

type serveCommand struct{ serve.Config }

// Validate is called by the parser.
func (c *serveCommand) Validate() error { return c.Config.Validate() }

// Run serves until it is told to stop.
func (c *serveCommand) Run(out io.Writer) error {
	return runService(c.Config, func(s serve.Started) { serve.Announce(out, s) }, nil)
}

// runService starts the service, does what is asked for while it serves, and stops it when
// the program is told to.
func runService(config serve.Config, started func(serve.Started), meanwhile func(ctx context.Context) error) error {
	app := serve.New(config, os.Stderr, started)
	if err := app.Err(); err != nil {
		return rootCause(err)
	}
	ctx, cancel := interruptible()
	defer cancel()
	// Not ctx: what has started half cannot be stopped well.
	starting, stopStarting := context.WithTimeout(context.Background(), app.StartTimeout())
	defer stopStarting()
	if err := app.Start(starting); err != nil {
		return rootCause(err)
	}
	var failed error
	if meanwhile != nil {
		failed = meanwhile(ctx)
	}
	code := 0
	if failed == nil {
		select {
		case <-ctx.Done():
		case shutdown := <-app.Wait():
			code = shutdown.ExitCode
		}
	}
	stopping, stopStopping := context.WithTimeout(context.Background(), app.StopTimeout())
	defer stopStopping()
	if err := errors.Join(failed, app.Stop(stopping)); err != nil {
		return err
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// rootCause leaves out which constructor failed: the message itself names the setting.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		if _, ours := inner.(interface{ Unwrap() error }); !ours {
			return inner
		}
		if fmt.Sprintf("%T", err) == "*fmt.wrapError" {
			return err
		}
		err = inner
	}
}

type migrateCommand struct {
	serve.Storage
	Status bool `help:"Only list the steps and whether they have been taken."`
}

// Validate is called by the parser.
func (c *migrateCommand) Validate() error {
	if c.DatabaseURL != "" {
		c.MasterKey = "not needed" // the schema holds nothing sealed
	}
	return c.Storage.Validate()
}

// Run migrates.
func (c *migrateCommand) Run(out io.Writer) error {
	ctx, cancel := interruptible()
	defer cancel()
	db, err := c.OpenDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if c.Status {
		steps, err := db.Migrations(ctx)
		if err != nil {
			return err
		}
		for _, step := range steps {
			state := "pending"
			if step.Applied {
				state = "applied"
			}
			fmt.Fprintf(out, "%05d  %s\n", step.Version, state)
		}
		return nil
	}
	steps, err := db.Migrate(ctx)
	if err != nil {
		return err
	}
	for _, step := range steps {
		fmt.Fprintf(out, "%05d  applied\n", step.Version)
	}
	if len(steps) == 0 {
		fmt.Fprintln(out, "the schema is up to date")
	}
	return nil
}

type keysCommand struct {
	RotateMaster rotateMasterCommand `cmd:"" help:"Seal all stored secrets anew under a new key."`
}

type rotateMasterCommand struct{ serve.Storage }

// Validate is called by the parser.
func (c *rotateMasterCommand) Validate() error { return c.Storage.Validate() }

// Help explains the way with PostgreSQL.
func (c *rotateMasterCommand) Help() string {
	return `With the embedded store a new master key is made in the data directory and the
previous one is kept behind it.

With PostgreSQL: put the new key first in HOOKTRAIL_MASTER_KEY ("new,old"), restart all
replicas with it, run this command, and take the old key out when it has ended.

The service may run meanwhile. The command can be repeated when it was broken off.`
}

// Run rotates.
func (c *rotateMasterCommand) Run(out io.Writer) error {
	ctx, cancel := interruptible()
	defer cancel()
	db, err := c.OpenDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if _, err := c.OpenKeyRing(ctx, db); err != nil { // before anything changes
		return err
	}
	inFile, err := c.RotateMasterKeyFile()
	if err != nil {
		return err
	}
	ring, err := c.OpenKeyRing(ctx, db)
	if err != nil {
		return err
	}
	rotated, err := ring.Rotate(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "sealed %d secrets anew with key %d; the key ring is wrapped by the current master key\n", rotated.Resealed, rotated.KeyID)
	if inFile {
		fmt.Fprintln(out, "the new master key is in the data directory; back it up")
	}
	return nil
}

type projectionsCommand struct {
	Rebuild rebuildCommand `cmd:"" help:"Make all read models anew from the event log, while the service goes on."`
}

type rebuildCommand struct {
	serve.Storage
	PublicURL string `help:"As for serve." env:"HOOKTRAIL_PUBLIC_URL" placeholder:"URL"`
}

// Validate is called by the parser.
func (c *rebuildCommand) Validate() error {
	if c.DatabaseURL != "" {
		c.MasterKey = "not needed" // read models hold nothing sealed
	}
	return c.Storage.Validate()
}

// Run rebuilds.
func (c *rebuildCommand) Run(out io.Writer) error {
	ctx, cancel := interruptible()
	defer cancel()
	db, err := c.OpenDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	started, told := time.Now(), time.Now()
	var done eventlog.Position
	err = readmodel.Rebuild(ctx, db, c.PublicURL, func(at, total eventlog.Position) {
		done = at
		if time.Since(told) > time.Second {
			told = time.Now()
			fmt.Fprintf(out, "%d of %d events\n", at, total)
		}
	})
	if err != nil {
		return err
	}
	took := time.Since(started)
	fmt.Fprintf(out, "rebuilt all read models from %d events in %s (%.0f events/s)\n", done, took.Round(time.Millisecond), float64(done)/took.Seconds())
	return nil
}
