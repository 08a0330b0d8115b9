package trail_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/trail"
)

// newSigner makes the key that a byte stands for.
func newSigner(t *testing.T, seed byte, origin string) *trail.Signer {
	t.Helper()
	signing, verifier, err := trail.NewKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 100)), origin)
	require.NoError(t, err)
	signer, err := trail.NewSigner(signing, verifier)
	require.NoError(t, err)
	return signer
}

func TestCheckpoint(t *testing.T) {
	signer := newSigner(t, 1, trail.Origin("w1"))
	root := plainRoot(leaves(5))
	made, err := signer.Sign(5, root)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(made.Note, "hooktrail/w1\n5\nta+cQRht2hND3naHOygForFCH9Goid6fqYsqjtjSFL4=\n\n"), made.Note)
	require.Equal(t, 1, strings.Count(made.Note, "\n\n— hooktrail/w1 "))
	again, err := signer.Sign(5, root)
	require.NoError(t, err)
	require.Equal(t, made, again, "replicas make the same")
	opened, err := signer.Verifier().Open(made.Note)
	require.NoError(t, err)
	require.Equal(t, made, opened)
	key, err := trail.NewVerifier(signer.Verifier().String() + "\n")
	require.NoError(t, err)
	_, err = key.Open(made.Note)
	require.NoError(t, err)

	for says, bad := range map[string]string{
		"signature is wrong": strings.Replace(made.Note, "\n5\n", "\n6\n", 1),
		"no signed note":     "hooktrail/w1\n5\n",
	} {
		_, err := key.Open(bad)
		require.ErrorContains(t, err, says)
	}
	_, err = newSigner(t, 2, trail.Origin("w1")).Verifier().Open(made.Note)
	require.ErrorContains(t, err, "not signed by the key of hooktrail/w1")
}

func TestCheckpointWithMoreSignatures(t *testing.T) {
	signer := newSigner(t, 1, "hooktrail/w1")
	made, err := signer.Sign(5, plainRoot(leaves(5)))
	require.NoError(t, err)
	signing, _, err := trail.NewKey(bytes.NewReader(bytes.Repeat([]byte{9}, 100)), "witness.example")
	require.NoError(t, err)
	witness, err := note.NewSigner(signing)
	require.NoError(t, err)
	text, _, _ := strings.Cut(made.Note, "\n\n")
	witnessed, err := note.Sign(&note.Note{Text: text + "\n"}, witness)
	require.NoError(t, err)
	_, signature, _ := strings.Cut(string(witnessed), "\n\n")
	opened, err := signer.Verifier().Open(made.Note + signature)
	require.NoError(t, err)
	require.EqualValues(t, 5, opened.Size)
	require.Equal(t, []string{made.Note + signature}, trail.SplitNotes([]byte(made.Note+signature)))
}

