package backtest_test

import (
	"encoding/json"
	"testing"
	"time"

	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/eventlogtest"
)

func TestGoldenEvents(t *testing.T) {
	since := time.Date(2026, 3, 1, 12, 30, 0, 123456000, time.UTC)
	settings := backtest.Settings{
		Selection: backtest.Selection{TriggerID: "trigger-1", Event: "pull_request", Status: "completed", Since: since, Until: since.Add(time.Hour), After: 41, UpTo: 99},
		AgentID:   "agent-1", Options: json.RawMessage(`{"filter":"payload.n == 1"}`), Limit: 100, Concurrency: 2, Rate: 0.5,
	}
	tally := backtest.Tally{
		Total: 9, Done: 9, Same: 4, Differs: 2, Failed: 1, Skipped: 2, Erased: 1,
		Statuses:  []backtest.Moved{{Original: "completed", Shadow: "failed", Calls: 1}},
		Durations: &backtest.Durations{Calls: 6, Original: backtest.Percentiles{P50: 1.5, P95: 20}, Shadow: backtest.Percentiles{P50: 2, P95: 3.25}},
		Tokens:    &backtest.Usage{Original: backtest.Tokens{Runs: 1, Prompt: 2, Completion: 3, Total: 5}, Shadow: backtest.Tokens{Runs: 2, Prompt: 4, Completion: 6, Total: 10}},
	}
	eventlogtest.Golden(t, backtest.Codec, map[string]eventlog.Event{
		"backtest.requested.v1": backtest.Requested{Settings: settings, AsOf: 120, Total: 9},
		"backtest.completed.v1": backtest.Finished{Tally: tally},
		"backtest.cancelled.v1": backtest.WasCancelled{Reason: "seen enough"},
		"backtest.failed.v1":    backtest.GaveUp{Code: "not_found", Reason: "the agent was archived"},
	})
}
