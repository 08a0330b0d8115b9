//go:build unix

package httpapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	domain "hooktrail/domain/trigger"
)

const backtests = "/api/v1/backtests"

type backtestData struct {
	ID, Status, Reason string
	Tally              struct{ Total, Done, Same, Differs, Failed, Skipped, Erased int }
}

// backtested waits for the end of a backtest.
func (a *api) backtested(t testing.TB, id string) backtestData {
	t.Helper()
	var seen backtestData
	require.Eventually(t, func() bool {
		a.must(t, 200, &seen, "GET", backtests+"/"+id, "")
		return seen.Status != "running"
	}, 30*time.Second, 20*time.Millisecond)
	return seen
}

// completed makes a webhook call and waits for its execution.
func (a *api) completed(t testing.TB, token, body string, headers ...string) string {
	t.Helper()
	answer := a.hook(t, token, body, append(headers, "Prefer", "wait=30")...)
	require.Equal(t, 200, answer.Status, answer.Body)
	var made resource
	answer.Decode(t, &made)
	return made.ID
}

func (a *api) useBacktests(t *testing.T) {
	t.Helper()
	trigger := a.trigger(t, a.echo(t), "")
	a.completed(t, trigger.Token, `{"n": 1}`)
	request := `{"trigger_id": "` + trigger.ID + `", "since": "2020-01-01T00:00:00Z", "options": {"filter": "payload.n > 1"}, "concurrency": 1, "rate": 50.5`
	require.Contains(t, a.must(t, 200, nil, "POST", backtests, request+`, "dry_run": true}`).Body, `"invocations":1`)
	var made backtestData
	answer := a.must(t, 201, &made, "POST", backtests, request+`}`)
	require.Equal(t, backtests+"/"+made.ID, answer.Header.Get("Location"))
	require.Equal(t, 1, a.backtested(t, made.ID).Tally.Differs)
	a.must(t, 200, nil, "GET", backtests+"?limit=5", "")
	require.Contains(t, a.must(t, 200, nil, "GET", backtests+"/"+made.ID+"/results?verdict=differs", "").Body, `"status":"filtered"`)
	a.must(t, 400, nil, "GET", backtests+"/"+made.ID+"/results?verdict=perhaps", "")
	require.Equal(t, "conflict", refusalOf(t, a.must(t, 400, nil, "POST", backtests+"/"+made.ID+"/cancel", "")).Error.Code)
	a.completed(t, trigger.Token, `{"n": 2}`)
	a.completed(t, trigger.Token, `{"n": 3}`)
	a.must(t, 201, &made, "POST", backtests, `{"agent_id": "`+trigger.AgentID+`", "trigger_id": "`+trigger.ID+`", "since": "2020-01-01T00:00:00Z", "rate": 0.01}`)
	require.Contains(t, a.must(t, 200, nil, "POST", backtests+"/"+made.ID+"/cancel", `{"reason": "enough"}`).Body, `"reason":"enough"`)
	a.must(t, 200, nil, "POST", backtests+"/"+made.ID+"/cancel", "") // once more changes nothing
}

