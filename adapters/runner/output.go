package runner

import (
	"bytes"
	"encoding/json"
	"mime"
	"strings"

	"hooktrail/domain/payload"
)

// DefaultMaxOutput bounds (bytes) what is read from an agent when a config says nothing else.
const DefaultMaxOutput = 4 << 20

var byteOrderMark = []byte("\uFEFF")

// jsonOutput makes one JSON value of what an agent gave: JSON that every client can read is
// kept to the byte, without the space around it; nothing is null; all else is text and becomes a
// JSON string, in which invalid UTF-8 is replaced.
func jsonOutput(raw []byte) []byte {
	// RFC 8259 §8.1 lets a reader ignore a byte order mark; some servers put one there.
	trimmed := bytes.Trim(bytes.TrimPrefix(raw, byteOrderMark), " \t\r\n")
	if len(trimmed) == 0 {
		return []byte("null")
	}
	if _, err := payload.CheckJSON(trimmed); err == nil {
		return trimmed
	}
	return jsonString(raw)
}

// httpOutput is jsonOutput for an answer that says what it is. Many handlers send JSON
// without saying so: objects and arrays are taken for JSON whatever the label, but the
// number or word that is a text answer stays text.
func httpOutput(contentType string, raw []byte) []byte {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(raw, byteOrderMark), " \t\r\n")
	saysJSON := contentType == "" || mediaType == "application/json" || mediaType == "text/json" ||
		strings.HasSuffix(mediaType, "+json")
	if saysJSON || len(trimmed) == 0 || trimmed[0] == '{' || trimmed[0] == '[' {
		return jsonOutput(raw)
	}
	return jsonString(raw)
}

func jsonString(text []byte) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	// A string cannot fail to encode, nor a buffer to take it.
	_ = encoder.Encode(strings.ToValidUTF8(string(text), "\uFFFD"))
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
