package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// leafFormat names the encoding of Leaf. It never changes: another encoding gets another name.
const leafFormat = "hooktrail.event.v1"

// Leaf is an event as it stands in its row, all columns but the payload, in the bytes in which
// they are stored. It is what the Merkle tree over the log is made of. The payload, which may be
// erased later, is held by its SHA-256 and size in Data.
type Leaf struct {
	Position   int64 // from 1 on
	EventID    []byte
	Workspace  []byte
	Stream     []byte
	Version    int64
	Fact       int64 // 1 for a fact, else 0
	Type       []byte
	Schema     int64
	RecordedAt int64 // microseconds since 1970
	Actor      []byte
	Metadata   []byte // JSON
	Data       []byte // JSON
}

// AppendTo adds the canonical encoding of the leaf to b: the text "hooktrail.event.v1", then the
// columns in the order of the fields, each as its length in bytes (4 bytes, most significant
// first) and its bytes. Numbers are 8 bytes, most significant first, in two's complement. No two
// different leaves have the same encoding.
func (l *Leaf) AppendTo(b []byte) []byte {
	b = appendText(b, []byte(leafFormat))
	b = appendNumber(b, l.Position)
	b = appendText(b, l.EventID)
	b = appendText(b, l.Workspace)
	b = appendText(b, l.Stream)
	b = appendNumber(b, l.Version)
	b = appendNumber(b, l.Fact)
	b = appendText(b, l.Type)
	b = appendNumber(b, l.Schema)
	b = appendNumber(b, l.RecordedAt)
	b = appendText(b, l.Actor)
	b = appendText(b, l.Metadata)
	return appendText(b, l.Data)
}

func appendText(b, text []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

func appendNumber(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(n))
}

// errLeaf says that bytes are no leaf.
var errLeaf = errors.New("not the encoding of an event")

// ParseLeaf reads what AppendTo wrote.
func ParseLeaf(encoded []byte) (Leaf, error) {
	var l Leaf
	rest := encoded
	text := func() []byte {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			rest = nil
			return nil
		}
		end := 4 + int(binary.BigEndian.Uint32(rest))
		field := rest[4:end:end]
		rest = rest[end:]
		return field
	}
	whole := true
	number := func() int64 {
		field := text()
		if len(field) != 8 {
			whole = false
			return 0
		}
		return int64(binary.BigEndian.Uint64(field))
	}
	if format := text(); string(format) != leafFormat {
		return Leaf{}, fmt.Errorf("%w in the format %s", errLeaf, leafFormat)
	}
	l.Position = number()
	l.EventID, l.Workspace, l.Stream = text(), text(), text()
	l.Version, l.Fact = number(), number()
	l.Type = text()
	l.Schema, l.RecordedAt = number(), number()
	l.Actor, l.Metadata, l.Data = text(), text(), text()
	if !whole || rest == nil || len(rest) > 0 {
		return Leaf{}, errLeaf
	}
	return l, nil
}
