package subscription_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/subscription"
)

var known = []string{"trigger.invoked", "execution.failed", "api_key.created"}

func settings(edit ...func(*subscription.Settings)) subscription.Settings {
	s := subscription.Settings{Name: "billing", URL: "https://receiver.example.com/events"}.Defaults()
	for _, e := range edit {
		e(&s)
	}
	return s
}

func TestDefaults(t *testing.T) {
	require.Equal(t, subscription.Settings{Format: "cloudevents"}, subscription.Settings{}.Defaults())
	require.Nil(t, subscription.Settings{Types: []string{"trigger.*", "*"}, Streams: []string{"*"}}.Defaults().Types, "one * is all")
	chosen := settings(func(s *subscription.Settings) { s.Types = []string{"trigger.*"} })
	require.Equal(t, chosen, chosen.Defaults())
}

func TestGoodSettings(t *testing.T) {
	for name, edit := range map[string]func(*subscription.Settings){
		"plain":            func(*subscription.Settings) {},
		"http and a query": func(s *subscription.Settings) { s.URL = "http://[2001:db8::1]:8080/?a=b" },
		"types":            func(s *subscription.Settings) { s.Types = []string{"trigger.invoked", "execution.*", "api_k*", "*"} },
		"streams": func(s *subscription.Settings) {
			s.Streams = []string{"trigger-2nJvP0dX", "api_key-*", "execution-2n*", "*"}
		},
		"ids":              func(s *subscription.Settings) { s.TriggerID, s.AgentID = "2nJvP0dX", "2nJvP0dY" },
		"the longest name": func(s *subscription.Settings) { s.Name = strings.Repeat("ü", 200) },
	} {
		require.NoError(t, settings(edit).Validate(known), name)
	}
}

func TestBadSettings(t *testing.T) {
	many := make([]string, 51)
	for i := range many {
		many[i] = "*"
	}
	for name, c := range map[string]struct {
		edit       func(*subscription.Settings)
		field, why string
	}{
		"no name":               {func(s *subscription.Settings) { s.Name = " " }, "name", "is required"},
		"a long name":           {func(s *subscription.Settings) { s.Name = strings.Repeat("a", 201) }, "name", "is longer than 200 characters"},
		"control characters":    {func(s *subscription.Settings) { s.Name = "a\x00" }, "name", "has control characters"},
		"no URL":                {func(s *subscription.Settings) { s.URL = "" }, "url", "is required"},
		"a long URL":            {func(s *subscription.Settings) { s.URL += strings.Repeat("a", 2000) }, "url", "is longer than 2000 bytes"},
		"a relative URL":        {func(s *subscription.Settings) { s.URL = "/events" }, "url", "must be an absolute http or https URL"},
		"another scheme":        {func(s *subscription.Settings) { s.URL = "ftp://a.example.com" }, "url", "must be an absolute http or https URL"},
		"a password":            {func(s *subscription.Settings) { s.URL = "https://u:p@a.example.com" }, "url", "verify the signature"},
		"a fragment":            {func(s *subscription.Settings) { s.URL = "https://a.example.com/#b" }, "url", "must not have a fragment"},
		"a type that is none":   {func(s *subscription.Settings) { s.Types = []string{"trigger.invoked", "Trigger Invoked"} }, "types[1]", "its beginning and *"},
		"a type with a typo":    {func(s *subscription.Settings) { s.Types = []string{"trigger.invokd"} }, "types[0]", "the types are trigger.invoked"},
		"a star inside":         {func(s *subscription.Settings) { s.Types = []string{"*.failed"} }, "types[0]", "its beginning and *"},
		"many types":            {func(s *subscription.Settings) { s.Types = many }, "types", "has more than 50 entries"},
		"a stream that is none": {func(s *subscription.Settings) { s.Streams = []string{"trigger 1"} }, "streams[0]", "its beginning and *"},
		"an id that is none":    {func(s *subscription.Settings) { s.TriggerID = strings.Repeat("a", 101) }, "trigger_id", "is no id"},
		"another format":        {func(s *subscription.Settings) { s.Format = "xml" }, "format", "must be cloudevents"},
	} {
		err := settings(c.edit).Validate(known)
		var wrong *fault.Error
		require.ErrorAs(t, err, &wrong, name)
		require.Contains(t, wrong.Details[c.field], c.why, name)
	}
}

