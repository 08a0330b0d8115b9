package main

import (
	"context"
	"fmt"
	"io"

	"hooktrail/adapters/database"
)

type migrateCommand struct {
	unsealed
	Status bool `help:"Only list the steps and whether they have been taken."`
}

// Help is shown with --help.
func (*migrateCommand) Help() string { return example("hooktrail migrate --status") }

// Run migrates.
func (c *migrateCommand) Run(out io.Writer) error {
	return onDatabase(c.OpenDatabase, func(ctx context.Context, db *database.DB) error {
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
	})
}
