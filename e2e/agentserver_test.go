package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reachable lets the http runner call the servers of these tests.
var reachable = noLimit.with(environment{"HOOKTRAIL_ALLOW_PRIVATE_AGENTS": "127.0.0.0/8"})

// agentCall is one request to an agent, which is under way until it is answered.
type agentCall struct {
	header  http.Header
	body    []byte
	path    string
	gone    <-chan struct{} // closed when the caller has gone away
	replies chan<- reply
}

type reply struct {
	status int
	body   string
}

func (c agentCall) answer(status int, body string) { c.replies <- reply{status, body} }

// agentServer is an agent that answers each call when the test says so.
type agentServer struct {
	url   string
	calls chan agentCall
}

func newAgentServer(t testing.TB) *agentServer {
	t.Helper()
	a := &agentServer{calls: make(chan agentCall, 100)}
	closing := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller was killed
		}
		replies := make(chan reply, 1)
		a.calls <- agentCall{r.Header, body, r.URL.Path, r.Context().Done(), replies}
		select {
		case given := <-replies:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(given.status)
			_, _ = io.WriteString(w, given.body)
		case <-r.Context().Done():
		case <-closing:
		}
	}))
	t.Cleanup(func() { close(closing); server.Close() })
	a.url = server.URL
	return a
}

// next waits for the next call.
func (a *agentServer) next(t testing.TB) agentCall {
	t.Helper()
	select {
	case call := <-a.calls:
		return call
	case <-time.After(patience):
		require.FailNow(t, "the agent is not called")
		return agentCall{}
	}
}

// none checks that no call has come in.
func (a *agentServer) none(t testing.TB) {
	t.Helper()
	require.Empty(t, a.calls, "the agent was called once more")
}
