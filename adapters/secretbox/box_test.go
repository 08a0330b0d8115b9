package secretbox_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/adapters/secretbox"
)

func generate(t require.TestingT) string {
	key, err := secretbox.GenerateMasterKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func parse(t require.TestingT, keys ...string) secretbox.MasterKeys {
	m, err := secretbox.ParseMasterKeys(strings.Join(keys, ","))
	require.NoError(t, err)
	return m
}

func create(t require.TestingT) (*secretbox.Box, secretbox.Wrapped, secretbox.MasterKeys) {
	master := parse(t, generate(t))
	box, wrapped, err := secretbox.Create(master)
	require.NoError(t, err)
	return box, wrapped, master
}

func TestSealedValuesOpenInALaterRun(t *testing.T) {
	box, wrapped, master := create(t)
	sealed, err := box.Seal([]byte("whsec_secret"), "trigger/1")
	require.NoError(t, err)
	require.NotContains(t, string(sealed), "whsec_secret")

	reopened, needsRewrap, err := secretbox.Open(master, wrapped)
	require.NoError(t, err)
	require.False(t, needsRewrap)
	plaintext, err := reopened.Open(sealed, "trigger/1")
	require.NoError(t, err)
	require.Equal(t, "whsec_secret", string(plaintext))
	require.Equal(t, box.HashToken("wht_1"), reopened.HashToken("wht_1"))
	require.Equal(t, box.PrimaryKeyID(), reopened.PrimaryKeyID())
}

func TestSealingTwiceGivesDifferentValues(t *testing.T) {
	box, _, _ := create(t)
	one, err := box.Seal([]byte("same"), "row")
	require.NoError(t, err)
	two, err := box.Seal([]byte("same"), "row")
	require.NoError(t, err)
	require.NotEqual(t, one, two)
}

func TestASealedValueOpensOnlyWhereItBelongs(t *testing.T) {
	box, _, _ := create(t)
	sealed, err := box.Seal([]byte("secret"), "trigger/1")
	require.NoError(t, err)

	_, err = box.Open(sealed, "trigger/2")
	require.ErrorIs(t, err, secretbox.ErrNotSealedHere)
	for _, notSealed := range [][]byte{nil, {}, {1, 2, 3}, []byte("not sealed at all"), sealed[:5], sealed[:len(sealed)-1]} {
		_, err = box.Open(notSealed, "trigger/1")
		require.ErrorIs(t, err, secretbox.ErrNotSealedHere, "%x", notSealed)
	}

	other, _, _ := create(t)
	_, err = other.Open(sealed, "trigger/1")
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
}

func TestAddKeyKeepsOldValuesReadable(t *testing.T) {
	box, _, master := create(t)
	before := box.PrimaryKeyID()
	old, err := box.Seal([]byte("old"), "row")
	require.NoError(t, err)
	token := box.HashToken("wht_1")

	require.NoError(t, box.AddKey())
	require.NotEqual(t, before, box.PrimaryKeyID())
	fresh, err := box.Seal([]byte("new"), "row")
	require.NoError(t, err)
	id, err := box.KeyID(fresh)
	require.NoError(t, err)
	require.Equal(t, box.PrimaryKeyID(), id)
	id, err = box.KeyID(old)
	require.NoError(t, err)
	require.Equal(t, before, id)

	wrapped, err := box.Wrap(master)
	require.NoError(t, err)
	reopened, _, err := secretbox.Open(master, wrapped)
	require.NoError(t, err)
	require.Equal(t, box.PrimaryKeyID(), reopened.PrimaryKeyID())
	for want, sealed := range map[string][]byte{"old": old, "new": fresh} {
		plaintext, err := reopened.Open(sealed, "row")
		require.NoError(t, err)
		require.Equal(t, want, string(plaintext))
	}
	require.Equal(t, token, reopened.HashToken("wht_1"), "a new sealing key must not change the hashes of stored tokens")
}

func TestAReplicaThatHasNotReloadedNamesTheMissingKey(t *testing.T) {
	box, wrapped, master := create(t)
	replica, _, err := secretbox.Open(master, wrapped)
	require.NoError(t, err)
	require.NoError(t, box.AddKey())
	sealed, err := box.Seal([]byte("new"), "row")
	require.NoError(t, err)
	_, err = replica.Open(sealed, "row")
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
	require.ErrorContains(t, err, fmt.Sprint(box.PrimaryKeyID()))
}

func TestRotatingTheMasterKey(t *testing.T) {
	oldKey, newKey := generate(t), generate(t)
	box, wrapped, err := secretbox.Create(parse(t, oldKey))
	require.NoError(t, err)
	sealed, err := box.Seal([]byte("secret"), "row")
	require.NoError(t, err)

	_, _, err = secretbox.Open(parse(t, newKey), wrapped)
	require.ErrorIs(t, err, secretbox.ErrWrongMasterKey)

	rotated := parse(t, newKey, oldKey)
	box, needsRewrap, err := secretbox.Open(rotated, wrapped)
	require.NoError(t, err)
	require.True(t, needsRewrap)
	wrapped, err = box.Wrap(rotated)
	require.NoError(t, err)

	_, _, err = secretbox.Open(parse(t, oldKey), wrapped)
	require.ErrorIs(t, err, secretbox.ErrWrongMasterKey, "the old master key must not open the new wrap")
	require.ErrorContains(t, err, "none of the master keys opens the key ring")

	box, needsRewrap, err = secretbox.Open(parse(t, newKey), wrapped)
	require.NoError(t, err)
	require.False(t, needsRewrap)
	plaintext, err := box.Open(sealed, "row")
	require.NoError(t, err)
	require.Equal(t, "secret", string(plaintext))
}

func TestAHalfRewrappedRingAsksToBeWrappedAgain(t *testing.T) {
	oldKey, newKey := generate(t), generate(t)
	box, before, err := secretbox.Create(parse(t, oldKey))
	require.NoError(t, err)
	rotated := parse(t, newKey, oldKey)
	after, err := box.Wrap(rotated)
	require.NoError(t, err)
	for _, mixed := range []secretbox.Wrapped{{AEAD: after.AEAD, Hash: before.Hash}, {AEAD: before.AEAD, Hash: after.Hash}} {
		_, needsRewrap, err := secretbox.Open(rotated, mixed)
		require.NoError(t, err)
		require.True(t, needsRewrap)
	}
}

func TestADamagedOrSwappedRingDoesNotOpen(t *testing.T) {
	_, wrapped, master := create(t)
	for name, w := range map[string]secretbox.Wrapped{
		"empty":     {},
		"swapped":   {AEAD: wrapped.Hash, Hash: wrapped.AEAD},
		"one twice": {AEAD: wrapped.AEAD, Hash: wrapped.AEAD},
		"truncated": {AEAD: wrapped.AEAD[:len(wrapped.AEAD)-3], Hash: wrapped.Hash},
	} {
		_, _, err := secretbox.Open(master, w)
		require.ErrorIs(t, err, secretbox.ErrWrongMasterKey, name)
	}
	_, _, err := secretbox.Open(secretbox.MasterKeys{}, wrapped)
	require.ErrorIs(t, err, secretbox.ErrWrongMasterKey)
	_, _, err = secretbox.Create(secretbox.MasterKeys{})
	require.ErrorContains(t, err, "no master key")
}

func TestHashes(t *testing.T) {
	box, _, _ := create(t)
	other, _, _ := create(t)
	token := box.HashToken("wht_1")
	require.Len(t, token, secretbox.HashBytes)
	require.Equal(t, token, box.HashToken("wht_1"))
	require.NotEqual(t, token, box.HashToken("wht_2"))
	require.NotEqual(t, token, box.HashToken(""))
	require.NotEqual(t, token, box.HashAPIKey("wht_1"), "a token must not be found as an API key")
	require.NotEqual(t, token, other.HashToken("wht_1"), "the hash must depend on the key")
	box.HashToken("wht_3")[0]++
	require.Equal(t, token, box.HashToken("wht_1"))
}

func TestABoxServesManyAtOnce(t *testing.T) {
	box, _, master := create(t)
	token, first := box.HashToken("wht_1"), box.PrimaryKeyID()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			row := fmt.Sprint("row/", worker)
			for range 50 {
				sealed, err := box.Seal([]byte(row), row)
				if err != nil {
					t.Error(err)
					return
				}
				if plaintext, err := box.Open(sealed, row); err != nil || string(plaintext) != row {
					t.Errorf("opened %q: %v", plaintext, err)
				}
				if !bytes.Equal(token, box.HashToken("wht_1")) {
					t.Error("the hash of one token changed")
				}
			}
		})
	}
	ids := make(chan []byte, 20)
	for range 4 {
		all.Go(func() {
			for range 5 {
				if err := box.AddKey(); err != nil {
					t.Error(err)
				}
				sealed, err := box.Seal([]byte("x"), "")
				if err != nil {
					t.Error(err)
				}
				ids <- sealed
			}
		})
	}
	all.Wait()
	close(ids)
	require.NotEqual(t, first, box.PrimaryKeyID())
	wrapped, err := box.Wrap(master)
	require.NoError(t, err)
	reopened, _, err := secretbox.Open(master, wrapped)
	require.NoError(t, err)
	for sealed := range ids {
		_, err := reopened.Open(sealed, "")
		require.NoError(t, err, "a key was lost to another one added at the same time")
	}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		box, _, master := create(t)
		row := rapid.String().Draw(t, "associated data")
		plaintext := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plaintext")
		sealed, err := box.Seal(plaintext, row)
		require.NoError(t, err)

		for range rapid.IntRange(0, 3).Draw(t, "rotations") {
			if rapid.Bool().Draw(t, "data key") {
				require.NoError(t, box.AddKey())
			}
			next := parse(t, generate(t))
			wrapped, err := box.Wrap(next)
			require.NoError(t, err)
			_, _, err = secretbox.Open(master, wrapped)
			require.ErrorIs(t, err, secretbox.ErrWrongMasterKey)
			master = next
			box, _, err = secretbox.Open(master, wrapped)
			require.NoError(t, err)
		}
		opened, err := box.Open(sealed, row)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))

		bit := rapid.IntRange(0, 8*len(sealed)-1).Draw(t, "flipped bit")
		sealed[bit/8] ^= 1 << (bit % 8)
		_, err = box.Open(sealed, row)
		require.Error(t, err, "a changed value opened")
		sealed[bit/8] ^= 1 << (bit % 8)
		if other := rapid.String().Draw(t, "other data"); other != row {
			_, err = box.Open(sealed, other)
			require.ErrorIs(t, err, secretbox.ErrNotSealedHere)
		}
	})
}

