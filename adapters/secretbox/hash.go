package secretbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"
)

// HashBytes is the length of every hash.
const HashBytes = sha256.Size

// The input of the MAC starts with its use, so that a token's hash never equals that of an
// API key. No use is the beginning of another.
const (
	tokenUse  = "hooktrail/token/v1\x00"
	apiKeyUse = "hooktrail/api-key/v1\x00" //nolint:gosec // it says what a hash is for and is no secret
)

// HashToken is the keyed hash, HashBytes long, under which a trigger's token is stored and
// looked up.
func (b *Box) HashToken(token string) []byte { return b.hasher.hash(tokenUse, token) }

// HashAPIKey is the keyed hash, HashBytes long, under which an API key is stored and looked up.
func (b *Box) HashAPIKey(key string) []byte { return b.hasher.hash(apiKeyUse, key) }

// hasher computes what Tink's PRF does with the same key. It is there because every webhook
// call hashes a token, and Tink sets a new HMAC up each time: four times the time and seven
// times the allocations.
type hasher struct{ states sync.Pool }

type hashState struct {
	mac   hash.Hash
	input []byte
}

func newHasher(handle *keyset.Handle) (*hasher, error) {
	entry, err := handle.Primary()
	if err != nil {
		return nil, fmt.Errorf("the key ring's hash key: %w", err)
	}
	key, ok := entry.Key().(*hmacprf.Key)
	if !ok {
		return nil, errors.New("the key ring's hash key is not an HMAC key")
	}
	if parameters, ok := key.Parameters().(*hmacprf.Parameters); !ok || parameters.HashType() != hmacprf.SHA256 {
		return nil, errors.New("the key ring's hash key is not one for HMAC-SHA256")
	}
	secret := key.KeyBytes().Data(insecuresecretdataaccess.Token{})
	h := &hasher{}
	h.states.New = func() any { return &hashState{mac: hmac.New(sha256.New, secret)} }
	return h, nil
}

func (h *hasher) hash(use, value string) []byte {
	s := h.states.Get().(*hashState)
	s.mac.Reset()
	s.input = append(append(s.input[:0], use...), value...)
	s.mac.Write(s.input)
	sum := s.mac.Sum(make([]byte, 0, HashBytes))
	clear(s.input) // the pool must not keep tokens
	h.states.Put(s)
	return sum
}
