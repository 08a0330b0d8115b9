package readmodel_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/readmodel"
	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/subscription"
	"hooktrail/domain/trigger"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const publicURL = "https://hooks.test"

// history is a log in the making, and what is needed to go on with it sensibly.
type history struct {
	events     []eventlog.Recorded
	versions   map[eventlog.StreamID]int64
	at         time.Time
	prefix     string
	agents     []string
	triggers   []string
	keys       []string
	executions []string

	subscriptions []string
}

func newHistory(prefix string) *history {
	return &history{versions: map[eventlog.StreamID]int64{}, at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), prefix: prefix}
}

func (h *history) id(kind string) string {
	return fmt.Sprintf("%s%s%03d", h.prefix, kind, len(h.events)+1)
}

// add records an event as the application would, with its payload beside it.
func (h *history) add(codec *eventlog.Codec, kind, id string, event eventlog.Event, payload []byte) {
	proposed, err := codec.Encode(event)
	if err != nil {
		panic(err)
	}
	stream := eventlog.Stream(kind, id)
	if !proposed.Fact {
		h.versions[stream]++
	}
	h.at = h.at.Add(time.Duration(len(h.events)%3) * 1234567 * time.Microsecond)
	h.events = append(h.events, eventlog.Recorded{
		Position: eventlog.Position(len(h.events) + 1), ID: h.id("e"), WorkspaceID: "w" + id[len(id)-1:], Stream: stream,
		Version: h.versions[stream], Fact: proposed.Fact, Type: proposed.Type, Schema: proposed.Schema, At: h.at,
		Meta: eventlog.Metadata{Actor: eventlog.ActorOf("api_key", "k1")}, Data: proposed.Data, Event: proposed.Event, Payload: payload,
	})
}

// asRead gives the events as they are read from the log.
func (h *history) asRead() []eventlog.Recorded {
	events := slices.Clone(h.events)
	for i := range events {
		events[i].Event, events[i].Payload = nil, nil
	}
	return events
}

// playAt appends the history at the times that it gives.
func (h *history) playAt(w *world) {
	w.Helper()
	var now atomic.Int64
	store := eventstore.New(w.db, w.models, eventstore.Config{Now: func() time.Time { return database.Time(now.Load()) }})
	defer store.Close()
	for i, e := range h.events {
		now.Store(database.Micros(e.At))
		(&history{events: h.events[i : i+1]}).play(w.T, store)
	}
}

// play appends the history to a store.
func (h *history) play(t *testing.T, store *eventstore.Store) {
	t.Helper()
	for _, e := range h.events {
		expected := e.Version
		if !e.Fact {
			expected--
		}
		_, err := store.Append(t.Context(), eventlog.Append{WorkspaceID: e.WorkspaceID, Stream: e.Stream, Expected: expected, Meta: e.Meta, Events: []eventlog.Proposed{
			{ID: e.ID, Type: e.Type, Schema: e.Schema, Data: e.Data, Event: e.Event, Fact: e.Fact, Payload: e.Payload},
		}})
		require.NoError(t, err)
	}
}

var (
	someText       = rapid.SampledFrom([]string{"", "a", "Ünïcödé 😀", `quote " and \`, "<b>&"})
	someTime       = rapid.SampledFrom([]*time.Time{nil, new(time.Date(2031, 2, 3, 4, 5, 6, 789_012_345, time.FixedZone("", 7200)))})
	someCredential = rapid.SampledFrom([]*agent.Credential{nil, {ID: "c", Hint: "wxyz"}})
	someTexts      = rapid.SampledFrom([][]string{nil, {}, {"10.0.0.0/8", "::1"}})
)

func drawSettings(rt *rapid.T) agent.Settings {
	return agent.Settings{
		Name: someText.Draw(rt, "name"), Type: someText.Draw(rt, "type"),
		Runner: agent.Runner{
			Kind:    rapid.SampledFrom([]string{agent.RunnerHTTP, agent.RunnerNone, agent.RunnerEcho}).Draw(rt, "runner"),
			Headers: rapid.SampledFrom([]map[string]string{nil, {}, {"X": "y"}}).Draw(rt, "headers"),
			Command: someTexts.Draw(rt, "command"),
		},
		InputSchema:    rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{ "type" : "object", "title": "<x>" }`)}).Draw(rt, "schema"),
		TimeoutSeconds: 5, Retry: agent.DefaultRetry(), MaxConcurrency: rapid.IntRange(0, 3).Draw(rt, "max"),
	}
}

