// Package trail is the evidence that the event log was not changed: a Merkle tree over its events
// by RFC 6962, signed checkpoints of the tree, and receipts that an event is in it. It holds no
// storage.
package trail

import (
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

const (
	// HashSize is the length of a hash in bytes: SHA-256.
	HashSize = 32
	// BlockWidth is how many hashes a full block has. Blocks of level 0 hold the hashes of leaves,
	// blocks of level n+1 the roots of the full blocks of level n.
	BlockWidth  = 1 << blockHeight
	blockHeight = 8
)

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// HashLeaf gives the hash of a leaf.
func HashLeaf(encoded []byte) []byte { return rfc6962.DefaultHasher.HashLeaf(encoded) }

// BlockID names a block.
type BlockID struct {
	Level int
	Index uint64
}

// Block is a block as it is stored; only the last one of a level may be less than full.
type Block struct {
	BlockID
	Hashes []byte // one behind the other
}

// Last names the block of a level that grows next when the tree has that size, and the number of
// hashes in it, from 0 to BlockWidth-1.
func Last(size uint64, level int) (BlockID, int) {
	entries := size >> (blockHeight * level)
	return BlockID{level, entries >> blockHeight}, int(entries & (BlockWidth - 1))
}

// Levels is how many levels of blocks a tree of that size has.
func Levels(size uint64) int {
	levels := 1
	for entries := size >> blockHeight; entries > 0; entries >>= blockHeight {
		levels++
	}
	return levels
}

// Tree is the right edge of a tree: enough to add leaves and to know its root.
type Tree struct {
	size uint64
	last [][]byte // by level, the block that grows
}

// Open makes the edge of a tree of that size from its stored blocks; read gives the hashes of a
// block, which may be more than the tree of that size has.
func Open(size uint64, read func(BlockID) ([]byte, error)) (*Tree, error) {
	t := &Tree{size: size, last: make([][]byte, Levels(size))}
	for level := range t.last {
		id, width := Last(size, level)
		if width == 0 {
			continue
		}
		hashes, err := read(id)
		if err != nil {
			return nil, err
		}
		if len(hashes) < width*HashSize {
			return nil, damaged(id)
		}
		t.last[level] = append(make([]byte, 0, BlockWidth*HashSize), hashes[:width*HashSize]...)
	}
	return t, nil
}

// ErrDamaged says that stored blocks do not make a tree.
var ErrDamaged = errors.New("the stored hashes are damaged")

func damaged(id BlockID) error {
	return fmt.Errorf("%w: block %d of level %d is missing or too short", ErrDamaged, id.Index, id.Level)
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Add adds the hash of a leaf, and tells of every block that it filled.
func (t *Tree) Add(leaf []byte, filled func(Block)) error {
	at := t.size
	t.size++
	for level := 0; ; level++ {
		if level == len(t.last) {
			t.last = append(t.last, nil)
		}
		if t.last[level] == nil {
			t.last[level] = make([]byte, 0, BlockWidth*HashSize)
		}
		t.last[level] = append(t.last[level], leaf...)
		hashes := t.last[level]
		if len(hashes) < BlockWidth*HashSize {
			return nil
		}
		root, err := rootOf(hashes)
		if err != nil {
			return err
		}
		t.last[level] = nil
		at >>= blockHeight
		filled(Block{BlockID{level, at}, hashes})
		leaf = root
	}
}

// Growing gives the blocks that are not full, without empty ones.
func (t *Tree) Growing() []Block {
	var blocks []Block
	for level, hashes := range t.last {
		if len(hashes) > 0 {
			id, _ := Last(t.size, level)
			blocks = append(blocks, Block{id, hashes})
		}
	}
	return blocks
}

// Root gives the root of the tree; that of no leaves is the hash of nothing.
func (t *Tree) Root() ([]byte, error) {
	return Root(t.size, func(id BlockID) ([]byte, error) {
		if id.Level < len(t.last) {
			return t.last[id.Level], nil
		}
		return nil, nil
	})
}

// rootOf gives the root of a perfect subtree above 1, 2, 4 … 256 hashes.
func rootOf(hashes []byte) ([]byte, error) {
	r := ranges.NewEmptyRange(0)
	for at := 0; at < len(hashes); at += HashSize {
		if err := r.Append(hashes[at:at+HashSize], nil); err != nil {
			return nil, err
		}
	}
	return r.GetRootHash(nil)
}

// node gives one node of the tree from the block that it is in or above.
func node(id compact.NodeID, read func(BlockID) ([]byte, error)) ([]byte, error) {
	level, above := int(id.Level/blockHeight), id.Level%blockHeight
	first := id.Index << above
	block := BlockID{level, first >> blockHeight}
	hashes, err := read(block)
	if err != nil {
		return nil, err
	}
	from := int(first&(BlockWidth-1)) * HashSize
	to := from + HashSize<<above
	if to > len(hashes) {
		return nil, damaged(block)
	}
	return rootOf(hashes[from:to])
}

func nodes(ids []compact.NodeID, read func(BlockID) ([]byte, error)) ([][]byte, error) {
	hashes := make([][]byte, len(ids))
	for i, id := range ids {
		var err error
		if hashes[i], err = node(id, read); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// Root gives the root that a tree had when it was of that size.
func Root(size uint64, read func(BlockID) ([]byte, error)) ([]byte, error) {
	if size == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	hashes, err := nodes(compact.RangeNodes(0, size, nil), read)
	if err != nil {
		return nil, err
	}
	r, err := ranges.NewRange(0, size, hashes)
	if err != nil {
		return nil, err
	}
	return r.GetRootHash(nil)
}

// Inclusion proves that the leaf at index, from 0 on, is in the tree of that size.
func Inclusion(index, size uint64, read func(BlockID) ([]byte, error)) ([][]byte, error) {
	needed, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, err
	}
	hashes, err := nodes(needed.IDs, read)
	if err != nil {
		return nil, err
	}
	return needed.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}
