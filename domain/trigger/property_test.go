package trigger_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trigger"
)

// life is a trigger under random commands, beside what must be true of it.
type life struct {
	history
	live trigger.Trigger
	now  time.Time
	lag  time.Duration // from a decision to its record

	issued  int
	tokens  promises
	secrets promises
}

// promises is when each credential ever issued ends: the zero time for never.
type promises struct {
	current string
	until   map[string]time.Time
}

func (p *promises) issue(id string, previousUntil time.Time) {
	if p.until == nil {
		p.until = map[string]time.Time{}
	}
	for old, until := range p.until {
		if until.IsZero() || until.After(previousUntil) {
			p.until[old] = previousUntil
		}
	}
	p.until[id], p.current = time.Time{}, id
}

func (p *promises) end(now time.Time) {
	p.current = ""
	for id := range p.until {
		p.until[id] = now
	}
}

func (l *life) id(kind string) string {
	l.issued++
	return fmt.Sprintf("%s-%d", kind, l.issued)
}

// apply records what was decided and lets the live state follow the events themselves.
func (l *life) apply(t *rapid.T, events []eventlog.Event, err error) bool {
	if err != nil {
		require.Empty(t, events, "a refusal decides nothing")
		return false
	}
	for _, event := range events {
		l.live = l.live.Evolve(l.record(t, l.now.Add(l.lag), event), event)
	}
	l.now = l.now.Add(l.lag)
	return true
}

var graces = rapid.SampledFrom([]time.Duration{0, 0, time.Nanosecond, time.Minute, time.Hour, 30 * 24 * time.Hour, -1, 31 * 24 * time.Hour})

func (l *life) create(t *rapid.T) {
	d := draft
	d.TokenID, d.Active = l.id("token"), rapid.Bool().Draw(t, "active")
	if rapid.Bool().Draw(t, "signed") {
		d.SecretID = l.id("secret")
		l.secrets.issue(d.SecretID, l.now)
	}
	events, err := trigger.Create(d)
	require.True(t, l.apply(t, events, err))
	l.tokens.issue(d.TokenID, l.now)
}

func (l *life) update(t *rapid.T) {
	var c trigger.Change
	if rapid.Bool().Draw(t, "rename") {
		c.Name = new(rapid.SampledFrom([]string{"", "orders", "bills", "a\x00"}).Draw(t, "name"))
	}
	if rapid.Bool().Draw(t, "switch") {
		c.Active = new(rapid.Bool().Draw(t, "active"))
	}
	if rapid.Bool().Draw(t, "rebind") {
		c.AgentID = new(rapid.SampledFrom([]string{"", "agent-1", "agent-2"}).Draw(t, "agent"))
	}
	patch := rapid.SampledFrom([]string{
		`{}`, `{"rate_limit":5}`, `{"rate_limit":null}`, `{"allowed_ips":[]}`, `{"allowed_ips":["::1"]}`, `{"inactive_status":200}`,
		`{"expires_at":"2026-03-01T15:00:00.5+02:00"}`, `{"expires_at":null}`, `{"max_body_bytes":10}`, `{"max_body_bytes":-1}`,
	}).Draw(t, "options")
	options, err := l.live.Options.Merge(json.RawMessage(patch))
	if err == nil {
		c.Options = &options
	}
	events, err := l.live.Update(c)
	if l.apply(t, events, err) {
		again, err := l.live.Update(c)
		require.NoError(t, err)
		require.Empty(t, again, "the same once more changes nothing")
	}
}

func (l *life) rotate(t *rapid.T) {
	id, grace := l.id("token"), graces.Draw(t, "grace")
	events, forgets, err := l.live.RotateToken(id, "wht_x", grace, l.now)
	decided, before := l.now, l.live.Tokens
	if l.apply(t, events, err) {
		l.tokens.issue(id, decided.Add(grace))
		l.requireForgotten(t, forgets, before, l.live.Tokens)
	}
}

