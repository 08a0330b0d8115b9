package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"hooktrail/cmd/hooktrail/serve"
)

// interruptible is a context that ends when the program is told to stop.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

type serveCommand struct{ serve.Config }

// Validate is called by the parser.
func (c *serveCommand) Validate() error { return c.Config.Validate() }

// Help is shown with --help.
func (*serveCommand) Help() string {
	return example("hooktrail serve --public-url https://hooks.example.com --rate-limit 300")
}

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
