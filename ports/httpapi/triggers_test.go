//go:build unix

package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const triggers = "/api/v1/webhook-triggers"

func TestCreateTrigger(t *testing.T) {
	created := []string{"trigger.created"}
	eachDialect(t, func(t *testing.T, a *api) {
		play(t, a, []scenario{
			{
				name: "the least", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "GitHub"}`, status: 201,
				contains: []string{`"name":"GitHub"`, `"agent_id":"{agent}"`, `"token":"wht_`, `"is_active":true`, `"has_secret":false`, `"options":{}`, `"version":1`},
				lacks:    []string{`"secret":`, `last_used_at`, `warnings`, `null`}, events: created,
			},
			{
				name: "by the other path", given: anAgent, method: "POST", path: "/api/v1/triggers", body: `{"agent_id": "{agent}", "name": "GitHub"}`, status: 201,
				contains: []string{`"token":"wht_`}, events: created,
			},
			{
				name: "with a trailing slash", given: anAgent, method: "POST", path: triggers + "/", odd: true, body: `{"agent_id": "{agent}", "name": "A"}`, status: 201,
				events: created,
			},
			{
				name: "with a secret", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "A", "generate_secret": true}`, status: 201,
				contains: []string{`"has_secret":true`, `"secret":"whs_`}, events: created,
			},
			{
				name: "a secret asked for as has_secret", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "A", "has_secret": true}`, status: 201,
				contains: []string{`"secret":"whs_`}, lacks: []string{"warnings"}, events: created,
			},
			{
				name: "a secret of one's own", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "A", "secret": "0123456789abcdef"}`, status: 201,
				contains: []string{`"has_secret":true`, `"secret":"0123456789abcdef"`}, events: created,
			},
			{
				name: "camelCase", given: anAgent, method: "POST", path: triggers, odd: true, status: 201,
				body:     `{"agentId": "{agent}", "name": "A", "generateSecret": true, "isActive": false, "hasSecret": true}`,
				contains: []string{`"secret":"whs_`, `"is_active":false`, `"agent_id":"{agent}"`}, lacks: []string{"warnings"}, events: created,
			},
			{
				name: "both spellings with one value", given: anAgent, method: "POST", path: triggers, status: 201,
				body: `{"agent_id": "{agent}", "agentId": "{agent}", "name": "A"}`, lacks: []string{"warnings"}, events: created,
			},
			{
				name: "both spellings with different values", given: anAgent, method: "POST", path: triggers, status: 400,
				body:     `{"agent_id": "{agent}", "agentId": "{nobody}", "name": "A"}`,
				contains: []string{`"validation_failed"`, `"agent_id":"is given twice with different values, as agentId and agent_id"`},
			},
			{
				name: "generate_secret and has_secret at odds", given: anAgent, method: "POST", path: triggers, status: 400,
				body: `{"agent_id": "{agent}", "name": "A", "generate_secret": true, "has_secret": false}`, contains: []string{`"generate_secret":"is given twice`},
			},
			{
				name: "unknown fields", given: anAgent, method: "POST", path: triggers, status: 201,
				body:     `{"agent_id": "{agent}", "name": "A", "source": "github", "colour": "red"}`,
				contains: []string{`"warnings":["source was ignored: it is \"webhook\" for every trigger of this server","unknown field \"colour\" was ignored"]`}, events: created,
			},
			{
				name: "unknown options", given: anAgent, method: "POST", path: triggers, status: 400,
				body:     `{"agent_id": "{agent}", "name": "A", "options": {"rate_limt": 3, "allowed_ip": "::1"}}`,
				contains: []string{`"options.rate_limt":"is not an option"`, `"options.allowed_ip":"is not an option"`},
			},
			{
				name: "options out of range", given: anAgent, method: "POST", path: triggers, status: 400,
				body:     `{"agent_id": "{agent}", "name": "A", "options": {"rate_limit": -1, "allowed_ips": ["here"], "inactive_status": 500, "max_body_bytes": 26214401}}`,
				contains: []string{`"options.rate_limit"`, `"options.allowed_ips"`, `"options.inactive_status"`, `"options.max_body_bytes"`},
			},
			{
				name: "options of wrong types", given: anAgent, method: "POST", path: triggers, status: 400,
				body: `{"agent_id": "{agent}", "name": "A", "options": {"rate_limit": "3", "expires_at": "soon"}}`, contains: []string{`"options.rate_limit"`, `"options.expires_at"`},
			},
			{
				name: "options that are no object", given: anAgent, method: "POST", path: triggers, status: 400,
				body: `{"agent_id": "{agent}", "name": "A", "options": [1]}`, contains: []string{`"options":"must be an object"`},
			},
			{
				name: "nulls are as good as nothing", given: anAgent, method: "POST", path: triggers, status: 201,
				body: `{"agent_id": "{agent}", "name": "A", "secret": null, "is_active": null, "options": null, "generate_secret": null}`, contains: []string{`"is_active":true`, `"options":{}`}, events: created,
			},
			{name: "nothing", method: "POST", path: triggers, status: 400, contains: []string{`"agent_id":"is required"`, `"name":"is required"`}},
			{
				name: "wrong types", method: "POST", path: triggers, body: `{"agent_id": 7, "name": ["A"], "is_active": "yes"}`, status: 400,
				contains: []string{`"agent_id":"must be a string, not number"`, `"name":"must be a string, not array"`, `"is_active":"must be true or false, not string"`},
			},
			{name: "an agent that is not there", method: "POST", path: triggers, body: `{"agent_id": "{nobody}", "name": "A"}`, status: 400, contains: []string{`"agent_id":"names no agent of this workspace"`}},
			{name: "a name too long", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "` + strings.Repeat("ä", 201) + `"}`, status: 400, contains: []string{`"name":"is longer than 200 characters"`}},
			{name: "a name of 200 letters", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "` + strings.Repeat("ä", 200) + `"}`, status: 201, events: created},
			{name: "a name with NUL", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "a\u0000b"}`, status: 400, contains: []string{`"name":"`, "NUL"}},
			{name: "a name with an escaped backslash before u0000", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "a\\u0000b"}`, status: 201, events: created},
			{name: "a lone surrogate in the name", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "a\ud800b"}`, status: 201, events: created},
			{name: "a secret too short", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "A", "secret": "0123456789abcde"}`, status: 400, contains: []string{`"secret":"must have from 16 to 256 bytes"`}, lacks: []string{"0123456789abcde"}},
			{name: "a secret too long", given: anAgent, method: "POST", path: triggers, body: `{"agent_id": "{agent}", "name": "A", "secret": "` + strings.Repeat("s", 257) + `"}`, status: 400, contains: []string{`"secret"`}, lacks: []string{"ssss"}},
		})
	})
}

func TestUpdateTrigger(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		one := triggers + "/{trigger}"
		play(t, a, []scenario{
			{name: "the name", given: aTrigger(""), method: "PATCH", path: one, body: `{"name": "B"}`, status: 200, contains: []string{`"name":"B"`, `"version":2`}, lacks: []string{"token\":", "secret\":\""}, events: []string{"trigger.renamed"}},
			{
				name: "all at once", given: aTrigger(""), method: "PATCH", path: one, status: 200, odd: true,
				body: `{"name": "B", "isActive": false, "options": {"rate_limit": 7}}`, contains: []string{`"options":{"rate_limit":7}`, `"is_active":false`, `"version":4`},
				events: []string{"trigger.renamed", "trigger.configured", "trigger.deactivated"},
			},
			{name: "to what it is", given: aTrigger(""), method: "PATCH", path: one, body: `{"name": "Trigger", "is_active": true}`, status: 200, contains: []string{`"version":1`}},
			{name: "nothing", given: aTrigger(""), method: "PATCH", path: one, body: `{}`, status: 200, contains: []string{`"version":1`}},
			{
				name: "options key by key", given: aTrigger(`{"options": {"rate_limit": 7, "inactive_status": 410, "allowed_ips": ["::1"]}}`), method: "PATCH", path: one, status: 200,
				body: `{"options": {"rate_limit": 8, "inactive_status": null}}`, contains: []string{`"options":{"rate_limit":8,"allowed_ips":["::1"]}`}, events: []string{"trigger.configured"},
			},
			{name: "switched on", given: aTrigger(`{"is_active": false}`), method: "PATCH", path: one, body: `{"is_active": true}`, status: 200, events: []string{"trigger.activated"}},
			{name: "of that version", given: aTrigger(""), method: "PATCH", path: one, body: `{"name": "B"}`, headers: []string{"If-Match", `"1"`}, status: 200, events: []string{"trigger.renamed"}},
			{name: "of that version, as a weak tag", given: aTrigger(""), method: "PATCH", path: one, body: `{"name": "B"}`, headers: []string{"If-Match", `W/"1"`}, status: 200, events: []string{"trigger.renamed"}},
			{name: "of another version", given: aTrigger(""), method: "PATCH", path: one, body: `{"name": "B"}`, headers: []string{"If-Match", `"2"`}, status: 412, contains: []string{`"precondition_failed"`}},
			{name: "of no version", given: aTrigger(""), method: "PATCH", path: one, body: `{"name": "B"}`, headers: []string{"If-Match", `"x"`}, status: 412, contains: []string{`"precondition_failed"`}},
			{name: "the empty name", given: aTrigger(""), method: "PATCH", path: one, body: `{"name": " "}`, status: 400, contains: []string{`"name":"is required"`}},
			{name: "another agent that is not there", given: aTrigger(""), method: "PATCH", path: one, body: `{"agent_id": "{nobody}"}`, status: 400, contains: []string{`"agent_id"`}},
			{
				name: "another agent", method: "PATCH", path: one, body: `{"agent_id": "{next}"}`, status: 200, contains: []string{`"agent_id":"{next}"`}, events: []string{"trigger.rebound"},
				given: func(t *testing.T, a *api) ids {
					known := aTrigger("")(t, a)
					known["next"] = a.echo(t)
					return known
				},
			},
			{name: "unknown options", given: aTrigger(""), method: "PATCH", path: one, body: `{"options": {"ratelimit": 1}}`, status: 400, contains: []string{`"options.ratelimit":"is not an option"`}},
			{name: "unknown fields", given: aTrigger(""), method: "PATCH", path: one, body: `{"has_secret": true}`, status: 200, contains: []string{`unknown field \"has_secret\" was ignored`}},
			{name: "one that is not there", method: "PATCH", path: triggers + "/{nobody}", body: `{"name": "B"}`, status: 404, contains: []string{`"not_found"`}},
			{name: "an id of another kind", method: "PATCH", path: triggers + "/%00%ff", body: `{"name": "B"}`, status: 404},
			{name: "deleted", given: aTrigger(""), method: "DELETE", path: one, status: 204, events: []string{"trigger.deleted"}},
			{name: "deleted at that version", given: aTrigger(""), method: "DELETE", path: one, headers: []string{"If-Match", `"3"`}, status: 412},
			{name: "secret removed", given: aTrigger(`{"generate_secret": true}`), method: "DELETE", path: one + "/secret", status: 204, events: []string{"trigger.secret_removed"}},
			{name: "secret removed where there is none", given: aTrigger(""), method: "DELETE", path: one + "/secret", status: 404},
			{name: "token rotated", given: aTrigger(""), method: "POST", path: one + "/rotate-token", status: 200, contains: []string{`"token":"wht_`, `"hook_url"`}, lacks: []string{"{token}", `"secret":`}, events: []string{"trigger.token_rotated"}},
			{name: "token rotated to a wish", given: aTrigger(""), method: "POST", path: one + "/rotate-token", body: `{"secret": "0123456789abcdef"}`, status: 400, contains: []string{`"secret"`}},
			{name: "token rotated for ever", given: aTrigger(""), method: "POST", path: one + "/rotate-token", body: `{"grace_period": 2592001}`, status: 400, contains: []string{`"grace_period"`}},
			{name: "token rotated beyond all numbers", given: aTrigger(""), method: "POST", path: one + "/rotate-token", body: `{"grace_period": 9223372036854775807}`, status: 400, contains: []string{`"grace_period"`}},
			{name: "token rotated in the past", given: aTrigger(""), method: "POST", path: one + "/rotate-token", body: `{"gracePeriod": -1}`, status: 400, contains: []string{`"grace_period"`}},
			{name: "token rotated with a float", given: aTrigger(""), method: "POST", path: one + "/rotate-token", body: `{"grace_period": 60.0}`, status: 200, contains: []string{`"token":"wht_`}, events: []string{"trigger.token_rotated"}},
			{name: "options written as floats", given: aTrigger(""), method: "PATCH", path: one, body: `{"options": {"rate_limit": 7.0, "inactive_status": 4.1e2}}`, status: 200, contains: []string{`"options":{"rate_limit":7,"inactive_status":410}`}, events: []string{"trigger.configured"}},
			{name: "options written as parts", given: aTrigger(""), method: "PATCH", path: one, body: `{"options": {"rate_limit": 7.5}}`, status: 400, contains: []string{`"options.rate_limit"`}},
			{name: "token rotated in parts", given: aTrigger(""), method: "POST", path: one + "/rotate-token", body: `{"grace_period": 1.5}`, status: 400, contains: []string{`"grace_period":"must be a whole number`}},
			{name: "first secret", given: aTrigger(""), method: "POST", path: one + "/rotate-secret", status: 200, contains: []string{`"secret":"whs_`, `"has_secret":true`}, lacks: []string{`"token":`}, events: []string{"trigger.secret_set"}},
			{name: "a secret of few characters and enough bytes", given: aTrigger(""), method: "POST", path: one + "/rotate-secret", body: `{"secret": "🔑🔑🔑🔑"}`, status: 200, contains: []string{`"secret":"🔑🔑🔑🔑"`}, events: []string{"trigger.secret_set"}},
			{name: "a secret of enough characters and too many bytes", given: aTrigger(""), method: "POST", path: one + "/rotate-secret", body: `{"secret": "` + strings.Repeat("🔑", 65) + `"}`, status: 400, contains: []string{`"secret":"must have from 16 to 256 bytes"`}},
			{name: "a secret of one's own", given: aTrigger(`{"generate_secret": true}`), method: "POST", path: one + "/rotate-secret", body: `{"secret": "0123456789abcdef", "grace_period": 0}`, status: 200, contains: []string{`"secret":"0123456789abcdef"`}, events: []string{"trigger.secret_set"}},
		})
	})
}

