package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hooktrail/cmd/hooktrail/client"
)

// commands gives the words of every command, the program itself first.
func commands(t *testing.T) [][]string {
	t.Helper()
	parser, err := newParser(&commandLine{}, client.Console{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, func(int) {})
	require.NoError(t, err)
	all := [][]string{{}}
	var visit func(node *kong.Node, words []string)
	visit = func(node *kong.Node, words []string) {
		for _, child := range node.Children {
			path := append(append([]string{}, words...), child.Name)
			all = append(all, path)
			visit(child, path)
		}
	}
	visit(parser.Model.Node, nil)
	require.Greater(t, len(all), 40)
	return all
}

func TestHelp(t *testing.T) {
	t.Setenv("COLUMNS", "200") // it is 80 all the same
	for _, words := range commands(t) {
		var out, errs bytes.Buffer
		require.Zero(t, run(append(words, "--help"), client.Console{In: strings.NewReader(""), Out: &out, Err: &errs}), errs.String())
		help := out.String()
		require.Contains(t, help, "\nExample:\n\n    ", words)
		example := help[strings.Index(help, "Example:"):]
		require.Contains(t, example, "hooktrail "+strings.Join(words, " "), "the example of %v shows another command:\n%s", words, help)
		for line := range strings.Lines(help) {
			assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, "%v: %s", words, line)
		}
		// What a command is and does is seen without scrolling.
		assert.Less(t, strings.Count(help[:strings.Index(help, "\nFlags:")], "\n"), 20, help)
	}
}

// TestExamplesParse runs the parser over what the help tells people to type.
func TestExamplesParse(t *testing.T) {
	for _, words := range commands(t) {
		var out bytes.Buffer
		require.Zero(t, run(append(words, "--help"), client.Console{Out: &out, Err: &out}))
		_, example, _ := strings.Cut(out.String(), "Example:\n\n")
		for line := range strings.Lines(example) {
			command, isCommand := strings.CutPrefix(line, "    hooktrail ")
			if !isCommand {
				break
			}
			command, _, _ = strings.Cut(command, " | ")
			parser, err := newParser(&commandLine{}, client.Console{Out: &out, Err: &out}, func(int) {})
			require.NoError(t, err)
			_, err = parser.Parse(shellWords(strings.TrimSpace(command)))
			require.NoError(t, err, line)
		}
	}
}

// shellWords splits a command as a shell does, but for what the examples do not need.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}
