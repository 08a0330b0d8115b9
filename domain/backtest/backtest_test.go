package backtest_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

func valid() backtest.Settings {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return backtest.Settings{Selection: backtest.Selection{Since: since, Until: since.Add(time.Hour)}, AgentID: "agent-1"}.Defaults()
}

func TestRequest(t *testing.T) {
	require.Equal(t, backtest.DefaultConcurrency, valid().Concurrency)
	for name, test := range map[string]struct {
		edit  func(*backtest.Settings)
		field string // that is wrong
	}{
		"an agent": {func(*backtest.Settings) {}, ""},
		"a filter of a trigger": {func(s *backtest.Settings) {
			s.AgentID, s.TriggerID, s.Options = "", "t", json.RawMessage(`{"filter": "true"}`)
		}, ""},
		"nothing to try":          {func(s *backtest.Settings) { s.AgentID = "" }, "agent_id"},
		"a filter of no trigger":  {func(s *backtest.Settings) { s.Options = json.RawMessage(`{"filter": "true"}`) }, "trigger_id"},
		"another option":          {func(s *backtest.Settings) { s.TriggerID, s.Options = "t", json.RawMessage(`{"rate_limit": 1}`) }, "options.rate_limit"},
		"no options":              {func(s *backtest.Settings) { s.TriggerID, s.Options = "t", json.RawMessage(`{}`) }, "options"},
		"options that are a list": {func(s *backtest.Settings) { s.TriggerID, s.Options = "t", json.RawMessage(`[]`) }, "options"},
		"no time":                 {func(s *backtest.Settings) { s.Since = time.Time{} }, "since"},
		"an end before the start": {func(s *backtest.Settings) { s.Until = s.Since.Add(-1) }, "until"},
		"a status that goes by":   {func(s *backtest.Settings) { s.Selection.Status = "running" }, "status"},
		"the status failed":       {func(s *backtest.Settings) { s.Selection.Status = "failed" }, ""},
		"a long event":            {func(s *backtest.Settings) { s.Event = strings.Repeat("x", 201) }, "event"},
		"an event of no text":     {func(s *backtest.Settings) { s.Event = "\xff" }, "event"},
		"a limit too high":        {func(s *backtest.Settings) { s.Limit = backtest.MaxLimit + 1 }, "limit"},
		"a limit below none":      {func(s *backtest.Settings) { s.Limit = -1 }, "limit"},
		"too many at once":        {func(s *backtest.Settings) { s.Concurrency = backtest.MaxConcurrency + 1 }, "concurrency"},
		"too fast":                {func(s *backtest.Settings) { s.Rate = backtest.MaxRate + 1 }, "rate"},
		"backwards":               {func(s *backtest.Settings) { s.Rate = -1 }, "rate"},
		"at no rate":              {func(s *backtest.Settings) { s.Rate = math.NaN() }, "rate"},
	} {
		t.Run(name, func(t *testing.T) {
			s := valid()
			test.edit(&s)
			events, err := backtest.Request(s, 7, 3)
			if test.field == "" {
				require.NoError(t, err)
				require.Equal(t, []eventlog.Event{backtest.Requested{Settings: s, AsOf: 7, Total: 3}}, events)
				return
			}
			var wrong *fault.Error
			require.ErrorAs(t, err, &wrong)
			require.Contains(t, wrong.Details, test.field)
			require.Len(t, wrong.Details, 1)
		})
	}
	_, err := backtest.Request(valid(), 7, 0)
	require.ErrorContains(t, err, "no invocation on record fits")
}

// after gives the state behind events.
func after(events ...eventlog.Event) backtest.Backtest {
	var b backtest.Backtest
	for i, event := range events {
		b = b.Evolve(eventlog.Recorded{Stream: "backtest-1", WorkspaceID: "w", Version: int64(i + 1)}, event)
	}
	return b
}

