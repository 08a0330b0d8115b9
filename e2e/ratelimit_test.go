package e2e_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// perMinute is the limit of the page.
const perMinute = 30

func requireLimited(t testing.TB, a answer) {
	t.Helper()
	require.Equal(t, http.StatusTooManyRequests, a.status, a.body)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	require.NoError(t, err, "Retry-After is a number of seconds")
	require.True(t, seconds >= 1 && seconds <= 61, seconds)
	require.Contains(t, a.body, `"rate_limited"`)
	require.NotEmpty(t, a.header.Get("RateLimit"))
}

func TestRateLimit(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, nil)
		made, other := service.echoTrigger(), service.echoTrigger()
		for i := range perMinute {
			// One limit over all triggers, whatever the caller says about itself.
			token := []string{made.Token, other.Token}[i%2]
			a := service.fire(token, `{}`, "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i), "X-Real-Ip", fmt.Sprintf("198.51.100.%d", i))
			require.Equal(t, http.StatusAccepted, a.status, "call %d: %s", i+1, a.body)
			require.Equal(t, `"ip";q=30;w=60`, a.header.Get("RateLimit-Policy"))
			require.Contains(t, a.header.Get("RateLimit"), fmt.Sprintf(`"ip";r=%d;`, perMinute-1-i))
		}
		requireLimited(t, service.fire(made.Token, `{}`))
		requireLimited(t, service.fire(other.Token, `{}`, "X-Forwarded-For", "192.0.2.1"))
		requireLimited(t, service.fire(made.Token, `{}`, "Forwarded", "for=192.0.2.1", "X-Real-Ip", "192.0.2.1", "X-Client-Ip", "192.0.2.1"))
		requireLimited(t, service.send(http.MethodPost, "/api/v1/hooks/"+made.Token, `{}`))
		requireLimited(t, service.send(http.MethodPost, "/hooks/"+made.Token, `{}`))
		requireLimited(t, service.fire("wht_unknown", `{}`))
		service.get("/api/v1/webhook-triggers") // the management API has no part in it
		require.Equal(t, perMinute, service.total("/api/v1/executions?"))
		service.stop()
	})
}

func TestRateLimitBehindProxy(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, environment{"HOOKTRAIL_TRUSTED_PROXIES": "127.0.0.1"})
		made := service.echoTrigger()
		first, second := "203.0.113.1", "203.0.113.2"
		for i := range perMinute {
			// What the client itself has put before the proxy's entry is not believed.
			spoofed := fmt.Sprintf("198.51.100.%d, %s", i, first)
			require.Equal(t, http.StatusAccepted, service.fire(made.Token, `{}`, "X-Forwarded-For", spoofed).status)
		}
		requireLimited(t, service.fire(made.Token, `{}`, "X-Forwarded-For", first))
		for range perMinute {
			require.Equal(t, http.StatusAccepted, service.fire(made.Token, `{}`, "X-Forwarded-For", second).status)
		}
		requireLimited(t, service.fire(made.Token, `{}`, "X-Forwarded-For", second))
		service.stop()
	})
}

// TestRateLimitOfReplicas calls two processes in turn.
func TestRateLimitOfReplicas(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		s := postgresStore(pgtest.Database(t))
		replicas := []*service{s.serve(t, nil), s.serve(t, nil)}
		made := replicas[0].echoTrigger()
		accepted := 0
		for i := range perMinute + 1 {
			a := replicas[i%2].fire(made.Token, `{}`)
			if a.status == http.StatusAccepted {
				accepted++
				continue
			}
			requireLimited(t, a)
		}
		require.Equal(t, perMinute, accepted)
		for _, replica := range replicas {
			requireLimited(t, replica.fire(made.Token, `{}`))
			replica.stop()
		}
	})
}
