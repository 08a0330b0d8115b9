// Package telemetry makes what operators watch: logs without secrets, and metrics.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
)

// secretText finds tokens, API keys and signing secrets by their prefixes.
var secretText = regexp.MustCompile(`\b(wht|htk|whs|whsec|whsk)_[A-Za-z0-9+/=_-]{6,}`)

// Redact replaces the secrets in a text by their prefixes.
func Redact(text string) string { return secretText.ReplaceAllString(text, "${1}_[redacted]") }

// NewLogger makes a logger that writes "json" or "text" lines from a level on. Whatever is
// logged, no secret is written.
func NewLogger(out io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue(Redact(a.Value.String()))
		case slog.KindAny:
			if value := a.Value.Any(); value != nil {
				a.Value = slog.StringValue(Redact(textOf(value)))
			}
		default:
		}
		return a
	}}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

func textOf(value any) string {
	switch v := value.(type) {
	case slog.Level:
		return v.String()
	case error:
		return v.Error()
	case fmt.Stringer:
		return v.String()
	}
	return fmt.Sprintf("%+v", value)
}