func drawOptions(rt *rapid.T) trigger.Options {
	return trigger.Options{
		RateLimit:  rapid.SampledFrom([]*int{nil, new(0), new(9)}).Draw(rt, "rate"),
		AllowedIPs: someTexts.Draw(rt, "ips"), ExpiresAt: someTime.Draw(rt, "expires"),
		Schedule: rapid.SampledFrom([]*trigger.Schedule{nil, {Cron: "*/7 * * * * *"}, {Cron: "0 3 * * *", TimeZone: "Europe/Berlin"}}).Draw(rt, "schedule"),
	}
}

// drawHistory makes up a history of all kinds of events, in any order that their streams allow.
func drawHistory(rt *rapid.T, prefix string, length int) *history {
	h := newHistory(prefix)
	for range length {
		h.step(rt)
	}
	return h
}

func (h *history) step(rt *rapid.T) {
	pick := func(list []string) string { return rapid.SampledFrom(list).Draw(rt, "which") }
	switch kind := rapid.IntRange(0, 9).Draw(rt, "kind"); {
	case kind == 0 || len(h.agents) == 0:
		id := h.id("agent")
		h.agents = append(h.agents, id)
		h.add(agent.Codec, eventlog.AgentStream, id, agent.Registered{Settings: drawSettings(rt), SigningSecretID: someText.Draw(rt, "secret"), Credential: someCredential.Draw(rt, "credential")}, nil)
	case kind == 1:
		var event eventlog.Event = agent.Updated{Settings: drawSettings(rt), SigningSecretID: someText.Draw(rt, "secret"), Credential: someCredential.Draw(rt, "credential")}
		if rapid.IntRange(0, 4).Draw(rt, "archive") == 0 {
			event = agent.Archived{}
		}
		h.add(agent.Codec, eventlog.AgentStream, pick(h.agents), event, nil)
	case kind == 2 && rapid.Bool().Draw(rt, "subscription"):
		h.stepSubscription(rt)
	case kind == 2:
		h.stepKey(rt)
	case kind == 3 || len(h.triggers) == 0:
		id := h.id("trigger")
		h.triggers = append(h.triggers, id)
		h.add(trigger.Codec, eventlog.TriggerStream, id, trigger.Created{
			AgentID: pick(h.agents), Name: someText.Draw(rt, "name"), Active: rapid.Bool().Draw(rt, "active"), TokenID: "t", TokenPrefix: "whk_",
			SecretID: someText.Draw(rt, "secret"), Options: drawOptions(rt),
		}, nil)
	case kind == 4:
		h.add(trigger.Codec, eventlog.TriggerStream, pick(h.triggers), rapid.SampledFrom([]eventlog.Event{
			trigger.Renamed{Name: someText.Draw(rt, "name")},
			trigger.Configured{Options: drawOptions(rt)},
			trigger.Rebound{AgentID: pick(h.agents)},
			trigger.Activated{},
			trigger.Deactivated{},
			trigger.SecretRemoved{},
			trigger.Deleted{},
			trigger.TokenRotated{TokenID: h.id("t"), TokenPrefix: "whk_b", PreviousUntil: someTime.Draw(rt, "until")},
			trigger.SecretSet{SecretID: h.id("s"), PreviousUntil: someTime.Draw(rt, "until")},
			trigger.ScheduleMissed{From: h.at, Until: h.at, Count: 1, Reason: someText.Draw(rt, "reason"), NextRunAt: someTime.Draw(rt, "next")},
		}).Draw(rt, "change"), nil)
	case kind < 7 || len(h.executions) == 0:
		h.stepRequest(rt)
	default:
		h.stepExecution(rt, pick(h.executions))
	}
}

func (h *history) stepKey(rt *rapid.T) {
	if len(h.keys) > 0 && rapid.Bool().Draw(rt, "revoke") {
		h.add(apikey.Codec, eventlog.APIKeyStream, rapid.SampledFrom(h.keys).Draw(rt, "which"), apikey.Revoked{}, nil)
		return
	}
	id := h.id("key")
	h.keys = append(h.keys, id)
	h.add(apikey.Codec, eventlog.APIKeyStream, id, apikey.Created{
		Name: someText.Draw(rt, "name"), Prefix: "hk_", Scopes: []apikey.Scope{apikey.Admin}, ExpiresAt: someTime.Draw(rt, "expires"),
	}, nil)
}

