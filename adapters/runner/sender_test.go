package runner_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/runner"
	"hooktrail/application"
	"hooktrail/domain/subscription"
)

var toLoopback = runner.HTTPConfig{AllowPrivate: loopback}

func whsec(fill string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)))
}

func outgoing(url string) application.Outgoing {
	return application.Outgoing{
		URL: url, ID: "event-1", ContentType: "application/cloudevents+json", Body: []byte(`{"id":"event-1"}`), Attempt: 3,
		Secrets: []string{whsec("n"), whsec("o")}, TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
}

// answering starts a receiver and gives what it was sent.
func answering(t *testing.T, answer http.HandlerFunc) (url string, got func() (http.Header, []byte)) {
	var header http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		body, _ = io.ReadAll(r.Body)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() (http.Header, []byte) { return header, body }
}

func send(t *testing.T, config runner.HTTPConfig, o application.Outgoing) subscription.Answer {
	t.Helper()
	sender := runner.NewSender(config)
	t.Cleanup(sender.Close)
	answer, err := sender.Send(t.Context(), o)
	require.NoError(t, err)
	return answer
}

// TestSenderSignsWithEverySecret: a receiver that has either one takes the delivery.
func TestSenderSignsWithEverySecret(t *testing.T) {
	t.Parallel()
	url, got := answering(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	require.Equal(t, subscription.Answer{Status: 204}, send(t, toLoopback, outgoing(url)))
	header, body := got()
	require.Equal(t, `{"id":"event-1"}`, string(body))
	for _, secret := range []string{whsec("n"), whsec("o")} {
		receiver, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		require.NoError(t, receiver.Verify(body, header))
		require.Error(t, receiver.Verify(append(body, ' '), header))
	}
	stranger, err := standardwebhooks.NewWebhook(whsec("x"))
	require.NoError(t, err)
	require.Error(t, stranger.Verify(body, header))
	require.Equal(t, "event-1", header.Get("Webhook-Id"))
	require.Equal(t, "3", header.Get("Hooktrail-Attempt"))
	require.Equal(t, "application/cloudevents+json", header.Get("Content-Type"))
	require.NotEmpty(t, header.Get("Traceparent"))
}

func TestSenderTellsWhatTheReceiverAnswered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   subscription.Answer
	}{
		"a refusal": {
			func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = io.WriteString(w, "no such\n account, key=hidden "+r.Header.Get("Webhook-Signature"))
			},
			subscription.Answer{Status: 422, Error: "the receiver answered 422 Unprocessable Entity: no such account, [redacted] [redacted]"},
		},
		"a busy one": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "120")
				w.WriteHeader(http.StatusServiceUnavailable)
			},
			subscription.Answer{Status: 503, RetryAfter: 2 * time.Minute, Error: "the receiver answered 503 Service Unavailable"},
		},
		"a redirect": {
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
			},
			subscription.Answer{Status: 308, Error: "the receiver answered 308 Permanent Redirect; redirects are not followed: set the subscription's url to the new address"},
		},
		"none": {
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			subscription.Answer{Error: "the receiver at 127.0.0.1 could not be reached: it closed the connection without an answer"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := answering(t, c.answer)
			require.Equal(t, c.want, send(t, toLoopback, outgoing(url+"/?key=hidden")))
		})
	}
}

// TestSenderIsGuarded like the http runner: private addresses only where the operator allows them.
func TestSenderIsGuarded(t *testing.T) {
	t.Parallel()
	url, got := answering(t, func(http.ResponseWriter, *http.Request) {})
	answer := send(t, runner.HTTPConfig{}, outgoing(url))
	require.Contains(t, answer.Error, "HOOKTRAIL_ALLOW_PRIVATE_AGENTS")
	require.Contains(t, send(t, runner.HTTPConfig{}, outgoing(strings.Replace(url, "127.0.0.1", "localhost", 1))).Error, "private or reserved")
	require.Contains(t, send(t, runner.HTTPConfig{}, outgoing("http://169.254.169.254/latest/meta-data")).Error, "private or reserved")
	header, _ := got()
	require.Nil(t, header, "it was called all the same")
}

func TestSenderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	called := make(chan struct{})
	url, _ := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		close(called)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-called; cancel() }()
	sender := runner.NewSender(toLoopback)
	defer sender.Close()
	_, err := sender.Send(ctx, outgoing(url))
	require.ErrorIs(t, err, context.Canceled)
}
