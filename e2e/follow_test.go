package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	hooktrail "hooktrail/sdk/go"
)

// TestFollowingProgram runs the program that docs/subscriptions.md shows, over a restart of the server.
func TestFollowingProgram(t *testing.T) {
	page, err := os.ReadFile("../docs/subscriptions.md")
	require.NoError(t, err)
	shown := ""
	for _, block := range strings.Split(string(page), "```go\n")[1:] {
		if block, _, _ = strings.Cut(block, "```"); strings.Contains(block, "Events.Tail") {
			shown = block
		}
	}
	require.NotEmpty(t, shown, "the page shows a program that follows")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(shown), 0o600))
	follower := filepath.Join(dir, "follower")
	built, err := exec.Command("go", "build", "-o", follower, filepath.Join(dir, "main.go")).CombinedOutput()
	require.NoError(t, err, "%s", built)

	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		trigger := service.echoTrigger()
		printed := newOutput()
		cmd := exec.Command(follower)
		cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = []string{"HOOKTRAIL_URL=" + service.base, "HOOKTRAIL_API_KEY=" + service.key}, printed, printed, dieWithParent()
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		var ids []string
		call := func() {
			ids = append(ids, service.accepted(trigger.Token, `{}`))
			service.awaitExecution(ids[len(ids)-1], "completed")
			eventually(t, func() bool { return strings.Contains(printed.String(), "execution-"+ids[len(ids)-1]) }, "the program has not printed the event: %s", printed)
		}
		call()
		addr := strings.TrimPrefix(service.base, "http://")
		service.stop()
		service = s.serve(t, noLimit.with(environment{"HOOKTRAIL_ADDR": addr}))
		call()
		call()
		var followed []string
		for line := range strings.Lines(printed.String()) {
			followed = append(followed, strings.TrimSpace(line[strings.LastIndex(line, "-")+1:]))
		}
		require.Equal(t, ids, followed, "each once, in order: %s", printed)
		service.stop()
	})
}

// TestCLISubscriptions has events posted, by the command line alone.
func TestCLISubscriptions(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit.with(reachable))
		c := newCLI(t, service.base, service.key)
		var takes atomic.Bool
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if !takes.Load() {
				w.WriteHeader(http.StatusBadRequest)
			}
		}))
		defer receiver.Close()
		created := c.run(0, "subscriptions", "create", "--name=downstream", "--to="+receiver.URL, "--types=api_key.created", "--inactive")
		require.Regexp(t, `(?m)^New secret +whsec_\S+$`, created.stdout)
		require.Contains(t, created.stderr, "Shown only now")
		id := shown(t, created, "Id")
		require.Regexp(t, `(?m)^`+id+` +downstream +inactive +\d+ +– +`+receiver.URL, c.run(0, "subscriptions", "list", "--no-active").stdout)
		c.run(0, "keys", "create", "--name=event", "--scope=events:read")
		event := read[[]struct{ ID string }](t, service.get("/api/v1/events?type=api_key.created"))[0].ID
		require.Regexp(t, `(?m)^\d+ +pending +api_key.created +`+event, c.run(0, "subscriptions", "deliveries", id).stdout)
		require.Regexp(t, `(?m)^State +active$`, c.run(0, "subscriptions", "resume", id).stdout)
		eventually(t, func() bool { return strings.Contains(c.run(0, "subscriptions", "get", id).stdout, "Failing") }, "it does not fail")
		require.Regexp(t, `(?m)^Status +failed$`, c.run(1, "subscriptions", "redeliver", id, event).stdout)
		c.run(0, "subscriptions", "pause", id) // so that it is not tried meanwhile
		require.NotContains(t, c.run(0, "subscriptions", "skip", id, "--event="+event).stdout, "Failing")
		c.says(1, "no event is failing", "subscriptions", "skip", id)
		takes.Store(true)
		c.run(0, "subscriptions", "resume", id)
		require.Regexp(t, `(?m)^Status +delivered$`, c.run(0, "subscriptions", "redeliver", id, event).stdout)
		require.Regexp(t, `(?m)^Position +0$`, c.run(0, "subscriptions", "rewind", c.pause(id), "--from=beginning").stdout)
		require.Regexp(t, `(?m)^Types +all$`, c.run(0, "subscriptions", "update", id, "--name=renamed", "--types=*").stdout)
		require.Contains(t, c.run(0, "subscriptions", "rotate-secret", id, "--grace-period=0s").stdout, "whsec_")
		require.Contains(t, c.run(0, "events", "history", "subscription", id).stdout, "skipped an event")
		c.run(0, "subscriptions", "delete", id, "--yes")
		c.says(3, "no such subscription", "subscriptions", "get", id)
		service.stop()
	})
}