func TestBacktests(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		echo := a.echo(t)
		trigger := a.trigger(t, echo, `{"options": {"signature": {"scheme": "github"}}, "generate_secret": true}`)
		other := a.trigger(t, echo, "")
		strict := a.agent(t, `{"name": "Strict", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "properties": {"n": {"maximum": 2}}}}`)
		outside := a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`)
		var ids []string
		for i, event := range []string{"push", "issues", "push"} {
			body := `{"n": ` + number(int64(i+1)) + `}`
			ids = append(ids, a.completed(t, trigger.Token, body, "X-GitHub-Event", event, "X-GitHub-Delivery", event+body,
				"X-Hub-Signature-256", domain.Sign([]byte(trigger.Secret), []byte(body))))
		}
		a.completed(t, other.Token, `{"n": 9}`)
		a.must(t, 201, nil, "POST", "/api/v1/executions/"+ids[0]+"/retry", "") // is no invocation

		since := `, "since": "2020-01-01T00:00:00Z"`
		count := func(fields string) int {
			var counted struct{ Invocations int }
			a.must(t, 200, &counted, "POST", backtests, `{"agent_id": "`+strict+`", "dry_run": true`+fields+`}`)
			return counted.Invocations
		}
		require.Equal(t, 4, count(since))
		of := since + `, "trigger_id": "` + trigger.ID + `"`
		require.Equal(t, 3, count(of))
		require.Equal(t, 2, count(of+`, "event": "push"`))
		require.Zero(t, count(of+`, "event": "pus"`))
		require.Equal(t, 3, count(of+`, "status": "completed"`))
		require.Zero(t, count(of+`, "status": "failed"`))
		require.Zero(t, count(of+`, "until": "2020-01-02T00:00:00Z"`))
		require.Equal(t, 2, count(of+`, "limit": 2`))

		var made backtestData
		a.must(t, 201, &made, "POST", backtests, `{"agentId": "`+strict+`"`+of+`, "limit": 2}`)
		seen := a.backtested(t, made.ID)
		require.Equal(t, "completed", seen.Status)
		require.Equal(t, [4]int{2, 2, 1, 1}, [4]int{seen.Tally.Total, seen.Tally.Done, seen.Tally.Same, seen.Tally.Failed}, "of the latest two the schema refuses one")
		var results []struct {
			ExecutionID string `json:"execution_id"`
			Verdict     string
			Shadow      struct {
				ExecutionID string `json:"execution_id"`
				ErrorCode   string `json:"error_code"`
				Output      any
			}
		}
		page := a.must(t, 200, &results, "GET", backtests+"/"+made.ID+"/results?limit=1", "")
		require.Equal(t, ids[2], results[0].ExecutionID)
		require.Equal(t, "failed", results[0].Verdict)
		require.Equal(t, "schema_mismatch", results[0].Shadow.ErrorCode)
		a.must(t, 200, &results, "GET", backtests+"/"+made.ID+"/results?limit=1&cursor="+metaOf(t, page).NextCursor, "")
		require.Equal(t, ids[1], results[0].ExecutionID)
		require.Equal(t, map[string]any{"n": 2.0}, results[0].Shadow.Output)
		require.NotEqual(t, ids[1], results[0].Shadow.ExecutionID)
		a.must(t, 404, nil, "GET", "/api/v1/executions/"+results[0].Shadow.ExecutionID, "")

		mapped := of + `, "options": {"input_mapping": {"cel": {"n": "payload.n", "event": "event"}}}`
		a.must(t, 201, &made, "POST", backtests, `{"limit": 1`+mapped+`}`)
		require.Equal(t, 1, a.backtested(t, made.ID).Tally.Differs)

		play(t, a, []scenario{
			{name: "without a time", method: "POST", path: backtests, body: `{"agent_id": "` + echo + `"}`, status: 400, contains: []string{`"since":"is required`}},
			{name: "of nothing", method: "POST", path: backtests, body: `{"agent_id": "` + echo + `"` + of + `, "status": "failed"}`, status: 400, contains: []string{"look further back"}},
			{name: "by nobody", method: "POST", path: backtests, body: `{"agent_id": "{nobody}"` + since + `}`, status: 400, contains: []string{`"agent_id":"names no agent"`}},
			{name: "of no trigger", method: "POST", path: backtests, body: `{"trigger_id": "{nobody}", "agent_id": "` + echo + `"` + since + `}`, status: 400, contains: []string{`"trigger_id":"names no trigger"`}},
			{name: "by an agent outside", method: "POST", path: backtests, body: `{"agent_id": "` + outside + `"` + since + `}`, status: 400, contains: []string{"nothing that a backtest could run"}},
			{name: "of a filter that does not compile", method: "POST", path: backtests, body: `{"dry_run": true` + of + `, "options": {"filter": "payload."}}`, status: 400, contains: []string{"options.filter"}},
			{name: "begun", method: "POST", path: backtests, body: `{"agent_id": "` + echo + `"` + of + `, "rate": 0.01}`, status: 201, contains: []string{`"status":"running"`, `"total":3`}, events: []string{"backtest.requested"}},
		})
	})
}
