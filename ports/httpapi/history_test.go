//go:build unix

package httpapi_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

type change struct {
	Field         string
	Before, After json.RawMessage
}

type history struct {
	Stream   string
	From, To int64
	Changes  []change
	Events   []struct {
		Position int64
		ID       string
		Time     string
		Type     string
		Summary  string
		Actor    struct{ ID, Kind, Name, Prefix string }
		Changes  []change
	}
	NextFrom int64 `json:"next_from"`
}

// told gives changes as a person reads them.
func told(changes []change) map[string]string {
	text := map[string]string{}
	for _, c := range changes {
		text[c.Field] = string(c.Before) + " → " + string(c.After)
	}
	return text
}

func (a *api) history(t testing.TB, path string) history {
	t.Helper()
	var h history
	a.must(t, 200, &h, "GET", path, "")
	return h
}

func (h history) types() []string {
	types := make([]string, len(h.Events))
	for i, e := range h.Events {
		types[i] = e.Type
	}
	return types
}

// TestHistoryOfATrigger tells who did what, by which key, and what that changed.
func TestHistoryOfATrigger(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		var key struct{ ID, Key, Prefix string }
		a.must(t, 201, &key, "POST", apiKeys, `{"name": "ci", "scopes": ["webhook_triggers:write"]}`)
		made := a.trigger(t, a.echo(t), `{"name": "First", "options": {"rate_limit": 5}}`)
		one := triggers + "/" + made.ID
		created := a.head(t)
		a.accepted(t, made.Token, `{"a": 1}`) // is no part of it
		a.must(t, 200, nil, "PATCH", one, `{"is_active": false}`, as(key.Key)...)
		a.must(t, 200, nil, "PATCH", one, `{"name": "Second", "options": {"rate_limit": 9, "allowed_ips": ["127.0.0.1"]}}`)
		a.must(t, 200, nil, "PATCH", one, `{"is_active": true}`)
		a.must(t, 200, nil, "POST", one+"/rotate-token", "")
		a.must(t, 204, nil, "DELETE", apiKeys+"/"+key.ID, "")

		all := a.history(t, one+"/history")
		require.Equal(t, "trigger-"+made.ID, all.Stream)
		require.Equal(t, []string{"trigger.created", "trigger.deactivated", "trigger.renamed", "trigger.configured", "trigger.activated", "trigger.token_rotated"}, all.types())
		require.Equal(t, ` → "First"`, told(all.Events[0].Changes)["name"])
		require.NotContains(t, told(all.Events[0].Changes), "version")
		require.Equal(t, "bootstrap", all.Events[0].Actor.Name)
		deactivated := all.Events[1]
		require.Equal(t, map[string]string{"is_active": "true → false"}, told(deactivated.Changes))
		require.Equal(t, "switched off", deactivated.Summary)
		require.Equal(t, "api_key:"+key.ID, deactivated.Actor.ID)
		require.Equal(t, "api_key", deactivated.Actor.Kind)
		require.Equal(t, "ci", deactivated.Actor.Name, "also of a key that was revoked since")
		require.Equal(t, key.Prefix, deactivated.Actor.Prefix)
		require.Equal(t, map[string]string{"options.rate_limit": "5 → 9", "options.allowed_ips": ` → ["127.0.0.1"]`}, told(all.Events[3].Changes))
		require.Contains(t, told(all.Events[5].Changes), "token_prefix")

		// The difference between two moments leaves out what was undone in between.
		between := a.history(t, one+"/history?from="+number(created)+"&to="+number(all.Events[4].Position))
		require.Equal(t, map[string]string{
			"name": `"First" → "Second"`, "options.rate_limit": "5 → 9", "options.allowed_ips": ` → ["127.0.0.1"]`,
		}, told(between.Changes))
		require.Equal(t, []string{"trigger.deactivated", "trigger.renamed", "trigger.configured", "trigger.activated"}, between.types())
		timed := a.history(t, one+"/history?from="+all.Events[0].Time+"&to="+deactivated.Time)
		require.Equal(t, map[string]string{"is_active": "true → false"}, told(timed.Changes))
		off := deactivated.Position
		require.Equal(t, off, timed.To)
		nothing := a.history(t, one+"/history?from="+number(off)+"&to="+number(off))
		require.Empty(t, nothing.Events)
		require.Empty(t, nothing.Changes)

		// In parts it is the same, and each part tells the whole difference from its beginning.
		var types []string
		for from := "1"; ; {
			part := a.history(t, one+"/history?limit=2&from="+from)
			require.LessOrEqual(t, len(part.Events), 2)
			types = append(types, part.types()...)
			if part.NextFrom == 0 {
				break
			}
			require.Contains(t, told(part.Changes), "token_prefix")
			from = number(part.NextFrom)
		}
		require.Equal(t, all.types(), types)

		a.must(t, 204, nil, "DELETE", one, "")
		last := a.history(t, one+"/history?from="+number(a.head(t)-1))
		require.Equal(t, []string{"trigger.deleted"}, last.types())
		require.Equal(t, " → true", told(last.Changes)["deleted"])
		for query, field := range map[string]string{"from=x": "from", "to=2026-01-01": "to", "limit=101": "limit", "from=9&to=8": "from", "from=2000000": "from"} {
			require.Contains(t, refusalOf(t, a.must(t, 400, nil, "GET", one+"/history?"+query, "")).Error.Details, field, query)
		}
		a.must(t, 404, nil, "GET", agents+"/"+made.ID+"/history", "")
	})
}

