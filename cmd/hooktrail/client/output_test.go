package client

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	hooktrail "hooktrail/sdk/go"
)

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestColoursLeaveTablesAligned(t *testing.T) {
	head := []string{"ID", "STATUS", "TOOK"}
	rows := [][]cell{{text("1"), state("completed"), text("3ms")}, {text("22"), state("failed"), text("1s")}, {text("3"), state("of the future"), text("")}}
	var plainOut, coloured bytes.Buffer
	require.NoError(t, printTable(&plainOut, false, head, rows))
	require.NoError(t, printTable(&coloured, true, head, rows))
	require.Equal(t, "ID  STATUS         TOOK\n1   completed      3ms\n22  failed         1s\n3   of the future  \n", plainOut.String())
	require.Contains(t, coloured.String(), "\x1b[31mfailed\x1b[0m")
	require.Equal(t, plainOut.String(), escapes.ReplaceAllString(coloured.String(), ""))
}

func TestTextCannotSteerTheTerminal(t *testing.T) {
	for given, shown := range map[string]string{
		"Grüße, 世界": "Grüße, 世界", "\x1b[2Jgone": `\x1b[2Jgone`, "two\nlines": `two\nlines`, "\u202eevil": `\u202eevil`, "\u009b31m": `\u009b31m`,
	} {
		require.Equal(t, shown, clean(given))
		require.Equal(t, shown, name(given).text)
	}
	require.Equal(t, "{\n    \\x1b}", cleanText("{\n\t\x1b}"))
	long := name(strings.Repeat("ä", 100)).text
	require.Len(t, []rune(long), longest)
	require.True(t, strings.HasSuffix(long, "…"))
}

func TestTimes(t *testing.T) {
	now := time.Now()
	require.Equal(t, "3 minutes ago", ago(new(now.Add(-3*time.Minute-time.Second)), "never").text)
	require.Equal(t, "never", ago(nil, "never").text)
	require.Equal(t, "2026-01-31 12:00:00 UTC (", moment(new(time.Date(2026, 1, 31, 14, 0, 0, 0, time.FixedZone("", 7200))), "").text[:25])
	require.Equal(t, "1m30s", took(hooktrail.Execution{DurationMS: new(int64(90_000))}))
	require.Empty(t, took(hooktrail.Execution{}))
	at, err := readTime("since", "2h")
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(-2*time.Hour), at, time.Minute)
	at, err = readTime("since", "2026-01-31T12:00:00Z")
	require.NoError(t, err)
	require.Equal(t, "2026-01-31 12:00:00", stamp(at))
	_, err = readTime("since", "yesterday")
	require.ErrorContains(t, err, "--since")
}

func TestProgress(t *testing.T) {
	require.Equal(t, "\r50 of 200 events (25 %)\x1b[K", progressLine(50, 200, "events"))
	require.Equal(t, "\r0 of 0 events (0 %)\x1b[K", progressLine(0, 0, "events"))
	var out bytes.Buffer
	p := NewProgress(&out)
	p.Show(1, 2, "events")
	p.Done()
	require.Empty(t, out.String(), "only a terminal is written to")
}

func TestLastPosition(t *testing.T) {
	for name, test := range map[string]struct {
		content, kept string
		position      int64
		wrong         bool
	}{
		"empty":             {"", "", 0, false},
		"whole":             {"{\"position\": 4}\n{\"position\": 7}\n", "{\"position\": 4}\n{\"position\": 7}\n", 7, false},
		"one":               {"{\"position\": 4}\n", "{\"position\": 4}\n", 4, false},
		"broken off":        {"{\"position\": 4}\n{\"posit", "{\"position\": 4}\n", 4, false},
		"broken off first":  {"{\"posit", "", 0, false},
		"a line of no use":  {"{\"position\": 4}\nhello\n", "", 0, true},
		"not of our making": {"name,value\n", "", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.jsonl")
			require.NoError(t, os.WriteFile(path, []byte(test.content), 0o600))
			file, last, err := (&eventsExport{To: path, Resume: true}).open()
			content, _ := os.ReadFile(path)
			if test.wrong {
				require.ErrorContains(t, err, path)
				require.Equal(t, test.content, string(content), "what is not ours is left alone")
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.position, last)
			_, err = file.WriteString("next")
			require.NoError(t, err)
			content, _ = os.ReadFile(path)
			require.Equal(t, test.kept+"next", string(content))
			require.NoError(t, file.Close())
		})
	}
}

