package eventlog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/eventlog"
)

func sampleLeaf() eventlog.Leaf {
	return eventlog.Leaf{
		Position: 7, EventID: []byte("2nJvP0dXhTQ9W5mC3kR7sYbA1fE"), Workspace: []byte("w1"), Stream: []byte("trigger-t1"), Version: 2, Fact: 1,
		Type: []byte("trigger.invoked"), Schema: 1, RecordedAt: 1_750_000_000_000_001, Actor: []byte("trigger:t1"),
		Metadata: []byte(`{"request_id":"r-1"}`), Data: []byte(`{"execution_id":"x1"}`),
	}
}

// TestLeafIsGolden holds the encoding for ever: trees that were signed are made of it.
func TestLeafIsGolden(t *testing.T) {
	leaf := sampleLeaf()
	encoded := leaf.AppendTo(nil)
	require.Equal(t, ""+
		"00000012686f6f6b747261696c2e6576656e742e7631"+
		"000000080000000000000007"+
		"0000001b326e4a76503064586854513957356d43336b523773596241316645"+
		"000000027731"+
		"0000000a747269676765722d7431"+
		"000000080000000000000002"+
		"000000080000000000000001"+
		"0000000f747269676765722e696e766f6b6564"+
		"000000080000000000000001"+
		"000000080006379da05b6001"+
		"0000000a747269676765723a7431"+
		"000000147b22726571756573745f6964223a22722d31227d"+
		"000000157b22657865637574696f6e5f6964223a227831227d", hex.EncodeToString(encoded))
	hash := sha256.Sum256(append([]byte{0}, encoded...))
	require.Equal(t, "5a94940c81535e9653f2809e91cd7523904322213e688465f84f670184ae3886", hex.EncodeToString(hash[:]), "its hash as a leaf by RFC 6962")
	read, err := eventlog.ParseLeaf(encoded)
	require.NoError(t, err)
	require.Equal(t, leaf, read)
}

func TestLeafTellsEventsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) eventlog.Leaf {
			text := func(field string) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, name+field) }
			number := func(field string) int64 { return rapid.Int64Range(-2, 2).Draw(t, name+field) }
			return eventlog.Leaf{
				Position: number("position"), EventID: text("id"), Workspace: text("workspace"), Stream: text("stream"), Version: number("version"), Fact: number("fact"),
				Type: text("type"), Schema: number("schema"), RecordedAt: number("at"), Actor: text("actor"), Metadata: text("metadata"), Data: text("data"),
			}
		}
		a, b := draw("a"), draw("b")
		encoded := a.AppendTo(nil)
		read, err := eventlog.ParseLeaf(encoded)
		require.NoError(t, err)
		require.Equal(t, encoded, read.AppendTo(nil))
		require.Equal(t, bytes.Equal(encoded, b.AppendTo(nil)), equalLeaves(a, b))
	})
}

func equalLeaves(a, b eventlog.Leaf) bool {
	return a.Position == b.Position && bytes.Equal(a.EventID, b.EventID) && bytes.Equal(a.Workspace, b.Workspace) && bytes.Equal(a.Stream, b.Stream) &&
		a.Version == b.Version && a.Fact == b.Fact && bytes.Equal(a.Type, b.Type) && a.Schema == b.Schema && a.RecordedAt == b.RecordedAt &&
		bytes.Equal(a.Actor, b.Actor) && bytes.Equal(a.Metadata, b.Metadata) && bytes.Equal(a.Data, b.Data)
}

func TestParseLeafRefuses(t *testing.T) {
	leaf := sampleLeaf()
	encoded := leaf.AppendTo(nil)
	for end := range encoded {
		_, err := eventlog.ParseLeaf(encoded[:end])
		require.Error(t, err, "the first %d bytes", end)
	}
	_, err := eventlog.ParseLeaf(append(bytes.Clone(encoded), 0))
	require.ErrorContains(t, err, "not the encoding of an event")
	_, err = eventlog.ParseLeaf(bytes.Replace(encoded, []byte("event.v1"), []byte("event.v2"), 1))
	require.ErrorContains(t, err, "hooktrail.event.v1")
	_, err = eventlog.ParseLeaf(bytes.Replace(encoded, []byte("\x00\x00\x00\x08"), []byte("\xff\xff\xff\xff"), 1))
	require.Error(t, err)
}
