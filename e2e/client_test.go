package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// client speaks to one server, over connections of its own.
type client struct {
	tb   testing.TB
	http *http.Client
	base string
	key  string
}

func newClient(t testing.TB, base, key string) client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return client{t, &http.Client{Transport: transport, Timeout: 70 * time.Second}, base, key}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// try sends a request; headers are names and values in turn. A network error is an error.
func (c *client) try(method, path, body string, headers ...string) (answer, error) {
	request, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	return c.do(request)
}

func (c *client) do(request *http.Request) (answer, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(content)}, err
}

// send sends a request that must be answered.
func (c *client) send(method, path, body string, headers ...string) answer {
	c.tb.Helper()
	a, err := c.try(method, path, body, headers...)
	require.NoError(c.tb, err)
	return a
}

// api sends a request with the API key, which must be answered with a status.
func (c *client) api(status int, method, path, body string) answer {
	c.tb.Helper()
	a := c.send(method, path, body, "X-API-Key", c.key)
	require.Equal(c.tb, status, a.status, "%s %s: %s", method, path, a.body)
	return a
}

func (c *client) get(path string) answer {
	c.tb.Helper()
	return c.api(http.StatusOK, http.MethodGet, path, "")
}

// fire makes a webhook call.
func (c *client) fire(token, body string, headers ...string) answer {
	c.tb.Helper()
	return c.send(http.MethodPost, hookPath, body, append(headers, "Authorization", "Bearer "+token)...)
}

// accepted makes a webhook call that must be accepted and gives the execution's id.
func (c *client) accepted(token, body string, headers ...string) string {
	c.tb.Helper()
	a := c.fire(token, body, headers...)
	require.Equal(c.tb, http.StatusAccepted, a.status, a.body)
	return read[executionData](c.tb, a).ID
}

const hookPath = "/api/v1/webhook/trigger"

// read gives the data of an answer.
func read[D any](t testing.TB, a answer) D {
	t.Helper()
	var envelope struct{ Data D }
	require.NoError(t, json.Unmarshal([]byte(a.body), &envelope), a.body)
	return envelope.Data
}

type agentData struct {
	ID            string
	SigningSecret string `json:"signing_secret"`
}

type triggerData struct {
	ID         string
	Token      string
	Secret     string
	HookURL    string `json:"hook_url"`
	LastUsedAt string `json:"last_used_at"`
}

type executionData struct {
	ID       string
	Status   string
	Input    json.RawMessage
	Output   json.RawMessage
	Error    string
	Code     string `json:"error_code"`
	RetryOf  string `json:"retry_of"`
	Attempt  int
	Attempts []struct {
		Attempt   int
		Status    string
		Worker    string
		ErrorCode string `json:"error_code"`
	}
}

type eventData struct {
	Position int64
	Stream   string
	Type     string
	Data     json.RawMessage
}

func (c *client) newAgent(body string) agentData {
	c.tb.Helper()
	return read[agentData](c.tb, c.api(http.StatusCreated, http.MethodPost, "/api/v1/agents", body))
}

// newTrigger makes a trigger of an agent; more is further fields, each after a comma.
func (c *client) newTrigger(agentID, more string) triggerData {
	c.tb.Helper()
	return read[triggerData](c.tb, c.api(http.StatusCreated, http.MethodPost, "/api/v1/webhook-triggers",
		fmt.Sprintf(`{"agent_id": %q, "name": "a trigger"%s}`, agentID, more)))
}

func (c *client) echoTrigger() triggerData {
	c.tb.Helper()
	return c.newTrigger(c.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`).ID, "")
}

func (c *client) execution(id string) executionData {
	c.tb.Helper()
	return read[executionData](c.tb, c.get("/api/v1/executions/"+id))
}

// awaitExecution waits until an execution has a status.
func (c *client) awaitExecution(id, status string) executionData {
	c.tb.Helper()
	var last executionData
	eventually(c.tb, func() bool {
		last = c.execution(id)
		return last.Status == status
	}, "execution %s is not %s: %+v", id, status, &last)
	return last
}

// awaitCheckpoint waits for the first checkpoint of a log.
func (c *client) awaitCheckpoint() {
	c.tb.Helper()
	eventually(c.tb, func() bool {
		return c.send(http.MethodGet, "/api/v1/audit/checkpoint", "", "X-API-Key", c.key).status == http.StatusOK
	}, "no checkpoint is made")
}

// awaitIdle waits until no execution is pending or running.
func (c *client) awaitIdle() {
	c.tb.Helper()
	eventually(c.tb, func() bool {
		return c.total("/api/v1/executions?status=pending") == 0 && c.total("/api/v1/executions?status=running") == 0
	}, "executions do not end, of which these run: %v", lazily(func() string { return c.get("/api/v1/executions?status=running").body }))
}

func (c *client) total(path string) int {
	c.tb.Helper()
	var list struct{ Meta struct{ Total int } }
	a := c.get(path)
	require.NoError(c.tb, json.Unmarshal([]byte(a.body), &list))
	return list.Meta.Total
}

// all reads every page of a list; path has a query.
func all[D any](c *client, path string) []D {
	c.tb.Helper()
	var entries []D
	for cursor := ""; ; {
		var page struct {
			Data []D
			Meta struct {
				NextCursor string `json:"next_cursor"`
			}
		}
		a := c.get(path + "&limit=100&cursor=" + url.QueryEscape(cursor))
		require.NoError(c.tb, json.Unmarshal([]byte(a.body), &page))
		entries = append(entries, page.Data...)
		if cursor = page.Meta.NextCursor; cursor == "" {
			return entries
		}
	}
}

// events reads the log from its beginning.
func (c *client) events() []eventData {
	c.tb.Helper()
	return all[eventData](c, "/api/v1/events?after=0")
}

// eventually waits for a condition that the test's own goroutine can ask for.
func eventually(t testing.TB, condition func() bool, message string, args ...any) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-poll.C {
		if time.Now().After(deadline) {
			require.FailNow(t, "awaited in vain", append([]any{message}, args...)...)
		}
	}
}

// lazily is text for a message that is made when the message is.
type lazily func() string

func (l lazily) String() string { return l() }

// sign gives the signature header's value by the page's recipe.
func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
