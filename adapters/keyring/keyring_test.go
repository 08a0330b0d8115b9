package keyring_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/secretbox"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func newKey(t *testing.T) string {
	t.Helper()
	key, err := secretbox.GenerateMasterKey(rand.Reader)
	require.NoError(t, err)
	return key
}

// keys reads master keys, the current one first.
func keys(list ...string) func() (secretbox.MasterKeys, error) {
	return func() (secretbox.MasterKeys, error) {
		text := list[0]
		for _, key := range list[1:] {
			text += "," + key
		}
		return secretbox.ParseMasterKeys(text)
	}
}

func open(t *testing.T, b *databasetest.Backend, masters func() (secretbox.MasterKeys, error)) *keyring.Ring {
	t.Helper()
	ring, err := keyring.Open(t.Context(), b.Open(t), masters)
	require.NoError(t, err)
	return ring
}

func secretOf(id string) string { return "the secret of " + id }

// keep stores n sealed secrets, and hashes that are none.
func keep(t *testing.T, b *databasetest.Backend, ring *keyring.Ring, n int) (ids []string) {
	t.Helper()
	require.NoError(t, b.Open(t).Write(t.Context(), func(tx *database.Tx) error {
		for i := range n {
			id := fmt.Sprintf("c%04d", i)
			sealed, err := ring.Seal([]byte(secretOf(id)), id)
			if err != nil {
				return err
			}
			tx.Exec("INSERT INTO credentials (id, workspace_id, owner, sealed) VALUES (?, 'w', 'trigger-1', ?)", id, sealed)
			tx.Exec("INSERT INTO credentials (id, workspace_id, owner, hash) VALUES (?, 'w', 'trigger-1', ?)", "h"+id, ring.HashToken(id))
			ids = append(ids, id)
		}
		return nil
	}))
	return ids
}

func stored(ctx context.Context, db *database.DB, id string) ([]byte, error) {
	var sealed []byte
	err := db.Get(ctx, &sealed, "SELECT sealed FROM credentials WHERE id = ?", id)
	return sealed, err
}

func requireAllOpen(t *testing.T, db *database.DB, ids []string, rings ...*keyring.Ring) {
	t.Helper()
	for _, id := range ids {
		sealed, err := stored(t.Context(), db, id)
		require.NoError(t, err)
		for _, ring := range rings {
			plaintext, err := ring.Open(sealed, id)
			require.NoError(t, err)
			require.Equal(t, secretOf(id), string(plaintext))
		}
	}
}

func TestOneRingForAll(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		masters := keys(newKey(t))
		db := b.Open(t)
		rings := make([]*keyring.Ring, 4)
		var opening sync.WaitGroup
		for i := range rings {
			db := b.Open(t)
			opening.Go(func() {
				var err error
				if rings[i], err = keyring.Open(t.Context(), db, masters); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
		ids := keep(t, b, rings[0], 2)
		for _, ring := range rings {
			require.Equal(t, rings[0].HashToken("x"), ring.HashToken("x"))
			require.Equal(t, rings[0].HashAPIKey("x"), ring.HashAPIKey("x"))
			require.NotEqual(t, ring.HashToken("x"), ring.HashAPIKey("x"))
		}
		requireAllOpen(t, db, ids, rings...)
		sealed, err := stored(t.Context(), db, ids[0])
		require.NoError(t, err)
		_, err = rings[0].Open(sealed, ids[1])
		require.ErrorIs(t, err, secretbox.ErrNotSealedHere, "a secret does not open under another id")
		require.NotContains(t, string(sealed), secretOf(ids[0]))
	})
}

func TestWrongMasterKey(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		first, second := newKey(t), newKey(t)
		ids := keep(t, b, open(t, b, keys(first)), 1)
		_, err := keyring.Open(t.Context(), db, keys(second))
		require.ErrorIs(t, err, secretbox.ErrWrongMasterKey)

		// The change of the master key: both, then a rotation, then the new one alone.
		both := open(t, b, keys(second, first))
		requireAllOpen(t, db, ids, both)
		hash := both.HashToken("x")
		_, err = both.Rotate(t.Context())
		require.NoError(t, err)
		alone := open(t, b, keys(second))
		requireAllOpen(t, db, ids, alone)
		require.Equal(t, hash, alone.HashToken("x"), "tokens are found as before")
		_, err = keyring.Open(t.Context(), db, keys(first))
		require.ErrorIs(t, err, secretbox.ErrWrongMasterKey)

		unreadable := errors.New("no key file")
		_, err = keyring.Open(t.Context(), db, func() (secretbox.MasterKeys, error) { return secretbox.MasterKeys{}, unreadable })
		require.ErrorIs(t, err, unreadable)
	})
}

