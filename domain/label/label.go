// Package label holds the rules for texts that people read: names, and reasons that quote what
// somebody sent.
package label

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name, in characters.
const MaxName = 200

// CheckName says what is wrong with a name, as the end of a sentence about it; "" when nothing is.
func CheckName(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "is required"
	case utf8.RuneCountInString(name) > MaxName:
		return fmt.Sprintf("is longer than %d characters", MaxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has control characters"
	}
	return ""
}

// Shorten cuts a text to so many bytes, between characters, and ends it with "…" then.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}
