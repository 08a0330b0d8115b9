package database

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"hooktrail/migrations"
)

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Source  string
	Applied bool
}

func (db *DB) provider() (*goose.Provider, error) {
	files, err := migrations.For(db.Dialect.Name)
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	var (
		handle  = db.Read.DB
		dialect = goose.DialectPostgres
		options = []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	)
	if writer, embedded := db.writer.(*sqliteWriter); embedded {
		handle, dialect = writer.db, goose.DialectSQLite3
	} else {
		// Replicas that start together migrate one after the other.
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, fmt.Errorf("make the migration lock: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(dialect, handle, files, options...)
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return provider, nil
}

// Migrate brings the schema up to date and lists the steps it took.
func (db *DB) Migrate(ctx context.Context) ([]Migration, error) {
	provider, err := db.provider()
	if err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate the database: %w", err)
	}
	steps := make([]Migration, len(results))
	for i, result := range results {
		steps[i] = Migration{Version: result.Source.Version, Source: result.Source.Path, Applied: true}
	}
	return steps, nil
}

// Migrations lists all steps and whether each has been taken.
func (db *DB) Migrations(ctx context.Context) ([]Migration, error) {
	provider, err := db.provider()
	if err != nil {
		return nil, err
	}
	states, err := provider.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the state of the schema: %w", err)
	}
	steps := make([]Migration, len(states))
	for i, state := range states {
		steps[i] = Migration{Version: state.Source.Version, Source: state.Source.Path, Applied: state.State == goose.StateApplied}
	}
	return steps, nil
}

// Schema gives the last step of the schema that was taken, and the last that there is. Unlike
// Migrations it can be asked while the database is written to.
func (db *DB) Schema(ctx context.Context) (taken, last int64, err error) {
	files, err := migrations.For(db.Dialect.Name)
	if err != nil {
		return 0, 0, fmt.Errorf("read the migrations: %w", err)
	}
	steps, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, 0, fmt.Errorf("read the migrations: %w", err)
	}
	for _, name := range steps {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return 0, 0, fmt.Errorf("read the migrations: %w", err)
		}
		last = max(last, version)
	}
	if err := db.Get(ctx, &taken, "SELECT max(version_id) FROM goose_db_version"); err != nil {
		return 0, 0, fmt.Errorf("read the state of the schema: %w", err)
	}
	return taken, last, nil
}