func TestNothingPrintsAMasterKey(t *testing.T) {
	key := generate(t)
	raw, err := base64.StdEncoding.DecodeString(key)
	require.NoError(t, err)
	master := parse(t, key)
	type holder struct {
		Exported secretbox.MasterKeys
		hidden   secretbox.MasterKeys
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "master", master, "holder", holder{master, master})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "master", master, "holder", holder{master, master})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		fmt.Fprintf(&out, verb+"\n", master)
		fmt.Fprintf(&out, verb+"\n", holder{master, master})
		fmt.Fprintf(&out, verb+"\n", []secretbox.MasterKeys{master})
	}
	requireNoKey(t, raw, out.String())
}

// requireNoKey looks for any 6 bytes of the key, in the spellings in which bytes get printed.
func requireNoKey(t *testing.T, raw []byte, text string) {
	t.Helper()
	encoded := base64.StdEncoding.EncodeToString(raw)
	for i := 0; i+8 <= len(encoded); i++ {
		require.NotContains(t, text, encoded[i:i+8])
	}
	for i := 0; i+6 <= len(raw); i++ {
		part := raw[i : i+6]
		require.NotContains(t, text, string(part))
		require.NotContains(t, strings.ToLower(text), hex.EncodeToString(part))
		require.NotContains(t, text, strings.Trim(fmt.Sprint(part), "[]"))
		require.NotContains(t, text, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"))
	}
}
