package trigger_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/trigger"
)

// vector is a signature of a body, which is a text or, where it is none, base64.
type vector struct {
	Name       string
	Secret     string
	Body       string
	BodyBase64 []byte `json:"body_base64"`
	Signature  string
}

func (v vector) body() []byte {
	if v.BodyBase64 != nil {
		return v.BodyBase64
	}
	return []byte(v.Body)
}

func (v vector) verified() bool {
	return trigger.Verify([]string{v.Signature}, []*trigger.Key{trigger.NewKey([]byte(v.Secret))}, v.body())
}

// TestSharedSignatureVectors checks the server by what every client library is checked by:
// signatures that were computed by others.
func TestSharedSignatureVectors(t *testing.T) {
	content, err := os.ReadFile("../../sdk/vectors/signatures.json")
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var file struct {
		Note                      string
		Signed, Accepted, Refused []vector
	}
	require.NoError(t, decoder.Decode(&file))
	require.NotEmpty(t, file.Signed)
	require.NotEmpty(t, file.Accepted)
	require.NotEmpty(t, file.Refused)
	for _, v := range file.Signed {
		require.Equal(t, v.Signature, trigger.Sign([]byte(v.Secret), v.body()), v.Name)
		require.True(t, v.verified(), v.Name)
	}
	for _, v := range file.Accepted {
		require.True(t, v.verified(), v.Name)
	}
	for _, v := range file.Refused {
		require.False(t, v.verified(), v.Name)
	}
}
