package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newMappedTrigger makes a trigger of an agent with options.
func (c *client) newMappedTrigger(agentID string, options map[string]any) triggerData {
	c.tb.Helper()
	text, err := json.Marshal(options)
	require.NoError(c.tb, err)
	return c.newTrigger(agentID, `, "options": `+string(text))
}

const titled = `{"name": "titled", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "required": ["title"],
	"properties": {"title": {"type": "string"}, "n": {"type": "number"}}, "additionalProperties": false}}`

func TestFilterAndMapping(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		agent := service.newAgent(titled).ID
		made := service.newMappedTrigger(agent, map[string]any{
			"filter":        `event == "issues" && payload.action == "opened"`,
			"input_mapping": map[string]any{"cel": map[string]string{"title": "payload.issue.title", "n": "payload.?n"}},
		})
		never := service.newMappedTrigger(agent, map[string]any{"filter": "false"})

		filtered := service.fire(made.Token, `{"action": "closed"}`, "X-GitHub-Event", "issues")
		require.Equal(t, http.StatusOK, filtered.status, filtered.body)
		require.Contains(t, filtered.body, `"status":"filtered"`)
		require.Equal(t, http.StatusOK, service.fire(never.Token, `{}`).status)
		unfit := service.fire(made.Token, `{"action": "opened", "issue": {"title": 1}}`, "X-GitHub-Event", "issues")
		require.Equal(t, http.StatusUnprocessableEntity, unfit.status, unfit.body)
		require.Contains(t, unfit.body, `"/title"`)
		broken := service.fire(made.Token, `{"action": "opened"}`, "X-GitHub-Event", "issues")
		require.Equal(t, http.StatusUnprocessableEntity, broken.status, broken.body)
		require.Contains(t, broken.body, "no such key: issue")
		body := `{"action": "opened",  "issue": {"title": "It breaks"}, "n": 1.10}`
		id := service.accepted(made.Token, body, "X-GitHub-Event", "issues")
		done := service.awaitExecution(id, "completed")
		require.Equal(t, `{"n":1.10,"title":"It breaks"}`, string(done.Output))
		require.Equal(t, `{"n":1.10,"title":"It breaks"}`, string(done.Input))

		eventually(t, func() bool {
			return read[triggerData](t, service.get("/api/v1/webhook-triggers/"+made.ID)).LastUsedAt != ""
		}, "the statistics do not follow")
		state := func() []string {
			var lists []string
			for _, path := range []string{
				"/api/v1/executions", "/api/v1/webhook-triggers", "/api/v1/webhook-triggers/" + made.ID, "/api/v1/webhook-triggers/" + never.ID,
				"/api/v1/executions/" + id, "/api/v1/executions/" + id + "/received", "/api/v1/events?after=0&limit=100",
			} {
				lists = append(lists, service.get(path).body)
			}
			return lists
		}
		before := state()
		require.Equal(t, 1, service.total("/api/v1/executions"), "what was filtered made no execution")
		require.Equal(t, 2, service.total("/api/v1/events?type=trigger.filtered"))
		require.Empty(t, read[triggerData](t, service.get("/api/v1/webhook-triggers/"+never.ID)).LastUsedAt, "and is no invocation")
		require.Contains(t, before[5], `"body":"{\"action\": \"opened\",  \"issue\"`)

		rebuilt := s.command(t, "projections", "rebuild")
		require.Zero(t, rebuilt.code, rebuilt.stderr)
		require.Equal(t, before, state(), "a rebuild gives the same")
		service.stop()
		service = s.serve(t, noLimit)
		require.Equal(t, before[0], service.get("/api/v1/executions").body)
		require.Equal(t, http.StatusAccepted, service.fire(made.Token, body, "X-GitHub-Event", "issues").status)
	})
}

