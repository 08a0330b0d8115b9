//go:build unix

package httpapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/testserver"
)

type rejection struct {
	TriggerID   string `json:"trigger_id"`
	WorkspaceID string `json:"workspace_id"`
	Reason      string `json:"reason"`
	Message     string `json:"message"`
	TokenPrefix string `json:"token_prefix"`
	ClientIP    string `json:"client_ip"`
	Count       int    `json:"count"`
	RequestID   string `json:"request_id"`
}

// TestRejections asks for every reason why the calls of a trigger were not taken.
func TestRejections(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		a := start(t, testserver.Options{Dialect: dialect, OtherWorkspace: true})
		strict := a.agent(t, `{"name": "strict", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "required": ["message"]}}`)
		made := a.trigger(t, strict, `{"generate_secret": true}`)
		plain := a.trigger(t, strict, `{"options": {"rate_limit": 9}}`)
		off := a.trigger(t, strict, `{"is_active": false, "options": {"inactive_status": 200}}`)
		foreign := a.trigger(t, strict, `{"options": {"allowed_ips": ["203.0.113.0/24"]}}`)
		before := a.head(t)

		calls := []struct {
			token, body string
			headers     []string
			status      int
			trigger     string
			reason      string
		}{
			{made.Token, `{"message": "a"}`, nil, 401, made.ID, "invalid_signature"},
			{plain.Token, `{"message": `, nil, 400, plain.ID, "invalid_json"},
			{plain.Token, `{"text": "a"}`, nil, 422, plain.ID, "schema_mismatch"},
			{plain.Token, `a`, []string{"Content-Type", "text/plain"}, 415, plain.ID, "unsupported_media_type"},
			{plain.Token, `{"message": "` + strings.Repeat("a", 1<<20) + `"}`, nil, 413, plain.ID, "payload_too_large"},
			{plain.Token, `{"message": "a"}`, []string{"Idempotency-Key", strings.Repeat("k", 300)}, 400, plain.ID, "validation_failed"},
			{plain.Token, `{"message": "a"}`, []string{"Idempotency-Key", "k"}, 202, "", ""},
			{plain.Token, `{"message": "b"}`, []string{"Idempotency-Key", "k"}, 422, plain.ID, "idempotency_key_reused"},
			{off.Token, `{"message": "a"}`, nil, 200, off.ID, "trigger_inactive"},
			{foreign.Token, `{"message": "a"}`, nil, 403, foreign.ID, "forbidden"},
			{plain.Token[:len(plain.Token)-1] + "!", `{}`, nil, 401, "", "unauthorized"},
			{"htk_" + strings.Repeat("s", 39), `{}`, nil, 401, "", "unauthorized"},
		}
		for _, c := range calls {
			require.Equal(t, c.status, a.hook(t, c.token, c.body, c.headers...).Status, c.reason)
		}
		limited := 0
		for limited == 0 || limited < 3 {
			if a.hook(t, plain.Token, `{"message": "a"}`).Status == 429 {
				limited++
			}
		}

		for _, c := range calls {
			if c.reason == "" {
				continue
			}
			var found []rejection
			a.must(t, 200, &found, "GET", "/api/v1/rejections?reason="+c.reason+"&trigger_id="+c.trigger, "")
			require.NotEmpty(t, found, c.reason)
			for _, r := range found {
				require.Equal(t, c.reason, r.Reason)
				require.Equal(t, c.trigger, r.TriggerID)
				require.Equal(t, "127.0.0.1", r.ClientIP)
				require.NotEmpty(t, r.Message)
				require.Len(t, r.RequestID, 27)
				require.Equal(t, c.trigger == "", r.WorkspaceID == "")
				require.Equal(t, c.trigger == "", r.TokenPrefix == "", "what is no token is not shown")
			}
		}
		var found []rejection
		answer := a.must(t, 200, &found, "GET", "/api/v1/rejections?reason=rate_limited", "")
		require.Equal(t, 3, found[0].Count, "alike ones are counted")
		require.Equal(t, plain.ID, found[0].TriggerID)
		require.Equal(t, "rate_limited", found[0].Reason)
		require.Equal(t, len(found), metaOf(t, answer).Total)

		all := a.must(t, 200, &found, "GET", "/api/v1/rejections?limit=100", "")
		require.Equal(t, "rate_limited", found[0].Reason, "the latest first")
		for _, secret := range []string{made.Token, plain.Token[10:], made.Secret, strings.Repeat("s", 10)} {
			require.NotContains(t, all.Body, secret)
		}
		paged := []rejection{}
		for cursor, pages := "", 0; ; pages++ {
			var page []rejection
			answer := a.must(t, 200, &page, "GET", "/api/v1/rejections?limit=4&cursor="+cursor, "")
			paged = append(paged, page...)
			if cursor = metaOf(t, answer).NextCursor; cursor == "" {
				require.Positive(t, pages)
				break
			}
		}
		require.Equal(t, found, paged)
		a.must(t, 200, &found, "GET", "/api/v1/rejections?until=2020-01-01T00:00:00Z", "")
		require.Empty(t, found)

		var seen []rejection
		a.must(t, 200, &seen, "GET", "/api/v1/rejections", "", as(a.OtherAPIKey)...)
		require.Empty(t, seen, "another workspace sees none of them, nor what belongs to nobody")
		a.must(t, 200, &seen, "GET", "/api/v1/rejections?reason=unauthorized", "", as(a.apiKey(t, "webhook_triggers:read"))...)
		require.Empty(t, seen, "what belongs to nobody is the administrator's")
		for _, e := range a.eventsAfter(t, before) {
			require.NotContains(t, []string{"trigger.rejected"}, e.Type)
		}
	})
}
