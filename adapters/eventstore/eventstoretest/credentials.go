package eventstoretest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
)

var credentials = map[string]func(*testing.T, *databasetest.Backend){
	"credentials":                   testCredentials,
	"credentials of a refused call": testRefusedCredentials,
}

func testCredentials(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	stream := newStream()
	tokenHash := []byte{0, 1, 2, 0xff}
	token := eventlog.Credential{ID: newID(), WorkspaceID: workspace, Owner: stream, Hash: tokenHash}
	secret := eventlog.Credential{ID: newID(), WorkspaceID: workspace, Owner: stream, Sealed: []byte{0xff, 0}}
	created := decide(stream, 0, event())
	created.Keep = []eventlog.Credential{token, secret}
	mustAppend(t, store, created)

	found, ok, err := store.CredentialByHash(t.Context(), tokenHash)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, eventlog.Credential{ID: token.ID, WorkspaceID: workspace, Owner: stream}, found)
	sealed, ok, err := store.Sealed(t.Context(), secret.ID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, secret.Sealed, sealed)
	for _, missing := range [][]byte{{0, 1, 2}, nil, {}} {
		_, ok, err = store.CredentialByHash(t.Context(), missing)
		require.NoError(t, err)
		require.False(t, ok)
	}
	for _, missing := range []string{newID(), token.ID, ""} {
		_, ok, err = store.Sealed(t.Context(), missing)
		require.NoError(t, err)
		require.False(t, ok, "a hash is not a sealed secret")
	}

	// A new one takes the place of the old one in the same transaction.
	next := eventlog.Credential{ID: newID(), WorkspaceID: workspace, Owner: stream, Hash: []byte("next")}
	rotated := decide(stream, 1, event())
	rotated.Keep, rotated.Forget = []eventlog.Credential{next}, []string{token.ID, secret.ID, newID()}
	mustAppend(t, store, rotated)
	_, ok, err = store.CredentialByHash(t.Context(), tokenHash)
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = store.Sealed(t.Context(), secret.ID)
	require.NoError(t, err)
	require.False(t, ok)
	found, ok, err = store.CredentialByHash(t.Context(), []byte("next"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, next.ID, found.ID)
}

func testRefusedCredentials(t *testing.T, b *databasetest.Backend) {
	store := newStore(t, b, eventstore.Config{})
	stream := newStream()
	token := eventlog.Credential{ID: newID(), WorkspaceID: workspace, Owner: stream, Hash: []byte("first")}
	created := decide(stream, 0, event())
	created.Keep = []eventlog.Credential{token}
	mustAppend(t, store, created)

	other := eventlog.Credential{ID: newID(), WorkspaceID: workspace, Owner: stream, Hash: []byte("second")}
	late := decide(stream, 0, event())
	late.Keep, late.Forget = []eventlog.Credential{other}, []string{token.ID}
	_, err := store.Append(t.Context(), late)
	require.True(t, eventlog.IsConflict(err))
	taken := decide(stream, 1, event())
	taken.Keep, taken.Forget = []eventlog.Credential{other, {ID: newID(), WorkspaceID: workspace, Owner: stream, Hash: []byte("second")}}, []string{token.ID}
	_, err = store.Append(t.Context(), taken)
	require.Error(t, err)

	_, kept, err := store.CredentialByHash(t.Context(), []byte("second"))
	require.NoError(t, err)
	require.False(t, kept, "nothing is kept of a refused call")
	_, kept, err = store.CredentialByHash(t.Context(), []byte("first"))
	require.NoError(t, err)
	require.True(t, kept, "and nothing is forgotten")
	require.Len(t, whole(t, store), 1)
}
