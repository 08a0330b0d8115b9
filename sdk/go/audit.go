package hooktrail

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Audit is the signed Merkle tree over the log.
type Audit struct{ c *Client }

// Checkpoint is a signed statement of what the first events of the log are. Keep its Note where
// whoever can change the log cannot: with it "hooktrail audit verify" shows what was changed since.
type Checkpoint struct {
	Origin string `json:"origin"` // which log it is of
	// Size is the position of the last event that it covers.
	Size      uint64    `json:"size"`
	Root      []byte    `json:"root"` // of the tree, by RFC 6962
	Note      string    `json:"note"` // as it was signed, by C2SP tlog-checkpoint
	CreatedAt time.Time `json:"created_at"`
	// VerifierKey is what the note is verified with. It stays the same.
	VerifierKey string `json:"verifier_key"`
}

// Receipt proves that an event is in the log. Verify needs no server.
type Receipt struct {
	Format  string `json:"format"`
	EventID string `json:"event_id"`
	// Index is the event's place in the tree: its position less 1.
	Index uint64 `json:"index"`
	// Leaf is the event in the encoding that is hashed.
	Leaf []byte `json:"leaf"`
	// Hashes lead from the leaf to the root, the lowest first.
	Hashes     [][]byte `json:"hashes"`
	Checkpoint string   `json:"checkpoint"` // the signed note of the tree
	// VerifierKey is the key that signed it, as the server says. It proves nothing unless it is
	// known from elsewhere.
	VerifierKey string `json:"verifier_key"`
}

// ProvenEvent is an event as a receipt proves it.
type ProvenEvent struct {
	Position      int64
	ID            string
	WorkspaceID   string
	Stream        string
	Version       int64
	Type          string
	SchemaVersion int
	Time          time.Time
	Actor         string
	Metadata      json.RawMessage
	Data          json.RawMessage
	// Origin names the log, and Size is how many events the checkpoint covers that it is proven by.
	Origin string
	Size   uint64
}

// ErrNotProven is the error of a receipt that does not hold.
var ErrNotProven = errors.New("hooktrail: the receipt does not hold")

// Checkpoint gives the latest signed checkpoint; the error is ErrConflict when none was made yet.
func (a *Audit) Checkpoint(ctx context.Context, options ...RequestOption) (*Checkpoint, error) {
	return result[Checkpoint](ctx, a.c, http.MethodGet, "/audit/checkpoint", nil, options)
}

// Receipt gives the proof that an event is in the log. The error is ErrConflict while no checkpoint
// covers the event, which takes up to 10 s.
func (a *Audit) Receipt(ctx context.Context, eventID string, options ...RequestOption) (*Receipt, error) {
	return one[Receipt](ctx, a.c, http.MethodGet, eventsPath, eventID, "/proof", nil, options)
}

// Verify checks the receipt, without a server, against a verifier key that was kept from before, as
// "hooktrail audit key" shows it. It gives the event that is proven; any error is ErrNotProven.
func (r *Receipt) Verify(verifierKey string) (*ProvenEvent, error) {
	event, err := r.verify(verifierKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotProven, err)
	}
	return event, nil
}

func (r *Receipt) verify(verifierKey string) (*ProvenEvent, error) {
	if r.Format != "hooktrail.receipt.v1" {
		return nil, fmt.Errorf("the format is %.60q, not hooktrail.receipt.v1", r.Format)
	}
	origin, size, root, err := openCheckpoint(r.Checkpoint, verifierKey)
	if err != nil {
		return nil, err
	}
	event, err := parseLeaf(r.Leaf)
	if err != nil {
		return nil, err
	}
	if event.Position < 1 || uint64(event.Position) != r.Index+1 || event.ID != r.EventID {
		return nil, errors.New("the index or event id is not that of the leaf")
	}
	computed, err := rootFrom(r.Index, size, hashOf([]byte{0}, r.Leaf), r.Hashes)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(computed, root) {
		return nil, errors.New("the event is not in the tree that was signed")
	}
	event.Origin, event.Size = origin, size
	return event, nil
}

func hashOf(parts ...[]byte) []byte {
	sum := sha256.Sum256(bytes.Join(parts, nil))
	return sum[:]
}

