package label_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/label"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":                       "is required",
		" \t":                    "is required",
		"a\x00b":                 "has control characters",
		"Grüße":                  "",
		strings.Repeat("ü", 200): "",
		strings.Repeat("ü", 201): "is longer than 200 characters",
	} {
		require.Equal(t, want, label.CheckName(name), "%q", name)
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":      "",
		"abcd":  "abcd",
		"abcde": "abcd…",
		"abcü":  "abc…",
		"üü":    "üü",
		"😀😀":    "😀…",
	} {
		require.Equal(t, want, label.Shorten(text, 4), "%q", text)
	}
	require.Equal(t, "…", label.Shorten("😀", 3), "not a part of a character")
}
