//go:build unix

package httpapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/testserver"
)

// TestWorkspacesAreApart: what one workspace has cannot be seen, changed or told from what is
// not there by the admin of another.
func TestWorkspacesAreApart(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		a := start(t, testserver.Options{Dialect: dialect, OtherWorkspace: true})
		stranger := as(a.OtherAPIKey)
		var mine, theirs struct {
			WorkspaceID string   `json:"workspace_id"`
			APIKey      resource `json:"api_key"`
		}
		a.must(t, 200, &mine, "GET", "/api/v1/me", "")
		a.must(t, 200, &theirs, "GET", "/api/v1/me", "", stranger...)
		require.NotEqual(t, mine.WorkspaceID, theirs.WorkspaceID)

		known := reported(t, a)
		made := a.trigger(t, known["agent"], `{"generate_secret": true}`)
		var told resource
		a.must(t, 201, &told, "POST", subscriptions, `{"name": "S", "url": "https://receiver.example.com", "is_active": false}`)
		called := a.trigger(t, a.echo(t), "")
		a.accepted(t, called.Token, `{}`)
		var tried resource
		a.must(t, 201, &tried, "POST", backtests, `{"trigger_id": "`+called.ID+`", "agent_id": "`+called.AgentID+`", "since": "2020-01-01T00:00:00Z"}`)
		own := map[string]string{
			subscriptions: told.ID, backtests: tried.ID,
			triggers: made.ID, "/api/v1/triggers": made.ID, agents: known["agent"], executions: known["execution"], apiKeys: mine.APIKey.ID,
			"/api/v1/events": a.eventsAfter(t, 0)[0].ID,
		}
		for path, item := range a.contract.document.Paths.Map() {
			if !strings.Contains(path, "{id}") {
				continue
			}
			prefix, _, _ := strings.Cut(path, "/{id}")
			for method := range item.Operations() {
				body := ""
				switch {
				case strings.HasSuffix(path, "/report"):
					body = `{"output": {}}`
				case strings.HasSuffix(path, "/test"):
					body = `{"payload": {}}`
				}
				there := a.must(t, 404, nil, method, strings.Replace(path, "{id}", own[prefix], 1), body, stranger...)
				absent := a.must(t, 404, nil, method, strings.Replace(path, "{id}", nobody, 1), body, stranger...)
				require.Equal(t, refusalOf(t, absent).Error, refusalOf(t, there).Error, "%s %s", method, path)
			}
		}
		for _, path := range []string{triggers, agents, executions, apiKeys, subscriptions} {
			a.must(t, 200, nil, "GET", path+"/"+own[path]+"?as_of="+number(a.head(t)), "")
			a.must(t, 404, nil, "GET", path+"/"+own[path]+"?as_of="+number(a.head(t)), "", stranger...)
		}
		refused := refusalOf(t, a.must(t, 400, nil, "POST", triggers, `{"agent_id": "`+known["agent"]+`", "name": "A"}`, stranger...))
		require.Equal(t, map[string]string{"agent_id": "names no agent of this workspace"}, refused.Error.Details)

		for _, path := range []string{
			triggers, agents, executions, subscriptions, backtests, "/api/v1/events?stream=trigger-" + made.ID, "/api/v1/events?actor=api_key:" + mine.APIKey.ID,
			triggers + "?agent_id=" + known["agent"], executions + "?agent_id=" + known["agent"],
		} {
			answer := a.must(t, 200, nil, "GET", path, "", stranger...)
			require.Equal(t, 0, metaOf(t, answer).Total, path)
		}
		for _, path := range []string{"/api/v1/events?after=0", apiKeys} {
			answer := a.must(t, 200, nil, "GET", path, "", stranger...)
			require.NotContains(t, answer.Body, mine.WorkspaceID)
			require.Equal(t, 1, metaOf(t, answer).Total, path)
		}
		a.must(t, 200, nil, "GET", triggers+"/"+made.ID, "") // unharmed
	})
}

// TestSecretsAreShownOnce: after the answer that made it, no token, secret or key is in any
// answer, nor in the log of the process.
func TestSecretsAreShownOnce(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		var remote resource
		a.must(t, 201, &remote, "POST", agents, `{"name": "A", "runner": {"kind": "http", "url": "https://agent.example.com"}}`)
		first := a.trigger(t, agent, `{"generate_secret": true}`)
		one := triggers + "/" + first.ID
		var second, third issued
		a.must(t, 200, &second, "POST", one+"/rotate-token", "")
		a.must(t, 200, &third, "POST", one+"/rotate-secret", "")
		brought := a.trigger(t, agent, `{"secret": "a secret of one's own"}`)
		key := a.apiKey(t, "agents:read")
		var told, toldAnew issued
		a.must(t, 201, &told, "POST", subscriptions, `{"name": "S", "url": "http://127.0.0.1:9/"}`)
		a.must(t, 200, &toldAnew, "POST", subscriptions+"/"+told.ID+"/rotate-secret", "")
		secrets := []string{
			told.Secret, toldAnew.Secret,
			first.Token, first.Secret, second.Token, third.Secret, brought.Token, "a secret of one's own", key, a.APIKey, remote.SigningSecret,
		}
		var answers strings.Builder
		see := func(method, path, body string, headers ...string) {
			answer := a.do(t, method, path, body, headers...)
			answers.WriteString(answer.Body)
			for _, values := range answer.Header {
				answers.WriteString(strings.Join(values, "\n"))
			}
		}
		for _, token := range []string{first.Token, second.Token, brought.Token} {
			for _, path := range []string{"/hooks/", "/api/v1/hooks/"} {
				see("POST", path+token, `{}`)
				see("GET", path+token, "")
				see("POST", path+token+"/more", `{}`)
				see("POST", path+token, strings.Repeat(" ", 2<<20))
			}
			see("POST", "/api/v1/webhook/trigger", `{}`, "Authorization", "Bearer "+token, "X-Webhook-Signature", "sha256=00")
		}
		for _, path := range []string{triggers, one, one + "/events", one + "?as_of=" + number(a.head(t)), one + "/history", agents, agents + "/" + remote.ID, agents + "/" + remote.ID + "/history", apiKeys, executions, subscriptions, subscriptions + "/" + told.ID, subscriptions + "/" + told.ID + "/deliveries", subscriptions + "/" + told.ID + "/history", "/api/v1/events?after=0&limit=100", "/api/v1/me", "/metrics"} {
			see("GET", path, "")
		}
		see("PATCH", one, `{"name": "B", "is_active": true}`)
		see("PATCH", agents+"/"+remote.ID, `{"name": "B"}`)
		see("POST", triggers, `{"agent_id": "`+agent+`", "name": "", "secret": "a secret of one's own"}`)
		logged := a.Log(t)
		require.Contains(t, logged, `"route":"/hooks/:token"`, "requests are logged by their route")
		for _, secret := range secrets {
			require.NotEmpty(t, secret)
			require.NotContains(t, answers.String(), secret)
			require.NotContains(t, logged, secret)
		}
	})
}
