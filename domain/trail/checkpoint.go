package trail

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// Origin names the log of an installation, by the id of its default workspace.
func Origin(workspaceID string) string { return "hooktrail/" + workspaceID }

// NewKey makes an Ed25519 key that signs as an origin: the signing key, which is secret, and the
// key to verify with, both as text in the form of C2SP signed notes.
func NewKey(random io.Reader, origin string) (signing, verifier string, err error) {
	return note.GenerateKey(random, origin)
}

// Signer signs checkpoints.
type Signer struct {
	key      note.Signer
	verifier *Verifier
}

// NewSigner reads the keys that NewKey made.
func NewSigner(signing, verifier string) (*Signer, error) {
	key, err := note.NewSigner(signing)
	if err != nil {
		return nil, errors.New("the signing key of the audit trail is not one") // the text may quote it
	}
	v, err := NewVerifier(verifier)
	if err != nil {
		return nil, err
	}
	if key.Name() != v.Origin() || key.KeyHash() != v.key.KeyHash() {
		return nil, errors.New("the verifier key of the audit trail does not belong to its signing key")
	}
	return &Signer{key, v}, nil
}

// Verifier gives the key to verify with.
func (s *Signer) Verifier() *Verifier { return s.verifier }

// Verifier verifies checkpoints.
type Verifier struct {
	key  note.Verifier
	text string
}

// NewVerifier reads a verifier key, as "hooktrail audit key" shows it.
func NewVerifier(text string) (*Verifier, error) {
	text = strings.TrimSpace(text)
	key, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("%.100q is no verifier key; 'hooktrail audit key' shows one", text)
	}
	return &Verifier{key, text}, nil
}

// Origin is whose checkpoints the key verifies.
func (v *Verifier) Origin() string { return v.key.Name() }

// String gives the key as text.
func (v *Verifier) String() string { return v.text }

// Checkpoint says what the first events of a log are.
type Checkpoint struct {
	Size uint64 // how many: the position of the last one
	Root []byte
	Note string // signed: a C2SP tlog-checkpoint
}

// Sign makes the checkpoint of a tree.
func (s *Signer) Sign(size uint64, root []byte) (Checkpoint, error) {
	text := log.Checkpoint{Origin: s.key.Name(), Size: size, Hash: root}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, s.key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("sign a checkpoint: %w", err)
	}
	return Checkpoint{Size: size, Root: root, Note: string(signed)}, nil
}

// Open reads a signed checkpoint. Signatures of others, such as witnesses, may stand beside ours.
func (v *Verifier) Open(signed string) (Checkpoint, error) {
	opened, err := note.Open([]byte(signed), note.VerifierList(v.key))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			return Checkpoint{}, fmt.Errorf("it is not signed by the key of %s", v.Origin())
		}
		return Checkpoint{}, fmt.Errorf("it is no signed note or its signature is wrong: %w", err)
	}
	var c log.Checkpoint
	if _, err := c.Unmarshal([]byte(opened.Text)); err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != v.Origin() {
		return Checkpoint{}, fmt.Errorf("it is of %q, not of %q", c.Origin, v.Origin())
	}
	if len(c.Hash) != HashSize || c.Size > 1<<62 {
		return Checkpoint{}, errors.New("its size or root is none of a log")
	}
	return Checkpoint{Size: c.Size, Root: c.Hash, Note: signed}, nil
}

// SplitNotes cuts a file into the signed notes that were appended to it. What was written in part,
// by a process that was killed, is left out.
func SplitNotes(file []byte) []string {
	var notes []string
	var current strings.Builder
	empty, signed := false, false // what the last line was
	for line := range strings.Lines(strings.ReplaceAll(string(file), "\r\n", "\n")) {
		isSignature, isEmpty := isSignature(line), strings.TrimSpace(line) == ""
		if signed && !isSignature {
			notes = append(notes, current.String())
			current.Reset()
		} else if empty && !isSignature {
			current.Reset()
		}
		if current.Len() > 0 || !isEmpty {
			current.WriteString(line)
		}
		signed, empty = isSignature && current.Len() > len(line), isEmpty
	}
	if signed {
		notes = append(notes, strings.TrimSuffix(current.String(), "\n")+"\n")
	}
	return notes
}

// isSignature tells a line with a whole signature, which has the hash of its key before it.
func isSignature(line string) bool {
	rest, dashed := strings.CutPrefix(line, "— ")
	_, encoded, named := strings.Cut(strings.TrimSuffix(rest, "\n"), " ")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	return dashed && named && err == nil && len(signature) >= 4+ed25519.SignatureSize
}
