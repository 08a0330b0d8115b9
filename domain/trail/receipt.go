package trail

import (
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"hooktrail/domain/eventlog"
)

// ReceiptFormat names the form of Receipt.
const ReceiptFormat = "hooktrail.receipt.v1"

// Receipt proves that an event is in a log, as long as its checkpoint is believed.
type Receipt struct {
	Format  string `json:"format"`
	EventID string `json:"event_id"`
	// Index is the event's place in the tree: its position less 1.
	Index uint64 `json:"index"`
	// Leaf is the encoded event, see [eventlog.Leaf].
	Leaf []byte `json:"leaf"`
	// Hashes lead from the leaf to the root, the lowest first.
	Hashes [][]byte `json:"hashes"`
	// Checkpoint is the signed note of the tree that the hashes lead to.
	Checkpoint string `json:"checkpoint"`
	// VerifierKey is the key that signed it. Whoever checks the receipt should know it from elsewhere.
	VerifierKey string `json:"verifier_key"`
}

// Verify checks the receipt against a key and gives the event that it proves, with the checkpoint.
func (r *Receipt) Verify(key *Verifier) (eventlog.Leaf, Checkpoint, error) {
	if r.Format != ReceiptFormat {
		return eventlog.Leaf{}, Checkpoint{}, fmt.Errorf("the format is %.60q, not %s", r.Format, ReceiptFormat)
	}
	checkpoint, err := key.Open(r.Checkpoint)
	if err != nil {
		return eventlog.Leaf{}, Checkpoint{}, fmt.Errorf("the checkpoint of the receipt is not good: %w", err)
	}
	leaf, err := eventlog.ParseLeaf(r.Leaf)
	if err != nil {
		return leaf, checkpoint, fmt.Errorf("the leaf of the receipt cannot be read: %w", err)
	}
	if leaf.Position < 1 || uint64(leaf.Position) != r.Index+1 || string(leaf.EventID) != r.EventID {
		return leaf, checkpoint, errors.New("the index or event id of the receipt is not that of its leaf")
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, r.Index, checkpoint.Size, HashLeaf(r.Leaf), r.Hashes, checkpoint.Root); err != nil {
		return leaf, checkpoint, fmt.Errorf("the event is not in the tree that was signed: %w", err)
	}
	return leaf, checkpoint, nil
}
