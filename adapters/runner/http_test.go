package runner_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/runner"
	"hooktrail/adapters/runner/runnertest"
	"hooktrail/application"
	"hooktrail/domain/agent"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

const signingSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func newHTTP(t *testing.T, config runner.HTTPConfig) *runner.HTTP {
	h := runner.NewHTTP(config)
	t.Cleanup(h.Close)
	return h
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func httpRun(url string) application.Run {
	return application.Run{
		ExecutionID: "execution-1", AgentID: "agent-1", TriggerID: "trigger-1", Attempt: 2,
		Runner: agent.Runner{Kind: agent.RunnerHTTP, URL: url}, Input: []byte(`{"n": 1.10}`),
	}
}

func outputOf(result application.Result, err error) ([]byte, error) { return result.Output, err }

func echoAnswer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.Copy(w, r.Body)
}

func TestHTTPKeepsTheContract(t *testing.T) {
	t.Parallel()
	runnertest.Test(t, runnertest.Subject{
		Runner:  newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback}),
		Echoing: agent.Runner{Kind: agent.RunnerHTTP, URL: serve(t, echoAnswer).URL},
		Stuck: func(t *testing.T) (agent.Runner, <-chan struct{}) {
			started := make(chan struct{}, 8)
			server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				started <- struct{}{}
				<-r.Context().Done()
			})
			return agent.Runner{Kind: agent.RunnerHTTP, URL: server.URL}, started
		},
	})
}

func TestHTTPEndsInTheMiddleOfAnAnswer(t *testing.T) {
	// More than the sockets hold: when it is written, the runner is reading the answer.
	const half = 64 << 20
	begun := make(chan struct{}, 1)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.Copy(w, io.LimitReader(neverEnding(' '), half))
		begun <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	_, err := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback, MaxOutput: 2 * half}).Run(ctx, httpRun(server.URL))
	requireRunError(t, err, application.RunCancelled, false)
	require.ErrorIs(t, err, context.Canceled)
}

func TestHTTPRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	bodies := make(chan []byte, 1)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- r
		bodies <- body
		w.WriteHeader(http.StatusNoContent)
	})
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback, UserAgent: "Hooktrail/1.2"})
	run := httpRun(server.URL + "/agents/7?code=abc")
	run.SigningSecret = signingSecret
	run.Metadata = map[string]string{
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"tracestate":  "bad\nvalue", "session_id": "not a header",
	}
	run.Runner.Headers = map[string]string{
		"x-team": "blue", "Idempotency-Key": "forged", "webhook-id": "forged", "hooktrail-attempt": "99",
		"Content-Type": "text/plain", "Connection": "close", "Accept-Encoding": "br", "Host": "other.example",
	}
	output, err := outputOf(h.Run(t.Context(), run))
	require.NoError(t, err)
	require.Equal(t, "null", string(output))

	r, body := <-requests, <-bodies
	require.Equal(t, http.MethodPost, r.Method)
	require.Equal(t, "/agents/7?code=abc", r.URL.RequestURI())
	require.Equal(t, `{"n": 1.10}`, string(body), "the input must arrive to the byte")
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Idempotency-Key": "execution-1", "Hooktrail-Execution-Id": "execution-1",
		"Hooktrail-Attempt": "2", "Webhook-Id": "execution-1", "User-Agent": "Hooktrail/1.2", "X-Team": "blue",
		"Traceparent": run.Metadata["traceparent"], "Tracestate": "", "Session_id": "", "Connection": "",
	} {
		require.Equal(t, want, r.Header.Get(name), name)
	}
	require.Equal(t, int64(len(body)), r.ContentLength)
	require.NotContains(t, r.Header.Get("Accept-Encoding"), "br")
	require.True(t, strings.HasPrefix(server.URL, "http://"+r.Host))

	verifier, err := standardwebhooks.NewWebhook(signingSecret)
	require.NoError(t, err)
	require.NoError(t, verifier.Verify(body, r.Header))
	require.Error(t, verifier.Verify(append(body, ' '), r.Header))

	run.SigningSecret = ""
	run.Runner.Headers = nil
	_, err = h.Run(t.Context(), run)
	require.NoError(t, err)
	r = <-requests
	require.Empty(t, r.Header.Values("Webhook-Signature"))
	require.Empty(t, r.Header.Values("Webhook-Id"))
}

