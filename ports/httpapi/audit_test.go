//go:build unix

package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/trail"
	"hooktrail/internal/testserver"
)

// receipt asks for the receipt of an event until a checkpoint covers it.
func (a *api) receipt(t testing.TB, eventID string) trail.Receipt {
	t.Helper()
	path := "/api/v1/events/" + eventID + "/proof"
	var receipt trail.Receipt
	require.Eventually(t, func() bool {
		answer := a.do(t, "GET", path, "")
		if answer.Status == http.StatusBadRequest {
			require.Equal(t, "conflict", refusalOf(t, answer).Error.Code)
			require.Equal(t, "15", answer.Header.Get("Retry-After"))
			return false
		}
		require.Equal(t, http.StatusOK, answer.Status, answer.Body)
		answer.Decode(t, &receipt)
		return true
	}, 30*time.Second, 20*time.Millisecond)
	return receipt
}

func TestReceipts(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		a.accepted(t, made.Token, `{"n": 1}`)
		first := a.receipt(t, a.eventsAfter(t, 0)[0].ID)
		var checkpoint struct {
			Origin      string    `json:"origin"`
			Size        uint64    `json:"size"`
			Root        []byte    `json:"root"`
			Note        string    `json:"note"`
			CreatedAt   time.Time `json:"created_at"`
			VerifierKey string    `json:"verifier_key"`
		}
		a.must(t, 200, &checkpoint, "GET", "/api/v1/audit/checkpoint", "")
		key, err := trail.NewVerifier(checkpoint.VerifierKey)
		require.NoError(t, err)
		opened, err := key.Open(checkpoint.Note)
		require.NoError(t, err)
		require.Equal(t, checkpoint.Size, opened.Size)
		require.Equal(t, checkpoint.Root, opened.Root)
		require.Equal(t, key.Origin(), checkpoint.Origin)
		require.WithinDuration(t, time.Now(), checkpoint.CreatedAt, time.Minute)
		var me resource
		a.must(t, 200, &me, "GET", "/api/v1/me", "")
		require.Equal(t, "hooktrail/"+me.WorkspaceID, checkpoint.Origin)

		leaf, _, err := first.Verify(key)
		require.NoError(t, err)
		require.EqualValues(t, 1, leaf.Position)
		for _, e := range a.eventsAfter(t, 0) {
			receipt := a.receipt(t, e.ID)
			leaf, covering, err := receipt.Verify(key)
			require.NoError(t, err)
			require.Equal(t, e.Position, leaf.Position)
			require.Equal(t, e.Type, string(leaf.Type))
			require.Equal(t, e.Stream, string(leaf.Stream))
			require.Equal(t, me.WorkspaceID, string(leaf.Workspace))
			require.NotContains(t, string(receipt.Leaf), made.Token)
			var held map[string]any
			require.NoError(t, json.Unmarshal(leaf.Data, &held))
			require.GreaterOrEqual(t, covering.Size, uint64(e.Position))
		}
		require.True(t, strings.HasPrefix(checkpoint.Note, checkpoint.Origin+"\n"))
	})
}

// TestNothingIsProvenWithoutAWorker asks a process that only serves, of a log that nobody follows.
func TestNothingIsProvenWithoutAWorker(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite, Configure: func(c *testserver.Config) { c.Roles = []string{"api"} }})
	for _, path := range []string{"/api/v1/audit/checkpoint", "/api/v1/events/" + a.eventsAfter(t, 0)[0].ID + "/proof"} {
		answer := a.must(t, 400, nil, "GET", path, "")
		require.Equal(t, "conflict", refusalOf(t, answer).Error.Code)
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
	}
}
