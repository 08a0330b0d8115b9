//go:build unix

// Package testserver runs the whole service inside a test, as its command does, on a port of
// its own and on each database.
package testserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/cmd/hooktrail/serve"
	"hooktrail/internal/pgtest"
)

// The databases that the service runs on.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// EachDialect runs a test on both databases, at the same time.
func EachDialect(t *testing.T, test func(t *testing.T, dialect string)) {
	t.Helper()
	for _, dialect := range []string{SQLite, Postgres} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			test(t, dialect)
		})
	}
}

// Config is the configuration of the service.
type Config = serve.Config

// Options say what a test wants other than usual.
type Options struct {
	Dialect string // SQLite or Postgres
	// Configure changes the configuration: no rate limit, the echo runner for agents that name
	// none, both roles.
	Configure func(*Config)
	// OtherWorkspace makes a second workspace, with a key of its own.
	OtherWorkspace bool
}

// Server is a service under test. Its methods may be used by many tests at once.
type Server struct {
	URL    string
	APIKey string // of the default workspace, with scope admin
	// OtherAPIKey is the key of the second workspace, with scope admin.
	OtherAPIKey string
	Config      Config
	client      *http.Client
	log         string
}

const patience = time.Minute

// Start starts the service; it stops when t and its subtests are done.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	server := At("")
	server.APIKey, server.Config = "htk_test_"+rand.Text(), defaults(t, options.Dialect)
	server.log = filepath.Join(t.TempDir(), "log.json")
	server.Config.APIKey = server.APIKey
	if options.Configure != nil {
		options.Configure(&server.Config)
	}
	require.NoError(t, server.Config.Validate())
	if options.OtherWorkspace {
		server.OtherAPIKey = otherWorkspace(t, server.Config.Storage)
	}
	logs, err := os.Create(server.log)
	require.NoError(t, err)
	app := serve.New(server.Config, logs, func(started serve.Started) { server.URL = started.URL })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, app.Start(ctx))
	t.Cleanup(func() {
		server.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := app.Stop(ctx); err != nil {
			t.Errorf("stop the service: %v", err)
		}
		_ = logs.Close()
		if t.Failed() {
			t.Logf("what the service logged as warnings and errors:\n%s", server.complaints())
		}
	})
	return server
}

// At gives a server that somebody else has started, for its requests.
func At(url string) *Server {
	return &Server{URL: url, client: &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func defaults(t testing.TB, dialect string) Config {
	config := Config{
		Logging: serve.Logging{LogLevel: "debug", LogFormat: "json"}, Addr: "127.0.0.1:0", MaxBodyBytes: 1 << 20,
		DefaultRunner: "echo", Roles: []string{serve.RoleAPI, serve.RoleWorker}, WorkerConcurrency: 16, QueueLength: 4096,
		WorkerLease: 15 * time.Second, ShutdownTimeout: 10 * time.Second,
	}
	switch dialect {
	case SQLite:
		config.DataDir = t.TempDir()
	case Postgres:
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		config.DatabaseURL, config.MasterKey = pgtest.Database(t), base64.StdEncoding.EncodeToString(key)
	default:
		t.Fatalf("there is no dialect %q", dialect)
	}
	return config
}

// Answer is what the service answered.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Decode reads the member "data" of the answer.
func (a Answer) Decode(t testing.TB, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.Body), &struct {
		Data any `json:"data"`
	}{into}), a.Body)
}

// Do sends a request. It carries the server's API key unless headers has an X-API-Key, where
// "" sends none, or an Authorization; and the content type application/json unless headers
// has another.
func (s *Server) Do(t testing.TB, method, path, body string, headers map[string]string) Answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if headers["Authorization"] == "" {
		request.Header.Set("X-API-Key", s.APIKey)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		if request.Header.Set(name, value); value == "" {
			request.Header.Del(name)
		}
	}
	return s.Send(t, request)
}

// Send sends a request as it is.
func (s *Server) Send(t testing.TB, request *http.Request) Answer {
	t.Helper()
	response, err := s.client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(answer)}
}

// Log gives all that the service has logged, at level debug, as lines of JSON.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile(s.log)
	require.NoError(t, err)
	return string(content)
}

func (s *Server) complaints() string {
	content, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	var complaints bytes.Buffer
	for line := range bytes.Lines(content) {
		if bytes.Contains(line, []byte(`"level":"WARN"`)) || bytes.Contains(line, []byte(`"level":"ERROR"`)) {
			complaints.Write(line)
		}
	}
	return complaints.String()
}
