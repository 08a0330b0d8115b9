//go:build unix

package httpapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scenario is one request, its answer, and the events that it appends.
type scenario struct {
	name string
	// given makes what the request is about; "{name}" in the path, the body, the headers and
	// the expectations stands for the id under that name.
	given    func(t *testing.T, a *api) ids
	method   string
	path     string
	body     string
	headers  []string // names and values in turn
	odd      bool     // accepted, although the contract does not describe it
	status   int
	contains []string
	lacks    []string
	events   []string // types, in order
}

type ids map[string]string

func (i ids) in(text string) string {
	for name, value := range i {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// play runs scenarios one beside the other.
func play(t *testing.T, a *api, scenarios []scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t, a)
		})
	}
}

func (s scenario) run(t *testing.T, a *api) {
	t.Helper()
	known := ids{"nobody": nobody}
	if s.given != nil {
		for name, value := range s.given(t, a) {
			known[name] = value
		}
	}
	requestID, before := newRequestID(), a.head(t)
	headers := []string{"X-Request-Id", requestID}
	for _, header := range s.headers {
		headers = append(headers, known.in(header))
	}
	sender := a
	if s.odd {
		sender = a.oddly()
	}
	answer := sender.do(t, s.method, known.in(s.path), known.in(s.body), headers...)
	require.Equal(t, s.status, answer.Status, answer.Body)
	require.Equal(t, requestID, answer.Header.Get("X-Request-Id"))
	for _, text := range s.contains {
		require.Contains(t, answer.Body, known.in(text))
	}
	for _, text := range s.lacks {
		require.NotContains(t, answer.Body, known.in(text))
	}
	if s.events == nil {
		s.events = []string{}
	}
	require.Equal(t, s.events, a.types(t, before, requestID), "events")
}

// aTrigger makes a trigger of an agent of its own, with these fields.
func aTrigger(fields string) func(t *testing.T, a *api) ids {
	return func(t *testing.T, a *api) ids {
		t.Helper()
		agent := a.echo(t)
		made := a.trigger(t, agent, fields)
		return ids{"agent": agent, "trigger": made.ID, "token": made.Token, "secret": made.Secret}
	}
}

func anAgent(t *testing.T, a *api) ids {
	t.Helper()
	return ids{"agent": a.echo(t)}
}
