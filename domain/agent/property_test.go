package agent_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func list(events ...eventlog.Event) []eventlog.Event { return events }

// history records events in the stream of one agent, as the log does.
type history struct{ recorded []eventlog.Recorded }

func (h *history) record(t require.TestingT, event eventlog.Event) eventlog.Recorded {
	proposed, err := agent.Codec.Encode(event)
	require.NoError(t, err)
	n := len(h.recorded) + 1
	recorded := eventlog.Recorded{
		Position: eventlog.Position(n), WorkspaceID: "workspace-1", Stream: eventlog.Stream(eventlog.AgentStream, "1"), Version: int64(n),
		Type: proposed.Type, Schema: proposed.Schema, At: noon.Add(time.Duration(n) * time.Second),
		Meta: eventlog.Metadata{Actor: eventlog.ActorOf("api_key", "key-1")}, Data: proposed.Data,
	}
	h.recorded = append(h.recorded, recorded)
	return recorded
}

func (h *history) replayed(t require.TestingT) agent.Agent {
	var state agent.Agent
	for _, recorded := range h.recorded {
		event, err := agent.Codec.Decode(recorded)
		require.NoError(t, err)
		state = state.Evolve(recorded, event)
	}
	return state
}

func given(t *testing.T, events ...eventlog.Event) agent.Agent {
	t.Helper()
	h := &history{}
	for _, event := range events {
		h.record(t, event)
	}
	return h.replayed(t)
}

func someSettings(t *rapid.T) agent.Settings {
	s := agent.Settings{
		Name:        rapid.SampledFrom([]string{"", "triage", "größer <&>"}).Draw(t, "name"),
		Description: rapid.StringN(0, 5, -1).Draw(t, "description"),
		Runner: rapid.SampledFrom([]agent.Runner{
			{},
			{Kind: agent.RunnerHTTP, URL: "https://agent.example.com/?a=1&b=2", Headers: map[string]string{"X-A": "<&>"}},
			{Kind: agent.RunnerHTTP, URL: "ftp://agent.example.com"},
			{Kind: agent.RunnerOpenAI, BaseURL: "https://models.example.com/v1", Model: "m"},
			{Kind: agent.RunnerOpenAI, BaseURL: "https://other.example.com/v1", Model: "m"},
			{Kind: agent.RunnerA2A, URL: "https://agent.example.com"},
			{Kind: agent.RunnerCommand, Command: []string{"/bin/true"}},
		}).Draw(t, "runner"),
		TimeoutSeconds: rapid.IntRange(-1, 3).Draw(t, "timeout"),
		MaxConcurrency: rapid.IntRange(-1, 3).Draw(t, "concurrency"),
		Retry: agent.Retry{
			MaxAttempts: rapid.IntRange(-1, 21).Draw(t, "attempts"), InitialSeconds: rapid.Float64Range(0, 3601).Draw(t, "initial"),
			MaxSeconds: rapid.Float64Range(0, 86401).Draw(t, "max"), Factor: rapid.Float64Range(0, 11).Draw(t, "factor"),
		},
	}
	if rapid.Bool().Draw(t, "schema") {
		s.InputSchema = json.RawMessage(`{"type":"object"}`)
	}
	return s.Defaults(agent.RunnerEcho)
}

// credentials are given to any kind of runner: that the kind takes one is checked where the
// secret is sealed.
var credentials = []*agent.Credential{nil, {ID: "credential-1", Hint: "1234"}, {ID: "credential-2"}}

func TestAnyLifeOfAnAgent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{}
		var live agent.Agent
		ended := false
		apply := func(events []eventlog.Event, err error) bool {
			if err != nil {
				require.Empty(t, events)
				return false
			}
			require.False(t, ended && len(events) > 0, "nothing happens to an archived agent")
			for _, event := range events {
				live = live.Evolve(h.record(t, event), event)
			}
			return true
		}
		if rapid.IntRange(0, 9).Draw(t, "registered") > 0 {
			apply(agent.Register(someSettings(t), rapid.Bool().Draw(t, "allowed"), "secret-1", rapid.SampledFrom(credentials).Draw(t, "credential")))
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				require.Equal(t, live, h.replayed(t), "replaying the record gives the state that decisions were made on")
				require.Equal(t, ended, live.Archived)
				if live.Version > 0 {
					require.NoError(t, live.Validate(true), "no agent ever has bad settings")
					require.NotEmpty(t, live.SigningSecretID)
				}
			},
			"update": func(t *rapid.T) {
				s, allowed := someSettings(t), rapid.Bool().Draw(t, "allowed")
				before := live
				given := rapid.SampledFrom(append(credentials, &agent.Credential{})).Draw(t, "credential")
				events, forget, err := live.Update(s, allowed, rapid.SampledFrom([]string{"", "secret-2"}).Draw(t, "secret"), given)
				if apply(events, err) {
					require.Equal(t, forget != "", before.Credential != nil && (live.Credential == nil || live.Credential.ID != before.Credential.ID),
						"a credential is forgotten when it is not the agent's any more")
					if live.Credential != nil && given == nil {
						require.Equal(t, before.Runner.Kind, live.Runner.Kind)
						require.Equal(t, strings.Split(before.Runner.BaseURL, "/v1")[0], strings.Split(live.Runner.BaseURL, "/v1")[0], "a credential is kept for whom it was given")
					}
					again, _, err := live.Update(s, allowed, "", nil)
					require.NoError(t, err)
					require.Empty(t, again, "the same once more changes nothing")
				} else {
					require.Empty(t, forget)
				}
			},
			"archive": func(t *rapid.T) {
				triggers := rapid.IntRange(0, 3).Draw(t, "triggers")
				events, err := live.Archive(triggers)
				require.False(t, triggers > 0 && len(events) > 0, "an agent with triggers is not archived")
				ended = apply(events, err) || ended
			},
		})
	})
}

// TestDelay holds the bounds that the docs of Retry and Delay give.
func TestDelay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := agent.Retry{
			MaxAttempts:    20,
			InitialSeconds: rapid.Float64Range(0.1, 3600).Draw(t, "initial"),
			Factor:         rapid.Float64Range(1, 10).Draw(t, "factor"),
		}
		r.MaxSeconds = rapid.Float64Range(r.InitialSeconds, 86400).Draw(t, "max")
		attempt := rapid.IntRange(1, 20).Draw(t, "attempt")
		jitter := rapid.Float64Range(0, 1).Draw(t, "jitter")

		wait := r.Delay(attempt, jitter)
		even := min(r.InitialSeconds*math.Pow(r.Factor, float64(attempt-1)), r.MaxSeconds)
		require.InEpsilon(t, even*(0.8+0.4*jitter), wait.Seconds(), 1e-6)
		require.GreaterOrEqual(t, r.Delay(attempt+1, jitter), wait, "waits do not shrink")
		require.LessOrEqual(t, r.Delay(attempt, 0), wait)
	})
}

func TestDefaultRetryMakesFiveAttemptsWithinAnHour(t *testing.T) {
	r := agent.DefaultRetry()
	var all time.Duration
	for attempt := 1; attempt < r.MaxAttempts; attempt++ {
		all += r.Delay(attempt, 0.5)
	}
	require.Equal(t, 5, r.MaxAttempts)
	require.Equal(t, 10*time.Second+50*time.Second+250*time.Second+1250*time.Second, all)
	require.Less(t, all, time.Hour, "SPEC, section 5")
	require.Equal(t, 10*time.Second, r.Delay(0, 0.5), "an execution that fails before its first attempt waits as after it")
	require.Equal(t, 10*time.Second, r.Delay(-1, 0.5))
}