// TestRotateWhileInUse rotates, in more than one batch, while another replica opens and seals.
func TestRotateWhileInUse(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		masters := keys(newKey(t))
		ring, other := open(t, b, masters), open(t, b, masters)
		db := b.Open(t)
		ids := keep(t, b, ring, 450)
		ctx, stop := context.WithCancel(t.Context())
		var using sync.WaitGroup

		sealed := make(chan []byte, 10_000)
		for _, user := range []*keyring.Ring{ring, other} {
			using.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					id := ids[i*7%len(ids)]
					secret, err := stored(t.Context(), db, id)
					if err != nil {
						t.Error(err)
						return
					}
					if plaintext, err := user.Open(secret, id); err != nil || string(plaintext) != secretOf(id) {
						t.Errorf("%q %v", plaintext, err)
						return
					}
					fresh, err := user.Seal([]byte("new"), "new")
					if err != nil {
						t.Error(err)
						return
					}
					select {
					case sealed <- fresh:
					default:
					}
				}
			})
		}
		seen := map[uint32]bool{}
		for range 3 {
			rotated, err := ring.Rotate(t.Context())
			require.NoError(t, err)
			require.Equal(t, len(ids), rotated.Resealed)
			require.False(t, seen[rotated.KeyID], "a new key")
			seen[rotated.KeyID] = true
			requireSealedWith(t, db, ids, rotated.KeyID)
		}
		stop()
		using.Wait()
		close(sealed)
		fresh := open(t, b, masters)
		requireAllOpen(t, db, ids, ring, other, fresh)
		for one := range sealed {
			plaintext, err := fresh.Open(one, "new")
			require.NoError(t, err, "what was sealed meanwhile opens")
			require.Equal(t, "new", string(plaintext))
		}
	})
}

func requireSealedWith(t *testing.T, db *database.DB, ids []string, key uint32) {
	t.Helper()
	for _, id := range ids {
		sealed, err := stored(t.Context(), db, id)
		require.NoError(t, err)
		found, err := new(secretbox.Box).KeyID(sealed)
		require.NoError(t, err)
		require.Equal(t, key, found)
	}
}

// TestRotateBrokenOff ends rotations at any moment. Every secret stays open to all, and the
// next rotation brings them all to its key.
func TestRotateBrokenOff(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		masters := keys(newKey(t))
		ring, other := open(t, b, masters), open(t, b, masters)
		ids := keep(t, b, ring, 420)
		broken := 0
		for i := 0; broken < 5 && i < 200; i++ {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Duration(i%20)*300*time.Microsecond, cancel)
			if _, err := ring.Rotate(ctx); err != nil {
				broken++
			}
			cancel()
		}
		require.Equal(t, 5, broken)
		requireAllOpen(t, db, ids, ring, other, open(t, b, masters))
		rotated, err := other.Rotate(t.Context())
		require.NoError(t, err)
		require.Equal(t, len(ids), rotated.Resealed)
		requireSealedWith(t, db, ids, rotated.KeyID)
		requireAllOpen(t, db, ids, ring, other)
	})
}

// TestTwoRotationsAtOnce must not lose the key of one of them.
func TestTwoRotationsAtOnce(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		masters := keys(newKey(t))
		rings := []*keyring.Ring{open(t, b, masters), open(t, b, masters), open(t, b, masters)}
		ids := keep(t, b, rings[0], 20)
		done := 0
		for range 5 {
			var rotating sync.WaitGroup
			errs := make([]error, len(rings))
			for i, ring := range rings {
				rotating.Go(func() { _, errs[i] = ring.Rotate(t.Context()) })
			}
			rotating.Wait()
			for _, err := range errs {
				if err == nil {
					done++
					continue
				}
				require.ErrorContains(t, err, "another rotation")
			}
			requireAllOpen(t, db, ids, rings...)
		}
		require.GreaterOrEqual(t, done, 5, "one of them gets through each time")
		requireAllOpen(t, db, ids, open(t, b, masters))
	})
}

func TestRotateNamesWhatIsDamaged(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		ring := open(t, b, keys(newKey(t)))
		ids := keep(t, b, ring, 3)
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
			tx.Exec("UPDATE credentials SET sealed = ? WHERE id = ?", []byte("damaged"), ids[1])
			return nil
		}))
		_, err := ring.Rotate(t.Context())
		require.ErrorIs(t, err, secretbox.ErrNotSealedHere)
		require.ErrorContains(t, err, ids[1])
		requireAllOpen(t, db, []string{ids[0], ids[2]}, ring)
	})
}
