package hooktrail_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	hooktrail "hooktrail/sdk/go"
)

const testKey = "htk_of_the_tests"

// reply is one answer of the server under the client.
type reply struct {
	status int
	body   string
	header map[string]string
}

// scripted is a transport that gives its answers in turn, the last one for ever, without a
// network: so that waits pass in no time.
type scripted struct {
	mu      sync.Mutex
	replies []reply
	fail    map[int]error // instead of an answer, by the number of the request
	seen    []*http.Request
	bodies  []string
	at      []time.Time
}

func (s *scripted) RoundTrip(request *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(request.Body)
	n := len(s.seen)
	s.seen, s.bodies, s.at = append(s.seen, request), append(s.bodies, string(body)), append(s.at, time.Now())
	if err := s.fail[n]; err != nil {
		return nil, err
	}
	r := s.replies[min(n, len(s.replies)-1)]
	response := &http.Response{StatusCode: r.status, Header: http.Header{"X-Request-Id": {"r1"}}, Body: io.NopCloser(strings.NewReader(r.body)), Request: request}
	for name, value := range r.header {
		response.Header.Set(name, value)
	}
	return response, nil
}

func scriptedClient(t *testing.T, s *scripted, change func(*hooktrail.Options)) *hooktrail.Client {
	t.Helper()
	options := hooktrail.Options{APIKey: testKey, BaseURL: "http://hooktrail.test/prefix/", HTTPClient: &http.Client{Transport: s}}
	if change != nil {
		change(&options)
	}
	client, err := hooktrail.New(options)
	require.NoError(t, err)
	return client
}

func TestRequest(t *testing.T) {
	t.Parallel()
	s := &scripted{replies: []reply{{201, `{"data": {"id": "t1", "token": "wht_x", "secret": "whs_y", "options": {"new": 1.50}}, "warnings": ["colour"]}`, nil}}}
	client := scriptedClient(t, s, nil)
	var answer hooktrail.Answer
	made, err := client.WebhookTriggers.Create(t.Context(), hooktrail.CreateTrigger{
		AgentID: "a1", Name: "first & second", IsActive: new(false), Options: map[string]any{"rate_limit": 0},
	}, hooktrail.WithAnswer(&answer), hooktrail.IfVersion(3))
	require.NoError(t, err)
	require.Equal(t, "t1", made.ID)
	require.Equal(t, "wht_x", string(made.Token))
	require.Equal(t, `{"new": 1.50}`, string(made.Options))
	require.Equal(t, []string{"colour"}, answer.Warnings)
	require.Equal(t, 201, answer.Status)
	require.Equal(t, "r1", answer.RequestID)
	require.Equal(t, "http://hooktrail.test/prefix/api/v1/webhook-triggers", s.seen[0].URL.String())
	require.Equal(t, testKey, s.seen[0].Header.Get("X-Api-Key"))
	require.Equal(t, `"3"`, s.seen[0].Header.Get("If-Match"))
	require.Equal(t, `{"agent_id":"a1","name":"first & second","is_active":false,"options":{"rate_limit":0}}`, s.bodies[0])
}

