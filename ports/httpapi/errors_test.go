//go:build unix

package httpapi_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/internal/testserver"
	"hooktrail/ports/httpapi"
)

func TestPathsAndMethodsThatAreNotThere(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite})
	for _, path := range []string{"/", "/api", "/api/v1", "/api/v1/nothing", "/API/V1/me", "/api/v1/Me", "/api/v1/me/x", "/hooks", "/hooks/a/b", "/api/v2/me", "/..%2f", "/%00", "/api/v1/triggers//events"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			answer := a.do(t, method, path, "", as("")...)
			require.Equal(t, 404, answer.Status, "%s %s", method, path)
			require.Equal(t, "not_found", refusalOf(t, answer).Error.Code)
		}
	}
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", triggers, "GET, HEAD, POST"},
		{"POST", triggers + "/x", "GET, HEAD, PATCH, DELETE"},
		{"GET", hook, "POST"},
		{"PATCH", "/hooks/x", "GET, HEAD, OPTIONS, POST"},
		{"OPTIONS", "/api/v1/me", "GET, HEAD"},
		{"TRACE", "/healthz", "GET, HEAD"},
		{"POST", "/docs", "GET, HEAD"},
		{"BREW", "/api/v1/me", "GET, HEAD"},
		{"QUERY", triggers, "GET, HEAD, POST"},
		{"PROPFIND", hook, "GET, HEAD, OPTIONS, POST"},
	} {
		answer := a.do(t, c.method, c.path, "", as("")...)
		require.Equal(t, 405, answer.Status, "%s %s", c.method, c.path)
		require.Equal(t, "method_not_allowed", refusalOf(t, answer).Error.Code)
		require.Contains(t, refusalOf(t, answer).Error.Message, c.method)
		require.ElementsMatch(t, strings.Split(c.allow, ", "), strings.Split(answer.Header.Get("Allow"), ", "), "%s %s", c.method, c.path)
	}
	require.Equal(t, 404, a.do(t, "BREW", "/api/v1/nothing", "").Status)
	head := a.do(t, "HEAD", triggers, "")
	require.Equal(t, 200, head.Status)
	require.Empty(t, head.Body)
	require.Equal(t, 401, a.do(t, "HEAD", triggers, "", as("")...).Status)
}

// wire sends bytes and reads the answers until the server closes the connection.
func wire(t *testing.T, a *api, sent string, want int) []testserver.Answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(a.URL, "http://"), 10*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, sent)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	reader := bufio.NewReader(conn)
	var answers []testserver.Answer
	for len(answers) < want {
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err, "answer %d to %.80q", len(answers)+1, sent)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		if response.Close {
			response.Header.Set("Connection", "close")
		}
		answers = append(answers, testserver.Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)})
	}
	rest, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Empty(t, string(rest), "more answers than requests")
	return answers
}

func TestRequestsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite})
	for name, sent := range map[string]string{
		"no HTTP":                 "GARBAGE\r\n\r\n",
		"no host":                 "GET /api/v1/me HTTP/1.1\r\n\r\n",
		"too long a head":         "GET /api/v1/me HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("x", 32<<10) + "\r\n\r\n",
		"two lengths":             "POST /hooks/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"a length that is none":   "POST /hooks/x HTTP/1.1\r\nHost: a\r\nContent-Length: two\r\n\r\n{}",
		"a header without a name": "GET /api/v1/me HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
	} {
		answer := wire(t, a, sent, 1)[0]
		require.Equal(t, 400, answer.Status, "%s: %s", name, answer.Body)
		require.Equal(t, "close", answer.Header.Get("Connection"), name)
		require.Regexp(t, "^[0-9A-Za-z]{27}$", answer.Header.Get("X-Request-Id"), name)
		a.contract.checkForm(t, exchange{method: "GET", path: "/", answer: answer})
		a.contract.checkSchema(t, "Error", answer.Body)
	}
}

