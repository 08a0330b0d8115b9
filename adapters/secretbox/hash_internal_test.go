package secretbox

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/prf"
)

func testBox(t testing.TB) *Box {
	key, err := GenerateMasterKey(rand.Reader)
	require.NoError(t, err)
	master, err := ParseMasterKeys(key)
	require.NoError(t, err)
	box, _, err := Create(master)
	require.NoError(t, err)
	return box
}

func TestHashIsTinksPRF(t *testing.T) {
	box := testBox(t)
	set, err := prf.NewPRFSet(box.hashKeyset)
	require.NoError(t, err)
	want, err := set.ComputePrimaryPRF([]byte("hooktrail/token/v1\x00wht_1"), HashBytes)
	require.NoError(t, err)
	require.Equal(t, want, box.HashToken("wht_1"))
	want, err = set.ComputePrimaryPRF([]byte("hooktrail/api-key/v1\x00htk_1"), HashBytes)
	require.NoError(t, err)
	require.Equal(t, want, box.HashAPIKey("htk_1"))
}

const benchmarkToken = "wht_4bQ9yKXf0eVt3mJr7sLd2HnPz8WcAu5gRi6k"

func BenchmarkHashToken(b *testing.B) {
	box := testBox(b)
	b.ReportAllocs()
	for b.Loop() {
		box.HashToken(benchmarkToken)
	}
}

func BenchmarkHashTokenParallel(b *testing.B) {
	box := testBox(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			box.HashToken(benchmarkToken)
		}
	})
}

// BenchmarkTinkPRF is what HashToken is measured against.
func BenchmarkTinkPRF(b *testing.B) {
	set, err := prf.NewPRFSet(testBox(b).hashKeyset)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.ComputePrimaryPRF([]byte(tokenUse+benchmarkToken), HashBytes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	box := testBox(b)
	sealed, err := box.Seal([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "trigger/1")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := box.Open(sealed, "trigger/1"); err != nil {
			b.Fatal(err)
		}
	}
}