func TestIDsStayInTheirPath(t *testing.T) {
	t.Parallel()
	s := &scripted{replies: []reply{{404, `{"error": {"code": "not_found", "message": "there is no such agent"}, "request_id": "r2"}`, nil}}}
	client := scriptedClient(t, s, nil)
	for id, path := range map[string]string{"../me": "..%2Fme", "..": "%2E%2E", "a b?c#d": "a%20b%3Fc%23d"} {
		_, err := client.Agents.Get(t.Context(), id)
		require.ErrorIs(t, err, hooktrail.ErrNotFound)
		require.Equal(t, "/prefix/api/v1/agents/"+path, s.seen[len(s.seen)-1].URL.EscapedPath())
	}
	before := len(s.seen)
	require.ErrorIs(t, client.Agents.Delete(t.Context(), ""), hooktrail.ErrValidation)
	require.Len(t, s.seen, before)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	classes := []error{
		hooktrail.ErrValidation, hooktrail.ErrAuthentication, hooktrail.ErrPermission, hooktrail.ErrNotFound, hooktrail.ErrConflict,
		hooktrail.ErrRateLimited, hooktrail.ErrServer, hooktrail.ErrConnection,
	}
	body := func(code string) string {
		return fmt.Sprintf(`{"error": {"code": %q, "message": "no", "details": {"name": "is too long", "n": 3}}, "request_id": "r2"}`, code)
	}
	for _, test := range []struct {
		status int
		body   string
		class  error
		code   string
	}{
		{400, body("validation_failed"), hooktrail.ErrValidation, "validation_failed"},
		{400, body("conflict"), hooktrail.ErrConflict, "conflict"},
		{412, body("precondition_failed"), hooktrail.ErrConflict, "precondition_failed"},
		{401, body("unauthorized"), hooktrail.ErrAuthentication, "unauthorized"},
		{401, body("invalid_signature"), hooktrail.ErrAuthentication, "invalid_signature"},
		{403, body("forbidden"), hooktrail.ErrPermission, "forbidden"},
		{410, body("trigger_inactive"), nil, "trigger_inactive"},
		{422, body("idempotency_key_reused"), hooktrail.ErrValidation, "idempotency_key_reused"},
		{404, body("not_found"), hooktrail.ErrNotFound, "not_found"},
		{429, body("rate_limited"), hooktrail.ErrRateLimited, "rate_limited"},
		{422, body("schema_mismatch"), hooktrail.ErrValidation, "schema_mismatch"},
		{405, body("of_the_future"), nil, "of_the_future"},
		{415, body("of_the_future"), hooktrail.ErrValidation, "of_the_future"},
		{403, body("of_the_future"), hooktrail.ErrPermission, "of_the_future"},
		{503, `{"error": "busy", "code": "overloaded", "request_id": "r2"}`, hooktrail.ErrServer, "overloaded"},
		{502, `<html>Bad Gateway</html>`, hooktrail.ErrServer, "unexpected_answer"},
		{302, ``, hooktrail.ErrServer, "unexpected_answer"},
		{200, `<html>Welcome</html>`, hooktrail.ErrServer, "unexpected_answer"},
	} {
		s := &scripted{replies: []reply{{test.status, test.body, map[string]string{"Retry-After": "7", "Location": "http://elsewhere.test/"}}}}
		_, err := scriptedClient(t, s, func(o *hooktrail.Options) { o.MaxRetries = -1 }).Agents.Get(t.Context(), "a1")
		for _, class := range classes {
			require.Equal(t, class.Error() == fmt.Sprint(test.class), errors.Is(err, class), "%d %s: %v", test.status, test.code, class)
		}
		var failed *hooktrail.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, test.status, failed.Status)
		require.Equal(t, test.code, failed.Code)
		if strings.Contains(test.body, "details") {
			require.Equal(t, map[string]string{"name": "is too long", "n": "3"}, failed.Details)
			require.Equal(t, "r2", failed.RequestID)
			require.ErrorContains(t, err, "name: is too long")
		}
		require.Len(t, s.seen, 1, "no redirect is followed")
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	broken := errors.New("the connection broke")
	never := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	fine := reply{200, `{"data": {"id": "x1"}}`, nil}
	limited := reply{429, `{"error": {"code": "rate_limited", "message": "wait"}}`, map[string]string{"Retry-After": "9"}}
	unavailable := reply{503, `{"error": "wait", "code": "unavailable"}`, nil}
	overloaded := reply{503, `{"error": "wait", "code": "overloaded"}`, nil}
	get := func(c *hooktrail.Client, ctx context.Context) error { _, err := c.Agents.Get(ctx, "a1"); return err }
	execute := func(c *hooktrail.Client, ctx context.Context) error {
		_, err := c.Agents.Execute(ctx, "a1", hooktrail.ExecuteAgent{})
		return err
	}
	fire := func(c *hooktrail.Client, ctx context.Context) error {
		_, err := c.Fire(ctx, hooktrail.Call{Token: "wht_x"})
		return err
	}
	for name, test := range map[string]struct {
		script   *scripted
		do       func(*hooktrail.Client, context.Context) error
		requests int
		ok       bool
		atLeast  time.Duration
	}{
		"a read after a broken connection":      {&scripted{replies: []reply{fine}, fail: map[int]error{0: broken, 1: never}}, get, 3, true, 0},
		"a read while unavailable":              {&scripted{replies: []reply{unavailable, fine}}, get, 2, true, 0},
		"a read that is refused":                {&scripted{replies: []reply{{400, `{"error": {"code": "validation_failed", "message": "no"}}`, nil}}}, get, 1, false, 0},
		"a read that never works":               {&scripted{replies: []reply{unavailable}}, get, 4, false, 0},
		"a read that is held back":              {&scripted{replies: []reply{limited, fine}}, get, 2, true, 9 * time.Second},
		"an execution after a broken one":       {&scripted{replies: []reply{fine}, fail: map[int]error{0: broken}}, execute, 1, false, 0},
		"an execution that was never sent":      {&scripted{replies: []reply{fine}, fail: map[int]error{0: never}}, execute, 2, true, 0},
		"an execution that may have begun":      {&scripted{replies: []reply{unavailable, fine}}, execute, 1, false, 0},
		"an execution that has not begun":       {&scripted{replies: []reply{overloaded, fine}}, execute, 2, true, 0},
		"an execution that is held back":        {&scripted{replies: []reply{limited, fine}}, execute, 2, true, 9 * time.Second},
		"a webhook call after a broken one":     {&scripted{replies: []reply{fine}, fail: map[int]error{0: broken}}, fire, 2, true, 0},
		"a webhook call that may have begun":    {&scripted{replies: []reply{unavailable, fine}}, fire, 2, true, 0},
		"a webhook call in the midst of change": {&scripted{replies: []reply{{409, `{"error": {"code": "conflict", "message": "again"}}`, nil}, fine}}, fire, 2, true, 0},
		"a wait that is too long": {&scripted{replies: []reply{
			{429, `{"error": {"code": "rate_limited", "message": "wait"}}`, map[string]string{"Retry-After": "3600"}},
		}}, get, 1, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				script := &scripted{replies: test.script.replies, fail: test.script.fail}
				began := time.Now()
				err := test.do(scriptedClient(t, script, nil), t.Context())
				require.Equal(t, test.ok, err == nil, err)
				require.Len(t, script.seen, test.requests)
				require.GreaterOrEqual(t, time.Since(began), test.atLeast)
				for i := range script.seen {
					require.Equal(t, script.bodies[0], script.bodies[i])
					require.Equal(t, script.seen[0].Header.Get("Idempotency-Key"), script.seen[i].Header.Get("Idempotency-Key"))
				}
			})
		})
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	const token, secret, key = "wht_verysecrettoken", "whs_verysecret_key", "htk_verysecretkey"
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, refused.Close())
	base := "http://" + refused.Addr().String()
	client, err := hooktrail.New(hooktrail.Options{APIKey: key, BaseURL: base, MaxRetries: -1})
	require.NoError(t, err)
	call := hooktrail.Call{Token: token, Secret: secret, URL: hooktrail.Secret(base + "/hooks/" + token)}
	_, unreachable := client.Fire(t.Context(), call)
	require.ErrorIs(t, unreachable, hooktrail.ErrConnection)
	require.ErrorContains(t, unreachable, base)
	_, malformed := client.Fire(t.Context(), hooktrail.Call{URL: hooktrail.Secret("http://[::1/hooks/" + token)})
	require.Error(t, malformed)
	_, badHeader := client.Fire(t.Context(), hooktrail.Call{Token: token + "\n"})
	require.Error(t, badHeader)
	_, userInfo := hooktrail.New(hooktrail.Options{BaseURL: "http://user:" + secret + "@localhost"})
	require.Error(t, userInfo)
	_, unreadable := hooktrail.New(hooktrail.Options{BaseURL: "http://local host/" + secret})
	require.Error(t, unreadable)
	issued := hooktrail.IssuedTrigger{Token: token, Secret: secret, HookURL: call.URL}
	answer := hooktrail.Answer{Status: 201, Body: []byte(`{"token": "` + token + `"}`)}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("made", "token", issued.Token)
	shown := logged.String()
	for _, value := range []any{
		client, *client, unreachable, malformed, badHeader, userInfo, unreadable, call, &call, issued, &issued, answer, &answer,
		hooktrail.Options{APIKey: key},
		hooktrail.CreateTrigger{Secret: secret},
		hooktrail.IssuedAPIKey{Key: key},
		hooktrail.IssuedAgent{SigningSecret: secret},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			shown += fmt.Sprintf(verb, value)
		}
	}
	for _, text := range []string{token, secret, key} {
		require.NotContains(t, shown, text)
		require.NotContains(t, shown, fmt.Sprintf("%x", text))
		require.NotContains(t, shown, strings.Trim(fmt.Sprint([]byte(text)), "[]"))
	}
	require.Contains(t, fmt.Sprintf("%+v", issued), "[redacted]")
	stored, err := json.Marshal(issued)
	require.NoError(t, err)
	require.Contains(t, string(stored), token)
}