// TestBodiesThatBreakOff are no calls, although what has come might be one.
func TestBodiesThatBreakOff(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		before := a.head(t)
		form := "Content-Type: application/x-www-form-urlencoded\r\n"
		for name, sent := range map[string]string{
			"JSON":             "Content-Length: 30\r\n\r\n" + `{"a": 1}`,
			"a form":           form + "Content-Length: 30\r\n\r\na=1&b=2",
			"a chunk":          form + "Transfer-Encoding: chunked\r\n\r\n20\r\na=1&b=2",
			"between chunks":   form + "Transfer-Encoding: chunked\r\n\r\n7\r\na=1&b=2\r\n",
			"no chunk at all":  "Transfer-Encoding: chunked\r\n\r\nnonsense",
			"nothing has come": "Content-Length: 30\r\n\r\n",
		} {
			answer := wire(t, a, "POST /hooks/"+made.Token+" HTTP/1.1\r\nHost: a\r\n"+sent, 1)[0]
			require.Equal(t, 400, answer.Status, "%s: %s", name, answer.Body)
			a.contract.checkSchema(t, "Error", answer.Body)
		}
		answer := wire(t, a, "POST /api/v1/agents HTTP/1.1\r\nHost: a\r\nX-API-Key: "+a.APIKey+"\r\nContent-Length: 40\r\n\r\n{\"name\": \"A\"}", 1)[0]
		require.Equal(t, 400, answer.Status, answer.Body)
		require.Empty(t, a.eventsAfter(t, before))
	})
}

// TestSlowBody takes longer to arrive than we take for anything else.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite})
	made := a.trigger(t, a.echo(t), "")
	reader, writer := io.Pipe()
	go func() {
		_, _ = io.WriteString(writer, `{"a":`)
		<-time.After(11 * time.Second)
		_, _ = io.WriteString(writer, ` 1}`)
		_ = writer.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+"/hooks/"+made.Token, reader)
	require.NoError(t, err)
	answer := a.Send(t, request)
	require.Equal(t, 202, answer.Status, answer.Body)
}

// TestRequestsOnOneConnection: a body that was not read is not taken for the next request.
func TestRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	a := start(t, testserver.Options{Dialect: testserver.SQLite})
	made := a.trigger(t, a.echo(t), "")
	inner := "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	unread := "Content-Length: " + number(len(inner)) + "\r\n\r\n" + inner
	inChunks := "Transfer-Encoding: chunked\r\n\r\n" + "22\r\n" + inner + "\r\n0\r\n\r\n"
	answers := wire(t, a,
		"POST /api/v1/nothing HTTP/1.1\r\nHost: a\r\n"+unread+
			"POST /hooks/wht_x HTTP/1.1\r\nHost: a\r\n"+unread+
			"POST /api/v1/agents HTTP/1.1\r\nHost: a\r\n"+unread+
			"GET /metrics HTTP/1.1\r\nHost: a\r\n"+unread+
			"PUT /hooks/wht_x HTTP/1.1\r\nHost: a\r\n"+inChunks+
			"POST /hooks/"+made.Token+" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"a\": 1}\r\n0\r\n\r\n"+
			"GET /api/v1/me HTTP/1.1\r\nHost: a\r\nX-API-Key: "+a.APIKey+"\r\nConnection: close\r\n\r\n", 7)
	var statuses []int
	for _, answer := range answers {
		statuses = append(statuses, answer.Status)
	}
	require.Equal(t, []int{404, 401, 401, 200, 405, 202, 200}, statuses)
	answer := wire(t, a, "POST /hooks/"+made.Token+" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 2)
	require.Equal(t, 100, answer[0].Status)
	require.Equal(t, 202, answer[1].Status)
}