// TestLocationIsWhereTheTriggerIs also for those who write a slash at the end.
func TestLocationIsWhereTheTriggerIs(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		body := `{"agent_id": "` + a.echo(t) + `", "name": "A"}`
		for _, path := range []string{triggers, triggers + "/", "/api/v1/triggers"} {
			answer := a.oddly().must(t, 201, nil, "POST", path, body)
			require.NotContains(t, answer.Header.Get("Location"), "//")
			a.must(t, 200, nil, "GET", answer.Header.Get("Location"), "")
		}
	})
}

func TestListTriggers(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent, other := a.echo(t), a.echo(t)
		a.trigger(t, agent, `{"name": "Alpha 100%"}`)
		a.trigger(t, agent, `{"name": "beta_x", "is_active": false}`)
		a.trigger(t, other, `{"name": "Beta 1000"}`)
		names := func(query string) []string {
			var page []struct{ Name string }
			a.must(t, 200, &page, "GET", triggers+"?"+query, "")
			list := []string{}
			for _, each := range page {
				list = append(list, each.Name)
			}
			return list
		}
		assert.Equal(t, []string{"Beta 1000", "beta_x", "Alpha 100%"}, names(""), "the newest first")
		assert.Equal(t, []string{"beta_x", "Alpha 100%"}, names("agent_id="+agent))
		assert.Equal(t, []string{"beta_x"}, names("is_active=false"))
		assert.Equal(t, []string{"Beta 1000", "Alpha 100%"}, names("is_active=true"))
		assert.Equal(t, []string{"Beta 1000", "beta_x"}, names("name=BETA"))
		assert.Equal(t, []string{"Alpha 100%"}, names("name=0%25"), "a percent sign is no wildcard")
		assert.Equal(t, []string{"beta_x"}, names("name=_"), "an underscore is no wildcard")
		assert.Equal(t, []string{}, names("name=%5C"))
		assert.Equal(t, []string{}, names("agent_id="+nobody))
		for _, query := range []string{"is_active=maybe", "page=0", "page=x", "page=10001", "limit=0", "limit=101", "limit=-1", "cursor=x", "cursor=cDA", "cursor=%3D"} {
			field, _, _ := strings.Cut(query, "=")
			refused := refusalOf(t, a.must(t, 400, nil, "GET", triggers+"?"+query, ""))
			assert.Contains(t, refused.Error.Details, field, query)
		}
	})
}

