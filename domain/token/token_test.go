package token_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/token"
)

const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func fresh(t require.TestingT, prefix string) string {
	s, err := token.New(prefix, rand.Reader)
	require.NoError(t, err)
	return s
}

func TestNew(t *testing.T) {
	for _, prefix := range []string{token.TriggerPrefix, token.KeyPrefix} {
		seen := map[string]bool{}
		for range 1000 {
			s := fresh(t, prefix)
			require.Len(t, s, len(prefix)+39)
			require.True(t, token.Valid(prefix, s), s)
			require.False(t, seen[s])
			seen[s] = true
		}
	}
}

// The text is fixed for given randomness: clients in other languages check the same way.
func TestNewIsTheDocumentedAlgorithm(t *testing.T) {
	for _, value := range [][]byte{
		make([]byte, 24), bytes.Repeat([]byte{0xff}, 24), append(make([]byte, 23), 61), []byte("abcdefghijklmnopqrstuvwx"),
	} {
		got, err := token.New("wht_", bytes.NewReader(value))
		require.NoError(t, err)
		number, ok := new(big.Int).SetString(got[4:37], 62)
		require.True(t, ok)
		require.Equal(t, value, number.FillBytes(make([]byte, 24)))
		sum, ok := new(big.Int).SetString(got[37:], 62)
		require.True(t, ok)
		require.Equal(t, uint64(crc32.ChecksumIEEE([]byte(got[:37]))), sum.Uint64())
		require.True(t, token.Valid("wht_", got))
	}
	zero, err := token.New("wht_", bytes.NewReader(make([]byte, 24)))
	require.NoError(t, err)
	require.Equal(t, "wht_"+strings.Repeat("0", 33), zero[:37])
}

func TestNewFailsWithItsRandomness(t *testing.T) {
	broken := errors.New("no entropy")
	for name, create := range map[string]func(io.Reader) (string, error){
		"token":             func(r io.Reader) (string, error) { return token.New("wht_", r) },
		"secret":            token.NewSecret,
		"standard webhooks": token.NewStandardWebhooksSecret,
	} {
		s, err := create(iotest.ErrReader(broken))
		require.ErrorIs(t, err, broken, name)
		require.Empty(t, s)
		s, err = create(strings.NewReader("short"))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, name)
		require.Empty(t, s)
	}
}

func TestValidRefusesEveryTypo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(t, "value")
		s, err := token.New(token.TriggerPrefix, bytes.NewReader(value))
		require.NoError(t, err)
		for i := range len(s) {
			for _, c := range alphabet + "_-é\x00 " {
				if typo := s[:i] + string(c) + s[i+1:]; typo != s && token.Valid(token.TriggerPrefix, typo) {
					t.Fatalf("%s is accepted for %s", typo, s)
				}
			}
		}
	})
}

func TestValidRefusesEverySwap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(t, "value")
		s, err := token.New(token.TriggerPrefix, bytes.NewReader(value))
		require.NoError(t, err)
		for i := range len(s) - 1 {
			swapped := s[:i] + s[i+1:i+2] + s[i:i+1] + s[i+2:]
			if swapped != s && token.Valid(token.TriggerPrefix, swapped) {
				t.Fatalf("%s is accepted for %s", swapped, s)
			}
		}
	})
}

func TestValidRefuses(t *testing.T) {
	s := fresh(t, token.TriggerPrefix)
	for name, wrong := range map[string]string{
		"nothing":       "",
		"only a prefix": "wht_",
		"one less":      s[:len(s)-1],
		"one more":      s + "0",
		"a space":       s + " ",
		"another kind":  token.KeyPrefix + s[4:],
		"an API key":    fresh(t, token.KeyPrefix),
		"upper case":    strings.ToUpper(s),
		"no prefix":     s[4:] + "0000",
	} {
		require.False(t, token.Valid(token.TriggerPrefix, wrong), name)
	}
}

func TestValidDoesNotAllocate(t *testing.T) {
	s := fresh(t, token.TriggerPrefix)
	wrong := s[:20] + "!" + s[21:]
	require.Zero(t, testing.AllocsPerRun(100, func() {
		token.Valid(token.TriggerPrefix, s)
		token.Valid(token.TriggerPrefix, wrong)
	}))
}

func TestDisplay(t *testing.T) {
	s := fresh(t, token.TriggerPrefix)
	require.Equal(t, s[:10], token.Display(s))
	key := fresh(t, token.KeyPrefix)
	require.Equal(t, key[:10], token.Display(key))
	for _, short := range []string{"", "_", "wht_", "wht_abcdef", strings.Repeat("x", 60), s[:30]} {
		require.Empty(t, token.Display(short))
	}
}

func TestNewSecret(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s, err := token.NewSecret(rand.Reader)
		require.NoError(t, err)
		require.Regexp(t, `^whs_[0-9a-zA-Z]{43}$`, s)
		require.False(t, seen[s])
		seen[s] = true
	}
	most, err := token.NewSecret(bytes.NewReader(bytes.Repeat([]byte{0xff}, 32)))
	require.NoError(t, err)
	number, ok := new(big.Int).SetString(most[4:], 62)
	require.True(t, ok)
	require.Equal(t, bytes.Repeat([]byte{0xff}, 32), number.Bytes())
}

func TestNewStandardWebhooksSecret(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	s, err := token.NewStandardWebhooksSecret(bytes.NewReader(key))
	require.NoError(t, err)
	encoded, ok := strings.CutPrefix(s, "whsec_")
	require.True(t, ok)
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	require.Equal(t, key, decoded)
}

func FuzzValid(f *testing.F) {
	good := fresh(f, token.TriggerPrefix)
	f.Add(token.TriggerPrefix, good)
	f.Add(token.KeyPrefix, good)
	f.Add("", good)
	f.Add("wht_", strings.Repeat("\xff", 43))
	f.Add("é_", "é_"+good[4:])
	f.Fuzz(func(t *testing.T, prefix, s string) {
		valid := token.Valid(prefix, s)
		body, sum := s, ""
		if len(s) >= 6 {
			body, sum = s[:len(s)-6], s[len(s)-6:]
		}
		random, hasPrefix := strings.CutPrefix(body, prefix)
		number, isNumber := new(big.Int).SetString(sum, 62)
		want := hasPrefix && len(random) == 33 && strings.Trim(random+sum, alphabet) == "" &&
			isNumber && number.Cmp(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body))))) == 0
		if valid != want {
			t.Fatalf("Valid(%q, %q) = %v", prefix, s, valid)
		}
	})
}

func BenchmarkValid(b *testing.B) {
	s := fresh(b, token.TriggerPrefix)
	for b.Loop() {
		if !token.Valid(token.TriggerPrefix, s) {
			b.Fatal("refused")
		}
	}
}
