package e2e_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// appendLock is the key of the advisory lock that appends wait for (adapters/database/postgres.go).
const appendLock = 0x686f6f6b

// metric reads one of the figures that a service tells about itself.
func (s *service) metric(name string) float64 {
	s.tb.Helper()
	a := s.send(http.MethodGet, "/metrics", "")
	require.Equal(s.tb, http.StatusOK, a.status, a.body)
	for line := range strings.Lines(a.body) {
		if text, found := strings.CutPrefix(line, name+" "); found {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			require.NoError(s.tb, err, line)
			return value
		}
	}
	require.FailNow(s.tb, "there is no such metric", name)
	return 0
}

// mebibytes is the memory that a service has of the machine.
func (s *service) mebibytes() float64 {
	s.tb.Helper()
	return s.metric("process_resident_memory_bytes") / (1 << 20)
}

// requireAway checks what a service tells while its database gives no answers.
func requireAway(t testing.TB, service *service) {
	t.Helper()
	require.Equal(t, http.StatusServiceUnavailable, service.send(http.MethodGet, "/readyz", "").status)
	require.Equal(t, http.StatusOK, service.send(http.MethodGet, "/healthz", "").status)
	a := service.send(http.MethodGet, "/api/v1/executions", "", "X-API-Key", service.key)
	require.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
	require.Contains(t, a.body, `"unavailable"`)
}

// awaitReady waits until a service says by itself that it is ready again.
func awaitReady(t testing.TB, services ...*service) {
	t.Helper()
	for _, service := range services {
		eventually(t, func() bool { return service.send(http.MethodGet, "/readyz", "").status == http.StatusOK }, "%s is not ready again", service.base)
	}
}

// connect opens a connection of the test's own to PostgreSQL.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

func execute(t testing.TB, conn *pgx.Conn, statement string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), statement)
	require.NoError(t, err, statement)
}
