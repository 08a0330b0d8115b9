//go:build unix

package httpapi_test

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/testserver"
)

func limited(t *testing.T, dialect string, proxies ...string) *api {
	t.Helper()
	return start(t, testserver.Options{Dialect: dialect, Configure: func(c *testserver.Config) { c.RateLimit, c.TrustedProxies = 30, proxies }})
}

var left = regexp.MustCompile(`^"ip";r=(\d+);t=(\d+)$`)

// TestRateLimit takes 30 calls in a minute, and not the 31st, whatever it says about itself.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		a := limited(t, dialect)
		agent := a.echo(t)
		one, another := a.trigger(t, agent, ""), a.trigger(t, agent, "")
		free, own := a.trigger(t, agent, `{"options": {"rate_limit": 0}}`), a.trigger(t, agent, `{"options": {"rate_limit": 2}}`)
		require.Equal(t, 202, a.hook(t, free.Token, `{}`).Status, "this makes it known, which counts once")
		for i := range 29 {
			token, want := one.Token, 202
			switch i % 3 {
			case 1:
				token = another.Token // it is one limit over all triggers
			case 2:
				token, want = "wht_guess", 401 // and over guesses
			}
			answer := a.hook(t, token, `{}`)
			require.Equal(t, want, answer.Status, "call %d: %s", i+1, answer.Body)
			require.Equal(t, `"ip";q=30;w=60`, answer.Header.Get("RateLimit-Policy"))
			found := left.FindStringSubmatch(answer.Header.Get("RateLimit"))
			require.NotNil(t, found, answer.Header.Get("RateLimit"))
			require.Equal(t, strconv.Itoa(28-i), found[1])
		}
		before := a.head(t)
		for _, headers := range [][]string{
			{},
			{"X-Forwarded-For", "203.0.113.9"},
			{"X-Forwarded-For", "203.0.113.9, 127.0.0.1"},
			{"X-Real-IP", "203.0.113.9"},
			{"Forwarded", "for=203.0.113.9"},
			{"CF-Connecting-IP", "203.0.113.9"},
			{"True-Client-IP", "203.0.113.9"},
			{"X-Client-IP", "203.0.113.9"},
		} {
			answer := a.hook(t, one.Token, `{}`, headers...)
			require.Equal(t, 429, answer.Status, "%v", headers)
			require.Equal(t, "rate_limited", refusalOf(t, answer).Error.Code)
			wait, err := strconv.Atoi(answer.Header.Get("Retry-After"))
			require.NoError(t, err)
			require.True(t, wait >= 1 && wait <= 61, wait)
			require.Equal(t, "0", left.FindStringSubmatch(answer.Header.Get("RateLimit"))[1])
		}
		require.Equal(t, 429, a.do(t, "POST", "/hooks/"+one.Token, `{}`).Status, "by the path too")
		require.NotContains(t, typesOf(a.eventsAfter(t, before)), "trigger.invoked")
		a.must(t, 200, nil, "GET", triggers, "") // the management API is not limited
		require.Equal(t, 202, a.hook(t, free.Token, `{}`).Status, "a trigger without a limit, once it is known")
		require.Equal(t, 429, a.hook(t, own.Token, `{}`).Status, "one that is not known is not looked up for a client that guesses")
	})
}

// TestTriggersOwnLimit counts by itself, once the trigger is known.
func TestTriggersOwnLimit(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.echo(t)
		own, free := a.trigger(t, agent, `{"options": {"rate_limit": 2}}`), a.trigger(t, agent, "")
		for i := range 2 {
			answer := a.hook(t, own.Token, `{}`)
			require.Equal(t, 202, answer.Status)
			require.Equal(t, `"ip";q=2;w=60`, answer.Header.Get("RateLimit-Policy"))
			require.Equal(t, strconv.Itoa(1-i), left.FindStringSubmatch(answer.Header.Get("RateLimit"))[1])
		}
		require.Equal(t, 429, a.hook(t, own.Token, `{}`).Status)
		for range 3 {
			answer := a.hook(t, free.Token, `{}`)
			require.Equal(t, 202, answer.Status)
			require.Empty(t, answer.Header.Get("RateLimit"), "no limit, no word of it")
		}
		a.must(t, 200, nil, "PATCH", triggers+"/"+own.ID, `{"options": {"rate_limit": 0}}`)
		// What is in memory may be a second old.
		require.Eventually(t, func() bool { return a.hook(t, own.Token, `{}`).Status == 202 }, time.Minute, 50*time.Millisecond)
	})
}

// TestRateLimitBehindAProxy counts by the address that the trusted proxy saw.
func TestRateLimitBehindAProxy(t *testing.T) {
	t.Parallel()
	testserver.EachDialect(t, func(t *testing.T, dialect string) {
		a := limited(t, dialect, "127.0.0.0/8", "10.0.0.0/8")
		made := a.trigger(t, a.echo(t), "")
		call := func(forwardedFor string) int {
			return a.hook(t, made.Token, `{}`, "X-Forwarded-For", forwardedFor).Status
		}
		for range 30 {
			require.Equal(t, 202, call("203.0.113.1"))
		}
		require.Equal(t, 429, call("203.0.113.1"))
		require.Equal(t, 202, call("203.0.113.2"), "another client")
		require.Equal(t, 429, call("198.51.100.1, 203.0.113.1"), "what a client writes itself is not believed")
		require.Equal(t, 429, call("203.0.113.1, 10.1.2.3"), "two trusted proxies")
		require.Equal(t, 429, call("::ffff:203.0.113.1"), "the same address written as IPv6")
		for i := range 30 {
			require.Equal(t, 202, call("2001:db8:1:2::"+number(i+1)))
		}
		require.Equal(t, 429, call("2001:db8:1:2:ffff::1"), "one /64 is one client")
		require.Equal(t, 202, call("2001:db8:1:3::1"))
	})
}
