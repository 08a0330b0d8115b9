package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dial opens a bare connection to a service.
func dial(t testing.TB, service *service) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(service.base, "http://"), patience)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func say(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

// hear reads one answer.
func hear(conn net.Conn) (answer, error) {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(content)}, err
}

// head is the head of a webhook call; framing is the header that tells the length of its body.
func head(token, framing string) string {
	return "POST " + hookPath + " HTTP/1.1\r\nHost: hooktrail\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\n" + framing + "\r\n\r\n"
}

func length(n int) string { return fmt.Sprintf("Content-Length: %d", n) }

const chunked = "Transfer-Encoding: chunked"

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

// TestClientsThatLeave half-closes connections, and breaks them off, before there is an answer.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		const each = 20
		service := sqliteStore(t).serve(t, noLimit)
		book := newLedger(service.echoTrigger().Token, at(service.base))
		stop := book.run(t, 2)

		// Who has sent all has a right to the answer, and may say that nothing follows.
		for range each {
			for _, framing := range []string{"", chunked} {
				body := book.body()
				book.send(body)
				conn := dial(t, service)
				if framing == chunked {
					say(t, conn, head(book.token, chunked)+chunk(body[:10])+chunk(body[10:])+"0\r\n\r\n")
				} else {
					say(t, conn, head(book.token, length(len(body)))+body)
				}
				require.NoError(t, conn.CloseWrite())
				began := time.Now()
				a, err := hear(conn)
				require.NoError(t, err)
				book.answer(body, a, err, time.Since(began))
				require.Equal(t, http.StatusAccepted, a.status, a.body)
			}
		}

		// Who leaves before has called nobody, even where what came would do for a body.
		const part = `{"part": true}`
		unfinished := map[string]string{
			"a part":                     head(book.token, length(100)) + part,
			"all but a byte":             head(book.token, length(len(part)+1)) + part,
			"no end of chunks":           head(book.token, chunked) + chunk(part),
			"no end of a chunk":          head(book.token, chunked) + "64\r\n" + part,
			"nothing of the body":        head(book.token, length(100)),
			"nothing of the head's end":  strings.TrimSuffix(head(book.token, length(len(part))), "\r\n"),
			"nothing but a line's start": "POST " + hookPath[:8],
		}
		leave := map[string]func(*net.TCPConn) error{
			"close":      (*net.TCPConn).Close,
			"half-close": (*net.TCPConn).CloseWrite,
			"reset":      func(conn *net.TCPConn) error { return errors.Join(conn.SetLinger(0), conn.Close()) },
		}
		for range each {
			for name, request := range unfinished {
				for how, end := range leave {
					conn := dial(t, service)
					say(t, conn, request)
					require.NoError(t, end(conn))
					if how != "half-close" {
						continue
					}
					a, err := hear(conn)
					require.NotEqual(t, http.StatusAccepted, a.status, name)
					require.True(t, err != nil || a.status == http.StatusBadRequest, "%s: %d %s", name, a.status, a.body)
				}
			}
		}
		awaitCount(t, &book.accepted, book.accepted.Load()+50)
		stop()
		book.check(t, service)
		require.Equal(t, int(book.accepted.Load()), service.total("/api/v1/executions?"), "what did not come as a whole is not recorded")
		require.Zero(t, book.unavailable.Load()+book.unanswered.Load())
		service.stop()
	})
}

