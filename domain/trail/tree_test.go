package trail_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"hooktrail/domain/trail"
)

func leaves(n int) [][]byte {
	hashes := make([][]byte, n)
	for i := range hashes {
		hashes[i] = trail.HashLeaf(fmt.Appendf(nil, "event %d", i))
	}
	return hashes
}

// plainRoot is MTH of RFC 6962, word by word.
func plainRoot(hashes [][]byte) []byte {
	switch len(hashes) {
	case 0:
		sum := sha256.Sum256(nil)
		return sum[:]
	case 1:
		return hashes[0]
	}
	split := 1
	for 2*split < len(hashes) {
		split *= 2
	}
	sum := sha256.Sum256(slices.Concat([]byte{1}, plainRoot(hashes[:split]), plainRoot(hashes[split:])))
	return sum[:]
}

// storage keeps blocks as the database does.
type storage map[trail.BlockID][]byte

func (s storage) read(id trail.BlockID) ([]byte, error) { return s[id], nil }

// grow adds leaves in steps of so many, each from what was stored alone.
func grow(t *testing.T, all [][]byte, step int) (storage, *trail.Tree) {
	t.Helper()
	stored := storage{}
	keep := func(b trail.Block) { stored[b.BlockID] = bytes.Clone(b.Hashes) }
	var tree *trail.Tree
	for at := 0; at < len(all); at += step {
		var err error
		tree, err = trail.Open(uint64(at), stored.read)
		require.NoError(t, err)
		for _, leaf := range all[at:min(at+step, len(all))] {
			require.NoError(t, tree.Add(leaf, keep))
		}
		for _, b := range tree.Growing() {
			keep(b)
		}
	}
	return stored, tree
}

func TestRoots(t *testing.T) {
	all := leaves(66_000)
	stored, tree := grow(t, all, 1777)
	require.EqualValues(t, len(all), tree.Size())
	root, err := tree.Root()
	require.NoError(t, err)
	require.Equal(t, plainRoot(all), root)
	for _, size := range []int{0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 65_800, 66_000} {
		root, err := trail.Root(uint64(size), stored.read)
		require.NoError(t, err, size)
		require.Equal(t, plainRoot(all[:size]), root, size)
		opened, err := trail.Open(uint64(size), stored.read)
		require.NoError(t, err, size)
		root, err = opened.Root()
		require.NoError(t, err, size)
		require.Equal(t, plainRoot(all[:size]), root, "the tree opened at %d", size)
	}
	require.Len(t, stored, 258+2+1, "of the levels 0, 1 and 2")
	for _, step := range []int{1, 256, 300} {
		others, _ := grow(t, all[:1500], step)
		for id, hashes := range others {
			require.True(t, bytes.HasPrefix(stored[id], hashes), "block %v in steps of %d", id, step)
		}
	}
}

func TestEmptyTree(t *testing.T) {
	root, err := trail.Root(0, nil)
	require.NoError(t, err)
	require.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", hex.EncodeToString(root))
}

func TestInclusion(t *testing.T) {
	all := leaves(66_000)
	stored, _ := grow(t, all, 5000)
	for _, size := range []uint64{1, 2, 255, 256, 257, 700, 65_536, 66_000} {
		root := plainRoot(all[:size])
		for _, index := range []uint64{0, 1, 100, 255, 256, 257, 65_535, 65_536, size - 1} {
			if index >= size {
				continue
			}
			hashes, err := trail.Inclusion(index, size, stored.read)
			require.NoError(t, err)
			require.NoError(t, proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, all[index], hashes, root), "%d in %d", index, size)
		}
	}
	_, err := trail.Inclusion(5, 5, stored.read)
	require.Error(t, err)
}

func TestDamagedBlocks(t *testing.T) {
	all := leaves(600)
	stored, _ := grow(t, all, 600)
	whole := stored[trail.BlockID{Level: 0, Index: 2}]
	stored[trail.BlockID{Level: 0, Index: 2}] = whole[:len(whole)-trail.HashSize]
	for what, err := range map[string]error{
		"root": second(trail.Root(600, stored.read)), "open": second(trail.Open(600, stored.read)), "inclusion": second(trail.Inclusion(2, 600, stored.read)),
	} {
		require.ErrorIs(t, err, trail.ErrDamaged, what)
		require.ErrorContains(t, err, "block 2 of level 0", what)
	}
	_, err := trail.Root(599, stored.read)
	require.NoError(t, err)
	failure := errors.New("no connection")
	_, err = trail.Root(599, func(trail.BlockID) ([]byte, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
}

func second[T any](_ T, err error) error { return err }