func (h *history) stepSubscription(rt *rapid.T) {
	settings := subscription.Settings{
		Name: someText.Draw(rt, "name"), URL: "https://receiver.test", Types: someTexts.Draw(rt, "types"), TriggerID: someText.Draw(rt, "trigger"),
	}.Defaults()
	if len(h.subscriptions) == 0 || rapid.IntRange(0, 3).Draw(rt, "created") == 0 {
		id := h.id("subscription")
		h.subscriptions = append(h.subscriptions, id)
		h.add(subscription.Codec, eventlog.SubscriptionStream, id, subscription.Created{Settings: settings, StartAfter: 3, SecretID: "s"}, nil)
		return
	}
	h.add(subscription.Codec, eventlog.SubscriptionStream, rapid.SampledFrom(h.subscriptions).Draw(rt, "which"), rapid.SampledFrom([]eventlog.Event{
		subscription.Updated{Settings: settings},
		subscription.SecretSet{SecretID: h.id("s"), PreviousUntil: someTime.Draw(rt, "until")},
		subscription.Disabled{Code: subscription.Gone, Reason: someText.Draw(rt, "reason")},
		subscription.Enabled{},
		subscription.Skipped{Position: 1, EventID: "e"},
		subscription.Rewound{After: 1},
		subscription.Deleted{},
	}).Draw(rt, "change"), nil)
}

func (h *history) stepRequest(rt *rapid.T) {
	id := h.id("execution")
	h.executions = append(h.executions, id)
	agentID, runs := rapid.SampledFrom(h.agents).Draw(rt, "agent"), rapid.Bool().Draw(rt, "runs")
	if rapid.IntRange(0, 2).Draw(rt, "invoked") > 0 {
		invoked := trigger.Invoked{ExecutionID: id, AgentID: agentID, Runs: runs, TokenID: "t", MediaType: rapid.SampledFrom([]string{"", "application/x-www-form-urlencoded"}).Draw(rt, "media")}
		if rapid.IntRange(0, 2).Draw(rt, "scheduled") == 0 {
			invoked.ScheduledFor, invoked.NextRunAt = &h.at, someTime.Draw(rt, "next")
		}
		h.add(trigger.Codec, eventlog.TriggerStream, rapid.SampledFrom(h.triggers).Draw(rt, "trigger"), invoked, []byte(`a=1`))
		return
	}
	h.add(execution.Codec, eventlog.ExecutionStream, id, execution.Requested{
		AgentID: agentID, Runs: runs, SessionID: someText.Draw(rt, "session"), UserID: someText.Draw(rt, "user"), RetryOf: someText.Draw(rt, "retry of"),
		Metadata:  rapid.SampledFrom([]map[string]string{nil, {}, {"b": "2", "a": "<1>"}}).Draw(rt, "metadata"),
		TriggerID: rapid.SampledFrom(append([]string{""}, h.triggers...)).Draw(rt, "of trigger"),
	}, []byte(`{"a":1}`))
}

func (h *history) stepExecution(rt *rapid.T, id string) {
	attempt := rapid.IntRange(1, 3).Draw(rt, "attempt")
	failed := execution.Error{Code: someText.Draw(rt, "code"), Message: someText.Draw(rt, "message")}
	var output []byte
	event := rapid.SampledFrom([]eventlog.Event{
		execution.Started{Attempt: attempt, Worker: "w1"},
		execution.AttemptFailed{Attempt: attempt, Error: failed, RetryAt: h.at.Add(1500 * time.Nanosecond).In(time.FixedZone("", -3600))},
		execution.Succeeded{Attempt: attempt},
		execution.Succeeded{Attempt: attempt, TokenUsage: &execution.TokenUsage{PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3}},
		execution.GaveUp{Attempt: attempt, Error: failed},
		execution.WasCancelled{Reason: someText.Draw(rt, "reason")},
	}).Draw(rt, "event")
	if _, ended := event.(execution.Succeeded); ended {
		output = []byte(`{"out":true}`)
	}
	h.add(execution.Codec, eventlog.ExecutionStream, id, event, output)
}

// rows reads tables whole, in an order that does not depend on when the rows were written.
func rows(t require.TestingT, db *database.DB, tables ...string) map[string][]string {
	all := map[string][]string{}
	for _, table := range tables {
		result, err := db.Read.Queryx("SELECT * FROM " + table)
		require.NoError(t, err)
		for result.Next() {
			row := map[string]any{}
			require.NoError(t, result.MapScan(row))
			for name, value := range row {
				if text, isBytes := value.([]byte); isBytes {
					row[name] = string(text)
				}
			}
			all[table] = append(all[table], fmt.Sprint(row)) // fmt sorts the keys
		}
		require.NoError(t, result.Err())
		slices.Sort(all[table])
	}
	return all
}

var allTables = append([]string{"trigger_statistics"}, readmodel.Tables...)