func TestEnds(t *testing.T) {
	begun := backtest.Requested{Settings: valid(), Total: 3}
	running, cancelled := after(begun), after(begun, backtest.WasCancelled{Reason: "r"})
	finished, failed := after(begun, backtest.Finished{Tally: backtest.Tally{Done: 3}}), after(begun, backtest.GaveUp{Code: "c", Reason: "r"})
	require.True(t, running.Active())
	require.Equal(t, "1", running.ID)
	for _, ended := range []backtest.Backtest{cancelled, finished, failed} {
		require.False(t, ended.Active())
		require.NotNil(t, ended.EndedAt)
		require.Empty(t, ended.Finish(backtest.Tally{}), "what comes late does not count")
		require.Empty(t, ended.GiveUp("c", "r"))
	}
	require.Equal(t, 3, finished.Tally.Done)
	require.Len(t, running.Finish(backtest.Tally{}), 1)
	require.Equal(t, []eventlog.Event{backtest.GaveUp{Code: "c", Reason: "a \uFFFD"}}, running.GiveUp("c", "a \x00"))

	events, err := running.Cancel("r")
	require.NoError(t, err)
	require.Equal(t, []eventlog.Event{backtest.WasCancelled{Reason: "r"}}, events)
	events, err = cancelled.Cancel("again")
	require.NoError(t, err)
	require.Empty(t, events)
	_, err = finished.Cancel("")
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	_, err = running.Cancel(strings.Repeat("x", 1001))
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

func TestCompare(t *testing.T) {
	completed := func(output string) backtest.Ending {
		return backtest.Ending{Status: "completed", Output: []byte(output)}
	}
	ended := func(status, code string) backtest.Ending { return backtest.Ending{Status: status, ErrorCode: code} }
	long := `"` + strings.Repeat("x", backtest.MaxOutput) + `"`
	for name, test := range map[string]struct {
		original, shadow backtest.Ending
		verdict          backtest.Verdict
		difference       string
	}{
		"the same bytes":           {completed(`{"a": 1}`), completed(`{"a": 1}`), backtest.Same, ""},
		"the same value":           {completed(`{"a": 1, "b": [null]}`), completed(`{"b":[null],"a":1}`), backtest.Same, ""},
		"a text in another way":    {completed(`"\u0061"`), completed(`"a"`), backtest.Same, ""},
		"another value":            {completed(`{"a": 1}`), completed(`{"a": 2}`), backtest.Differs, `[{"value":2,"op":"replace","path":"/a"}]`},
		"one more":                 {completed(`{}`), completed(`{"a": {"b": true}}`), backtest.Differs, `[{"value":{"b":true},"op":"add","path":"/a"}]`},
		"one less":                 {completed(`[1, 2]`), completed(`[1]`), backtest.Differs, `[{"op":"remove","path":"/1"}]`},
		"another kind":             {completed(`1`), completed(`"1"`), backtest.Differs, `[{"value":"1","op":"add","path":""}]`},
		"beyond a float64":         {completed(`{"id": 9007199254740993}`), completed(`{"id": 9007199254740992}`), backtest.Differs, `[{"value":9007199254740992,"op":"replace","path":"/id"}]`},
		"too long to tell":         {completed(`{}`), completed(long), backtest.Differs, ""},
		"long and the same":        {completed(long), completed(" " + long), backtest.Same, ""},
		"failed as before":         {ended("failed", "timeout"), ended("failed", "timeout"), backtest.Same, ""},
		"failed for another cause": {ended("failed", "timeout"), ended("failed", "agent_failed"), backtest.Differs, ""},
		"mended":                   {ended("failed", "timeout"), completed(`{}`), backtest.Differs, ""},
		"broken":                   {completed(`{}`), ended("failed", "timeout"), backtest.Worse, ""},
		"refused":                  {completed(`{}`), ended("refused", "schema_mismatch"), backtest.Worse, ""},
		"refused, of a failed one": {ended("failed", "x"), ended("refused", "x"), backtest.Differs, ""},
		"filtered":                 {completed(`{}`), ended("filtered", ""), backtest.Differs, ""},
		"of a cancelled one":       {ended("cancelled", "cancelled"), completed(`{}`), backtest.Differs, ""},
		"a cancelled one, failed":  {ended("cancelled", "cancelled"), ended("failed", "x"), backtest.Differs, ""},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, difference, err := backtest.Compare(test.original, test.shadow)
			require.NoError(t, err)
			require.Equal(t, test.verdict, verdict)
			if test.difference == "" {
				require.Empty(t, difference)
			} else {
				require.JSONEq(t, test.difference, string(difference))
			}
		})
	}
}

func TestShadowID(t *testing.T) {
	id := backtest.ShadowID("b", "x")
	require.Len(t, id, 27)
	require.Equal(t, id, backtest.ShadowID("b", "x"))
	require.NotEqual(t, id, backtest.ShadowID("b", "y"))
	require.NotEqual(t, id, backtest.ShadowID("c", "x"))
}

func TestRank(t *testing.T) {
	for _, test := range [][3]int{{1, 50, 0}, {1, 95, 0}, {2, 50, 0}, {3, 50, 1}, {4, 50, 1}, {100, 95, 94}, {20, 95, 18}, {21, 95, 19}} {
		require.Equal(t, test[2], backtest.Rank(test[0], test[1]), "%v", test)
	}
}
