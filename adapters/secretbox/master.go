package secretbox

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// MasterKeyBytes is the length of a master key: 256 bits.
const MasterKeyBytes = 32

// MasterKeys are the keys that open a key ring: the first is the current one and wraps what
// is saved, the others only open what earlier ones wrapped. However it is printed or
// logged, no key shows.
type MasterKeys struct {
	keys []masterKey
}

// masterKey gives the key's bytes. It is a function because fmt and reflection print what is
// in the unexported fields of a struct without asking String, and even follow pointers; of a
// function they have only the address.
type masterKey func() []byte

// Len is the number of keys, the current one included.
func (m MasterKeys) Len() int { return len(m.keys) }

// String tells how many keys there are and nothing more.
func (m MasterKeys) String() string { return fmt.Sprintf("[%d master keys, not shown]", len(m.keys)) }

// Format keeps every verb of fmt, %#v included, from printing a key.
func (m MasterKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// LogValue keeps slog's handlers from printing a key.
func (m MasterKeys) LogValue() slog.Value { return slog.StringValue(m.String()) }

// ParseMasterKeys reads HOOKTRAIL_MASTER_KEY: base64 of 32 bytes, the current key first and
// previous ones after commas. The standard and the URL alphabet are read, padded or not.
// The error names the entry that is wrong, counted from 1, and shows none of it.
func ParseMasterKeys(s string) (MasterKeys, error) {
	if strings.TrimSpace(s) == "" {
		return MasterKeys{}, errors.New("no master key given: 32 bytes in base64 are needed")
	}
	var m MasterKeys
	entries := strings.Split(s, ",")
	for i, entry := range entries {
		key, err := parseMasterKey(entry)
		if err != nil {
			return MasterKeys{}, fmt.Errorf("master key %d of %d %w", i+1, len(entries), err)
		}
		m.keys = append(m.keys, key)
	}
	return m, nil
}

// parseMasterKey words its error to follow the name of the entry.
func parseMasterKey(s string) (masterKey, error) {
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	if s == "" {
		return nil, errors.New("is empty")
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	raw, err := encoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("is not valid base64")
	}
	if len(raw) != MasterKeyBytes {
		return nil, fmt.Errorf("has %d bytes, it must have %d", len(raw), MasterKeyBytes)
	}
	if bytes.Count(raw, raw[:1]) == MasterKeyBytes {
		return nil, errors.New("is one byte repeated, so it is no random key")
	}
	return func() []byte { return raw }, nil
}

// GenerateMasterKey makes a key in the form that ParseMasterKeys reads. random must be a
// cryptographic source; its error is the only one.
func GenerateMasterKey(random io.Reader) (string, error) {
	var key [MasterKeyBytes]byte
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return "", fmt.Errorf("reading randomness for a master key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(key[:]), nil
}
