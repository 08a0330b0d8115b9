package agent_test

import (
	"encoding/json"
	"testing"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/eventlogtest"
)

func TestGoldenEvents(t *testing.T) {
	// No agent has a URL and a command; here every field is filled in.
	settings := agent.Settings{
		Name: "Triage", Type: "assistant", Description: "sorts what comes in",
		Runner: agent.Runner{
			Kind: agent.RunnerHTTP, URL: "https://agent.example.com/run?a=1&b=2", Headers: map[string]string{"X-Team": "ops", "Accept": "application/json"},
			Command: []string{"/usr/bin/triage", "--fast"},
		},
		InputSchema:    json.RawMessage(`{"type":"object","required":["id"]}`),
		TimeoutSeconds: 60,
		Retry:          agent.Retry{MaxAttempts: 3, InitialSeconds: 0.5, MaxSeconds: 120, Factor: 2.5},
		MaxConcurrency: 8,
	}
	full := settings
	full.Runner.BaseURL, full.Runner.Model, full.Runner.System, full.Runner.Prompt = "https://models.example.com/v1", "small", "Be brief.", "Sort {{input}}"
	full.Runner.Temperature, full.Runner.MaxTokens, full.Runner.MaxCompletionTokens, full.Runner.ResponseFormat = new(0.5), 100, 200, agent.FormatJSON
	credential := &agent.Credential{ID: "credential-1", Hint: "wxyz"}
	eventlogtest.Golden(t, agent.Codec, map[string]eventlog.Event{
		"agent.registered.v2": agent.Registered{Settings: full, SigningSecretID: "secret-1", Credential: credential},
		"agent.updated.v2":    agent.Updated{Settings: full, SigningSecretID: "secret-2", Credential: credential},
		"agent.registered.v1": agent.Registered{Settings: settings, SigningSecretID: "secret-1"},
		"agent.updated.v1":    agent.Updated{Settings: settings, SigningSecretID: "secret-2"},
		"agent.archived.v1":   agent.Archived{},
	})
}