// TestSlowClients has a crowd of clients send next to nothing, and read nothing.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		const (
			each   = 100              // clients of a kind
			limit  = 30 * time.Second // of the server, for one request or one answer
			slack  = 8 * time.Second  // for a busy machine
			growth = 128              // MiB
		)
		service := sqliteStore(t).serve(t, noLimit)
		book := newLedger(service.echoTrigger().Token, at(service.base))
		call := func() {
			a, _ := book.call(&service.client, book.token)
			require.Equal(t, http.StatusAccepted, a.status, a.body)
		}
		for range 100 {
			call()
		}
		before, open := service.mebibytes(), service.metric("process_open_fds")

		began := time.Now()
		var crowd sync.WaitGroup
		defer crowd.Wait()
		late := make(chan string, 5*each)
		for name, start := range map[string]string{
			"the head":              "POST " + hookPath + " HTTP/1.1\r\nX-Slow: ",
			"a body of some length": head(book.token, length(1<<20)) + "{",
			"a body in chunks":      head(book.token, chunked) + "fffff\r\n{",
		} {
			for i := range each {
				conn := dial(t, service)
				say(t, conn, start)
				trickles := i%2 == 0 // the others fall silent
				crowd.Go(func() {
					if err := endOf(conn, began.Add(limit+slack), trickles); err != nil {
						late <- name + ": " + err.Error()
					}
				})
			}
		}
		// Those who do not read ask for more than the connection holds.
		for range each / 5 {
			conn := dial(t, service)
			crowd.Go(func() {
				_ = conn.SetWriteDeadline(began.Add(limit)) // the server stops reading as well
				_, _ = io.WriteString(conn, strings.Repeat("GET /openapi.yaml HTTP/1.1\r\nHost: hooktrail\r\n\r\n", 2000))
			})
		}
		var crowded float64
		eventually(t, func() bool { // the server may have some still to accept
			crowded = service.metric("process_open_fds")
			return crowded > open+3*each
		}, "the crowd is not connected")
		most := before
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for deadline := began.Add(2*limit + slack); service.metric("process_open_fds") > open+10; <-pace.C {
			require.True(t, time.Now().Before(deadline), "connections stay open")
			most = max(most, service.mebibytes())
			call()
		}
		t.Logf("all connections were closed %s after they began", time.Since(began))
		crowd.Wait()
		close(late)
		for name := range late {
			t.Error("a connection was not closed in time, of those who are slow with " + name)
		}
		require.Less(t, book.slowest, atOnce, "calls waited for the slow ones")
		book.check(t, service)
		t.Logf("%.0f MiB before, at most %.0f MiB meanwhile, with %.0f open files", before, most, crowded)
		require.Less(t, most, before+growth)
		service.stop()
	})
}

// endOf waits for the server to end a connection, on which it may trickle meanwhile.
func endOf(conn *net.TCPConn, deadline time.Time, trickles bool) error {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if trickles {
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			pace := time.NewTicker(time.Second)
			defer pace.Stop()
			for {
				select {
				case <-ended:
					return
				case <-pace.C:
				}
				if _, err := io.WriteString(conn, " "); err != nil {
					return
				}
			}
		}()
	}
	_, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// TestExistingClients holds answers against what the clients of the product on the seed page
// depend on: they decode these members, and take other statuses for faults of ours.
func TestExistingClients(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit.with(environment{"HOOKTRAIL_DEFAULT_RUNNER": "echo"}))
		t.Run("credentials", func(t *testing.T) { checkCredentials(t, &service.client) })
		agent := checkAgents(t, &service.client)
		for _, path := range []string{"/api/v1/webhook-triggers", "/api/v1/triggers"} {
			t.Run(path, func(t *testing.T) { checkTriggers(t, &service.client, path, agent) })
		}
		t.Run("executions", func(t *testing.T) { checkExecutions(t, &service.client, agent) })
		t.Run("refusals", func(t *testing.T) { checkRefusals(t, &service.client, agent) })
		service.stop()
	})
}

// object is an answer's body as a client that knows no types sees it.
type object = map[string]any

func bodyOf(t testing.TB, a answer) object {
	t.Helper()
	require.Equal(t, "application/json", a.header.Get("Content-Type"), a.body)
	var body object
	require.NoError(t, json.Unmarshal([]byte(a.body), &body), a.body)
	return body
}

// one gives the only thing that an answer holds.
func one(t testing.TB, a answer) object {
	t.Helper()
	body := bodyOf(t, a)
	require.NotContains(t, body, "meta", "meta stands beside lists alone")
	data, isObject := body["data"].(object)
	require.True(t, isObject, a.body)
	return data
}

func checkCredentials(t *testing.T, c *client) {
	require.Equal(t, http.StatusOK, c.send(http.MethodGet, "/api/v1/me", "", "X-API-Key", c.key).status)
	require.Equal(t, http.StatusOK, c.send(http.MethodGet, "/api/v1/me", "", "x-api-key", c.key).status)
	require.Equal(t, http.StatusOK, c.send(http.MethodGet, "/api/v1/me", "", "Authorization", "Bearer "+c.key).status)
	refused := c.send(http.MethodGet, "/api/v1/me", "")
	require.Equal(t, http.StatusUnauthorized, refused.status)
	checkError(t, refused, "unauthorized")
}

