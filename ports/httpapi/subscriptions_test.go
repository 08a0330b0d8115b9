//go:build unix

package httpapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const subscriptions = "/api/v1/subscriptions"

func TestSubscriptions(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		created := []string{"subscription.created"}
		const valid = `"name": "S", "url": "https://receiver.example.com/hook"`
		play(t, a, []scenario{
			{name: "created", method: "POST", path: subscriptions, body: `{` + valid + `}`, status: 201, contains: []string{`"secret":"whsec_`, `"is_active":true`, `"format":"cloudevents"`}, lacks: []string{`"types"`, `"disabled`, `"failing"`}, events: created},
			{name: "in camelCase, from a position", method: "POST", path: subscriptions, body: `{` + valid + `, "isActive": false, "from": 1}`, status: 201, contains: []string{`"position":0`, `"is_active":false`, `"disabled_code":"requested"`}, events: []string{"subscription.created", "subscription.disabled"}},
			{name: "from the beginning", method: "POST", path: subscriptions, body: `{` + valid + `, "from": "beginning", "is_active": false}`, status: 201, contains: []string{`"position":0`}, events: []string{"subscription.created", "subscription.disabled"}},
			{name: "from somewhere", method: "POST", path: subscriptions, body: `{` + valid + `, "from": "yesterday"}`, status: 400, contains: []string{`"from"`, "beginning"}},
			{name: "from the future", method: "POST", path: subscriptions, body: `{` + valid + `, "from": 1000000}`, status: 400, contains: []string{`"from"`}},
			{name: "of a type with a typo", method: "POST", path: subscriptions, body: `{` + valid + `, "types": ["trigger.invokd"]}`, status: 400, contains: []string{`"types[0]"`, "trigger.invoked"}},
			{name: "of types that are no list", method: "POST", path: subscriptions, body: `{` + valid + `, "types": "trigger.*"}`, status: 400, contains: []string{`"types":"must be a list, not string"`}},
			{name: "of no trigger", method: "POST", path: subscriptions, body: `{` + valid + `, "trigger_id": "{nobody}"}`, status: 400, contains: []string{`"trigger_id":"names no trigger"`}},
			{name: "of no agent", method: "POST", path: subscriptions, body: `{` + valid + `, "agent_id": "{nobody}"}`, status: 400, contains: []string{`"agent_id":"names no agent"`}},
			{name: "without a URL", method: "POST", path: subscriptions, body: `{"name": "S"}`, status: 400, contains: []string{`"url":"is required"`}},
			{name: "with a password", method: "POST", path: subscriptions, body: `{"name": "S", "url": "https://u:p@receiver.example.com"}`, status: 400, contains: []string{"verify the signature"}},
		})

		var made struct {
			ID, Secret string
		}
		a.must(t, 201, &made, "POST", subscriptions, `{`+valid+`, "is_active": false}`)
		one := subscriptions + "/" + made.ID
		shown := a.must(t, 200, nil, "GET", one, "")
		require.NotContains(t, shown.Body, "secret", "it is shown once")
		require.Contains(t, a.must(t, 400, nil, "PATCH", one, `{"from": 1}`).Body, "redeliver")
		a.must(t, 200, nil, "PATCH", one, `{"types": ["trigger.*"]}`)
		require.Contains(t, a.must(t, 200, nil, "GET", one, "").Body, `"types":["trigger.*"]`)
		require.Contains(t, a.must(t, 400, nil, "POST", one+"/redeliver", `{}`).Body, "event_id must be given")
		require.Contains(t, a.must(t, 400, nil, "POST", one+"/redeliver", `{"from": 1, "event_id": "x"}`).Body, "not both")
		require.Contains(t, a.must(t, 400, nil, "POST", one+"/redeliver", `{"event_id": "`+nobody+`"}`).Body, "is disabled")
		require.Contains(t, a.must(t, 400, nil, "POST", one+"/rotate-secret", `{"grace_period": 2592001}`).Body, "grace_period")
		require.Contains(t, a.must(t, 400, nil, "GET", subscriptions+"?is_active=perhaps", "").Body, "must be true or false")
		a.must(t, 204, nil, "DELETE", one, "")
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			a.must(t, 404, nil, method, one, "")
		}
	})
}
