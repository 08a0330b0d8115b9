// Package secretbox is the key ring: it seals the signing secrets that are stored, and
// makes the keyed hashes by which tokens and API keys are looked up.
//
// The master key encrypts no data. It wraps two Tink keysets that are stored in the
// database, so that it can be replaced without touching a single sealed value: one of
// XChaCha20-Poly1305 keys, of which new ones can be added, and one HMAC-SHA256 key, which
// stays for good, since a hash made with another one would find no stored token.
package secretbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// The failures that a caller can act on.
var (
	// ErrWrongMasterKey: the ring was wrapped by a key that is not among those given, or is damaged.
	ErrWrongMasterKey = errors.New("none of the master keys opens the key ring")
	// ErrUnknownKey: the value was sealed with a key that this ring does not hold. Another
	// replica may have added it since: load the ring again.
	ErrUnknownKey = errors.New("the value was sealed with a key that the key ring does not hold")
	// ErrNotSealedHere: the value is damaged, or was sealed with other associated data.
	ErrNotSealedHere = errors.New("the sealed value is damaged or belongs elsewhere")
)

// What a wrapped keyset is for is bound to it, so that one does not pass for the other.
const (
	aeadKeysetUse = "hooktrail/key-ring/aead/v1"
	hashKeysetUse = "hooktrail/key-ring/hash/v1"
)

// Wrapped is a key ring as it is stored: both keysets encrypted with a master key.
type Wrapped struct{ AEAD, Hash []byte }

// Box is an open key ring. All methods may be called at the same time.
type Box struct {
	adding     sync.Mutex // held by AddKey, which must not lose another's key
	ring       atomic.Pointer[ring]
	hashKeyset *keyset.Handle
	hasher     *hasher
}

// ring is one state of the sealing keys; AddKey replaces it as a whole.
type ring struct {
	keyset    *keyset.Handle
	primitive tink.AEAD
	primary   uint32
	ids       map[uint32]struct{}
}

// Create makes a ring of new keys, and its wrapped form for storage.
func Create(master MasterKeys) (*Box, Wrapped, error) {
	sealing, err := keyset.NewHandle(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return nil, Wrapped{}, fmt.Errorf("making a key ring: %w", err)
	}
	hashing, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return nil, Wrapped{}, fmt.Errorf("making a key ring: %w", err)
	}
	box, err := newBox(sealing, hashing)
	if err != nil {
		return nil, Wrapped{}, err
	}
	wrapped, err := box.Wrap(master)
	if err != nil {
		return nil, Wrapped{}, err
	}
	return box, wrapped, nil
}

// Open opens a stored ring with the first master key that fits. needsRewrap says that a
// previous one was needed: wrap the ring again and store it. ErrWrongMasterKey when none fits.
func Open(master MasterKeys, w Wrapped) (box *Box, needsRewrap bool, err error) {
	sealing, byKey, err := unwrap(master, w.AEAD, aeadKeysetUse)
	if err != nil {
		return nil, false, err
	}
	hashing, byOtherKey, err := unwrap(master, w.Hash, hashKeysetUse)
	if err != nil {
		return nil, false, err
	}
	box, err = newBox(sealing, hashing)
	return box, byKey > 0 || byOtherKey > 0, err
}

func newBox(sealing, hashing *keyset.Handle) (*Box, error) {
	r, err := newRing(sealing)
	if err != nil {
		return nil, err
	}
	h, err := newHasher(hashing)
	if err != nil {
		return nil, err
	}
	box := &Box{hashKeyset: hashing, hasher: h}
	box.ring.Store(r)
	return box, nil
}

func newRing(handle *keyset.Handle) (*ring, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("the key ring's sealing keys: %w", err)
	}
	info := handle.KeysetInfo()
	r := &ring{keyset: handle, primitive: primitive, primary: info.GetPrimaryKeyId(), ids: map[uint32]struct{}{}}
	for _, key := range info.GetKeyInfo() {
		r.ids[key.GetKeyId()] = struct{}{}
	}
	return r, nil
}

