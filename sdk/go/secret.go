package hooktrail

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a token, a key or a signing secret. fmt and slog show it as "[redacted]"; convert it
// to a string to get it. Encoded as JSON it is the plain text, so that it can be stored.
type Secret string

const redacted = "[redacted]"

// Format hides the text, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = io.WriteString(f, redacted)
	}
}

// LogValue hides the text.
func (s Secret) LogValue() slog.Value {
	if s == "" {
		return slog.StringValue("")
	}
	return slog.StringValue(redacted)
}