// TestFaultsOfOurs are told as such, without what is behind them.
func TestFaultsOfOurs(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.echo(t), "")
		db := a.Database(t)
		rename := func(from, to string) {
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Exec("ALTER TABLE " + from + " RENAME TO " + to)
				return nil
			}))
		}
		rename("events", "hidden")
		for _, answer := range []testserver.Answer{
			a.do(t, "GET", events, ""), a.do(t, "POST", agents, `{"name": "A"}`), a.hook(t, made.Token, `{}`), a.do(t, "GET", "/api/v1/me", ""),
		} {
			require.Equal(t, 500, answer.Status, answer.Body)
			require.Contains(t, answer.Body, `"error":"something went wrong on our side; the request id finds it in our log","code":"internal"`)
			require.NotContains(t, answer.Body, "events")
			require.Contains(t, a.Log(t), answer.Header.Get("X-Request-Id"))
		}
		rename("hidden", "events")
		a.must(t, 200, nil, "GET", events, "")
		a.accepted(t, made.Token, `{}`)
	})
}

// TestPanicIsAnAnswer: a server without use cases panics in every handler.
func TestPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	var observed sync.Map
	var log strings.Builder
	server := httpapi.New(nil, httpapi.Config{Observe: func(method, route string, status int, _ time.Duration) {
		observed.Store(method+" "+route, status)
	}}, slog.New(slog.NewTextHandler(&log, nil)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	a := &api{Server: testserver.At("http://" + listener.Addr().String()), contract: loadContract(t)}
	for range 2 {
		answer := a.must(t, 500, nil, "GET", "/api/v1/me", "", as("secret-key")...)
		require.NotContains(t, answer.Body, "nil pointer")
	}
	a.must(t, 500, nil, "POST", "/hooks/secret-token", `{}`)
	a.must(t, 200, nil, "GET", "/healthz", "")
	require.NoError(t, server.Shutdown(t.Context()))
	serving.Wait()
	status, seen := observed.Load("POST /hooks/:token")
	require.True(t, seen, "what is measured is the route")
	require.Equal(t, 500, status)
	require.Contains(t, log.String(), "nil pointer")
	require.NotContains(t, log.String(), "secret-")
}

// TestOverload refuses what the bounded queue does not hold, and takes calls again after it.
func TestOverload(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		a := start(t, testserver.Options{Dialect: dialect, Configure: func(c *testserver.Config) { c.QueueLength = 2 }})
		made := a.trigger(t, a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`), "")
		a.accepted(t, made.Token, `{}`)
		db := a.Database(t)
		held, release := make(chan struct{}), make(chan struct{})
		letGo := sync.OnceFunc(func() { close(release) })
		t.Cleanup(letGo)
		var holding sync.WaitGroup
		holding.Go(func() {
			_ = db.Write(t.Context(), func(tx *database.Tx) error { // as another process that appends would
				lock := tx.Dialect().AppendLock
				if lock == "" {
					lock = "UPDATE settings SET value = value" // whoever writes has the lock
				}
				tx.Exec(lock)
				if err := tx.Flush(t.Context()); err != nil {
					return err
				}
				close(held)
				<-release
				return nil
			})
		})
		await(t, held)
		// One batch under way with at most 3, and 2 that wait: at least 7 of 12 find no place.
		answers := make(chan testserver.Answer, 12)
		for range 12 {
			go func() {
				answers <- a.Do(t, "POST", "/hooks/"+made.Token, `{}`, nil)
			}()
		}
		for range 7 {
			select {
			case answer := <-answers:
				require.Equal(t, 503, answer.Status, answer.Body)
				require.NotEmpty(t, answer.Header.Get("Retry-After"))
				a.contract.check(t, exchange{method: "POST", path: "/hooks/x", answer: answer})
				require.Contains(t, answer.Body, `"code":"overloaded"`)
			case <-time.After(30 * time.Second):
				t.Fatal("a call that finds no place was not answered")
			}
		}
		letGo()
		holding.Wait()
		accepted := 0
		for range 5 {
			if answer := <-answers; answer.Status == 202 {
				accepted++
			}
		}
		require.Positive(t, accepted)
		a.accepted(t, made.Token, `{}`)
		require.Equal(t, accepted+2, metaOf(t, a.must(t, 200, nil, "GET", executions, "")).Total, "each 202 is kept, and nothing else")
	})
}