// TestPaging turns pages both ways over a list that grows meanwhile.
func TestPaging(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		var made []string
		for range 7 {
			made = append([]string{a.trigger(t, agent, "").ID}, made...)
		}
		read := func(query string) ([]string, meta) {
			var page []resource
			answer := a.must(t, 200, &page, "GET", triggers+"?"+query, "")
			list := []string{}
			for _, each := range page {
				list = append(list, each.ID)
			}
			return list, metaOf(t, answer)
		}
		page, m := read("limit=3&page=2")
		require.Equal(t, made[3:6], page)
		require.Equal(t, meta{Total: 7, Page: 2, Limit: 3, Pages: 3, TotalPages: 3, NextCursor: m.NextCursor}, m)
		page, m = read("limit=3&page=3")
		require.Equal(t, made[6:], page)
		require.Empty(t, m.NextCursor)
		page, m = read("limit=3&page=4")
		require.Empty(t, page)
		require.Equal(t, 7, m.Total)

		page, m = read("limit=3")
		a.trigger(t, agent, "") // shifts pages, but not what a cursor points at
		followed := page
		for m.NextCursor != "" {
			page, m = read("limit=3&cursor=" + m.NextCursor)
			followed = append(followed, page...)
		}
		require.Equal(t, made, followed)
	})
}