func checkAgents(t *testing.T, c *client) (id string) {
	t.Helper()
	made := one(t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/agents",
		`{"name": "Reviewer", "type": "llm", "description": "reviews", "model": "m-1", "prompt": null, "tags": ["a"]}`))
	require.Equal(t, "Reviewer", made["name"])
	require.Equal(t, "llm", made["type"])
	require.Equal(t, "reviews", made["description"])
	for _, name := range []string{"id", "workspace_id", "status", "created_at", "updated_at"} {
		require.IsType(t, "", made[name], name)
	}
	id = made["id"].(string)
	shown := one(t, c.get("/api/v1/agents/"+id))
	require.Equal(t, made, shown)
	changed := one(t, c.api(http.StatusOK, http.MethodPatch, "/api/v1/agents/"+id, `{"description": ""}`))
	require.Equal(t, "Reviewer", changed["name"])
	return id
}

func checkTriggers(t *testing.T, c *client, path, agent string) {
	// One client asks for a secret by the name of the field that it reads; newer ones send what
	// they know of a source.
	made := one(t, c.api(http.StatusCreated, http.MethodPost, path,
		`{"agent_id": "`+agent+`", "name": "Hook", "has_secret": true, "source": "webhook", "source_config": {}, "reply_config": {}}`))
	for _, name := range []string{"id", "workspace_id", "agent_id", "name", "token_prefix", "token", "secret", "created_by_id", "created_at", "updated_at"} {
		require.IsType(t, "", made[name], name)
	}
	require.Equal(t, true, made["has_secret"])
	require.Equal(t, true, made["is_active"])
	require.NotContains(t, made, "last_used_at", "an absent time is absent")
	one := one(t, c.get(path+"/"+made["id"].(string)))
	require.NotContains(t, one, "token")
	require.NotContains(t, one, "secret")
	if path == "/api/v1/triggers" {
		for name, value := range map[string]any{"source": "webhook", "source_config": object{}, "reply_config": object{}} {
			require.Equal(t, value, made[name], name)
			require.Equal(t, value, one[name], name)
		}
	} else {
		require.NotContains(t, one, "source")
	}

	other := read[object](t, c.api(http.StatusCreated, http.MethodPost, path, `{"agentId": "`+agent+`", "name": "Other", "isActive": false}`))
	require.Equal(t, false, other["is_active"])
	list := bodyOf(t, c.get(path+"?agent_id="+agent+"&limit=1&page=1&is_active=true"))
	entries, isList := list["data"].([]any)
	require.True(t, isList)
	require.Len(t, entries, 1)
	require.Equal(t, made["id"], entries[0].(object)["id"])
	checkMeta(t, list["meta"], 1)
	empty := c.get(path + "?agent_id=nobody")
	require.Contains(t, empty.body, `"data":[]`, "an empty list is no null")
	checkMeta(t, bodyOf(t, empty)["meta"], 0)

	for _, id := range []string{made["id"].(string), other["id"].(string)} {
		gone := c.api(http.StatusNoContent, http.MethodDelete, path+"/"+id, "")
		require.Empty(t, gone.body)
		require.Empty(t, gone.header.Get("Content-Type"))
	}
}

// checkMeta looks for the number of pages under both names: clients differ.
func checkMeta(t testing.TB, meta any, total float64) {
	t.Helper()
	fields, isObject := meta.(object)
	require.True(t, isObject)
	require.InDelta(t, total, fields["total"], 0)
	for _, name := range []string{"page", "limit", "pages", "total_pages"} {
		require.IsType(t, 0.0, fields[name], name)
	}
	require.InDelta(t, fields["pages"], fields["total_pages"], 0)
	for name, value := range fields {
		require.NotNil(t, value, name)
	}
}

