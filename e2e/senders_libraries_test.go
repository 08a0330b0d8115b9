package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// senderLibraries are those that the senders publish for their own users.
var senderLibraries = []string{"@octokit/webhooks-methods@6.0.0", "standardwebhooks@1.1.1", "stripe@23.1.0", "twilio@6.2.0"}

// signerOfSenders installs the libraries and gives the script that signs with them.
func signerOfSenders(t testing.TB) (node, script string) {
	t.Helper()
	const need = "this test needs Node.js 20 or newer with npm (Debian and Ubuntu: apt-get install nodejs npm)"
	node, err := exec.LookPath("node")
	require.NoError(t, err, need)
	npm, err := exec.LookPath("npm")
	require.NoError(t, err, need)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, append([]string{"install", "--no-audit", "--no-fund", "--prefer-offline", "--omit=optional", "--ignore-scripts", "--no-package-lock", "--prefix", dir}, senderLibraries...)...)
	install.Dir = dir
	output, err := install.CombinedOutput()
	require.NoError(t, err, "install the senders' libraries: %s", output)
	content, err := os.ReadFile(filepath.Join("testdata", "senders", "sign.mjs"))
	require.NoError(t, err)
	script = filepath.Join(dir, "sign.mjs")
	require.NoError(t, os.WriteFile(script, content, 0o600))
	return node, script
}

// TestSendersOwnLibraries has calls signed by those who send them.
func TestSendersOwnLibraries(t *testing.T) {
	t.Parallel()
	node, script := signerOfSenders(t)
	service := sqliteStore(t).serve(t, noLimit)
	agent := service.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`).ID
	secrets := map[string]string{
		"github": "It's a Secret to Everybody", "standard-webhooks": standardSecret, "stripe": "whsec_0123456789abcdef", "twilio": "0123456789abcdef0123456789abcdef",
	}
	made := map[string]triggerData{}
	for scheme, secret := range secrets {
		made[scheme] = service.newTrigger(agent, `, "secret": "`+secret+`", "options": {"signature": {"scheme": "`+scheme+`"}}`)
	}
	const body = `{"id": "evt_1", "text": "Grüße, 世界 \ud83d\ude00"}`
	// Repeated parameters, a space and a plus are what such signatures stumble over.
	form := url.Values{"From": {"+14158675309"}, "Body": {"a b+c"}, "Media": {"2", "1", "2"}}
	fields := map[string]any{"From": "+14158675309", "Body": "a b+c", "Media": []string{"2", "1", "2"}}
	task, err := json.Marshal(map[string]any{
		"secrets": secrets, "body": body, "url": made["twilio"].HookURL, "form": fields, "id": "msg_1", "now": time.Now().Unix(),
	})
	require.NoError(t, err)
	ran := program(t, nil, string(task), node, script)
	require.Zero(t, ran.code, ran.stderr)
	var signed map[string]map[string]string
	require.NoError(t, json.Unmarshal([]byte(ran.stdout), &signed), ran.stdout)
	require.Len(t, signed, len(secrets))
	for scheme, headers := range signed {
		d := delivery{body: body}
		if scheme == "twilio" {
			d.body = form.Encode()
		}
		for name, value := range headers {
			d.headers = append(d.headers, name, value)
		}
		a := service.deliver(made[scheme].HookURL, d)
		require.Equal(t, http.StatusAccepted, a.status, "%s: %s", scheme, a.body)
		execution := service.awaitExecution(read[executionData](t, a).ID, "completed")
		if scheme != "twilio" {
			require.JSONEq(t, body, string(execution.Input), scheme)
		}
		a = service.deliver(made[scheme].HookURL, d)
		require.Equal(t, "true", a.header.Get("Idempotent-Replayed"), scheme)
		d.body = strings.Replace(d.body, "a", "b", 1)
		d.body = strings.Replace(d.body, "evt", "evu", 1)
		a = service.deliver(made[scheme].HookURL, d)
		require.Equal(t, http.StatusUnauthorized, a.status, scheme)
	}
	service.stop()
}
