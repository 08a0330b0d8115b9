package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// snippet reads one of the page's snippets and puts in what differs for everyone.
func snippet(t testing.TB, name, base, token string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "page", name))
	require.NoError(t, err)
	return strings.NewReplacer("https://api.promptrails.ai", base, "wht_abc123...", token).Replace(string(content))
}

// createByPage makes a trigger with the fields of a snippet.
func createByPage(t testing.TB, c *client, name, agentID string) triggerData {
	t.Helper()
	body := strings.ReplaceAll(snippet(t, name, "", ""), "your-agent-id", agentID)
	return read[triggerData](t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/webhook-triggers", body))
}

// TestPageCurlSnippets runs them by bash as they stand.
func TestPageCurlSnippets(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, environment{"HOOKTRAIL_DEFAULT_RUNNER": "echo"})
		agent := service.newAgent(`{"name": "alerts", "input_schema": {"type": "object", "required": ["message"],
			"properties": {"message": {"type": "string"}, "priority": {"type": "string"}}}}`)
		made := service.newTrigger(agent.ID, "")
		curl := curlHome(t)
		run := func(name string) (string, string) {
			ran := program(t, environment{"CURL_HOME": curl}, "", "bash", "-c", snippet(t, name, service.base, made.Token))
			body, status, found := strings.Cut(ran.stdout, "\n")
			require.True(t, found, ran.stdout+ran.stderr)
			return status, body
		}
		for name, input := range map[string]string{
			"token_authentication.sh": `{"message": "Review this PR", "pr_number": 42}`,
			"input_mapping.sh":        `{"message": "Server CPU usage exceeded 90%", "priority": "high"}`,
		} {
			status, body := run(name)
			require.Equal(t, "202", status, body)
			execution := service.awaitExecution(read[executionData](t, answer{body: body}).ID, "completed")
			require.JSONEq(t, input, string(execution.Input))
			require.JSONEq(t, input, string(execution.Output))
		}

		path := "/api/v1/webhook-triggers/" + made.ID
		service.api(http.StatusOK, http.MethodPatch, path, `{"is_active": false}`)
		status, body := run("token_authentication.sh")
		require.Equal(t, "403", status, body)
		service.api(http.StatusOK, http.MethodPatch, path, `{"is_active": true}`)
		status, body = run("token_authentication.sh")
		require.Equal(t, "202", status, body)
		require.Empty(t, service.api(http.StatusNoContent, http.MethodDelete, path, "").body)
		status, body = run("token_authentication.sh")
		require.Equal(t, "401", status, body)
		service.stop()
	})
}

// TestPagePythonSnippet runs the signing snippet with the library that it imports.
func TestPagePythonSnippet(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		interpreter := pythonWithRequests(t)
		service := s.serve(t, environment{"HOOKTRAIL_DEFAULT_RUNNER": "echo"})
		agent := service.newAgent(`{"name": "greeter"}`)
		for _, form := range []string{"create_trigger.json", "create_trigger_camel_case.json"} {
			made := createByPage(t, &service.client, form, agent.ID)
			run := func(secret string) answer {
				code := "import os\nsecret = os.environ['WEBHOOK_SECRET']\n" + snippet(t, "hmac_signing.py", service.base, made.Token) +
					"\nprint(response.status_code, response.text)\n"
				ran := program(t, environment{"WEBHOOK_SECRET": secret}, code, interpreter, "-")
				require.Zero(t, ran.code, ran.stderr)
				status, body, _ := strings.Cut(ran.stdout, " ")
				return answer{status: map[string]int{"202": 202, "401": 401}[status], body: body}
			}
			a := run(made.Secret)
			require.Equal(t, http.StatusAccepted, a.status, a.body)
			execution := service.awaitExecution(read[executionData](t, a).ID, "completed")
			require.JSONEq(t, `{"message": "Hello"}`, string(execution.Input))
			a = run(made.Secret + "x")
			require.Equal(t, http.StatusUnauthorized, a.status, a.body)
		}
		service.stop()
	})
}

