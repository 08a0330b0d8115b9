package application_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

func TestATriggerAsItWas(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		runs := app.agent(nil)
		beginning := w.clock.now()
		w.clock.advance(time.Second)
		made := app.trigger(runs.ID, nil)
		head := func() eventlog.Position {
			position, err := app.store.Head(w.Context())
			require.NoError(w, err)
			return position
		}
		asOf := func(m application.Moment) application.TriggerView {
			view, err := app.GetTriggerAsOf(w.Context(), w.caller(), made.ID, m)
			require.NoError(w, err)
			return view
		}
		created, createdAt := head(), w.clock.now()
		app.accepted(call(made.Token, "", `{}`))
		w.clock.advance(time.Second)
		app.update(made.ID, application.UpdateTrigger{Name: new("bills"), IsActive: new(false)})
		updated, updatedAt := head(), w.clock.now()
		w.clock.advance(time.Second)
		require.NoError(w, app.DeleteTrigger(w.Context(), w.caller(), made.ID, 0))

		for name, moment := range map[string]application.Moment{
			"at a position":          {Position: created},
			"a call later":           {Position: created + 1},
			"at its time":            {Time: createdAt},
			"just before the change": {Time: updatedAt.Add(-time.Microsecond)},
			"position before time":   {Position: created, Time: updatedAt},
		} {
			require.Equal(w, made.TriggerView, asOf(moment), name)
		}
		for _, moment := range []application.Moment{{Position: updated}, {Time: updatedAt}, {Time: updatedAt.Add(time.Second - time.Microsecond)}} {
			view := asOf(moment)
			require.Equal(w, "bills", view.Name)
			require.False(w, view.IsActive)
			require.False(w, view.Deleted)
			require.Equal(w, int64(3), view.Version)
		}
		for _, moment := range []application.Moment{{Position: head()}, {Position: 1 << 40}, {Time: w.clock.now()}, {Time: w.clock.now().Add(time.Hour)}} {
			view := asOf(moment)
			require.True(w, view.Deleted)
			require.Empty(w, view.TokenPrefix)
		}
		for _, moment := range []application.Moment{{Position: 1}, {Position: -1}, {Time: beginning}, {}, {Time: beginning.Add(-time.Hour)}} {
			_, err := app.GetTriggerAsOf(w.Context(), w.caller(), made.ID, moment)
			require.Equal(w, fault.NotFound, fault.CodeOf(err), "%v", moment)
		}
		_, err := app.GetTrigger(w.Context(), w.caller(), made.ID)
		require.Equal(w, fault.NotFound, fault.CodeOf(err))
	})
}

func TestListEvents(t *testing.T) {
	w := embedded(t)
	app := w.replica()
	made := app.trigger(app.agent(nil).ID, nil) // events 1 and 2
	for range 5 {
		app.accepted(call(made.Token, "", `{}`)) // 3 to 7
	}
	list := func(f application.EventFilter) ([]eventlog.Position, int, eventlog.Position) {
		page, err := app.ListEvents(t.Context(), w.caller(), f)
		require.NoError(t, err)
		positions := make([]eventlog.Position, len(page.Items))
		for i, e := range page.Items {
			positions[i] = e.Position
		}
		return positions, page.Total, page.Next
	}
	start := eventlog.Position(0)
	for name, c := range map[string]struct {
		filter application.EventFilter
		want   []eventlog.Position
		total  int
		next   eventlog.Position
	}{
		"the newest":        {application.EventFilter{Limit: 3}, []eventlog.Position{7, 6, 5}, 7, 5},
		"those before":      {application.EventFilter{Limit: 3, Before: 5}, []eventlog.Position{4, 3, 2}, 7, 2},
		"the last of them":  {application.EventFilter{Limit: 3, Before: 2}, []eventlog.Position{1}, 7, 0},
		"just as many":      {application.EventFilter{Limit: 7}, []eventlog.Position{7, 6, 5, 4, 3, 2, 1}, 7, 0},
		"onwards":           {application.EventFilter{Limit: 3, After: &start}, []eventlog.Position{1, 2, 3}, 7, 3},
		"of a trigger":      {application.EventFilter{Limit: 2, Stream: eventlog.Stream(eventlog.TriggerStream, made.ID)}, []eventlog.Position{7, 6}, 6, 6},
		"of a type":         {application.EventFilter{Limit: 9, Type: "agent.registered"}, []eventlog.Position{1}, 1, 0},
		"by whom":           {application.EventFilter{Limit: 9, Actor: "api_key:key-1"}, []eventlog.Position{2, 1}, 2, 0},
		"until before them": {application.EventFilter{Limit: 9, Until: w.clock.now().Add(-1)}, []eventlog.Position{}, 0, 0},
		"by nobody":         {application.EventFilter{Limit: 9, Actor: "system"}, []eventlog.Position{}, 0, 0},
	} {
		positions, total, next := list(c.filter)
		require.Equal(t, c.want, positions, name)
		require.Equal(t, c.total, total, name)
		require.Equal(t, c.next, next, name)
	}
}

// TestNamesThatNoDatabaseTakes: PostgreSQL stores no NUL in a text.
func TestNamesThatNoDatabaseTakes(t *testing.T) {
	onBoth(t, func(w *world) {
		app := w.replica()
		runs := app.agent(nil)
		for name, make := range map[string]func(name string) error{
			"an agent": func(name string) error {
				_, err := app.CreateAgent(w.Context(), w.caller(), application.AgentRequest{Name: &name})
				return err
			},
			"a trigger": func(name string) error {
				_, err := app.CreateTrigger(w.Context(), w.caller(), application.CreateTrigger{AgentID: runs.ID, Name: name})
				return err
			},
			"a key": func(name string) error {
				_, err := app.CreateAPIKey(w.Context(), w.caller(apikey.Admin), application.CreateAPIKey{Name: name, Scopes: []apikey.Scope{apikey.Admin}})
				return err
			},
		} {
			require.ErrorContains(w, make("a\x00b"), "name has control characters", name)
			require.NoError(w, make(strings.Repeat("😀", 200)), name)
		}
	})
}