func TestNew(t *testing.T) {
	for _, base := range []string{"localhost:8080", "ftp://localhost", "/api", "http://localhost/?x=1", "http://"} {
		_, err := hooktrail.New(hooktrail.Options{BaseURL: base})
		require.ErrorContains(t, err, "HOOKTRAIL_URL", base)
	}
	t.Setenv(hooktrail.EnvURL, "")
	t.Setenv(hooktrail.EnvAPIKey, "")
	client, err := hooktrail.New(hooktrail.Options{})
	require.NoError(t, err)
	require.Equal(t, hooktrail.DefaultURL, client.BaseURL())
	_, err = client.Me(t.Context())
	require.ErrorIs(t, err, hooktrail.ErrAuthentication)
	require.ErrorContains(t, err, hooktrail.EnvAPIKey)

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "htk_env", r.Header.Get("X-Api-Key"))
		fmt.Fprint(w, `{"data": {"workspace_id": "w1"}}`)
	}))
	defer server.Close()
	t.Setenv(hooktrail.EnvURL, server.URL+"/")
	t.Setenv(hooktrail.EnvAPIKey, "htk_env\n")
	client, err = hooktrail.New(hooktrail.Options{})
	require.NoError(t, err)
	me, err := client.Me(t.Context())
	require.NoError(t, err)
	require.Equal(t, "w1", me.WorkspaceID)
}