// TestTriggerOfThePast shows a trigger at positions and times.
func TestTriggerOfThePast(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		before := a.head(t)
		made := a.trigger(t, a.echo(t), `{"name": "First"}`)
		created := a.head(t)
		one := triggers + "/" + made.ID
		a.must(t, 200, nil, "PATCH", one, `{"name": "Second", "is_active": false}`)
		var now issued
		a.must(t, 200, &now, "GET", one, "")
		a.must(t, 204, nil, "DELETE", one, "")
		a.must(t, 404, nil, "GET", one, "")

		at := func(moment string) issued {
			var then issued
			answer := a.must(t, 200, &then, "GET", one+"?as_of="+moment, "")
			require.Empty(t, answer.Header.Get("ETag"), "the past cannot be changed")
			return then
		}
		first := at(number(created))
		require.Equal(t, "First", first.Name)
		require.True(t, first.IsActive)
		second := at(now.UpdatedAt)
		require.Equal(t, "Second", second.Name)
		require.False(t, second.IsActive)
		var last struct{ Deleted bool }
		a.must(t, 200, &last, "GET", one+"?as_of=9223372036854775807", "")
		require.True(t, last.Deleted)
		a.must(t, 404, nil, "GET", one+"?as_of="+number(before), "")
		a.must(t, 404, nil, "GET", one+"?as_of=2020-01-01T00:00:00%2B01:00", "")
		for _, moment := range []string{"0", "-1", "yesterday", "2026-01-01", "9223372036854775808", "1e3"} {
			require.Contains(t, refusalOf(t, a.must(t, 400, nil, "GET", one+"?as_of="+moment, "")).Error.Details, "as_of", moment)
		}
	})
}