func TestHTTPRefusesARunnerThatCannotBeSent(t *testing.T) {
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback})
	for name, c := range map[string]struct {
		change func(*application.Run)
		want   string
	}{
		"no URL":           {func(r *application.Run) { r.Runner.URL = "" }, "URL"},
		"relative":         {func(r *application.Run) { r.Runner.URL = "/agents" }, "URL"},
		"no host":          {func(r *application.Run) { r.Runner.URL = "http://:80/" }, "URL"},
		"a file":           {func(r *application.Run) { r.Runner.URL = "file:///etc/passwd" }, "URL"},
		"unreadable":       {func(r *application.Run) { r.Runner.URL = "http://%zz/?secret-query" }, "URL"},
		"header name":      {func(r *application.Run) { r.Runner.Headers = map[string]string{"a b": "x"} }, `header "a b"`},
		"header value":     {func(r *application.Run) { r.Runner.Headers = map[string]string{"a": "secret\r\nb: c"} }, `header "a"`},
		"secret no base64": {func(r *application.Run) { r.SigningSecret = "whsec_secret!" }, "signing secret"},
		"secret empty":     {func(r *application.Run) { r.SigningSecret = "whsec_" }, "signing secret"},
	} {
		t.Run(name, func(t *testing.T) {
			run := httpRun("http://127.0.0.1:9/")
			c.change(&run)
			_, err := h.Run(t.Context(), run)
			failed := requireRunError(t, err, application.RunInvalidRunner, true)
			require.Contains(t, failed.Message, c.want)
			require.NotContains(t, err.Error(), "secret!")
			require.NotContains(t, err.Error(), "secret-query")
			require.NotContains(t, err.Error(), "secret\r\n")
		})
	}
}

func TestHTTPOutputFollowsTheAnswersType(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, r.URL.Query().Get("body"))
	})
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback})
	for _, c := range []struct{ query, want string }{
		{"type=application/json&body={\"a\":%201.10}", `{"a": 1.10}`},
		{"type=text/plain&body=42", `"42"`},
		{"type=text/plain&body=%ff", "\"\uFFFD\""},
		{"type=text/plain&body=", `null`},
	} {
		output, err := outputOf(h.Run(t.Context(), httpRun(server.URL+"/?"+c.query)))
		require.NoError(t, err)
		require.Equal(t, c.want, string(output), c.query)
	}
}

func TestHTTPOutputIsBounded(t *testing.T) {
	const limit = 1 << 10
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var size int
		_, _ = fmt.Sscan(r.URL.Query().Get("size"), &size)
		body := io.LimitReader(neverEnding('1'), int64(size))
		switch r.URL.Path {
		case "/chunked":
			_ = http.NewResponseController(w).Flush()
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			packed := gzip.NewWriter(w)
			_, _ = io.Copy(packed, body)
			_ = packed.Close()
			return
		default:
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		_, _ = io.Copy(w, body)
	})
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback, MaxOutput: limit})
	for _, path := range []string{"/plain", "/chunked", "/gzip"} {
		output, err := outputOf(h.Run(t.Context(), httpRun(fmt.Sprintf("%s%s?size=%d", server.URL, path, limit))))
		require.NoError(t, err)
		require.Len(t, output, limit+len(`""`), "text becomes a string")
		for _, size := range []int{limit + 1, 50 << 20} {
			_, err = h.Run(t.Context(), httpRun(fmt.Sprintf("%s%s?size=%d", server.URL, path, size)))
			failed := requireRunError(t, err, application.RunOutputTooLarge, true)
			require.Contains(t, failed.Message, "1024 bytes")
		}
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestHTTPStatuses(t *testing.T) {
	var status atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, "the reason")
	})
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback})
	for code, isFinal := range map[int]bool{
		400: true, 401: true, 403: true, 404: true, 409: true, 410: true, 413: true, 422: true, 499: true, 600: false,
		408: false, 425: false, 429: false, 500: false, 501: false, 502: false, 503: false, 504: false, 599: false,
	} {
		status.Store(int64(code))
		output, err := outputOf(h.Run(t.Context(), httpRun(server.URL)))
		require.Nil(t, output)
		failed := requireRunError(t, err, application.RunAgentFailed, isFinal)
		require.Contains(t, failed.Message, fmt.Sprint(code))
		require.True(t, strings.HasSuffix(failed.Message, ": the reason"), failed.Message)
		want := 120 * time.Second
		if isFinal {
			want = 0
		}
		require.Equal(t, want, failed.RetryAfter, code)
	}
}

func TestHTTPUsesConnectionsAgain(t *testing.T) {
	var connections, calls atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, strings.Repeat("sorry ", 100))
			return
		}
		echoAnswer(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	h := newHTTP(t, runner.HTTPConfig{AllowPrivate: loopback})
	for i := range 20 {
		_, err := h.Run(t.Context(), httpRun(server.URL))
		require.Equal(t, i%2 == 1, err != nil, "call %d: %v", i, err)
	}
	require.EqualValues(t, 20, calls.Load())
	require.EqualValues(t, 1, connections.Load())
}
