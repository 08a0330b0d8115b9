package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	demo := start(t, nil, "demo", "--addr", "127.0.0.1:0")
	base := demo.await(`demo is ready and goes on serving at (http://127\.0\.0\.1:\d+) `)[1]
	shown := demo.stdout.String()
	for _, pattern := range []string{
		`Agent "Echo" registered: \w{27}\n`,
		`Trigger "GitHub PR Review" created: \w{27}\n`,
		`Execution \w{27} is completed, with the output\n\s+\{"message":"Review this PR","pr_number":42\}\n`,
		`api_key\.created[^\n]+\n.*agent\.registered[^\n]+\n.*trigger\.created[^\n]+\n.*trigger\.invoked[^\n]+\n.*execution\.started[^\n]+\n.*execution\.completed`,
	} {
		require.Regexp(t, pattern, shown)
	}
	dirs, err := filepath.Glob(filepath.Join(demo.cmd.Dir, "hooktrail-demo-*"))
	require.NoError(t, err)
	require.Len(t, dirs, 1, "the demo's data is in the temporary directory")

	token, secret := demo.await(`token  (wht_\w+)`)[1], demo.await(`secret (whs_\w+)`)[1]
	c := newClient(t, base, "")
	const body = `{"message": "a second call"}`
	require.Equal(t, http.StatusAccepted, c.fire(token, body, "X-Webhook-Signature", sign(secret, body)).status)
	require.Equal(t, http.StatusUnauthorized, c.fire(token, body).status, "unsigned")

	curl := curlHome(t)
	lines := regexp.MustCompile(`(?m)^curl .*$`).FindAllString(shown, -1)
	require.GreaterOrEqual(t, len(lines), 5)
	for _, line := range lines {
		ran := program(t, environment{"CURL_HOME": curl}, "", "bash", "-c", line)
		require.Zero(t, ran.code, "%s\n%s%s", line, ran.stdout, ran.stderr)
		require.Regexp(t, `^\{"data":.*\n2\d\d$`, ran.stdout, line)
	}
	require.Equal(t, http.StatusForbidden, c.fire(token, body, "X-Webhook-Signature", sign(secret, body)).status, "the last line switched the trigger off")

	demo.signal(syscall.SIGINT)
	require.Zero(t, demo.awaitExit(), "the exit code after Ctrl-C")
	require.Empty(t, demo.stderr.String())
	require.NoDirExists(t, dirs[0])
}

// curlHome makes a directory that lets curl take a refusal for a failure, and print the status
// in a line of its own.
func curlHome(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".curlrc"), []byte("fail-with-body\nsilent\nshow-error\nmax-time = 20\nwrite-out = \"\\n%{http_code}\"\n"), 0o600))
	return dir
}
