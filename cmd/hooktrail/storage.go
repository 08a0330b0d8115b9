package main

import (
	"context"

	"hooktrail/adapters/database"
	"hooktrail/cmd/hooktrail/serve"
)

// unsealed is a database of which nothing that is sealed is opened.
type unsealed struct{ serve.Storage }

// Validate is called by the parser.
func (s *unsealed) Validate() error {
	if s.DatabaseURL != "" {
		s.MasterKey = "not needed"
	}
	return s.Storage.Validate()
}

// onDatabase does something on a database until it is done or the program is told to stop.
func onDatabase(open func(ctx context.Context) (*database.DB, error), do func(ctx context.Context, db *database.DB) error) error {
	ctx, cancel := interruptible()
	defer cancel()
	db, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return do(ctx, db)
}