// TestPageTriggerFields checks the page's table of fields, and the listing snippet.
func TestPageTriggerFields(t *testing.T) {
	ksuid := regexp.MustCompile(`^[0-9A-Za-z]{27}$`)
	eachStore(t, func(t *testing.T, s *store) {
		interpreter := pythonWithRequests(t)
		service := s.serve(t, nil)
		agent := service.newAgent(`{"name": "reviewer"}`)
		made := createByPage(t, &service.client, "create_trigger.json", agent.ID)
		require.True(t, strings.HasPrefix(made.Token, "wht_"), "the token is shown at creation")
		require.NotEmpty(t, made.Secret)
		path := "/api/v1/webhook-triggers/" + made.ID

		check := func(fields map[string]any) {
			t.Helper()
			for _, name := range []string{"id", "workspace_id", "agent_id", "created_by_id"} {
				require.Regexp(t, ksuid, fields[name], name)
			}
			for _, name := range []string{"created_at", "updated_at"} {
				at, err := time.Parse(time.RFC3339, fields[name].(string))
				require.NoError(t, err)
				require.WithinDuration(t, time.Now(), at, time.Minute, name)
				require.True(t, strings.HasSuffix(fields[name].(string), "Z"), "UTC")
			}
			require.Equal(t, made.ID, fields["id"])
			require.Equal(t, agent.ID, fields["agent_id"])
			require.Equal(t, "GitHub PR Review", fields["name"])
			require.Equal(t, true, fields["is_active"])
			require.Equal(t, true, fields["has_secret"])
			prefix := fields["token_prefix"].(string)
			require.True(t, strings.HasPrefix(made.Token, prefix) && len(prefix) >= len("wht_")+4 && len(prefix) < len(made.Token)/2, prefix)
		}
		list := func() map[string]any {
			t.Helper()
			var envelope struct {
				Data []map[string]any
				Meta map[string]any
			}
			require.NoError(t, json.Unmarshal([]byte(service.get("/api/v1/webhook-triggers").body), &envelope))
			require.Len(t, envelope.Data, 1)
			for name, value := range map[string]float64{"total": 1, "page": 1, "limit": 20, "pages": 1, "total_pages": 1} {
				require.InDelta(t, value, envelope.Meta[name], 0, name)
			}
			return envelope.Data[0]
		}
		printed := func() string {
			code := "import os, requests\ntriggers = requests.get(os.environ['LIST'], headers={'X-API-Key': os.environ['KEY']}).json()\n" +
				snippet(t, "list_triggers.py", "", "")
			ran := program(t, environment{"LIST": service.base + "/api/v1/webhook-triggers", "KEY": s.key}, code, interpreter, "-")
			require.Zero(t, ran.code, ran.stderr)
			return ran.stdout
		}

		for _, fields := range []map[string]any{read[map[string]any](t, service.get(path)), list()} {
			check(fields)
			for _, once := range []string{"last_used_at", "token", "secret"} {
				require.NotContains(t, fields, once)
			}
		}
		head := "GitHub PR Review (active) - Agent: " + agent.ID + "\n Token prefix: " + made.Token[:10] + "...\n Has secret: True\n Last used: "
		require.Equal(t, head+"Never\n", printed())

		const body = `{"message": "Hello"}`
		service.accepted(made.Token, body, "X-Webhook-Signature", sign(made.Secret, body))
		eventually(t, func() bool { return list()["last_used_at"] != nil }, "last_used_at does not appear")
		for _, fields := range []map[string]any{read[map[string]any](t, service.get(path)), list()} {
			check(fields)
			at, err := time.Parse(time.RFC3339, fields["last_used_at"].(string))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), at, time.Minute)
		}
		require.Regexp(t, "^"+regexp.QuoteMeta(head)+`2\d{3}-\d\d-\d\dT[\d:.]+Z\n$`, printed())
		service.stop()
	})
}