// TestLastUsed is absent until a trigger is first used.
func TestLastUsed(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		require.NotContains(t, a.must(t, 200, nil, "GET", triggers+"/"+made.ID, "").Body, "last_used_at")
		a.accepted(t, made.Token, `{}`)
		require.Eventually(t, func() bool {
			var seen issued
			a.must(t, 200, &seen, "GET", triggers+"/"+made.ID, "")
			at, err := time.Parse(time.RFC3339, seen.LastUsedAt)
			return err == nil && time.Since(at) < time.Minute
		}, 20*time.Second, 50*time.Millisecond)
		var list []json.RawMessage
		a.must(t, 200, &list, "GET", triggers, "")
		require.Contains(t, string(list[0]), "last_used_at")
	})
}

// TestTriggersOfNewerClients: to them a trigger has a source, with settings of its own.
func TestTriggersOfNewerClients(t *testing.T) {
	const newer = "/api/v1/triggers"
	eachDialect(t, func(t *testing.T, a *api) {
		play(t, a, []scenario{
			{
				name: "as newer clients know it", given: anAgent, method: "POST", path: newer, status: 201, events: []string{"trigger.created"},
				body:     `{"agent_id": "{agent}", "name": "A", "has_secret": true, "source": "webhook", "source_config": {}, "reply_config": null}`,
				contains: []string{`"source":"webhook","source_config":{},"reply_config":{}`, `"secret":"`}, lacks: []string{"warnings"},
			},
			{
				name: "with settings for other sources", given: anAgent, method: "POST", path: newer, status: 201, events: []string{"trigger.created"},
				body:     `{"agent_id": "{agent}", "name": "A", "sourceConfig": {"channel": "C1"}, "reply_config": {"thread": true}}`,
				contains: []string{`"warnings":["reply_config was ignored: what can be set for webhooks is in options","source_config was ignored: what can be set for webhooks is in options"]`},
			},
			{name: "with settings of other types", given: anAgent, method: "POST", path: newer, body: `{"agent_id": "{agent}", "name": "A", "source": 1, "source_config": [1]}`, status: 400, contains: []string{`"source":"must be a string`}},
			{name: "with lists for settings", given: anAgent, method: "POST", path: newer, body: `{"agent_id": "{agent}", "name": "A", "source_config": [1], "reply_config": "x"}`, status: 400, contains: []string{`"source_config":"must be an object"`, `"reply_config":"must be an object"`}},
			{name: "changed to another source", given: aTrigger(""), method: "PATCH", path: newer + "/{trigger}", body: `{"source": "slack"}`, status: 200, contains: []string{`"source":"webhook"`, `source was ignored`, `"version":1`}},
			{name: "changed as newer clients do", given: aTrigger(""), method: "PATCH", path: newer + "/{trigger}", body: `{"source": "webhook", "name": "B"}`, status: 200, contains: []string{`"name":"B"`, `"source":"webhook","source_config":{},"reply_config":{}`}, events: []string{"trigger.renamed"}},
			{name: "shown to newer clients", given: aTrigger(""), method: "GET", path: newer + "/{trigger}", status: 200, contains: []string{`"source":"webhook","source_config":{},"reply_config":{}`}},
			{name: "shown to older clients", given: aTrigger(""), method: "GET", path: triggers + "/{trigger}", status: 200, lacks: []string{`"source`, `"reply_config"`}},
			{name: "listed to newer clients", given: aTrigger(""), method: "GET", path: newer + "?limit=1", status: 200, contains: []string{`"source":"webhook","source_config":{},"reply_config":{}`, `"meta"`}},
			{name: "token rotated by newer clients", given: aTrigger(""), method: "POST", path: newer + "/{trigger}/rotate-token", status: 200, contains: []string{`"token":"wht_`, `"source":"webhook"`}, events: []string{"trigger.token_rotated"}},
		})
	})
}
