package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/internal/pgtest"
)

// The names of the subtests that run on one database.
const (
	onPostgres = "postgres"
	onSQLite   = "sqlite"
)

// store is one database with all that a process needs to work on it.
type store struct {
	dialect string
	env     environment
	key     string // the first API key, once a process has printed it
}

// eachStore runs a test on both databases.
func eachStore(t *testing.T, test func(t *testing.T, s *store)) {
	t.Helper()
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		test(t, postgresStore(pgtest.Database(t)))
	})
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		test(t, sqliteStore(t))
	})
}

func postgresStore(url string) *store {
	return &store{dialect: onPostgres, env: environment{"HOOKTRAIL_DATABASE_URL": url, "HOOKTRAIL_MASTER_KEY": newMasterKey()}}
}

func sqliteStore(t testing.TB) *store {
	return &store{dialect: onSQLite, env: environment{"HOOKTRAIL_DATA_DIR": filepath.Join(t.TempDir(), "data")}}
}

func newMasterKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	return base64.StdEncoding.EncodeToString(key)
}

// noLimit is for tests that call more often than a sender may.
var noLimit = environment{"HOOKTRAIL_RATE_LIMIT": "0"}

// service is a running "hooktrail serve".
type service struct {
	*process
	client
}

// serve starts a service on the store and waits until it takes requests.
func (s *store) serve(t testing.TB, more environment, args ...string) *service {
	t.Helper()
	env := environment{"HOOKTRAIL_ADDR": "127.0.0.1:0"}.with(s.env).with(more)
	p := start(t, env, append([]string{"serve"}, args...)...)
	url := p.await(`serves at (http://\S+) `)[1]
	if brought := env["HOOKTRAIL_API_KEY"]; brought != "" {
		s.key = brought
	}
	if s.key == "" {
		s.key = p.await(`(?m)^\s+(htk_\w+)$`)[1]
	}
	return &service{process: p, client: newClient(t, url, s.key)}
}

// command runs another command on the store.
func (s *store) command(t testing.TB, args ...string) result {
	t.Helper()
	return command(t, s.env, args...)
}

// open opens the database beside the processes that use it.
func (s *store) open(t testing.TB) *database.DB {
	t.Helper()
	var db *database.DB
	var err error
	if s.dialect == onPostgres {
		db, err = database.OpenPostgres(t.Context(), s.env["HOOKTRAIL_DATABASE_URL"])
	} else {
		db, err = database.OpenSQLite(filepath.Join(s.env["HOOKTRAIL_DATA_DIR"], "hooktrail.db"))
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}
