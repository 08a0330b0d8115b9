package apikey_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// history records events in the stream of one key, as the log does.
type history struct{ recorded []eventlog.Recorded }

func (h *history) record(t require.TestingT, at time.Time, event eventlog.Event) eventlog.Recorded {
	proposed, err := apikey.Codec.Encode(event)
	require.NoError(t, err)
	n := len(h.recorded) + 1
	recorded := eventlog.Recorded{
		Position: eventlog.Position(n), WorkspaceID: "workspace-1", Stream: eventlog.Stream(eventlog.APIKeyStream, "1"), Version: int64(n),
		Type: proposed.Type, Schema: proposed.Schema, At: at, Meta: eventlog.Metadata{Actor: eventlog.ActorOf("api_key", "key-0")}, Data: proposed.Data,
	}
	h.recorded = append(h.recorded, recorded)
	return recorded
}

func (h *history) replayed(t require.TestingT) apikey.APIKey {
	var state apikey.APIKey
	for _, recorded := range h.recorded {
		event, err := apikey.Codec.Decode(recorded)
		require.NoError(t, err)
		state = state.Evolve(recorded, event)
	}
	return state
}

func given(t *testing.T, events ...eventlog.Event) apikey.APIKey {
	t.Helper()
	h := &history{}
	for _, event := range events {
		h.record(t, noon, event)
	}
	return h.replayed(t)
}

func TestCreate(t *testing.T) {
	read := []apikey.Scope{apikey.TriggersRead}
	later := noon.Add(time.Second)
	const unknown = "has an unknown scope; the scopes are webhook_triggers:read, webhook_triggers:write, agents:read, agents:write, " +
		"agents:execute, executions:read, executions:write, events:read, admin"
	for name, c := range map[string]struct {
		name    string
		scopes  []apikey.Scope
		expires *time.Time
		then    apikey.Created
		wrong   map[string]string
	}{
		"for good":        {name: "deploy", scopes: read, then: apikey.Created{Name: "deploy", Prefix: "htk_aaaaaa", Scopes: read}},
		"for a while":     {name: "deploy", scopes: read, expires: &later, then: apikey.Created{Name: "deploy", Prefix: "htk_aaaaaa", Scopes: read, ExpiresAt: &later}},
		"in another zone": {name: "deploy", scopes: read, expires: new(later.In(time.FixedZone("", 7200))), then: apikey.Created{Name: "deploy", Prefix: "htk_aaaaaa", Scopes: read, ExpiresAt: &later}},
		"every scope":     {name: "deploy", scopes: apikey.Scopes, then: apikey.Created{Name: "deploy", Prefix: "htk_aaaaaa", Scopes: apikey.Scopes}},
		"a long name":     {name: strings.Repeat("ü", 200), scopes: read, then: apikey.Created{Name: strings.Repeat("ü", 200), Prefix: "htk_aaaaaa", Scopes: read}},
		"no name":         {name: " ", scopes: read, wrong: map[string]string{"name": "is required"}},
		"too long a name": {name: strings.Repeat("ü", 201), scopes: read, wrong: map[string]string{"name": "is longer than 200 characters"}},
		"NUL in the name": {name: "a\x00", scopes: read, wrong: map[string]string{"name": "has control characters"}},
		"no scope":        {name: "deploy", wrong: map[string]string{"scopes": "must name at least one scope"}},
		"unknown scope":   {name: "deploy", scopes: []apikey.Scope{apikey.Admin, "root"}, wrong: map[string]string{"scopes": unknown}},
		"scopes again":    {name: "deploy", scopes: slices.Repeat(read, 10), wrong: map[string]string{"scopes": "names a scope twice"}},
		"ends now":        {name: "deploy", scopes: read, expires: &noon, wrong: map[string]string{"expires_at": "must be in the future"}},
		"all wrong": {expires: &noon, wrong: map[string]string{
			"name": "is required", "scopes": "must name at least one scope", "expires_at": "must be in the future",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := apikey.Create(c.name, "htk_aaaaaa", c.scopes, c.expires, noon)
			if c.wrong != nil {
				var f *fault.Error
				require.ErrorAs(t, err, &f)
				require.Equal(t, c.wrong, f.Details)
				require.Empty(t, events)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []eventlog.Event{c.then}, events)
		})
	}
}

func TestRevoke(t *testing.T) {
	created := apikey.Created{Name: "deploy", Scopes: []apikey.Scope{apikey.Admin}}
	events, err := given(t, created).Revoke()
	require.NoError(t, err)
	require.Equal(t, []eventlog.Event{apikey.Revoked{}}, events)
	for name, k := range map[string]apikey.APIKey{"twice": given(t, created, apikey.Revoked{}), "none": given(t)} {
		_, err := k.Revoke()
		require.Equal(t, fault.NotFound, fault.CodeOf(err), name)
	}
}

func TestMay(t *testing.T) {
	reader := given(t, apikey.Created{Scopes: []apikey.Scope{apikey.TriggersRead}})
	admin := given(t, apikey.Created{Scopes: []apikey.Scope{apikey.Admin}})
	for _, scope := range apikey.Scopes {
		require.Equal(t, scope == apikey.TriggersRead, reader.May(scope), "a scope includes no other: %s", scope)
		require.True(t, admin.May(scope), "admin includes %s", scope)
	}
	require.False(t, given(t).May(apikey.TriggersRead))
	require.False(t, reader.May(""))
}

func TestAnyLifeOfAKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{}
		now := noon
		var live apikey.APIKey
		var expires *time.Time
		revoked := false
		if rapid.Bool().Draw(t, "expires") {
			expires = new(noon.Add(time.Duration(rapid.IntRange(-1, 3).Draw(t, "seconds")) * time.Second))
		}
		apply := func(events []eventlog.Event, err error) {
			require.Equal(t, err == nil, len(events) == 1)
			for _, event := range events {
				live = live.Evolve(h.record(t, now, event), event)
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "created") > 0 {
			scopes := rapid.SliceOfN(rapid.SampledFrom(append(slices.Clone(apikey.Scopes), "root")), 0, 3).Draw(t, "scopes")
			apply(apikey.Create("deploy", "htk_aaaaaa", scopes, expires, now))
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				require.Equal(t, live, h.replayed(t), "replaying the record gives the state that decisions were made on")
				works := live.Version > 0 && !revoked && (expires == nil || now.Before(*expires))
				require.Equal(t, works, live.WorksAt(now))
				require.False(t, works && len(live.Scopes) == 0)
			},
			"revoke": func(t *rapid.T) {
				events, err := live.Revoke()
				apply(events, err)
				revoked = revoked || err == nil
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Second) },
		})
	})
}