func TestUpdate(t *testing.T) {
	live := given(t, subscription.Created{Settings: settings(), SecretID: "s"})
	other := settings(func(s *subscription.Settings) { s.URL = "https://elsewhere.example.com" })
	gone := subscription.Disabled{Code: subscription.Gone, Reason: "x"}
	requested := subscription.Disabled{Code: subscription.Requested, Reason: "disabled by request"}
	for name, c := range map[string]struct {
		from   subscription.Subscription
		to     subscription.Settings
		active *bool
		want   []eventlog.Event
	}{
		"nothing":               {live, settings(), nil, nil},
		"active already":        {live, settings(), new(true), nil},
		"settings":              {live, other, nil, list(subscription.Updated{Settings: other})},
		"off":                   {live, settings(), new(false), list(requested)},
		"both":                  {live, other, new(false), list(subscription.Updated{Settings: other}, requested)},
		"on again":              {given(t, subscription.Created{}, gone), settings(), new(true), list(subscription.Updated{Settings: settings()}, subscription.Enabled{})},
		"off already":           {given(t, subscription.Created{Settings: settings()}, gone), settings(), new(false), nil},
		"mended while disabled": {given(t, subscription.Created{Settings: settings()}, gone), other, nil, list(subscription.Updated{Settings: other})},
	} {
		events, err := c.from.Update(c.to, known, c.active)
		require.NoError(t, err, name)
		require.Equal(t, c.want, events, name)
	}
	for name, s := range map[string]subscription.Subscription{"none": {}, "deleted": given(t, subscription.Created{}, subscription.Deleted{})} {
		_, err := s.Update(settings(), known, nil)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), name)
		_, _, err = s.SetSecret("x", 0, noon)
		require.Equal(t, fault.NotFound, fault.CodeOf(err), name)
		_, _, err = s.Delete()
		require.Equal(t, fault.NotFound, fault.CodeOf(err), name)
		events, err := s.GiveUp(gone)
		require.NoError(t, err)
		require.Empty(t, events, "there is nothing to disable")
	}
}

func TestSetSecret(t *testing.T) {
	live := given(t, subscription.Created{Settings: settings(), SecretID: "s1"})
	now := noon.Add(time.Minute)
	events, forget, err := live.SetSecret("s2", time.Hour, now)
	require.NoError(t, err)
	require.Empty(t, forget)
	until := now.Add(time.Hour)
	require.Equal(t, list(subscription.SecretSet{SecretID: "s2", PreviousUntil: &until}), events)
	both := given(t, subscription.Created{SecretID: "s1"}, events[0])
	require.Equal(t, []credential.Credential{{ID: "s2"}, {ID: "s1", ExpiresAt: &until}}, both.Secrets)
	require.True(t, both.Secrets[1].WorksAt(until.Add(-1)))
	require.False(t, both.Secrets[1].WorksAt(until))

	events, forget, err = both.SetSecret("s3", 0, now)
	require.NoError(t, err)
	require.Equal(t, []string{"s2", "s1"}, forget)
	require.Equal(t, list(subscription.SecretSet{SecretID: "s3"}), events)

	for _, id := range []string{"s3", "s4", "s5", "s6"} {
		events, forget, err = both.SetSecret(id, time.Hour, now)
		require.NoError(t, err)
		both = both.Evolve(eventlog.Recorded{At: now, Version: both.Version + 1}, events[0])
		require.LessOrEqual(t, len(both.Secrets), 3)
	}
	require.Len(t, forget, 1, "the oldest gives way")
	for _, grace := range []time.Duration{-1, credential.MaxGrace + 1} {
		_, _, err = live.SetSecret("s2", grace, now)
		require.ErrorContains(t, err, "grace_period must be from 0 to 2592000 seconds")
	}
}
