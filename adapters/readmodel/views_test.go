package readmodel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
)

// pages reads a list to its end, by pages and by cursors, and checks that both give the same.
func pages[V any](w *world, limit int, list func(p application.Paging) (application.Page[V], error)) []V {
	w.Helper()
	var byPage, byCursor []V
	var total int
	for page := 1; ; page++ {
		part, err := list(application.Paging{Page: page, Limit: limit})
		require.NoError(w, err)
		require.LessOrEqual(w, len(part.Items), limit)
		byPage = append(byPage, part.Items...)
		total = part.Total
		if part.Next == 0 {
			break
		}
		require.Len(w, part.Items, limit)
	}
	require.Equal(w, len(byPage), total)
	for paging := (application.Paging{Limit: limit}); ; {
		part, err := list(paging)
		require.NoError(w, err)
		byCursor = append(byCursor, part.Items...)
		require.Equal(w, total, part.Total, "the total is of the whole list")
		if paging.Cursor = part.Next; paging.Cursor == 0 {
			break
		}
	}
	require.Equal(w, byPage, byCursor)
	beyond, err := list(application.Paging{Page: total + 2, Limit: limit})
	require.NoError(w, err)
	require.Empty(w, beyond.Items)
	require.NotNil(w, beyond.Items, "an empty list is a list")
	require.Equal(w, total, beyond.Total)
	require.Zero(w, beyond.Next)
	return byPage
}

var names = []string{"Deploy", "deploy 100%", "100_percent", `back\slash`, "ÄRGER", "it's"}

// fits is the filter by name: a part of it, whatever the case of its ASCII letters.
func fits(name, part string) bool {
	lower := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, s)
	}
	return strings.Contains(lower(name), lower(part))
}