// TestHostileExpressions keeps the evaluation busy with expressions that never end, on the
// machine that answers other calls at the same time.
func TestHostileExpressions(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		agent := service.newAgent(`{"name": "outside", "runner": {"kind": "none"}}`).ID
		plain := service.newTrigger(agent, "")
		var hostile []triggerData
		for _, program := range []string{`def f: f; f`, `[repeat("x")]`, `"x" * 1e9 | length`, `reduce range(60) as $i ([1]; [., .])`} {
			hostile = append(hostile, service.newMappedTrigger(agent, map[string]any{"input_mapping": map[string]string{"jq": program}}))
		}
		hostile = append(hostile, service.newMappedTrigger(agent, map[string]any{"filter": `payload.all(a, payload.all(b, payload.all(c, payload.all(d, true))))`}))
		large := "[" + strings.Repeat("{},", 50_000) + "{}]"

		var running sync.WaitGroup
		var ended atomic.Bool
		var stopped atomic.Int64
		for i, made := range hostile {
			running.Go(func() {
				other := newClient(t, service.base, service.key)
				for !ended.Load() {
					body := `{}`
					if i == len(hostile)-1 {
						body = large
					}
					a, err := other.try(http.MethodPost, hookPath, body, "Authorization", "Bearer "+made.Token)
					switch {
					case err != nil:
						t.Errorf("hostile call: %v", err)
						return
					case a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "expression_failed"):
						t.Errorf("a hostile call was answered %d: %s", a.status, a.body)
						return
					}
					stopped.Add(1)
				}
			})
		}
		calls, slowest := 0, time.Duration(0)
		for ; calls < 200 || stopped.Load() < int64(len(hostile)); calls++ {
			began := time.Now()
			service.accepted(plain.Token, fmt.Sprintf(`{"n": %d}`, calls))
			slowest = max(slowest, time.Since(began))
			if t.Failed() {
				break
			}
		}
		ended.Store(true)
		running.Wait()
		t.Logf("%d calls beside %d that were stopped; the slowest took %s", calls, stopped.Load(), slowest)
		require.Less(t, slowest, 2*time.Second, "a call that has no expression waits for none")
		require.Equal(t, calls, service.total("/api/v1/events?type=trigger.invoked&stream=trigger-"+plain.ID))
		service.stop()
	})
}

// gitHubPayloads are those that GitHub documents, as its own tools for tests have them.
const gitHubPayloads = "@octokit/webhooks-examples@7.6.1"

func TestGitHubEventsReachAnAgent(t *testing.T) {
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, gitHubPayloads)
	said, err := install.CombinedOutput()
	require.NoError(t, err, "%s", said)
	content, err := os.ReadFile(filepath.Join(dir, "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json"))
	require.NoError(t, err)
	var kinds []struct {
		Name     string
		Examples []json.RawMessage
	}
	require.NoError(t, json.Unmarshal(content, &kinds))
	require.Greater(t, len(kinds), 50)

	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		agent := service.newAgent(`{"name": "reviewer", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "required": ["event"],
			"properties": {"event": {"type": "string", "minLength": 1}, "action": {"type": "string"}, "title": {"type": "string"}, "url": {"type": "string", "pattern": "^https?://"},
				"number": {"type": "integer"}, "state": {"type": "string"}, "ref": {"type": "string"}, "actor": {"type": "string"}, "repository": {"type": "string"},
				"organization": {"type": "string"}, "text": {"type": "string"}, "labels": {"type": "array", "items": {"type": "string"}}},
			"additionalProperties": false}}`).ID
		made := service.newTrigger(agent, `, "generate_secret": true, "options": {"filter": "event != 'ping'", "input_mapping": {"preset": "github"}}`)
		expected := map[string]string{} // by execution
		for _, kind := range kinds {
			for i, example := range kind.Examples[:min(len(kind.Examples), 2)] {
				request, err := http.NewRequest(http.MethodPost, made.HookURL, strings.NewReader(string(example)))
				require.NoError(t, err)
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("X-GitHub-Event", kind.Name)
				request.Header.Set("X-Hub-Signature-256", sign(made.Secret, string(example)))
				a, err := service.do(request)
				require.NoError(t, err)
				if kind.Name == "ping" {
					require.Contains(t, a.body, `"status":"filtered"`)
					continue
				}
				require.Equal(t, http.StatusAccepted, a.status, "%s, example %d: %s", kind.Name, i, a.body)
				expected[read[executionData](t, a).ID] = kind.Name
			}
		}
		service.awaitIdle()
		for _, x := range all[executionData](&service.client, "/api/v1/executions?trigger_id="+made.ID) {
			var input struct{ Event string }
			require.NoError(t, json.Unmarshal(x.Input, &input))
			require.Equal(t, expected[x.ID], input.Event)
			require.Equal(t, "completed", x.Status)
			require.JSONEq(t, string(x.Input), string(x.Output))
			delete(expected, x.ID)
		}
		require.Empty(t, expected)
		service.stop()
	})
}