func (c *cli) pause(id string) string {
	c.t.Helper()
	c.run(0, "subscriptions", "pause", id)
	return id
}

// TestReceipts gets a proof and checks it without the server: by the command line, and by the library.
func TestReceipts(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		c := newCLI(t, service.base, service.key)
		trigger := service.echoTrigger()
		called := service.accepted(trigger.Token, `{"n": 1}`)
		service.awaitExecution(called, "completed")
		require.Contains(t, c.run(0, "executions", "received", called).stdout, `{"n": 1}`)
		events := read[[]struct {
			ID, Type string
			Position int64
		}](t, service.get("/api/v1/events?after=0"))
		client, err := hooktrail.New(hooktrail.Options{BaseURL: service.base, APIKey: hooktrail.Secret(service.key)})
		require.NoError(t, err)
		last := events[len(events)-1]
		eventually(t, func() bool { _, err := client.Audit.Receipt(t.Context(), last.ID); return err == nil }, "the last event is not covered")
		checkpoint, err := client.Audit.Checkpoint(t.Context())
		require.NoError(t, err)
		for _, e := range events {
			receipt, err := client.Audit.Receipt(t.Context(), e.ID)
			require.NoError(t, err)
			proven, err := receipt.Verify(checkpoint.VerifierKey)
			require.NoError(t, err)
			require.Equal(t, e.ID, proven.ID)
			require.Equal(t, e.Type, proven.Type)
			require.Equal(t, e.Position, proven.Position)
			require.Equal(t, checkpoint.Origin, proven.Origin)
		}
		file := writeFile(t, "receipt.json", c.run(0, "audit", "receipt", last.ID).stdout)
		require.Contains(t, c.run(0, "audit", "verify-receipt", file, "--key="+checkpoint.VerifierKey).stdout, "event "+last.ID+" is at position")
		service.stop()

		var kept struct{ Data hooktrail.Receipt }
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		fails := func(why string, change func(r *hooktrail.Receipt)) {
			t.Helper()
			require.NoError(t, json.Unmarshal(content, &kept))
			change(&kept.Data)
			_, err := kept.Data.Verify(checkpoint.VerifierKey)
			require.ErrorIs(t, err, hooktrail.ErrNotProven)
			require.ErrorContains(t, err, why)
		}
		fails("not in the tree", func(r *hooktrail.Receipt) { r.Leaf[len(r.Leaf)-1] ^= 1 })
		fails("not in the tree", func(r *hooktrail.Receipt) { r.Hashes[0][0] ^= 1 })
		fails("number of hashes", func(r *hooktrail.Receipt) { r.Hashes = r.Hashes[1:] })
		fails("index or event id", func(r *hooktrail.Receipt) { r.Index-- })
		fails("index or event id", func(r *hooktrail.Receipt) { r.EventID = events[0].ID })
		fails("signature", func(r *hooktrail.Receipt) {
			r.Checkpoint = regexp.MustCompile(`\n\d+\n`).ReplaceAllString(r.Checkpoint, fmt.Sprintf("\n%d\n", last.Position+100))
		})
		fails("cut off", func(r *hooktrail.Receipt) { r.Leaf = r.Leaf[:len(r.Leaf)-1] })
		fails("format", func(r *hooktrail.Receipt) { r.Format = "other" })
		_, err = kept.Data.Verify("hooktrail/x+00000000+AAAA")
		require.ErrorIs(t, err, hooktrail.ErrNotProven)
	})
}