var parts = []string{"", "deploy", "DEPLOY", "%", "_", `\`, "0_", "100%", "ÄRGER", "Ärger", "'", "none", "e"}

func reversed[V any](list []V) []V {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

func TestTriggers(t *testing.T) {
	onWorld(t, func(w *world) {
		h := newHistory("")
		type made struct {
			id, workspace, agent, name string
			active, deleted            bool
		}
		var all []made
		for i := range 26 {
			m := made{id: fmt.Sprintf("t%02d-%d", i, i%2), workspace: fmt.Sprintf("w%d", i%2), agent: fmt.Sprintf("a%d", i%3), name: names[i%len(names)], active: i%4 != 0, deleted: i%9 == 8}
			h.add(trigger.Codec, eventlog.TriggerStream, m.id, trigger.Created{AgentID: "a9", Name: "first", Active: !m.active, TokenID: "t", TokenPrefix: "whk_x", SecretID: "s"}, nil)
			all = append(all, m)
		}
		for _, m := range reversed(all) { // the order of lists is that of creation
			h.add(trigger.Codec, eventlog.TriggerStream, m.id, trigger.Renamed{Name: m.name}, nil)
			h.add(trigger.Codec, eventlog.TriggerStream, m.id, trigger.Rebound{AgentID: m.agent}, nil)
			toggled := map[bool]eventlog.Event{true: trigger.Activated{}, false: trigger.Deactivated{}}[m.active]
			h.add(trigger.Codec, eventlog.TriggerStream, m.id, toggled, nil)
			if m.deleted {
				h.add(trigger.Codec, eventlog.TriggerStream, m.id, trigger.Deleted{}, nil)
			}
		}
		h.play(w.T, w.store)
		yes, no := true, false
		for _, f := range []application.TriggerFilter{{}, {AgentID: "a1"}, {AgentID: "none"}, {IsActive: &yes}, {IsActive: &no}, {AgentID: "a2", IsActive: &yes, Name: "deploy"}} {
			for _, part := range parts {
				if f.Name != "" && part != "" {
					continue
				}
				f := f
				if part != "" {
					f.Name = part
				}
				var want, got []string
				for _, m := range reversed(all) {
					if m.workspace == "w1" && !m.deleted && (f.AgentID == "" || m.agent == f.AgentID) && (f.IsActive == nil || m.active == *f.IsActive) && fits(m.name, f.Name) {
						want = append(want, m.id)
					}
				}
				for _, limit := range []int{1, 5, 100} {
					got = nil
					for _, view := range pages(w, limit, func(p application.Paging) (application.Page[application.TriggerView], error) {
						return w.models.Triggers(w.Context(), "w1", f, p)
					}) {
						got = append(got, view.ID)
					}
					require.Equal(w, want, got, "%+v", f)
				}
			}
		}
		for _, m := range all {
			view, found, err := w.models.Trigger(w.Context(), m.workspace, m.id)
			require.NoError(w, err)
			require.Equal(w, !m.deleted, found)
			if found {
				require.Equal(w, []any{m.id, m.workspace, m.agent, m.name, m.active}, []any{view.ID, view.WorkspaceID, view.AgentID, view.Name, view.IsActive})
				require.Equal(w, publicURL+"/api/v1/webhook/trigger", view.URL)
				require.True(w, view.HasSecret)
				require.Nil(w, view.LastUsedAt)
			}
			_, found, err = w.models.Trigger(w.Context(), "another", m.id)
			require.NoError(w, err)
			require.False(w, found)
		}
		for _, id := range []string{"a0", "a1", "a2", "none"} {
			want := 0
			for _, m := range all {
				if m.agent == id && !m.deleted {
					want++
				}
			}
			count, err := w.models.ActiveTriggersOf(w.Context(), id)
			require.NoError(w, err)
			require.Equal(w, want, count)
		}
	})
}

func TestAgentsAndKeys(t *testing.T) {
	onWorld(t, func(w *world) {
		h := newHistory("")
		var agents, keys []string
		byName := map[string]string{}
		for i := range 14 {
			id := fmt.Sprintf("%02d-1", i)
			h.add(agent.Codec, eventlog.AgentStream, "a"+id, agent.Registered{Settings: agent.Settings{Name: names[i%len(names)], MaxConcurrency: i}}, nil)
			h.add(apikey.Codec, eventlog.APIKeyStream, "k"+id, apikey.Created{Name: "key", Prefix: "hk_", Scopes: []apikey.Scope{apikey.Admin}}, nil)
			byName["a"+id] = names[i%len(names)]
			if i%5 == 4 {
				h.add(agent.Codec, eventlog.AgentStream, "a"+id, agent.Archived{}, nil)
				h.add(apikey.Codec, eventlog.APIKeyStream, "k"+id, apikey.Revoked{}, nil)
				continue
			}
			agents, keys = append(agents, "a"+id), append(keys, "k"+id)
		}
		h.play(w.T, w.store)
		for _, part := range parts {
			var want, got []string
			for _, id := range reversed(agents) {
				if fits(byName[id], part) {
					want = append(want, id)
				}
			}
			for _, view := range pages(w, 4, func(p application.Paging) (application.Page[application.AgentView], error) {
				return w.models.Agents(w.Context(), "w1", application.AgentFilter{Name: part}, p)
			}) {
				got = append(got, view.ID)
				require.Equal(w, byName[view.ID], view.Name)
			}
			require.Equal(w, want, got, part)
		}
		var got []string
		for _, view := range pages(w, 3, func(p application.Paging) (application.Page[application.APIKeyView], error) {
			return w.models.APIKeys(w.Context(), "w1", p)
		}) {
			got = append(got, view.ID)
		}
		require.Equal(w, reversed(keys), got)
		count, err := w.models.CountAPIKeys(w.Context())
		require.NoError(w, err)
		require.Equal(w, len(keys), count)
		for _, c := range []struct {
			workspace, id string
			want          bool
		}{{"w1", agents[0], true}, {"w2", agents[0], false}, {"w1", "a04-1", false}, {"w1", "none", false}} {
			_, found, err := w.models.Agent(w.Context(), c.workspace, c.id)
			require.NoError(w, err)
			require.Equal(w, c.want, found)
		}
	})
}

func TestExecutions(t *testing.T) {
	onWorld(t, func(w *world) {
		h := newHistory("")
		h.add(agent.Codec, eventlog.AgentStream, "a-1", agent.Registered{}, nil)
		for _, id := range []string{"a0-1", "a1-1"} {
			h.add(agent.Codec, eventlog.AgentStream, id, agent.Registered{}, nil)
		}
		for _, id := range []string{"t0-1", "t1-1", "t2-1", "t3-1"} {
			h.add(trigger.Codec, eventlog.TriggerStream, id, trigger.Created{AgentID: "a0-1"}, nil)
		}
		type made struct {
			id, agent, trigger, session string
			status                      execution.Status
			at                          time.Time
		}
		var all []made
		for i := range 30 {
			m := made{id: fmt.Sprintf("x%02d-1", i), agent: fmt.Sprintf("a%d-1", i%2), status: execution.Statuses[i%5]}
			if i%3 == 0 {
				m.session = fmt.Sprintf("s%d", i%2)
				h.add(execution.Codec, eventlog.ExecutionStream, m.id, execution.Requested{AgentID: m.agent, Runs: true, SessionID: m.session, UserID: "u", RetryOf: "r", Metadata: map[string]string{"k": "v"}}, []byte(`{"n":1}`))
			} else {
				m.trigger = fmt.Sprintf("t%d-1", i%4)
				h.add(trigger.Codec, eventlog.TriggerStream, m.trigger, trigger.Invoked{ExecutionID: m.id, AgentID: m.agent, Runs: true, MediaType: "application/x-www-form-urlencoded"}, []byte(`a=1&a=2`))
			}
			m.at = h.at
			all = append(all, m)
			add := func(event eventlog.Event, output []byte) {
				h.add(execution.Codec, eventlog.ExecutionStream, m.id, event, output)
			}
			if m.status != execution.Pending && m.status != execution.Cancelled {
				add(execution.Started{Attempt: 1, Worker: "k"}, nil)
			}
			switch m.status {
			case execution.Completed:
				add(execution.Succeeded{Attempt: 1}, []byte(`[1]`))
			case execution.Failed:
				add(execution.GaveUp{Attempt: 1, Error: execution.Error{Code: "boom", Message: "it broke"}}, nil)
			case execution.Cancelled:
				add(execution.WasCancelled{}, nil)
			}
		}
		now := h.at
		h.playAt(w)
		filters := []application.ExecutionFilter{
			{},
			{AgentID: "a0-1"},
			{TriggerID: "t1-1"},
			{SessionID: "s0"},
			{Status: execution.Failed},
			{Status: execution.Cancelled},
			{Status: execution.Pending},
			{AgentID: "a1-1", Status: execution.Completed},
			{TriggerID: "none"},
			{Since: all[10].at},
			{Until: all[10].at},
			{Since: all[5].at, Until: all[20].at, AgentID: "a1-1"},
			{Since: now.Add(time.Hour)},
		}
		for _, f := range filters {
			var want, got []string
			for _, m := range reversed(all) {
				if (f.AgentID == "" || f.AgentID == m.agent) && (f.TriggerID == "" || f.TriggerID == m.trigger) && (f.SessionID == "" || f.SessionID == m.session) &&
					(f.Status == "" || f.Status == m.status) && (f.Since.IsZero() || !m.at.Before(f.Since)) && (f.Until.IsZero() || !m.at.After(f.Until)) {
					want = append(want, m.id)
				}
			}
			for _, view := range pages(w, 7, func(p application.Paging) (application.Page[application.ExecutionView], error) {
				return w.models.Executions(w.Context(), "w1", f, p)
			}) {
				got = append(got, view.ID)
			}
			require.Equal(w, want, got, "%+v", f)
		}
		for _, m := range all {
			view, found, err := w.models.Execution(w.Context(), "w1", m.id)
			require.NoError(w, err)
			require.True(w, found)
			require.Equal(w, []any{m.id, m.agent, m.trigger, m.session, m.status, m.at}, []any{view.ID, view.AgentID, view.TriggerID, view.SessionID, view.Status, view.CreatedAt})
			body, media, kept, err := w.models.Input(w.Context(), m.id)
			require.NoError(w, err)
			require.True(w, kept)
			if m.trigger != "" {
				require.JSONEq(w, `{"a":["1","2"]}`, string(view.Input))
				require.Equal(w, []string{`a=1&a=2`, "application/x-www-form-urlencoded"}, []string{string(body), media})
			} else {
				require.JSONEq(w, `{"n":1}`, string(view.Input))
				require.Equal(w, map[string]string{"k": "v"}, view.Metadata)
				require.Equal(w, []string{`{"n":1}`, ""}, []string{string(body), media})
			}
			w.expectEnd(view)
		}
		_, found, err := w.models.Execution(w.Context(), "w2", all[0].id)
		require.NoError(w, err)
		require.False(w, found)
		_, _, found, err = w.models.Input(w.Context(), "none")
		require.NoError(w, err)
		require.False(w, found)
	})
}

func (w *world) expectEnd(view application.ExecutionView) {
	w.Helper()
	want := map[execution.Status][3]string{
		execution.Completed: {"", "", "[1]"}, execution.Failed: {"boom", "it broke", ""}, execution.Cancelled: {"cancelled", "cancelled", ""},
	}[view.Status]
	require.Equal(w, want, [3]string{view.ErrorCode, view.Error, string(view.Output)})
	require.Equal(w, view.Status.Final(), view.CompletedAt != nil)
	require.Equal(w, view.Attempt > 0, view.StartedAt != nil)
	require.Equal(w, view.StartedAt != nil && view.CompletedAt != nil, view.DurationMS != nil)
	if view.DurationMS != nil {
		require.Equal(w, view.CompletedAt.Sub(*view.StartedAt).Milliseconds(), *view.DurationMS)
	}
	require.Nil(w, view.NextAttemptAt)
}