// rootFrom computes the root of a tree of that size from a leaf and the hashes beside its way up
// (RFC 9162, section 2.1.3.2).
func rootFrom(index, size uint64, leaf []byte, hashes [][]byte) ([]byte, error) {
	if index >= size {
		return nil, errors.New("the checkpoint is older than the event")
	}
	inner := bits.Len64(index ^ (size - 1)) // levels at which there is a right side
	if len(hashes) != inner+bits.OnesCount64(index>>inner) {
		return nil, errors.New("it has another number of hashes than its place in the tree needs")
	}
	root := leaf
	for level, beside := range hashes {
		if len(beside) != sha256.Size {
			return nil, errors.New("a hash has not 32 bytes")
		}
		if level >= inner || index>>level&1 == 1 {
			root = hashOf([]byte{1}, beside, root)
		} else {
			root = hashOf([]byte{1}, root, beside)
		}
	}
	return root, nil
}

// openCheckpoint verifies a checkpoint (C2SP signed-note and tlog-checkpoint).
func openCheckpoint(note, verifierKey string) (origin string, size uint64, root []byte, err error) {
	fail := func(format string, args ...any) (string, uint64, []byte, error) {
		return "", 0, nil, fmt.Errorf(format, args...)
	}
	name, id, key, err := parseVerifier(verifierKey)
	if err != nil {
		return fail("%w", err)
	}
	end := strings.LastIndex(note, "\n\n")
	if end < 0 {
		return fail("the checkpoint is no signed note")
	}
	text, signed := note[:end+1], false
	for line := range strings.Lines(note[end+2:]) {
		by, encoded, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "— "), "\n"), " ")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || by != name || len(signature) != 4+ed25519.SignatureSize || !bytes.Equal(signature[:4], id) {
			continue // of others, such as witnesses
		}
		if !ed25519.Verify(key, []byte(text), signature[4:]) {
			return fail("the signature of the checkpoint is wrong")
		}
		signed = true
	}
	if !signed {
		return fail("the checkpoint is not signed by the key of %s", name)
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] != name {
		return fail("the checkpoint is not of %s", name)
	}
	size, errSize := strconv.ParseUint(lines[1], 10, 63)
	root, errRoot := base64.StdEncoding.DecodeString(lines[2])
	if errSize != nil || errRoot != nil || len(root) != sha256.Size {
		return fail("the size or root of the checkpoint is none")
	}
	return lines[0], size, root, nil
}

// parseVerifier reads "<name>+<hash>+<key>".
func parseVerifier(text string) (name string, id []byte, key ed25519.PublicKey, err error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(text), "+")
	hash, encoded, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || name == "" || len(raw) != 1+ed25519.PublicKeySize || raw[0] != 1 {
		return "", nil, nil, fmt.Errorf("%.100q is no verifier key; 'hooktrail audit key' shows one", text)
	}
	id = hashOf([]byte(name), []byte("\n"), raw)[:4]
	if fmt.Sprintf("%x", id) != hash {
		return "", nil, nil, fmt.Errorf("the verifier key of %.60q is mistyped: its hash is another", name)
	}
	return name, id, raw[1:], nil
}

// parseLeaf reads an event in the encoding that is hashed: the name of the encoding, then the
// columns, each as its length (4 bytes, most significant first) and its bytes.
func parseLeaf(leaf []byte) (*ProvenEvent, error) {
	var fields [][]byte
	for rest := leaf; len(rest) > 0; {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return nil, errors.New("the leaf is cut off")
		}
		end := 4 + int(binary.BigEndian.Uint32(rest))
		fields, rest = append(fields, rest[4:end]), rest[end:]
	}
	if len(fields) != 13 || string(fields[0]) != "hooktrail.event.v1" {
		return nil, errors.New("the leaf is no event in the encoding hooktrail.event.v1")
	}
	for _, number := range []int{1, 5, 6, 8, 9} {
		if len(fields[number]) != 8 {
			return nil, errors.New("a number of the leaf has not 8 bytes")
		}
	}
	number := func(field int) int64 { return int64(binary.BigEndian.Uint64(fields[field])) }
	return &ProvenEvent{
		Position: number(1), ID: string(fields[2]), WorkspaceID: string(fields[3]), Stream: string(fields[4]), Version: number(5),
		Type: string(fields[7]), SchemaVersion: int(number(8)), Time: time.UnixMicro(number(9)).UTC(), Actor: string(fields[10]),
		Metadata: json.RawMessage(fields[11]), Data: json.RawMessage(fields[12]),
	}, nil
}
