package database_test

import (
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/internal/pgtest"
)

func TestMigrate(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.OpenEmpty(t)
		defer db.Close()
		before, err := db.Migrations(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, before)
		for i, step := range before {
			require.Equal(t, int64(i+1), step.Version)
			require.False(t, step.Applied)
		}
		taken, err := db.Migrate(t.Context())
		require.NoError(t, err)
		require.Len(t, taken, len(before))
		again, err := db.Migrate(t.Context())
		require.NoError(t, err)
		require.Empty(t, again)
		after, err := db.Migrations(t.Context())
		require.NoError(t, err)
		require.Equal(t, taken, after)
	})
}

func TestReplicasMigrateTogether(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		b := databasetest.Postgres(pgtest.Database(t))
		var mu sync.Mutex
		var replicas sync.WaitGroup
		steps := 0
		for range 4 {
			db := b.OpenEmpty(t)
			defer db.Close()
			replicas.Go(func() {
				taken, err := db.Migrate(t.Context())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				steps += len(taken)
			})
		}
		replicas.Wait()
		all, err := b.Open(t).Migrations(t.Context())
		require.NoError(t, err)
		require.Equal(t, len(all), steps, "each step is taken once")
	})
}

// TestTheSameSchema compares what both dialects have, by name.
func TestTheSameSchema(t *testing.T) {
	t.Parallel()
	postgres := databasetest.Postgres(pgtest.Database(t)).Open(t)
	sqlite := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db")).Open(t)
	columns, others := databasetest.Columns(t, postgres), databasetest.Columns(t, sqlite)
	// Replicas share their counts of calls; one process alone keeps them in memory.
	require.Contains(t, columns, "rate_limit_slots")
	delete(columns, "rate_limit_slots")
	delete(columns, "goose_db_version")
	delete(others, "goose_db_version")
	require.Equal(t, slices.Sorted(maps.Keys(columns)), slices.Sorted(maps.Keys(others)))
	for table := range columns {
		require.Equal(t, columns[table], others[table], table)
	}

	indexes := func(db *database.DB, query string) (names []string) {
		require.NoError(t, db.Select(t.Context(), &names, query))
		return names
	}
	require.Equal(t,
		indexes(postgres, `SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND indexname NOT LIKE '%_pkey' ORDER BY indexname COLLATE "C"`),
		indexes(sqlite, "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"))
}
