//go:build unix

package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/testserver"
)

// streamed is one event of a stream, or an id alone.
type streamed struct {
	id    int64
	event string
	data  string
}

// follow opens a stream of events.
func (a *api) follow(t *testing.T, query string, headers ...string) (next func() streamed, leave func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/api/v1/events/stream"+query, http.NoBody)
	require.NoError(t, err)
	request.Header.Set("X-API-Key", a.APIKey)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	lines := bufio.NewReader(response.Body)
	return func() streamed {
		t.Helper()
		var s streamed
		for {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch field {
			case "":
				return s
			case "id":
				s.id, err = strconv.ParseInt(value, 10, 64)
				require.NoError(t, err)
			case "event":
				s.event = value
			case "data":
				s.data = value
			}
		}
	}, cancel
}

// TestEventStream follows the log from its begin, across a break, with filters, and of one workspace.
func TestEventStream(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		a := start(t, testserver.Options{Dialect: dialect, OtherWorkspace: true})
		made := a.trigger(t, a.echo(t), "")
		for range 120 { // more than are read at once
			a.accepted(t, made.Token, `{}`)
		}
		listed := a.eventsAfter(t, 0)
		next, leave := a.follow(t, "?after=0")
		last := int64(0)
		for seen := 0; seen < len(listed); {
			s := next()
			require.GreaterOrEqual(t, s.id, last)
			last = s.id
			if s.event == "" {
				continue
			}
			var e event
			require.NoError(t, json.Unmarshal([]byte(s.data), &e))
			require.Equal(t, listed[seen], e)
			require.Equal(t, listed[seen].Type, s.event)
			require.Equal(t, listed[seen].Position, s.id)
			seen++
		}
		leave()

		// What comes while nobody listens is there after the break; what is new comes by itself.
		missed := a.accepted(t, made.Token, `{}`)
		next, _ = a.follow(t, "?type=trigger.invoked&after=1", "Last-Event-ID", strconv.FormatInt(last, 10))
		seen := []string{}
		awaited := func(n int) {
			for len(seen) < n {
				if s := next(); s.event != "" {
					require.Equal(t, "trigger.invoked", s.event)
					var e struct {
						Data struct {
							ExecutionID string `json:"execution_id"`
						}
					}
					require.NoError(t, json.Unmarshal([]byte(s.data), &e))
					seen = append(seen, e.Data.ExecutionID)
				}
			}
		}
		awaited(1)
		require.Equal(t, []string{missed}, seen)
		now, _ := a.follow(t, "?stream=trigger-"+made.ID)
		fresh := a.accepted(t, made.Token, `{}`)
		awaited(2)
		require.Equal(t, fresh, seen[1])
		for {
			if s := now(); s.event != "" {
				require.Contains(t, s.data, fresh, "without a start it begins with what comes next")
				break
			}
		}

		other, _ := a.follow(t, "?after=0", "X-API-Key", a.OtherAPIKey)
		head := a.head(t)
		for s := other(); s.id < head; s = other() {
			require.NotContains(t, s.data, made.ID)
		}
		a.must(t, 400, nil, "GET", "/api/v1/events/stream?after=x", "")
		a.must(t, 400, nil, "GET", "/api/v1/events/stream", "", "Last-Event-ID", "x")
		a.must(t, 403, nil, "GET", "/api/v1/events/stream", "", as(a.apiKey(t, "agents:read"))...)
	})
}