// Wrap encrypts the ring with the current master key.
func (b *Box) Wrap(master MasterKeys) (Wrapped, error) {
	sealing, err := wrap(master, b.ring.Load().keyset, aeadKeysetUse)
	if err != nil {
		return Wrapped{}, err
	}
	hashing, err := wrap(master, b.hashKeyset, hashKeysetUse)
	if err != nil {
		return Wrapped{}, err
	}
	return Wrapped{AEAD: sealing, Hash: hashing}, nil
}

func wrap(master MasterKeys, handle *keyset.Handle, use string) ([]byte, error) {
	if master.Len() == 0 {
		return nil, errors.New("wrapping the key ring: no master key given")
	}
	key, err := subtle.NewXChaCha20Poly1305(master.keys[0]())
	if err != nil {
		return nil, fmt.Errorf("wrapping the key ring: %w", err)
	}
	var wrapped bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&wrapped), key, []byte(use)); err != nil {
		return nil, fmt.Errorf("wrapping the key ring: %w", err)
	}
	return wrapped.Bytes(), nil
}

// unwrap tells also which of the master keys fitted: 0 is the current one.
func unwrap(master MasterKeys, wrapped []byte, use string) (*keyset.Handle, int, error) {
	for i := range master.keys {
		key, err := subtle.NewXChaCha20Poly1305(master.keys[i]())
		if err != nil {
			return nil, 0, fmt.Errorf("opening the key ring: %w", err)
		}
		reader := keyset.NewBinaryReader(bytes.NewReader(wrapped))
		if handle, err := keyset.ReadWithAssociatedData(reader, key, []byte(use)); err == nil {
			return handle, i, nil
		}
	}
	return nil, 0, fmt.Errorf("%w (%d tried)", ErrWrongMasterKey, master.Len())
}

// AddKey makes a new key with which this ring seals from now on; the old ones still open.
// Wrap and store the ring before anything sealed with the new key is stored, or a crash in
// between loses it; other replicas have to load the ring again.
func (b *Box) AddKey() error {
	b.adding.Lock()
	defer b.adding.Unlock()
	manager := keyset.NewManagerFromHandle(b.ring.Load().keyset)
	id, err := manager.Add(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return fmt.Errorf("adding a sealing key: %w", err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return fmt.Errorf("adding a sealing key: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return fmt.Errorf("adding a sealing key: %w", err)
	}
	next, err := newRing(handle)
	if err != nil {
		return err
	}
	b.ring.Store(next)
	return nil
}

// Seal encrypts plaintext. The same associatedData, such as the id of the row it is stored
// in, is needed to open it: a sealed value copied to another row does not open there.
func (b *Box) Seal(plaintext []byte, associatedData string) ([]byte, error) {
	sealed, err := b.ring.Load().primitive.Encrypt(plaintext, []byte(associatedData))
	if err != nil {
		return nil, fmt.Errorf("sealing a value: %w", err)
	}
	return sealed, nil
}

// Open decrypts what Seal made: ErrUnknownKey or ErrNotSealedHere when it cannot.
func (b *Box) Open(sealed []byte, associatedData string) ([]byte, error) {
	id, err := b.KeyID(sealed)
	if err != nil {
		return nil, err
	}
	r := b.ring.Load()
	if _, held := r.ids[id]; !held {
		return nil, fmt.Errorf("%w (key id %d)", ErrUnknownKey, id)
	}
	plaintext, err := r.primitive.Decrypt(sealed, []byte(associatedData))
	if err != nil {
		return nil, ErrNotSealedHere
	}
	return plaintext, nil
}

// Tink's wire format: one version byte, then the key id, big endian
// (https://developers.google.com/tink/wire-format).
const (
	tinkPrefixVersion = 1
	tinkPrefixBytes   = 5
)

// KeyID tells with which key a value was sealed, also when the ring does not hold it:
// ErrNotSealedHere when it has not even the form of a sealed value.
func (b *Box) KeyID(sealed []byte) (uint32, error) {
	if len(sealed) < tinkPrefixBytes || sealed[0] != tinkPrefixVersion {
		return 0, ErrNotSealedHere
	}
	return binary.BigEndian.Uint32(sealed[1:tinkPrefixBytes]), nil
}

// PrimaryKeyID is the key with which Seal seals: a value of another id can be sealed anew.
func (b *Box) PrimaryKeyID() uint32 { return b.ring.Load().primary }
