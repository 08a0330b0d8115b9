package application_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/apikey"
	"hooktrail/domain/fault"
)

func (r *replica) keys() []application.APIKeyView {
	r.world.Helper()
	page, err := r.ListAPIKeys(r.world.Context(), r.world.caller(), application.Paging{Limit: 100})
	require.NoError(r.world, err)
	return page.Items
}

func TestAKeyOpensUntilItEnds(t *testing.T) {
	onBoth(t, func(w *world) {
		app, other := w.replica(), w.replica()
		end := w.clock.now().Add(time.Hour)
		short, err := app.CreateAPIKey(w.Context(), w.caller(apikey.Admin), application.CreateAPIKey{
			Name: "short", Scopes: []apikey.Scope{apikey.TriggersRead}, ExpiresAt: &end,
		})
		require.NoError(w, err)
		long, err := app.CreateAPIKey(w.Context(), w.caller(apikey.Admin), application.CreateAPIKey{Name: "long", Scopes: []apikey.Scope{apikey.Admin}})
		require.NoError(w, err)

		key, err := other.Authenticate(w.Context(), short.Key)
		require.NoError(w, err)
		require.Equal(w, short.ID, key.ID)
		require.Equal(w, "key-1", key.CreatedByID)
		require.True(w, key.May(apikey.TriggersRead))
		require.False(w, key.May(apikey.TriggersWrite))
		w.clock.advance(time.Hour)
		_, err = other.Authenticate(w.Context(), short.Key)
		require.Equal(w, fault.Unauthorized, fault.CodeOf(err))

		_, err = other.Authenticate(w.Context(), long.Key)
		require.NoError(w, err)
		require.NoError(w, app.RevokeAPIKey(w.Context(), w.caller(), long.ID))
		_, err = other.Authenticate(w.Context(), long.Key)
		require.Equal(w, fault.Unauthorized, fault.CodeOf(err), "on every replica, at once")
		require.Equal(w, fault.NotFound, fault.CodeOf(app.RevokeAPIKey(w.Context(), w.caller(), long.ID)))

		events, err := app.ListEvents(w.Context(), w.caller(), application.EventFilter{Limit: 10})
		require.NoError(w, err)
		require.Len(w, events.Items, 3)
		for _, e := range events.Items {
			require.NotContains(w, string(e.Data), strings.TrimPrefix(short.Key, short.Prefix), "no event holds a key")
			require.NotContains(w, string(e.Data), strings.TrimPrefix(long.Key, long.Prefix))
		}
	})
}

func TestWhatIsNoKey(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	made := app.trigger(app.agent(nil).ID, nil)
	var answers []string
	for _, text := range []string{"", "htk_x", made.Token, strings.Repeat("x", 513), strings.Repeat("x", 512)} {
		_, err := app.Authenticate(t.Context(), text)
		require.Equal(t, fault.Unauthorized, fault.CodeOf(err))
		answers = append(answers, err.Error())
	}
	for _, answer := range answers {
		require.Equal(t, answers[0], answer, "every reason is told the same way")
	}
}

func TestNobodyGivesAwayMoreThanTheyHave(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	for name, c := range map[string]struct {
		has, wants []apikey.Scope
		code       fault.Code
	}{
		"a part":           {[]apikey.Scope{apikey.TriggersRead, apikey.AgentsRead}, []apikey.Scope{apikey.AgentsRead}, ""},
		"all":              {[]apikey.Scope{apikey.TriggersRead}, []apikey.Scope{apikey.TriggersRead}, ""},
		"one more":         {[]apikey.Scope{apikey.TriggersRead}, []apikey.Scope{apikey.TriggersRead, apikey.TriggersWrite}, fault.Forbidden},
		"admin":            {apikey.Scopes[:8], []apikey.Scope{apikey.Admin}, fault.Forbidden},
		"admin gives any":  {[]apikey.Scope{apikey.Admin}, apikey.Scopes, ""},
		"what there isn't": {[]apikey.Scope{apikey.Admin}, []apikey.Scope{"root"}, fault.Validation},
		"nothing":          {[]apikey.Scope{apikey.Admin}, nil, fault.Validation},
	} {
		issued, err := app.CreateAPIKey(t.Context(), w.caller(c.has...), application.CreateAPIKey{Name: name, Scopes: c.wants})
		require.Equal(t, c.code, fault.CodeOf(err), name)
		if err != nil {
			require.Empty(t, issued.Key, name)
			continue
		}
		require.Equal(t, c.wants, issued.Scopes, name)
	}
	require.Len(t, app.keys(), 3)
}

const brought = "a key that an operator brings"

func TestEnsureAPIKeyMakesOneWhenThereIsNone(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		made, err := app.EnsureAPIKey(w.Context(), "")
		require.NoError(w, err)
		key, err := app.Authenticate(w.Context(), made)
		require.NoError(w, err)
		require.Equal(w, []apikey.Scope{apikey.Admin}, key.Scopes)
		require.Equal(w, w.workspace, key.WorkspaceID)

		again, err := w.replica().EnsureAPIKey(w.Context(), "")
		require.NoError(w, err)
		require.Empty(w, again, "it is shown once")
		require.NoError(w, app.RevokeAPIKey(w.Context(), w.caller(), key.ID))
		other, err := app.EnsureAPIKey(w.Context(), "")
		require.NoError(w, err)
		require.NotEqual(w, made, other)
		require.NotEmpty(w, other, "nobody is locked out")
	})
}

func TestEnsureAPIKeyTakesTheOneThatIsBrought(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		for _, bad := range []string{"too short to guess", strings.Repeat("x", 513)} {
			_, err := app.EnsureAPIKey(w.Context(), bad)
			require.ErrorContains(w, err, "HOOKTRAIL_API_KEY must have from 20 to 512 characters")
			require.NotContains(w, err.Error(), bad)
		}
		for range 2 {
			shown, err := app.EnsureAPIKey(w.Context(), brought)
			require.NoError(w, err)
			require.Empty(w, shown, "who brings it knows it")
		}
		key, err := app.Authenticate(w.Context(), brought)
		require.NoError(w, err)
		require.Len(w, app.keys(), 1)
		shown, err := app.EnsureAPIKey(w.Context(), "")
		require.NoError(w, err)
		require.Empty(w, shown, "there is one")

		require.NoError(w, app.RevokeAPIKey(w.Context(), w.caller(), key.ID))
		_, err = app.EnsureAPIKey(w.Context(), brought)
		require.ErrorContains(w, err, "names a key that was revoked or has expired", "it does not come back")
		require.NotContains(w, err.Error(), brought)
	})
}

func TestReplicasThatBringTheSameKeyAtTheSameMoment(t *testing.T) {
	onBoth(t, func(w *world) {
		replicas := []*replica{w.replica(), w.replica()}
		errs := make([]error, 8)
		var starting sync.WaitGroup
		for i := range errs {
			starting.Go(func() { _, errs[i] = replicas[i%2].EnsureAPIKey(context.WithoutCancel(w.Context()), brought) })
		}
		starting.Wait()
		for _, err := range errs {
			require.NoError(w, err)
		}
		require.Len(w, replicas[0].keys(), 1)
	})
}
