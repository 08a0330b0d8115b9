package httpapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

func TestHookToken(t *testing.T) {
	for _, c := range []struct {
		uri, authorization, token string
		isHook                    bool
	}{
		{"/api/v1/webhook/trigger", "Bearer wht_a", "wht_a", true},
		{"/api/v1/webhook/trigger/?x=1", "bearer  wht_a ", "wht_a", true},
		{"/api/v1/webhook/trigger", "Basic wht_a", "", true},
		{"/api/v1/webhook/trigger", "wht_a", "", true},
		{"/api/v1/webhook/triggers", "Bearer wht_a", "", false},
		{"/api/v1/hooks/wht_a", "Bearer wht_b", "wht_a", true},
		{"/hooks/wht_a/?token=wht_b", "", "wht_a", true},
		{"/hooks/", "Bearer wht_a", "", true},
		{"/hooks", "Bearer wht_a", "", false},
		{"/api/v1/triggers", "Bearer htk_a", "", false},
	} {
		token, isHook := hookToken(c.uri, c.authorization)
		require.Equal(t, c.token, token, c.uri)
		require.Equal(t, c.isHook, isHook, c.uri)
	}
}

func FuzzHookToken(f *testing.F) {
	f.Add("/api/v1/webhook/trigger", "Bearer wht_a")
	f.Add("/hooks/wht_a/?x=/", "Basic x")
	f.Add("/api/v1/hooks//", " Bearer  ")
	f.Fuzz(func(t *testing.T, uri, authorization string) {
		token, isHook := hookToken(uri, authorization)
		if !isHook {
			require.Empty(t, token)
			return
		}
		require.True(t, strings.Contains(uri, token) && !strings.Contains(uri[:strings.Index(uri, token)], "?") || strings.Contains(authorization, token))
		inPath := strings.TrimSuffix(strings.ReplaceAll(uri, "?", ""), "/")
		for _, prefix := range []string{hookPrefix, hookAlias} {
			again, isHook := hookToken(prefix+inPath, authorization)
			require.True(t, isHook)
			require.Equal(t, strings.TrimSuffix(inPath, "/"), again)
		}
	})
}

func FuzzPreferredWait(f *testing.F) {
	for _, seed := range []string{"wait=10", `respond-async, WAIT="7"; x=1`, "wait=99999999999999999999", "wait=-1", "wait", ",;=", "wait=2147483647"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, prefer string) {
		wait := preferredWait(prefer)
		require.True(t, wait >= 0 && wait <= maxWait && wait%time.Second == 0, wait)
		if wait > 0 {
			require.Contains(t, strings.ToLower(prefer), "wait")
		}
	})
}

func FuzzMatch(f *testing.F) {
	for _, seed := range []string{
		`{"agent_id":"a","agentId":"a"}`, `{"agent_id":"a","agentId":"b"}`, `{"hasSecret":true,"generate_secret":false}`, `{"":1,"ABC":2,"é":3,"aÉ":4}`,
	} {
		f.Add([]byte(seed))
	}
	aliases := map[string]string{"has_secret": "generate_secret"}
	f.Fuzz(func(t *testing.T, body []byte) {
		var sent map[string]json.RawMessage
		if json.Unmarshal(body, &sent) != nil {
			return
		}
		var command application.CreateTrigger
		fields := fieldsOf(reflect.ValueOf(&command).Elem())
		values, unknown, err := match(sent, fields, aliases)
		if err != nil {
			require.Equal(t, fault.Validation, fault.CodeOf(err))
			require.Greater(t, len(sent), 1, "it takes two to be at odds")
			return
		}
		require.True(t, slices.IsSorted(unknown))
		for _, name := range unknown {
			require.Contains(t, sent, name)
			require.NotContains(t, fields, name, "a field by its own name is never unknown")
		}
		require.LessOrEqual(t, len(values)+len(unknown), len(sent))
		for name := range sent {
			if _, own := fields[name]; own {
				require.Equal(t, sent[name], values[name])
			}
		}
	})
}

// FuzzObject reads any object that the JSON check lets through into all that requests are
// read into.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","runner":{"kind":"http","url":"u","headers":{"a":"b"}},"retry":{"max_attempts":1e3},"input_schema":null}`,
		`{"runner":[],"retry":7,"name":{},"timeoutSeconds":1.5}`, `{"runner":{"x":{"y":[]}},"metadata":{"\u0000":"\ud800"}}`,
		`{"grace_period":99999999999999999999,"expires_at":"x","scopes":[1],"error":{"code":null,"z":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if kind, err := payload.CheckJSON(body); err != nil || kind != payload.Object {
			return
		}
		for _, into := range []any{
			&application.CreateTrigger{}, &application.UpdateTrigger{}, &application.AgentRequest{}, &application.ExecuteAgent{},
			&application.Report{}, &application.CreateAPIKey{}, &rotation{},
		} {
			r := reader{wrong: map[string]string{}}
			if err := r.object("", body, reflect.ValueOf(into).Elem()); err != nil {
				require.Equal(t, fault.Validation, fault.CodeOf(err))
				continue
			}
			require.NotContains(t, r.wrong, "", "every complaint names a field")
			for _, why := range r.wrong {
				require.NotEmpty(t, why)
			}
			if len(r.wrong) == 0 {
				_, err := json.Marshal(into)
				require.NoError(t, err)
			}
		}
	})
}

func TestHoldsNUL(t *testing.T) {
	for body, want := range map[string]bool{
		`"a\u0000"`: true, `{"a":["b",{"c\u0000":1}]}`: true, `"a\\u0000"`: false, `"a\\\u0000"`: true, `"\u00000"`: true, `"u0000"`: false, `7`: false, `{"a":"\u0001"}`: false,
	} {
		require.Equal(t, want, holdsNUL([]byte(body)), body)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(encodeCursor(1))
	f.Add(encodeCursor(1<<63 - 1))
	f.Add("cC0x")
	f.Add("cDA")
	f.Fuzz(func(t *testing.T, text string) {
		position, err := decodeCursor(text)
		if err != nil {
			require.Equal(t, fault.Validation, fault.CodeOf(err))
			return
		}
		require.Positive(t, position)
		again, err := decodeCursor(encodeCursor(position))
		require.NoError(t, err)
		require.Equal(t, position, again)
	})
	require.NotEqual(f, encodeCursor(1), encodeCursor(eventlog.Position(2)))
}