func TestAllFollowsCursors(t *testing.T) {
	t.Parallel()
	s := &scripted{replies: []reply{
		{200, `{"data": [{"id": "a"}, {"id": "b"}], "meta": {"total": 3, "next_cursor": "c&1"}}`, nil},
		{200, `{"data": [{"id": "c"}], "meta": {"total": 3}}`, nil},
		{404, `{"error": {"code": "not_found", "message": "gone"}}`, nil},
	}}
	client := scriptedClient(t, s, nil)
	var ids []string
	for agent, err := range client.Agents.All(t.Context(), hooktrail.ListAgents{Name: "x y"}) {
		require.NoError(t, err)
		ids = append(ids, agent.ID)
	}
	require.Equal(t, []string{"a", "b", "c"}, ids)
	require.Equal(t, "limit=100&name=x+y", s.seen[0].URL.RawQuery)
	require.Equal(t, "cursor=c%261&limit=100&name=x+y", s.seen[1].URL.RawQuery)
	for _, err := range client.Agents.All(t.Context(), hooktrail.ListAgents{}) {
		require.ErrorIs(t, err, hooktrail.ErrNotFound)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	event := func(position int) string {
		return fmt.Sprintf(`{"position": %d, "id": "e%d", "type": "agent.registered", "data": {}, "unknown": true}`, position, position)
	}
	part := func(next string, positions ...int) reply {
		var events []string
		for _, p := range positions {
			events = append(events, event(p))
		}
		return reply{200, fmt.Sprintf(`{"data": [%s], "meta": {"next_cursor": %q}}`, strings.Join(events, ","), next), nil}
	}
	away := reply{502, "<html>", nil}
	refused := reply{403, `{"error": {"code": "forbidden", "message": "the key lacks a scope"}}`, nil}

	none := reply{404, `{"error": {"code": "not_found", "message": "no such path"}}`, nil} // of a server without streams
	t.Run("resumes, waits and survives a restart", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &scripted{replies: []reply{none, part("more", 8, 9), part("", 12), part(""), away, away, away, away, away, part("", 13), refused}, fail: map[int]error{4: errors.New("broken")}}
			var interruptions int
			var positions []int64
			var last error
			for e, err := range scriptedClient(t, s, nil).Events.Tail(t.Context(), hooktrail.TailEvents{
				After: new(int64(7)), OnInterruption: func(err error, _ time.Duration) { interruptions++; require.Error(t, err) },
			}) {
				if last = err; err == nil {
					positions = append(positions, e.Position)
					require.JSONEq(t, event(int(e.Position)), string(e.Raw))
				}
			}
			require.Equal(t, []int64{8, 9, 12, 13}, positions)
			require.ErrorIs(t, last, hooktrail.ErrPermission)
			require.Positive(t, interruptions)
			require.Contains(t, s.seen[0].URL.RawQuery, "after=7")
			require.Contains(t, s.seen[1].URL.RawQuery, "after=7")
			require.Contains(t, s.seen[2].URL.RawQuery, "after=9")
			require.Contains(t, s.seen[10].URL.RawQuery, "after=13")
		})
	})
	t.Run("begins at the end", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &scripted{replies: []reply{part("older", 41), none, part(""), part("", 42)}}
			for e, err := range scriptedClient(t, s, nil).Events.Tail(t.Context(), hooktrail.TailEvents{Type: "agent.registered"}) {
				require.NoError(t, err)
				require.EqualValues(t, 42, e.Position)
				break
			}
			require.Equal(t, "limit=1", s.seen[0].URL.RawQuery)
			for _, request := range s.seen[1:] {
				require.Contains(t, request.URL.RawQuery, "after=41")
			}
		})
	})
	t.Run("fails when the server was never there", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &scripted{replies: []reply{away}}
			for _, err := range scriptedClient(t, s, nil).Events.Tail(t.Context(), hooktrail.TailEvents{After: new(int64)}) {
				require.ErrorIs(t, err, hooktrail.ErrServer)
			}
		})
	})
	t.Run("ends with its context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			why := errors.New("closing time")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, why)
			defer cancel()
			s := &scripted{replies: []reply{{200, `{"data": []}`, map[string]string{"Content-Type": "application/json"}}, part("")}}
			for _, err := range scriptedClient(t, s, nil).Events.Tail(ctx, hooktrail.TailEvents{After: new(int64)}) {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, why)
			}
			require.Greater(t, len(s.seen), 1000)
		})
	})
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := func(status string) reply {
			return reply{200, `{"data": {"id": "x1", "status": "` + status + `"}}`, nil}
		}
		away := reply{503, `{"error": "stopping", "code": "unavailable"}`, nil}
		s := &scripted{replies: []reply{state("pending"), state("running"), away, away, away, away, away, state("failed")}}
		ended, err := scriptedClient(t, s, nil).Executions.Wait(t.Context(), "x1", hooktrail.WaitOptions{})
		require.NoError(t, err)
		require.Equal(t, hooktrail.StatusFailed, ended.Status)

		s = &scripted{replies: []reply{state("running")}}
		ended, err = scriptedClient(t, s, nil).Executions.Wait(t.Context(), "x1", hooktrail.WaitOptions{Timeout: time.Minute})
		require.ErrorIs(t, err, hooktrail.ErrStillRunning)
		require.Equal(t, hooktrail.StatusRunning, ended.Status)

		s = &scripted{replies: []reply{{404, `{"error": {"code": "not_found", "message": "no"}}`, nil}}}
		_, err = scriptedClient(t, s, nil).Executions.Wait(t.Context(), "x1", hooktrail.WaitOptions{Timeout: time.Minute})
		require.ErrorIs(t, err, hooktrail.ErrNotFound)
	})
}
