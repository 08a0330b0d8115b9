package main

import (
	"context"
	"fmt"
	"io"

	"hooktrail/adapters/database"
	"hooktrail/cmd/hooktrail/client"
	"hooktrail/cmd/hooktrail/serve"
)

type keysCommand struct {
	List         client.KeysList     `cmd:"" help:"List API keys."`
	Create       client.KeysCreate   `cmd:"" help:"Create an API key."`
	Delete       client.KeysDelete   `cmd:"" help:"Revoke an API key."`
	RotateMaster rotateMasterCommand `cmd:"" help:"Seal all stored secrets anew under a new master key."`
}

// Help is shown with --help.
func (*keysCommand) Help() string {
	return "API keys are a server's; rotate-master works on its database.\n\n" +
		example("hooktrail keys create --name CI --scope agents:read,agents:execute", "hooktrail keys rotate-master")
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

The service may run meanwhile. The command can be repeated when it was broken off.

` + example("hooktrail keys rotate-master --data-dir ./hooktrail-data")
}

// Run rotates.
func (c *rotateMasterCommand) Run(out io.Writer) error {
	return onDatabase(c.OpenDatabase, func(ctx context.Context, db *database.DB) error {
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
	})
}