func checkExecutions(t *testing.T, c *client, agent string) {
	asked := one(t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/agents/"+agent+"/execute", `{"input": {"n": 1}}`))
	require.Equal(t, asked["id"], asked["execution_id"])
	require.Contains(t, []any{"pending", "running", "completed"}, asked["status"])

	done := one(t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/agents/"+agent+"/execute",
		`{"input": {"n": 1}, "sync": true, "session_id": "s-1", "user_id": "u-1", "metadata": {"team": "a"}, "model": "m-1"}`))
	require.Equal(t, "completed", done["status"])
	require.Equal(t, object{"n": 1.0}, done["input"], "clients decode an object")
	require.Equal(t, object{"n": 1.0}, done["output"])
	require.Equal(t, object{"team": "a"}, done["metadata"])
	for name, value := range map[string]any{"agent_id": agent, "session_id": "s-1", "user_id": "u-1"} {
		require.Equal(t, value, done[name], name)
	}
	for _, name := range []string{"workspace_id", "created_at", "started_at", "completed_at"} {
		require.IsType(t, "", done[name], name)
	}
	require.IsType(t, 0.0, done["duration_ms"])
	require.Len(t, done["attempts"], 1)
	for _, name := range []string{"error", "agent_version_id", "token_usage", "cost", "trace_id", "trigger_id"} {
		require.NotContains(t, done, name, "what is not known is absent, not empty")
	}
	require.Equal(t, done, one(t, c.get("/api/v1/executions/"+done["id"].(string))))
	list := bodyOf(t, c.get("/api/v1/executions?session_id=s-1"))
	require.Equal(t, done["id"], list["data"].([]any)[0].(object)["id"])
	checkMeta(t, list["meta"], 1)
}

// checkRefusals: clients know these statuses, and try again for three times on any other.
func checkRefusals(t *testing.T, c *client, agent string) {
	trigger := c.newTrigger(agent, "")
	done := c.accepted(trigger.Token, `{}`)
	c.awaitExecution(done, "completed")
	long := strings.Repeat(" ", 2<<20)
	for _, r := range []struct {
		status             int
		code               string
		method, path, body string
		headers            []string
	}{
		{400, "validation_failed", "POST", "/api/v1/webhook-triggers", `{}`, nil},
		{400, "validation_failed", "POST", "/api/v1/webhook-triggers", `{"agent_id": "nobody", "name": "A"}`, nil},
		{400, "validation_failed", "GET", "/api/v1/webhook-triggers?limit=x", "", nil},
		{400, "invalid_json", "POST", "/api/v1/agents", `{"name": `, nil},
		{400, "invalid_json", "PATCH", "/api/v1/agents/" + agent, `[]`, nil},
		{400, "payload_too_large", "POST", "/api/v1/agents", long, nil},
		{400, "unsupported_media_type", "POST", "/api/v1/agents", `{}`, []string{"Content-Encoding", "br"}},
		{400, "conflict", "DELETE", "/api/v1/agents/" + agent, "", nil},
		{400, "conflict", "POST", "/api/v1/executions/" + done + "/cancel", "", nil},
		{401, "unauthorized", "GET", "/api/v1/agents", "", []string{"X-API-Key", "htk_nonsense"}},
		{404, "not_found", "GET", "/api/v1/agents/nobody", "", nil},
		{404, "not_found", "GET", "/api/v1/nothing", "", nil},
		{404, "not_found", "GET", "/", "", nil},
		{405, "method_not_allowed", "PUT", "/api/v1/agents", `{}`, nil},
		{405, "method_not_allowed", "BREW", "/api/v1/agents", "", nil},
		{412, "precondition_failed", "PATCH", "/api/v1/agents/" + agent, `{"name": "B"}`, []string{"If-Match", `"99"`}},
	} {
		if len(r.headers) == 0 || r.headers[0] != "X-API-Key" {
			r.headers = append(r.headers, "X-API-Key", c.key)
		}
		a := c.send(r.method, r.path, r.body, r.headers...)
		require.Equal(t, r.status, a.status, "%s %s: %s", r.method, r.path, a.body)
		checkError(t, a, r.code)
	}
	reader := read[struct{ Key string }](t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/api-keys", `{"name": "reader", "scopes": ["agents:read"]}`))
	a := c.send(http.MethodPost, "/api/v1/agents", `{"name": "A"}`, "X-API-Key", reader.Key)
	require.Equal(t, http.StatusForbidden, a.status)
	checkError(t, a, "forbidden")
}

func checkError(t testing.TB, a answer, code string) {
	t.Helper()
	body := bodyOf(t, a)
	require.NotContains(t, body, "data")
	require.Equal(t, a.header.Get("X-Request-Id"), body["request_id"])
	refused, isObject := body["error"].(object)
	require.True(t, isObject, a.body)
	require.Equal(t, code, refused["code"], a.body)
	require.NotEmpty(t, refused["message"])
	if code == "validation_failed" {
		details, isObject := refused["details"].(object)
		require.True(t, isObject && len(details) > 0, a.body)
		for field, why := range details {
			require.IsType(t, "", why, field)
		}
	}
}
