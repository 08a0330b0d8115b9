//go:build unix

package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const events = "/api/v1/events"

func positions(list []event) []int64 {
	found := []int64{}
	for _, e := range list {
		found = append(found, e.Position)
	}
	return found
}

func TestEventFilters(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		made := a.trigger(t, a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`), "")
		a.must(t, 200, nil, "PATCH", triggers+"/"+made.ID, `{"name": "B"}`)
		a.accepted(t, made.Token, `{}`)
		a.must(t, 200, nil, "PATCH", triggers+"/"+made.ID, `{"name": "C"}`)
		all := a.eventsAfter(t, 0)
		require.Len(t, all, 6)
		for i, e := range all {
			require.Equal(t, int64(i+1), e.Position, "positions have no gaps")
		}
		list := func(query string) []int64 {
			var page []event
			a.must(t, 200, &page, "GET", events+"?"+query, "")
			return positions(page)
		}
		renamed := all[3]
		assert.Equal(t, []int64{6, 5, 4, 3, 2, 1}, list(""), "the newest first")
		assert.Equal(t, []int64{1, 2, 3, 4, 5, 6}, list("after=0"), "onwards")
		assert.Equal(t, []int64{5, 6}, list("after=4"))
		assert.Equal(t, []int64{}, list("after=6"))
		assert.Equal(t, []int64{6, 4}, list("type=trigger.renamed"))
		assert.Equal(t, []int64{6, 5, 4, 3}, list("stream=trigger-"+made.ID))
		assert.Equal(t, []int64{4, 5}, list("after=3&limit=2&stream=trigger-"+made.ID))
		assert.Equal(t, []int64{5}, list("actor=trigger:"+made.ID))
		assert.Equal(t, []int64{6, 4, 3, 2}, list("actor="+renamed.Actor))
		assert.Equal(t, []int64{1}, list("actor=system"))
		assert.Equal(t, []int64{3, 2, 1}, list("until="+all[2].Time))
		assert.Equal(t, []int64{6, 5, 4}, list("since="+renamed.Time))
		assert.Equal(t, []int64{4}, list("since="+renamed.Time+"&until="+renamed.Time))
		assert.Equal(t, []int64{}, list("since="+url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))))
		assert.Equal(t, []int64{4, 3}, list("limit=2&page=2"))
		assert.Equal(t, []int64{3, 4}, list("limit=2&page=2&after=0"))
		assert.Equal(t, []int64{}, list("type=nothing&stream=nothing&actor=nothing"))
		for _, query := range []string{"after=-1", "after=x", "since=x", "until=x", "limit=1000", "cursor=*"} {
			field, _, _ := strings.Cut(query, "=")
			assert.Contains(t, refusalOf(t, a.must(t, 400, nil, "GET", events+"?"+query, "")).Error.Details, field)
		}
		for _, triggersPath := range []string{triggers, "/api/v1/triggers"} {
			var own []event
			a.must(t, 200, &own, "GET", triggersPath+"/"+made.ID+"/events?after=0", "")
			assert.Equal(t, []int64{3, 4, 5, 6}, positions(own))
		}
		a.must(t, 204, nil, "DELETE", triggers+"/"+made.ID, "")
		var past []event
		a.must(t, 200, &past, "GET", triggers+"/"+made.ID+"/events?limit=1", "")
		assert.Equal(t, "trigger.deleted", past[0].Type, "the past of a deleted trigger stays readable")
	})
}

// TestEventCursors follows the log both ways while it grows.
func TestEventCursors(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		one := triggers + "/" + a.trigger(t, a.echo(t), "").ID
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			a.must(t, 200, nil, "PATCH", one, `{"name": "`+name+`"}`)
		}
		head := a.head(t)
		follow := func(query string) []int64 {
			found, cursor := []int64{}, ""
			for {
				var page []event
				answer := a.must(t, 200, &page, "GET", events+"?limit=2&"+query+cursor, "")
				found = append(found, positions(page)...)
				next := metaOf(t, answer).NextCursor
				if next == "" {
					return found
				}
				cursor = "&cursor=" + next
				if a.head(t) < head+3 {
					a.must(t, 200, nil, "PATCH", one, `{"name": "`+newRequestID()+`"}`)
				}
			}
		}
		back := follow("")
		require.Equal(t, head, back[0])
		for i, position := range back {
			require.Equal(t, head-int64(i), position)
		}
		onwards := follow("after=0")
		require.GreaterOrEqual(t, int64(len(onwards)), head, "those that were appended meanwhile come too")
		for i, position := range onwards {
			require.Equal(t, int64(i+1), position)
		}
	})
}

// TestEventsTellTheirOrigin has the request id and the trace context of the request, and the
// execution's id as correlation of all that a call leads to.
func TestEventsTellTheirOrigin(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		made := a.trigger(t, a.echo(t), "")
		before := a.head(t)
		id := a.accepted(t, made.Token, `{"a": 1}`, "X-Request-Id", "call-1", "traceparent", trace)
		require.Equal(t, "completed", a.ended(t, id).Status)
		list := a.eventsAfter(t, before)
		require.Len(t, list, 3)
		require.Equal(t, "trigger.invoked", list[0].Type)
		require.Equal(t, "call-1", list[0].RequestID)
		require.Equal(t, trace, list[0].TraceParent)
		require.Equal(t, "trigger:"+made.ID, list[0].Actor)
		sum := sha256.Sum256([]byte(`{"a": 1}`))
		require.Equal(t, map[string]any{"sha256": hex.EncodeToString(sum[:]), "size": 8.0}, list[0].Data["input"])
		for i, want := range []string{"trigger.invoked", "execution.started", "execution.completed"} {
			require.Equal(t, want, list[i].Type)
			require.Equal(t, id, list[i].CorrelationID)
		}
		for _, bad := range []string{"", "with space", "x\"y", "ä", "12345678901234567890123456789012345678901234567890123456789012345"} {
			answer := a.must(t, 200, nil, "GET", "/api/v1/me", "", "X-Request-Id", bad, "traceparent", "nonsense")
			require.NotEqual(t, bad, answer.Header.Get("X-Request-Id"))
			require.Regexp(t, "^[0-9A-Za-z]{27}$", answer.Header.Get("X-Request-Id"))
		}
	})
}
