//go:build unix

package testserver

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/readmodel"
	"hooktrail/application"
	"hooktrail/cmd/hooktrail/serve"
)

// Database opens the server's database beside it, until t is done.
func (s *Server) Database(t testing.TB) *database.DB {
	t.Helper()
	return open(t, s.Config.Storage)
}

func open(t testing.TB, storage serve.Storage) *database.DB {
	t.Helper()
	db, err := storage.OpenDatabase(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// otherWorkspace makes a key in a new workspace, which no request can do.
func otherWorkspace(t testing.TB, storage serve.Storage) (apiKey string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db := open(t, storage)
	_, err := db.Migrate(ctx)
	require.NoError(t, err)
	ring, err := storage.OpenKeyRing(ctx, db)
	require.NoError(t, err)
	models := readmodel.New(db, "")
	store := eventstore.New(db, models, eventstore.Config{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	defer store.Close()
	app, err := application.New(application.Config{WorkspaceID: ksuid.New().String()}, application.Dependencies{
		Store: store, Views: models, Secrets: ring, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader,
		NewID: func() string { return ksuid.New().String() },
	})
	require.NoError(t, err)
	apiKey = "htk_other_" + rand.Text()
	_, err = app.EnsureAPIKey(ctx, apiKey)
	require.NoError(t, err)
	return apiKey
}
