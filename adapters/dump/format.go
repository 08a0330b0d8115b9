// Package dump writes a whole store into a file of JSON Lines, and fills an empty store from it. What
// can be made from the log is not in the file: it is made anew, by the code that made it before.
package dump

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
	"time"
	"unicode/utf8"

	"hooktrail/domain/eventlog"
)

// Format is the version of the file's format.
const Format = 1

// secretsNote tells whoever looks into a file what it is worth.
const secretsNote = "This file has payloads in the clear and credentials sealed by the master key, which is not in it; importing it needs the same master key." //nolint:gosec // words about secrets are none

// header is the first line.
type header struct {
	Format    int       `json:"format"`
	Schema    int64     `json:"schema"` // the migration up to which the store was
	Events    int64     `json:"events"`
	CreatedAt time.Time `json:"created_at"`
	// Checkpoint is the latest signed one; absent when nothing was signed yet.
	Checkpoint string `json:"checkpoint,omitempty"`
	Note       string `json:"note"`
}

// end is the last line: without it a file was cut off.
type end struct {
	Events int64            `json:"events"`
	Root   []byte           `json:"root"` // of the Merkle tree over all events
	Rows   map[string]int64 `json:"rows"`
	SHA256 []byte           `json:"sha256"` // of all lines before
}

// line is any line. It has one of header, event, table and end.
type line struct {
	Header *header                    `json:"header"`
	Event  *event                     `json:"event"`
	Table  string                     `json:"table"`
	Row    map[string]json.RawMessage `json:"row"`
	End    *end                       `json:"end"`
	Sum    string                     `json:"crc32c"`
}

// event is a row of the log. Metadata and data are in the bytes in which they are stored.
type event struct {
	Position   int64           `json:"position"`
	ID         string          `json:"event_id"`
	Workspace  string          `json:"workspace_id"`
	Stream     string          `json:"stream"`
	Version    int64           `json:"version"`
	Fact       bool            `json:"fact"`
	Type       string          `json:"type"`
	Schema     int64           `json:"schema_version"`
	RecordedAt int64           `json:"recorded_at"`
	Actor      string          `json:"actor"`
	Metadata   json.RawMessage `json:"metadata"`
	Data       json.RawMessage `json:"data"`
	Payload    []byte          `json:"payload"` // nil: there is none, or it was erased
}

func (e *event) leaf() *eventlog.Leaf {
	l := &eventlog.Leaf{
		Position: e.Position, EventID: []byte(e.ID), Workspace: []byte(e.Workspace), Stream: []byte(e.Stream), Version: e.Version, Type: []byte(e.Type),
		Schema: e.Schema, RecordedAt: e.RecordedAt, Actor: []byte(e.Actor), Metadata: e.Metadata, Data: e.Data,
	}
	if e.Fact {
		l.Fact = 1
	}
	return l
}

// Every line ends with the CRC-32C of what stands before it, so that a change of the file is not
// only noticed at its end, but where it is.
var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	sumBefore  = []byte(`,"crc32c":"`)
	sumBehind  = []byte("\"}\n")
)

const sumLength = 8

// closeLine ends an object that is still open.
func closeLine(open []byte) []byte {
	sum := crc32.Checksum(open, castagnoli)
	open = append(open, sumBefore...)
	open = hex.AppendEncode(open, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	return append(open, sumBehind...)
}

// parse reads a line, which ends with a line feed.
func parse(text []byte) (*line, error) {
	from := len(text) - len(sumBehind) - sumLength - len(sumBefore)
	if from < 1 || !bytes.HasPrefix(text[from:], sumBefore) || !bytes.HasSuffix(text, sumBehind) {
		return nil, errNoLine
	}
	if again := closeLine(bytes.Clone(text[:from])); !bytes.Equal(again, text) {
		return nil, errSum
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLine, err)
	}
	return &l, nil
}

// output is where a file goes.
type output struct {
	to     interface{ Write(p []byte) (int, error) }
	digest hash.Hash
	buffer []byte
	rows   map[string]int64
}

// write writes an object that is still open as a line.
func (o *output) write(open []byte) error {
	o.buffer = closeLine(open)
	_, _ = o.digest.Write(o.buffer) // it never fails
	if _, err := o.to.Write(o.buffer); err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	return nil
}

// object writes a value under a name as a line.
func (o *output) object(name string, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode the %s: %w", name, err)
	}
	open := append([]byte(nil), `{"`+name+`":`...)
	return o.write(append(open, encoded...))
}

// appendText adds a text as JSON. Text that is not UTF-8 cannot be written without changing it.
func appendText(b, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return b, fmt.Errorf("%q is not UTF-8", text)
	}
	encoded, err := json.Marshal(string(text))
	return append(b, encoded...), err
}

// appendStored adds JSON in the bytes in which it is stored.
func appendStored(b, stored []byte) ([]byte, error) {
	if !json.Valid(stored) || !utf8.Valid(stored) || bytes.IndexByte(stored, '\n') >= 0 {
		return b, fmt.Errorf("%.100q is not JSON on one line", stored)
	}
	if s := bytes.TrimSpace(stored); len(s) != len(stored) {
		return b, fmt.Errorf("%.100q has spaces around it", stored)
	}
	return append(b, stored...), nil
}
