package eventstore_test

import (
	"path/filepath"
	"testing"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore/eventstoretest"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestStore(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		eventstoretest.Run(t, func(t *testing.T) *databasetest.Backend { return databasetest.Postgres(pgtest.Database(t)) })
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		eventstoretest.Run(t, func(t *testing.T) *databasetest.Backend {
			return databasetest.SQLite(filepath.Join(t.TempDir(), "hooktrail.db"))
		})
	})
}