// TestCheckpointIsOfALog signs what is no checkpoint of this log with the right key.
func TestCheckpointIsOfALog(t *testing.T) {
	signing, verifier, err := trail.NewKey(bytes.NewReader(bytes.Repeat([]byte{1}, 100)), "hooktrail/w1")
	require.NoError(t, err)
	key, err := note.NewSigner(signing)
	require.NoError(t, err)
	v, err := trail.NewVerifier(verifier)
	require.NoError(t, err)
	for text, says := range map[string]string{
		"hooktrail/w2\n5\n" + strings.Repeat("A", 43) + "=\n":                    `it is of "hooktrail/w2"`,
		"hooktrail/w1\n5\nAAAA\n":                                                "none of a log",
		"hooktrail/w1\n18446744073709551615\n" + strings.Repeat("A", 43) + "=\n": "none of a log",
		"hooktrail/w1\n-1\n" + strings.Repeat("A", 43) + "=\n":                   "size invalid",
	} {
		signed, err := note.Sign(&note.Note{Text: text}, key)
		require.NoError(t, err)
		_, err = v.Open(string(signed))
		require.ErrorContains(t, err, says)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	signing, verifier, err := trail.NewKey(bytes.NewReader(bytes.Repeat([]byte{1}, 100)), "hooktrail/w1")
	require.NoError(t, err)
	_, err = trail.NewSigner(signing[:50], verifier)
	require.Error(t, err)
	require.NotContains(t, err.Error(), signing[:50])
	_, err = trail.NewSigner(signing, newSigner(t, 2, "hooktrail/w1").Verifier().String())
	require.ErrorContains(t, err, "does not belong")
	_, err = trail.NewVerifier("nonsense")
	require.ErrorContains(t, err, "hooktrail audit key")
}

func TestSplitNotes(t *testing.T) {
	signer := newSigner(t, 1, "hooktrail/w1")
	var notes []string
	for size := range uint64(3) {
		made, err := signer.Sign(size, plainRoot(leaves(int(size))))
		require.NoError(t, err)
		notes = append(notes, made.Note)
	}
	require.Equal(t, notes, trail.SplitNotes([]byte(strings.Join(notes, "\n")+"\n")))
	require.Equal(t, notes, trail.SplitNotes([]byte("\n\n"+strings.Join(notes, "\n\n\n"))))
	require.Equal(t, notes, trail.SplitNotes([]byte(strings.Join(notes, ""))), "without lines between them")
	require.Equal(t, notes, trail.SplitNotes([]byte(strings.ReplaceAll(strings.Join(notes, "\n"), "\n", "\r\n"))))
	require.Equal(t, notes, trail.SplitNotes([]byte(strings.TrimSpace(strings.Join(notes, "\n")))), "without the end of the last line")
	for cut := range len(notes[1]) - 1 { // a process was killed while it wrote the second
		file := notes[0] + "\n" + notes[1][:cut]
		require.Equal(t, notes[:1], trail.SplitNotes([]byte(file)), "%q", file)
		require.Equal(t, []string{notes[0], notes[2]}, trail.SplitNotes([]byte(file + "\n\n" + notes[2]))[:2], "%q", file)
	}
	require.Empty(t, trail.SplitNotes([]byte("hello\n")))
	require.Empty(t, trail.SplitNotes(nil))
}

func TestReceipt(t *testing.T) {
	signer := newSigner(t, 1, "hooktrail/w1")
	encoded := make([][]byte, 300)
	hashes := make([][]byte, len(encoded))
	for i := range encoded {
		leaf := eventlog.Leaf{Position: int64(i + 1), EventID: []byte{'e', byte('a' + i%20)}, Type: []byte("test")}
		encoded[i] = leaf.AppendTo(nil)
		hashes[i] = trail.HashLeaf(encoded[i])
	}
	stored, tree := grow(t, hashes, 300)
	root, err := tree.Root()
	require.NoError(t, err)
	checkpoint, err := signer.Sign(300, root)
	require.NoError(t, err)
	path, err := trail.Inclusion(41, 300, stored.read)
	require.NoError(t, err)
	good := trail.Receipt{Format: trail.ReceiptFormat, EventID: "eb", Index: 41, Leaf: encoded[41], Hashes: path, Checkpoint: checkpoint.Note}
	leaf, of, err := good.Verify(signer.Verifier())
	require.NoError(t, err)
	require.EqualValues(t, 42, leaf.Position)
	require.Equal(t, checkpoint, of)

	text, err := json.Marshal(good)
	require.NoError(t, err)
	for says, spoil := range map[string]func(*trail.Receipt){
		"format":                   func(r *trail.Receipt) { r.Format = "hooktrail.receipt.v2" },
		"checkpoint":               func(r *trail.Receipt) { r.Checkpoint = strings.Replace(r.Checkpoint, "\n300\n", "\n301\n", 1) },
		"leaf of the receipt":      func(r *trail.Receipt) { r.Leaf = r.Leaf[1:] },
		"index or event id":        func(r *trail.Receipt) { r.Index++ },
		"event id":                 func(r *trail.Receipt) { r.EventID = "ec" },
		"not in the tree":          func(r *trail.Receipt) { r.Leaf = bytes.Replace(r.Leaf, []byte("test"), []byte("tesu"), 1) },
		"that was signed":          func(r *trail.Receipt) { r.Hashes[3][0] ^= 1 },
		"not in the tree that was": func(r *trail.Receipt) { r.Hashes = r.Hashes[1:] },
	} {
		var bad trail.Receipt
		require.NoError(t, json.Unmarshal(text, &bad))
		spoil(&bad)
		_, _, err := bad.Verify(signer.Verifier())
		require.ErrorContains(t, err, says)
	}
	_, _, err = good.Verify(newSigner(t, 2, "hooktrail/w1").Verifier())
	require.ErrorContains(t, err, "not signed by the key")
}