func (l *life) setSecret(t *rapid.T) {
	id, grace := l.id("secret"), graces.Draw(t, "grace")
	events, forgets, err := l.live.SetSecret(id, grace, l.now)
	decided, before := l.now, l.live.Secrets
	if l.apply(t, events, err) {
		l.secrets.issue(id, decided.Add(grace))
		l.requireForgotten(t, forgets, before, l.live.Secrets)
	}
}

func (l *life) removeSecret(t *rapid.T) {
	before := l.live.Secrets
	events, forgets, err := l.live.RemoveSecret()
	if l.apply(t, events, err) {
		l.secrets.end(l.now)
		l.requireForgotten(t, forgets, before, nil)
	}
}

func (l *life) invoke(t *rapid.T) {
	if l.live.Version > 0 {
		before := l.live
		l.apply(t, list(trigger.Invoked{ExecutionID: l.id("execution"), AgentID: l.live.AgentID}), nil)
		require.Equal(t, before, l.live, "a fact leaves no trace")
	}
}

func (l *life) remove(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "really") != 0 {
		return
	}
	before := append(slices.Clone(l.live.Tokens), l.live.Secrets...)
	events, forgets, err := l.live.Delete()
	if l.apply(t, events, err) {
		l.tokens.end(l.now)
		l.secrets.end(l.now)
		l.requireForgotten(t, forgets, before, nil)
	}
}

// requireForgotten demands that what leaves the state is erased, and nothing else.
func (l *life) requireForgotten(t *rapid.T, forgets []string, before, after []credential.Credential) {
	for _, c := range before {
		kept := slices.ContainsFunc(after, func(k credential.Credential) bool { return k.ID == c.ID })
		forgotten := slices.Contains(forgets, c.ID)
		require.False(t, kept && forgotten, "%s is in the state and erased", c.ID)
		if l.lag == 0 {
			require.True(t, kept || forgotten, "%s is neither in the state nor erased", c.ID)
		}
	}
	require.NotContains(t, forgets, newest(after), "the new one is not erased")
}

func newest(credentials []credential.Credential) string {
	if len(credentials) == 0 {
		return "none"
	}
	return credentials[0].ID
}

func (l *life) check(t *rapid.T) {
	require.Equal(t, l.live, l.replayed(t), "replaying the record gives the state that decisions were made on")
	if l.live.Version == 0 {
		return
	}
	for name, credentials := range map[string][]credential.Credential{"tokens": l.live.Tokens, "secrets": l.live.Secrets} {
		require.LessOrEqual(t, len(credentials), 6, name)
		for i, c := range credentials {
			require.Equal(t, i == 0, c.ExpiresAt == nil, "one current of the %s, the first", name)
		}
	}
	working := l.live.SecretsAt(l.now)
	for id, until := range l.tokens.until {
		promised := until.IsZero() || l.now.Before(until)
		require.Equal(t, promised && slices.Contains(credential.IDs(l.live.Tokens), id), l.live.Proven(id, l.now), "token %s", id)
	}
	for id, until := range l.secrets.until {
		promised := until.IsZero() || l.now.Before(until)
		require.Equal(t, promised && slices.Contains(credential.IDs(l.live.Secrets), id), slices.Contains(working, id), "secret %s", id)
	}
	require.False(t, l.live.Proven("", l.now))
	if l.live.Deleted {
		require.Empty(t, working)
		return
	}
	require.True(t, l.live.Proven(l.tokens.current, l.now), "the current token works")
	require.Equal(t, l.secrets.current != "", l.live.HasSecret())
	require.Equal(t, l.live.HasSecret(), len(working) > 0, "a trigger with a secret always demands a signature")
}

func TestAnyLifeOfATrigger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{now: noon, lag: rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "lag")}
		if rapid.IntRange(0, 9).Draw(t, "created") > 0 {
			l.create(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"":              l.check,
			"update":        l.update,
			"rotate":        l.rotate,
			"set secret":    l.setSecret,
			"remove secret": l.removeSecret,
			"invoke":        l.invoke,
			"delete":        l.remove,
			"wait": func(t *rapid.T) {
				l.now = l.now.Add(rapid.SampledFrom([]time.Duration{1, time.Minute, time.Hour}).Draw(t, "wait"))
			},
		})
	})
}
