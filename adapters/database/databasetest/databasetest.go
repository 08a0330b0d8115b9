// Package databasetest gives the tests of the storage adapters the same empty database in
// both dialects, and lets them open it again as another process would.
package databasetest

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
)

// Each runs a test on both databases, as the subtests "postgres" and "sqlite". postgres gives
// the URL of an empty PostgreSQL database.
func Each(t *testing.T, postgres func(testing.TB) string, test func(t *testing.T, b *Backend)) {
	t.Helper()
	t.Parallel()
	t.Run(database.Postgres, func(t *testing.T) {
		t.Parallel()
		test(t, Postgres(postgres(t)))
	})
	t.Run(database.SQLite, func(t *testing.T) {
		t.Parallel()
		test(t, SQLite(filepath.Join(t.TempDir(), "data", "hooktrail.db")))
	})
}

// Backend is one database, which can be opened.
type Backend struct {
	Dialect string
	URL     string // of PostgreSQL
	Path    string // of the SQLite file

	mu       sync.Mutex
	migrated bool
	opened   []*database.DB
}

// Postgres is the database behind a URL.
func Postgres(url string) *Backend { return &Backend{Dialect: database.Postgres, URL: url} }

// SQLite is the database in a file, which need not exist.
func SQLite(path string) *Backend { return &Backend{Dialect: database.SQLite, Path: path} }

// Open opens the database with its schema up to date. On PostgreSQL every call gives a handle
// with connections of its own, as another replica has. On SQLite, which one process alone may
// open, it gives the open handle again. It is closed at the end of t.
func (b *Backend) Open(t testing.TB) *database.DB {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Dialect == database.SQLite && len(b.opened) > 0 {
		return b.opened[0]
	}
	db := b.OpenEmpty(t)
	b.opened = append(b.opened, db)
	t.Cleanup(func() { b.close(t, db) })
	if !b.migrated {
		_, err := db.Migrate(t.Context())
		require.NoError(t, err)
		b.migrated = true
	}
	return db
}

// OpenEmpty opens the database as it is. The caller closes it.
func (b *Backend) OpenEmpty(t testing.TB) *database.DB {
	t.Helper()
	var db *database.DB
	var err error
	if b.Dialect == database.Postgres {
		db, err = database.OpenPostgres(t.Context(), b.URL)
	} else {
		db, err = database.OpenSQLite(b.Path)
	}
	require.NoError(t, err)
	return db
}

func (b *Backend) close(t testing.TB, db *database.DB) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.opened, db); i >= 0 {
		b.opened = slices.Delete(b.opened, i, i+1)
		require.NoError(t, db.Close())
	}
}

// Shutdown closes every handle, as if all processes ended.
func (b *Backend) Shutdown(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, db := range b.opened {
		require.NoError(t, db.Close())
	}
	b.opened = nil
}

// Others is the condition for the sessions on this PostgreSQL database but the one that asks.
const Others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"

// Admin connects to the PostgreSQL database beside the handles, to see and end their sessions.
func (b *Backend) Admin(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

// Terminate ends the sessions that fit an SQL condition on pg_stat_activity, and tells how many.
func Terminate(t testing.TB, admin *pgx.Conn, condition string) int {
	t.Helper()
	var ended int
	err := admin.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "+Others+" AND "+condition).Scan(&ended)
	require.NoError(t, err)
	return ended
}

// Columns lists the columns of every table, in their order.
func Columns(t testing.TB, db *database.DB) map[string][]string {
	t.Helper()
	query := "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
	if db.Dialect.Name == database.SQLite {
		query = "SELECT m.name AS table_name, c.name AS column_name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid"
	}
	var rows []struct {
		Table  string `db:"table_name"`
		Column string `db:"column_name"`
	}
	require.NoError(t, db.Select(t.Context(), &rows, query))
	columns := map[string][]string{}
	for _, row := range rows {
		columns[row.Table] = append(columns[row.Table], row.Column)
	}
	return columns
}