// TestPastOfEverything: as of now each thing is what it is, and as of earlier what it was.
func TestPastOfEverything(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		now := func(path string) string { return a.must(t, 200, nil, "GET", path, "").Body }
		asOf := func(path string, position int64) string {
			return a.must(t, 200, nil, "GET", path+"?as_of="+number(position), "").Body
		}
		before := a.head(t)
		agent := a.agent(t, `{"name": "A", "runner": {"kind": "echo"}}`)
		registered := a.head(t)
		a.must(t, 404, nil, "GET", agents+"/"+agent+"?as_of="+number(before), "")
		first := now(agents + "/" + agent)
		a.must(t, 200, nil, "PATCH", agents+"/"+agent, `{"timeout_seconds": 7, "retry": {"max_attempts": 2}}`)
		require.JSONEq(t, first, asOf(agents+"/"+agent, registered))
		require.JSONEq(t, now(agents+"/"+agent), asOf(agents+"/"+agent, a.head(t)))
		told1 := told(a.history(t, agents+"/"+agent+"/history?from="+number(registered)).Changes)
		require.Equal(t, " → 7", told1["timeout_seconds"][len(told1["timeout_seconds"])-len(" → 7"):])
		require.Contains(t, told1, "retry.max_attempts")

		// By a trigger, by the API, and failed or cancelled.
		made := a.trigger(t, agent, "")
		called := a.accepted(t, made.Token, `{"a": 1}`)
		a.ended(t, called)
		outside := a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`)
		var failed, cancelled resource
		a.must(t, 201, &failed, "POST", agents+"/"+outside+"/execute", `{"input": {"b": 2}, "session_id": "s", "metadata": {"k": "v"}}`)
		requested := a.head(t)
		pending := now(executions + "/" + failed.ID)
		a.must(t, 200, nil, "POST", executions+"/"+failed.ID+"/report", `{"error": {"code": "broken", "message": "no"}}`)
		a.must(t, 201, &cancelled, "POST", agents+"/"+outside+"/execute", "{}")
		a.must(t, 200, nil, "POST", executions+"/"+cancelled.ID+"/cancel", `{"reason": "enough"}`)
		require.JSONEq(t, pending, asOf(executions+"/"+failed.ID, requested))
		for _, id := range []string{called, failed.ID, cancelled.ID} {
			require.JSONEq(t, now(executions+"/"+id), asOf(executions+"/"+id, a.head(t)))
			a.must(t, 404, nil, "GET", executions+"/"+id+"?as_of="+number(registered), "")
		}
		ran := a.history(t, executions+"/"+called+"/history")
		require.Equal(t, []string{"trigger.invoked", "execution.started", "execution.completed"}, ran.types())
		require.Equal(t, "Trigger", ran.Events[0].Actor.Name)
		require.Equal(t, `"pending" → "running"`, told(ran.Events[1].Changes)["status"])
		require.Equal(t, `"running" → "completed"`, told(ran.Events[2].Changes)["status"])
		require.Contains(t, told(ran.Events[2].Changes)["output"], "sha256", "payloads are not in the log")

		var key struct{ ID string }
		a.must(t, 201, &key, "POST", apiKeys, `{"name": "K", "scopes": ["agents:read"]}`)
		issuedAt, working := a.head(t), now(apiKeys+"/"+key.ID)
		a.must(t, 204, nil, "DELETE", apiKeys+"/"+key.ID, "")
		a.must(t, 404, nil, "GET", apiKeys+"/"+key.ID, "")
		require.JSONEq(t, working, asOf(apiKeys+"/"+key.ID, issuedAt))
		require.Contains(t, asOf(apiKeys+"/"+key.ID, a.head(t)), `"revoked":true`)
		require.Equal(t, []string{"api_key.created", "api_key.revoked"}, a.history(t, apiKeys+"/"+key.ID+"/history").types())

		var sub struct{ ID string }
		a.must(t, 201, &sub, "POST", subscriptions, `{"name": "S", "url": "https://receiver.example.com/a", "types": ["agent.*"], "is_active": false}`)
		one := subscriptions + "/" + sub.ID
		subscribed := a.head(t)
		a.must(t, 200, nil, "PATCH", one, `{"url": "https://receiver.example.com/b"}`)
		a.must(t, 200, nil, "POST", one+"/redeliver", `{"from": 1}`)
		var then struct {
			URL      string
			IsActive bool `json:"is_active"`
		}
		was := a.must(t, 200, &then, "GET", one+"?as_of="+number(subscribed), "")
		require.Equal(t, "https://receiver.example.com/a", then.URL)
		require.NotContains(t, was.Body, `"position"`, "how deliveries went is not in the log")
		did := a.history(t, one+"/history?from="+number(subscribed))
		require.Equal(t, []string{"subscription.updated", "subscription.rewound"}, did.types())
		require.Equal(t, "moved in the log", did.Events[1].Summary)
		require.Equal(t, map[string]string{"url": `"https://receiver.example.com/a" → "https://receiver.example.com/b"`}, told(did.Changes))
		a.must(t, 204, nil, "DELETE", one, "")
		require.Contains(t, asOf(one, a.head(t)), `"deleted":true`)
	})
}
