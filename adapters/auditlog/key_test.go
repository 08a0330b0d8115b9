package auditlog_test

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/secretbox"
	"hooktrail/internal/pgtest"
)

func newMasterKey(t testing.TB) string {
	t.Helper()
	key, err := secretbox.GenerateMasterKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func openRing(t testing.TB, db *database.DB, master string) *keyring.Ring {
	t.Helper()
	ring, err := keyring.Open(t.Context(), db, func() (secretbox.MasterKeys, error) { return secretbox.ParseMasterKeys(master) })
	require.NoError(t, err)
	return ring
}

func TestSigningKey(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		_, err := auditlog.Verifier(t.Context(), db)
		require.ErrorIs(t, err, auditlog.ErrNoKey)
		old, current := newMasterKey(t), newMasterKey(t)
		signer, err := auditlog.OpenSigner(t.Context(), db, openRing(t, db, old), "hooktrail/w1")
		require.NoError(t, err)
		require.Equal(t, "hooktrail/w1", signer.Verifier().Origin())
		verifier, err := auditlog.Verifier(t.Context(), db)
		require.NoError(t, err)
		require.Equal(t, signer.Verifier().String(), verifier.String())
		sealed, err := db.Setting(t.Context(), keyring.AuditKey)
		require.NoError(t, err)
		require.NotContains(t, string(sealed), "PRIVATE")

		// The change of the master key takes it along: the old one opens nothing any more.
		rotated, err := openRing(t, db, current+","+old).Rotate(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, rotated.Resealed)
		resealed, err := db.Setting(t.Context(), keyring.AuditKey)
		require.NoError(t, err)
		require.NotEqual(t, sealed, resealed)
		again, err := auditlog.OpenSigner(t.Context(), b.Open(t), openRing(t, db, current), "hooktrail/w1")
		require.NoError(t, err)
		require.Equal(t, verifier.String(), again.Verifier().String())

		change(t, db, "UPDATE settings SET value = (SELECT value FROM settings WHERE name = 'audit_key') WHERE name = 'audit_verifier'")
		_, err = auditlog.OpenSigner(t.Context(), db, openRing(t, db, current), "hooktrail/w1")
		require.ErrorContains(t, err, "somebody has changed it")
	})
}