func TestRunner(t *testing.T) {
	for _, test := range []struct {
		flags    agentFlags
		runner   string
		mistaken bool
	}{
		{agentFlags{}, "null", false},
		{agentFlags{Runner: "echo"}, `{"kind": "echo"}`, false},
		{agentFlags{RunnerURL: "https://x"}, `{"kind": "http", "url": "https://x"}`, false},
		{agentFlags{Command: []string{"a", "b,c"}}, `{"kind": "command", "command": ["a", "b,c"]}`, false},
		{agentFlags{Runner: `{"kind": "of the future"}`}, `{"kind": "of the future"}`, false},
		{agentFlags{Runner: "{"}, "", true},
		{agentFlags{Runner: "echo", RunnerURL: "https://x"}, "", true},
		{agentFlags{RunnerURL: "https://x", Command: []string{"a"}}, "", true},
		{agentFlags{Runner: "{}", RunnerURL: "https://x"}, "", true},
	} {
		runner, err := test.flags.runner(&Session{})
		if test.mistaken {
			var wrong usageError
			require.ErrorAs(t, err, &wrong, "%+v", test.flags)
			continue
		}
		require.NoError(t, err)
		encoded, err := json.Marshal(runner)
		require.NoError(t, err)
		require.JSONEq(t, test.runner, string(encoded))
	}
}

// session is one of a command that only says which flags were given.
func session(flags ...string) *Session {
	command := &kong.Context{}
	for _, flag := range flags {
		command.Path = append(command.Path, &kong.Path{Flag: &kong.Flag{Value: &kong.Value{Name: flag}}})
	}
	return NewSession(Console{In: strings.NewReader("htk_stdin\n"), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, command)
}

func TestWhereServerAndKeyComeFrom(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv(keyVariable, "")
	stored, err := loadProfiles()
	require.NoError(t, err)
	stored.Current = "prod"
	stored.Profiles["prod"] = profile{URL: "https://prod.test/", APIKey: "htk_prod"}
	stored.Profiles["dev"] = profile{URL: "http://dev.test", APIKey: "htk_dev"}
	require.NoError(t, stored.save())
	info, err := os.Stat(stored.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	connect := func(s *Session, server Server) (url, urlFrom, keyFrom string) {
		t.Helper()
		_, err := s.connect(server)
		require.NoError(t, err)
		return s.url, s.urlFrom, s.keyFrom
	}
	check := func(s *Session, server Server, wants ...string) {
		t.Helper()
		url, urlFrom, keyFrom := connect(s, server)
		found := []string{url, urlFrom, keyFrom}
		require.Equal(t, wants, found)
	}
	check(session(), Server{}, "https://prod.test/", "from profile prod", "profile prod")
	check(session(), Server{Profile: "dev"}, "http://dev.test", "from profile dev", "profile dev")
	check(session("url"), Server{URL: "https://prod.test"}, "https://prod.test", "from --url", "profile prod")
	check(session(), Server{APIKeyFile: "-"}, "https://prod.test/", "from profile prod", "standard input")
	t.Setenv(keyVariable, "htk_env")
	check(session(), Server{URL: "http://env.test"}, "http://env.test", "from HOOKTRAIL_URL", keyVariable)
	check(session(), Server{}, "https://prod.test/", "from profile prod", keyVariable)
	t.Setenv(keyVariable, "")

	elsewhere := session("url")
	check(elsewhere, Server{URL: "http://evil.test"}, "http://evil.test", "from --url", "")
	text, code := elsewhere.Explain(&hooktrail.Error{Code: "unauthorized"})
	require.Equal(t, exitAuthentication, code)
	require.Contains(t, text, "for https://prod.test/ only and was not sent")

	_, err = session().connect(Server{Profile: "nobody"})
	require.ErrorContains(t, err, "nobody")
	require.NoError(t, os.WriteFile(stored.path, []byte("current: [htk_secret"), 0o600))
	_, err = session().connect(Server{})
	require.ErrorContains(t, err, stored.path)
	require.NotContains(t, err.Error(), "htk_secret")
	require.NoError(t, os.Chmod(stored.path, 0o640))
	_, err = session().connect(Server{})
	require.ErrorContains(t, err, "chmod 600 "+stored.path)
	_, err = session().connect(Server{URL: "http://x.test", APIKeyFile: "-"})
	require.NoError(t, err, "a file that is not needed is not looked at")
}
