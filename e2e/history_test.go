package e2e_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCLIHistory tells a person who did what, and what that changed.
func TestCLIHistory(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		c := newCLI(t, service.base, service.key)
		agent := service.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`)
		trigger := service.newTrigger(agent.ID, "")
		key := read[struct{ ID, Key, Prefix string }](t, service.api(http.StatusCreated, http.MethodPost, "/api/v1/api-keys", `{"name": "ci", "scopes": ["webhook_triggers:write"]}`))
		ci := c.with(environment{"HOOKTRAIL_API_KEY": key.Key})
		ci.run(0, "triggers", "disable", trigger.ID)
		c.run(0, "triggers", "update", trigger.ID, "--name=Second name", `--options={"rate_limit": 7}`)
		off := read[[]struct{ Position int }](t, service.get("/api/v1/events?type=trigger.deactivated"))[0].Position
		c.run(0, "triggers", "enable", trigger.ID)

		told := c.run(0, "events", "history", "trigger", trigger.ID).stdout
		require.Regexp(t, `(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  #`+strconv.Itoa(off)+` +key 'ci' \(`+key.Prefix+`…\)  switched off   is_active: true → false$`, told)
		require.Regexp(t, `(?m)^\S+ \S+  #\d+ +key 'bootstrap' \(htk_\w+…\)  renamed   name: "a trigger" → "Second name"$`, told)
		require.Regexp(t, `(?m) changed the options   options.rate_limit: – → 7$`, told)
		require.NotContains(t, told, trigger.Token)

		diff := c.run(0, "events", "history", "trigger", trigger.ID, "--from="+strconv.Itoa(off-1), "--diff").stdout
		require.Regexp(t, `(?m)^ +options.rate_limit: +– → 7$`, diff)
		require.NotContains(t, diff, "is_active", "it was undone")
		require.Equal(t, service.get("/api/v1/webhook-triggers/"+trigger.ID+"/history?from=3").body+"\n", c.run(0, "events", "history", "trigger", trigger.ID, "--from=3", "-o", "json").stdout)

		require.Contains(t, c.run(0, "events", "history", "key", key.ID).stdout, "created")
		ran := service.accepted(trigger.Token, `{"n": 1}`)
		service.awaitExecution(ran, "completed")
		require.Regexp(t, `(?s)called.*started.*status: +pending → running.*completed.*status: +running → completed`, c.run(0, "events", "history", "execution", ran).stdout)
		now := "--as-of=" + strconv.Itoa(len(service.events()))
		require.Contains(t, c.run(0, "executions", "get", ran, now).stdout, "completed")
		require.Contains(t, c.run(0, "agents", "get", agent.ID, now).stdout, "echo")
		c.says(3, "there is no such agent", "events", "history", "agent", trigger.ID)
		service.stop()
	})
}
