package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// good is a run in which both databases were tested.
const good = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestStore"}
{"Action":"run","Package":"p","Test":"TestStore/postgres"}
{"Action":"run","Package":"p","Test":"TestStore/postgres/append"}
{"Action":"output","Package":"p","Test":"TestStore/postgres/append","Output":"--- PASS\n"}
{"Action":"pass","Package":"p","Test":"TestStore/postgres/append"}
{"Action":"pass","Package":"p","Test":"TestStore/postgres"}
{"Action":"run","Package":"p","Test":"TestStore/sqlite"}
{"Action":"run","Package":"p","Test":"TestStore/sqlite/append"}
{"Action":"pass","Package":"p","Test":"TestStore/sqlite/append"}
{"Action":"pass","Package":"p","Test":"TestStore/sqlite"}
{"Action":"pass","Package":"p","Test":"TestStore"}
{"Action":"run","Package":"p","Test":"TestPlain"}
{"Action":"pass","Package":"p","Test":"TestPlain"}
{"Action":"pass","Package":"p"}
`

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		events  string
		lines   []string // that the output has
		last    string
		problem []string // that it names; none: all is well
	}{
		"all is well": {
			events: good,
			lines:  []string{"on postgres: 1 passed, 0 failed, 0 skipped", "on sqlite:   1 passed, 0 failed, 0 skipped"},
			last:   "3 passed, 0 failed, 0 skipped",
		},
		"a skipped test that is not PostgreSQL's": {
			events: good + `{"Action":"run","Package":"p","Test":"TestNetwork"}
{"Action":"skip","Package":"p","Test":"TestNetwork"}`,
			lines: []string{"skipped: p TestNetwork"},
			last:  "3 passed, 0 failed, 1 skipped",
		},
		"a subtest failed": {
			events: good + `{"Action":"run","Package":"p","Test":"TestB/sqlite"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestB/sqlite"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}`,
			lines:   []string{"failed:  p TestB/sqlite", "on sqlite:   1 passed, 1 failed, 0 skipped"},
			last:    "3 passed, 1 failed, 0 skipped",
			problem: []string{"1 failed"},
		},
		"a parent failed by itself": {
			events: good + `{"Action":"fail","Package":"p","Test":"TestStore"}
{"Action":"fail","Package":"p"}`,
			lines:   []string{"failed:  p TestStore"},
			last:    "3 passed, 1 failed, 0 skipped",
			problem: []string{"1 failed"},
		},
		"a test that never ended": {
			events: good + `{"Action":"run","Package":"p","Test":"TestHangs"}
{"Action":"fail","Package":"p"}`,
			lines:   []string{"failed:  p TestHangs"},
			last:    "3 passed, 1 failed, 0 skipped",
			problem: []string{"1 failed"},
		},
		"a package that does not build": {
			events: good + `{"Action":"build-output","ImportPath":"q","Output":"syntax error\n"}
{"Action":"build-fail","ImportPath":"q"}
{"Action":"fail","Package":"q","FailedBuild":"q"}`,
			lines:   []string{"failed:  q (outside of its tests)"},
			last:    "3 passed, 1 failed, 0 skipped",
			problem: []string{"1 failed"},
		},
		"PostgreSQL skipped": {
			events: good + `{"Action":"run","Package":"p","Test":"TestRelay/postgres"}
{"Action":"skip","Package":"p","Test":"TestRelay/postgres"}`,
			last:    "3 passed, 0 failed, 1 skipped",
			problem: []string{"p TestRelay/postgres was skipped"},
		},
		"PostgreSQL skipped, spelt otherwise": {
			events: good + `{"Action":"run","Package":"p","Test":"TestPostgresNotify"}
{"Action":"skip","Package":"p","Test":"TestPostgresNotify"}`,
			last:    "3 passed, 0 failed, 1 skipped",
			problem: []string{"p TestPostgresNotify was skipped"},
		},
		"no PostgreSQL at all": {
			events:  strings.ReplaceAll(good, "/postgres", "/mysql"),
			last:    "3 passed, 0 failed, 0 skipped",
			problem: []string{"no test ran on postgres"},
		},
		"a name that only begins like a database": {
			events:  strings.ReplaceAll(good, "/sqlite", "/sqlite_like"),
			last:    "3 passed, 0 failed, 0 skipped",
			problem: []string{"no test ran on sqlite"},
		},
		"nothing ran": {
			last:    "0 passed, 0 failed, 0 skipped",
			problem: []string{"holds no result", "no test ran on postgres", "no test ran on sqlite"},
		},
		"cut off": {
			events:  good + `{"Action":"ru`,
			last:    "3 passed, 0 failed, 0 skipped",
			problem: []string{"not the output of go test -json"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "events.json")
			require.NoError(t, os.WriteFile(file, []byte(test.events), 0o600))
			var out bytes.Buffer
			require.Equal(t, test.problem == nil, run([]string{file}, &out))
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			require.Subset(t, lines, test.lines)
			require.Equal(t, test.last, lines[len(lines)-1])
			for _, says := range test.problem {
				require.Regexp(t, "(?m)^problem: .*"+regexp.QuoteMeta(says), out.String())
			}
			if test.problem == nil {
				require.NotContains(t, out.String(), "problem:")
			}
		})
	}
}

func TestRunAddsFilesUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events.json")
	require.NoError(t, os.WriteFile(file, []byte(good), 0o600))
	var out bytes.Buffer
	require.True(t, run([]string{file, file}, &out))
	require.Contains(t, out.String(), "6 passed, 0 failed, 0 skipped")
}

func TestRunWithoutResults(t *testing.T) {
	for name, files := range map[string][]string{"no file": nil, "absent": {filepath.Join(t.TempDir(), "absent.json")}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.False(t, run(files, &out))
			require.Regexp(t, `(?s)^problem: .*\n0 passed, 0 failed, 0 skipped\n$`, out.String())
		})
	}
}
