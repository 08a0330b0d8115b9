package application_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/domain/token"
)

func limit(calls int) func(*setup) { return func(s *setup) { s.config.RateLimit = calls } }

// allowed counts how many of so many calls are within the limit.
func (r *replica) allowed(text string, from netip.Addr, calls int) int {
	r.world.Helper()
	n := 0
	for range calls {
		d, err := r.TakeRate(r.world.Context(), application.Present(text), from)
		require.NoError(r.world, err)
		if d.Allowed {
			n++
		}
	}
	return n
}

func TestTheServersRateLimitCountsClientsOverAllTriggers(t *testing.T) {
	w := embedded(t)
	app := w.replica(limit(4))
	one, two := app.trigger(app.agent(nil).ID, nil), app.trigger(app.agent(nil).ID, nil)
	require.Equal(t, 1, app.allowed(one.Token, client, 1))
	require.Equal(t, 1, app.allowed(two.Token, client, 1))
	require.Equal(t, 1, app.allowed("no token", client, 1), "a call without a token counts too")
	d, err := app.TakeRate(t.Context(), application.Present(one.Token), client)
	require.NoError(t, err)
	require.Equal(t, application.RateDecision{Allowed: true, Limit: 4, Remaining: 0, ResetAfter: time.Minute}, d)
	require.Zero(t, app.allowed(one.Token, client, 3))
	require.Equal(t, 4, app.allowed(one.Token, netip.MustParseAddr("192.0.2.8"), 9), "another client has its own")
	require.Equal(t, 2, app.allowed(one.Token, netip.MustParseAddr("2001:db8::1"), 2))
	require.Equal(t, 2, app.allowed(one.Token, netip.MustParseAddr("2001:db8::2"), 9), "IPv6 counts per /64")
	w.clock.advance(time.Minute)
	require.Equal(t, 4, app.allowed(one.Token, client, 9))
}

func TestATriggersOwnRateLimit(t *testing.T) {
	for name, c := range map[string]struct{ server, own, allowed int }{
		"less than the server's":       {30, 2, 2},
		"more than the server's":       {2, 5, 5},
		"off":                          {2, 0, 20},
		"on where the server's is off": {0, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := embedded(t)
			maker := w.replica()
			made := maker.trigger(maker.agent(nil).ID, nil)
			patch, err := json.Marshal(map[string]int{"rate_limit": c.own})
			require.NoError(t, err)
			maker.options(made.ID, string(patch))
			app := w.replica(limit(c.server)) // it has not met the trigger yet
			require.Equal(t, c.allowed, app.allowed(made.Token, client, 20))
			require.Equal(t, c.allowed, app.allowed(made.Token, netip.MustParseAddr("192.0.2.8"), 20), "per client")

			other := maker.trigger(made.AgentID, nil)
			rest := 40
			if c.server > 0 {
				rest = c.server - 1 // the first call was counted before the trigger was known
			}
			require.Equal(t, rest, app.allowed(other.Token, client, 40), "others' calls are not counted with it")
		})
	}
}

func TestAnOldTokenHasNoRateLimitOfItsOwn(t *testing.T) {
	w := embedded(t)
	app := w.replica(limit(1))
	made := app.trigger(app.agent(nil).ID, func(c *application.CreateTrigger) { c.Options = json.RawMessage(`{"rate_limit":0}`) })
	require.Equal(t, 9, app.allowed(made.Token, client, 9))
	_, err := app.RotateTriggerToken(t.Context(), w.caller(), made.ID, time.Minute)
	require.NoError(t, err)
	w.clock.advance(time.Minute)
	app.refused(fault.Unauthorized, call(made.Token, "", `{}`))
	require.Equal(t, 1, app.allowed(made.Token, client, 9))
}

func TestBodyLimit(t *testing.T) {
	w := embedded(t)
	maker := w.replica()
	made := func(options string) string {
		return maker.trigger(maker.agent(nil).ID, func(c *application.CreateTrigger) { c.Options = json.RawMessage(options) }).Token
	}
	plain, large, small := made(`{}`), made(`{"max_body_bytes":5000}`), made(`{"max_body_bytes":10}`)
	unknown, err := token.New(token.TriggerPrefix, strings.NewReader(strings.Repeat("x", 24)))
	require.NoError(t, err)
	app := w.replica() // takes 1000 bytes
	body := func(n int) string { return `{"a":"` + strings.Repeat("x", n-8) + `"}` }
	for _, memory := range []string{"from the database", "from memory"} {
		for _, c := range []struct {
			token     string
			announced int
			want      int
		}{
			{plain, 2000, 1000},
			{plain, -1, 1000},
			{plain, 0, 1000},
			{large, 2000, 5000},
			{large, 6000, 5000},
			{large, -1, 5000},
			{unknown, 2000, 1000},
			{unknown, -1, 1000},
			{"no token", 1 << 30, 1000},
			{"", -1, 1000},
		} {
			require.Equal(t, c.want, app.BodyLimit(t.Context(), application.Present(c.token), c.announced), "%s: %d bytes, %s", c.token, c.announced, memory)
		}
		app.accepted(call(large, "", body(5000)))
		app.refused(fault.PayloadTooLarge, call(large, "", body(5001)))
		app.refused(fault.PayloadTooLarge, call(small, "", body(11)))
		app.accepted(call(small, "", body(10)))
		app.refused(fault.PayloadTooLarge, call(plain, "", body(1001)))
	}
	require.Equal(t, 10, app.BodyLimit(t.Context(), application.Present(small), 5), "known now")

	// What is announced to be more than memory allows is looked up.
	moved := maker.trigger(maker.agent(nil).ID, nil)
	app.accepted(call(moved.Token, "", `{}`))
	maker.options(moved.ID, `{"max_body_bytes":3000}`)
	require.Equal(t, 3000, app.BodyLimit(t.Context(), application.Present(moved.Token), 2000))
	app.accepted(call(moved.Token, "", body(2000)))
	maker.options(moved.ID, `{"max_body_bytes":null}`)
	app.refused(fault.PayloadTooLarge, call(moved.Token, "", body(2000)))
}
