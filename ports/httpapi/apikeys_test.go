//go:build unix

package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/apikey"
)

const apiKeys = "/api/v1/api-keys"

func TestAPIKeys(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		play(t, a, []scenario{
			{name: "created", method: "POST", path: apiKeys, body: `{"name": "CI", "scopes": ["agents:read", "events:read"]}`, status: 201, contains: []string{`"key":"htk_`, `"prefix":"htk_`, `"scopes":["agents:read","events:read"]`}, lacks: []string{"expires_at"}, events: []string{"api_key.created"}},
			{name: "that ends", method: "POST", path: apiKeys, body: `{"name": "CI", "scopes": ["agents:read"], "expiresAt": "2100-01-01T00:00:00+02:00"}`, status: 201, contains: []string{`"expires_at":"2099-12-31T22:00:00Z"`}, events: []string{"api_key.created"}},
			{name: "that has ended", method: "POST", path: apiKeys, body: `{"name": "CI", "scopes": ["agents:read"], "expires_at": "2020-01-01T00:00:00Z"}`, status: 400, contains: []string{`"expires_at":"must be in the future"`}},
			{name: "that ends some day", method: "POST", path: apiKeys, body: `{"name": "CI", "scopes": ["agents:read"], "expires_at": "tomorrow"}`, status: 400, contains: []string{`"expires_at"`, "RFC 3339"}},
			{name: "without scopes", method: "POST", path: apiKeys, body: `{"name": "CI"}`, status: 400, contains: []string{`"scopes":"must name at least one scope"`}},
			{name: "with a scope that is none", method: "POST", path: apiKeys, body: `{"name": "CI", "scopes": ["everything"]}`, status: 400, contains: []string{`"scopes"`, "webhook_triggers:read"}},
			{name: "with scopes of another type", method: "POST", path: apiKeys, body: `{"name": "CI", "scopes": "admin"}`, status: 400, contains: []string{`"scopes":"must be a list, not string"`}},
			{name: "without a name", method: "POST", path: apiKeys, body: `{"scopes": ["admin"]}`, status: 400, contains: []string{`"name":"is required"`}},
			{name: "revoked, but not there", method: "DELETE", path: apiKeys + "/{nobody}", status: 404},
		})
	})
}

// TestScopes tries every operation with a key that has all scopes but the one that it needs,
// and with one that has that alone.
func TestScopes(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		with, without := map[string]string{}, map[string]string{}
		for _, scope := range apikey.Scopes {
			var others []string
			for _, other := range apikey.Scopes {
				if other != scope && other != apikey.Admin {
					others = append(others, string(other))
				}
			}
			with[string(scope)], without[string(scope)] = a.apiKey(t, string(scope)), a.apiKey(t, others...)
		}
		tried := 0
		for path, item := range a.contract.document.Paths.Map() {
			path = strings.Replace(path, "{id}", nobody, 1)
			for method, operation := range item.Operations() {
				scope := scopeOf(operation)
				if scope == "" {
					continue
				}
				tried++
				if strings.HasSuffix(path, "/stream") {
					path += "?after=never" // it has no end otherwise
				}
				refused := refusalOf(t, a.must(t, 403, nil, method, path, "", as(without[scope])...))
				require.Equal(t, "forbidden", refused.Error.Code)
				require.Equal(t, "the API key lacks the scope "+scope, refused.Error.Message)
				for _, key := range []string{with[scope], with["admin"]} {
					require.Contains(t, []int{200, 201, 400, 404}, a.do(t, method, path, "", as(key)...).Status, "%s %s", method, path)
				}
			}
		}
		require.Equal(t, 65, tried)
		a.must(t, 200, nil, "GET", "/api/v1/me", "", as(with["agents:read"])...)
	})
}

// TestRevokedKeyEndsAtOnce also for the key that revokes itself.
func TestRevokedKeyEndsAtOnce(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		var made struct {
			ID, Key string
		}
		for range 3 {
			a.must(t, 201, &made, "POST", apiKeys, `{"name": "K", "scopes": ["admin"]}`)
			a.must(t, 200, nil, "GET", "/api/v1/me", "", as(made.Key)...)
			a.must(t, 204, nil, "DELETE", apiKeys+"/"+made.ID, "", as(made.Key)...)
			a.must(t, 401, nil, "GET", "/api/v1/me", "", as(made.Key)...)
			a.must(t, 404, nil, "DELETE", apiKeys+"/"+made.ID, "")
			require.NotContains(t, a.must(t, 200, nil, "GET", apiKeys, "").Body, made.ID)
		}
	})
}

// TestExpiredKey works until its time.
func TestExpiredKey(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		var made struct{ Key string }
		end := time.Now().Add(4 * time.Second)
		a.must(t, 201, &made, "POST", apiKeys, `{"name": "K", "scopes": ["agents:read"], "expires_at": "`+end.UTC().Format(time.RFC3339Nano)+`"}`)
		sawWorking := false
		require.Eventually(t, func() bool {
			asked := time.Now()
			status := a.do(t, "GET", agents, "", as(made.Key)...).Status
			sawWorking = sawWorking || status == 200
			require.False(t, status == 200 && asked.After(end), "the key worked after its end")
			return status == 401
		}, 20*time.Second, 50*time.Millisecond)
		require.True(t, sawWorking)
	})
}

func TestNobodyGivesAwayMoreThanTheyHave(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		limited := a.apiKey(t, "agents:read", "events:read")
		a.must(t, 403, nil, "POST", apiKeys, `{"name": "K", "scopes": ["agents:read"]}`, as(limited)...)
		var me struct {
			Actor  string
			APIKey struct{ Scopes []string } `json:"api_key"`
		}
		a.must(t, 200, &me, "GET", "/api/v1/me", "", as(limited)...)
		require.Equal(t, []string{"agents:read", "events:read"}, me.APIKey.Scopes)
		require.Contains(t, me.Actor, "api_key:")
	})
}

// TestWhereTheKeyIsTaken is X-API-Key before Authorization: Bearer, and nowhere else.
func TestWhereTheKeyIsTaken(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		a.must(t, 200, nil, "GET", "/api/v1/me", "", "X-API-Key", a.APIKey, "Authorization", "Bearer nonsense")
		a.must(t, 200, nil, "GET", "/api/v1/me", "", "Authorization", "bearer  "+a.APIKey)
		a.must(t, 401, nil, "GET", "/api/v1/me", "", "X-API-Key", "nonsense", "Authorization", "Bearer "+a.APIKey)
		a.must(t, 401, nil, "GET", "/api/v1/me?api_key="+a.APIKey, "", as("")...)
		a.must(t, 401, nil, "GET", "/api/v1/me", "", "Authorization", a.APIKey)
		a.must(t, 401, nil, "GET", "/api/v1/me", "", as(strings.Repeat("k", 5000))...)
		made := a.trigger(t, a.echo(t), "")
		a.must(t, 401, nil, "GET", "/api/v1/me", "", "Authorization", "Bearer "+made.Token)
		require.Equal(t, 401, a.hook(t, a.APIKey, `{}`).Status, "a key is no token")
	})
}
