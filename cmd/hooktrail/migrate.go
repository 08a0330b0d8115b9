package main

import (
	"fmt"
	"io"

	"hooktrail/cmd/hooktrail/serve"
)

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

// Help is shown with --help.
func (*migrateCommand) Help() string { return example("hooktrail migrate --status") }

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
