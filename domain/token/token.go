// Package token makes the secrets that callers carry: tokens of triggers, API keys and
// signing secrets. Tokens and keys end in a checksum, so that a mistyped or made-up one is
// refused without a look-up and a scanner can tell one from chance text.
package token

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
)

// The prefixes that say what a secret is for.
const (
	TriggerPrefix          = "wht_"   // a trigger's token
	KeyPrefix              = "htk_"   // an API key
	SecretPrefix           = "whs_"   // a trigger's signing secret
	StandardWebhooksPrefix = "whsec_" // a secret in the notation of Standard Webhooks
)

const (
	randomBytes    = 24 // 192 bits
	randomLength   = 33 // base62 digits that hold 192 bits
	checksumLength = 6  // base62 digits that hold 32 bits
	secretBytes    = 32
	secretLength   = 43 // base62 digits that hold 256 bits
	displayLength  = 6

	// The digits of big.Int.Text(62), in order of their value.
	alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// New makes prefix + 33 base62 digits of 192 bits read from random + 6 base62 digits of the
// CRC-32 (IEEE 802.3) of all before them. It fails when random does.
func New(prefix string, random io.Reader) (string, error) {
	digits, err := randomDigits(random, randomBytes, randomLength)
	if err != nil {
		return "", err
	}
	s := prefix + digits
	sum := checksum(s)
	return s + string(sum[:]), nil
}

// Valid reports whether New could have made s with that prefix, as far as can be told from
// s alone. It does not allocate. Every change of one character before the checksum, or swap
// of two neighbours there, is found, as is every change within the checksum.
func Valid(prefix, s string) bool {
	if len(s) != len(prefix)+randomLength+checksumLength || !strings.HasPrefix(s, prefix) {
		return false
	}
	for i := len(prefix); i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	body := s[:len(s)-checksumLength]
	sum := checksum(body)
	return string(sum[:]) == s[len(body):]
}

// Display keeps what may be stored and shown to recognise a token by: its prefix up to the
// underscore and six characters. It gives "" for a text that is too short to be a token.
func Display(s string) string {
	prefix, rest, found := strings.Cut(s, "_")
	if !found || len(rest) < randomLength {
		return ""
	}
	return prefix + "_" + rest[:displayLength]
}

// NewSecret makes a signing secret: "whs_" + 43 base62 digits of 256 bits read from random.
// The bytes of the text, prefix included, are the key. It fails when random does.
func NewSecret(random io.Reader) (string, error) {
	digits, err := randomDigits(random, secretBytes, secretLength)
	if err != nil {
		return "", err
	}
	return SecretPrefix + digits, nil
}

// NewStandardWebhooksSecret makes "whsec_" + base64 of 32 bytes read from random, which
// decoded are the key (Standard Webhooks, "Signature scheme"). It fails when random does.
func NewStandardWebhooksSecret(random io.Reader) (string, error) {
	key := make([]byte, secretBytes)
	if _, err := io.ReadFull(random, key); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return StandardWebhooksPrefix + base64.StdEncoding.EncodeToString(key), nil
}

// randomDigits writes n random bytes as a base62 number, padded with zeros to length.
func randomDigits(random io.Reader, n, length int) (string, error) {
	value := make([]byte, n)
	if _, err := io.ReadFull(random, value); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	digits := new(big.Int).SetBytes(value).Text(62)
	return strings.Repeat("0", length-len(digits)) + digits, nil
}

// checksum is written over the table because crc32.ChecksumIEEE would need a []byte on the
// heap.
func checksum(s string) [checksumLength]byte {
	crc := ^uint32(0)
	for i := range len(s) {
		crc = crc32.IEEETable[byte(crc)^s[i]] ^ crc>>8
	}
	crc = ^crc
	var digits [checksumLength]byte
	for i := range digits {
		digits[checksumLength-1-i] = alphabet[crc%62]
		crc /= 62
	}
	return digits
}
