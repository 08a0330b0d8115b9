package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/net/http/httpguts"

	"hooktrail/application"
	"hooktrail/domain/subscription"
)

// Sender posts events to the receivers of subscriptions, over the guarded connections of the http
// runner and signed like its requests. It follows no redirects: an event belongs to the URL that
// somebody decided on.
type Sender struct {
	client    *http.Client
	userAgent string
}

// NewSender makes a sender. Close gives its idle connections up.
func NewSender(config HTTPConfig) *Sender {
	h := NewHTTP(config)
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Sender{client: h.client, userAgent: h.userAgent}
}

// Close closes the connections that wait for reuse.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Send posts one event. 2xx is success.
func (s *Sender) Send(ctx context.Context, o application.Outgoing) (subscription.Answer, error) {
	target, err := url.Parse(o.URL)
	if err != nil {
		return subscription.Answer{}, errors.New("the URL of a subscription cannot be read")
	}
	request, signature, err := s.request(ctx, o)
	if err != nil {
		return subscription.Answer{}, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return subscription.Answer{}, ctx.Err()
		}
		return subscription.Answer{Error: unreachable(target.Hostname(), err)}, nil
	}
	defer response.Body.Close()
	// As long as the body fits, reading it lets the connection be used again.
	body, _ := io.ReadAll(io.LimitReader(response.Body, errorBodyBytes))
	answer := subscription.Answer{Status: response.StatusCode}
	switch {
	case answer.Status >= 200 && answer.Status <= 299:
		return answer, nil
	case ctx.Err() != nil:
		return subscription.Answer{}, ctx.Err()
	case answer.Status >= 300 && answer.Status <= 399:
		answer.Error = fmt.Sprintf("the receiver answered %s; redirects are not followed: set the subscription's url to the new address", statusLine(answer.Status))
		return answer, nil
	}
	answer.Error = "the receiver answered " + statusLine(answer.Status)
	secrets := append([]string{signature, target.RawQuery}, o.Secrets...)
	for _, values := range target.Query() {
		secrets = append(secrets, values...)
	}
	if text := excerpt(body, worthHiding(secrets)); text != "" {
		answer.Error += ": " + text
	}
	answer.RetryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
	return answer, nil
}

func (s *Sender) request(ctx context.Context, o application.Outgoing) (*http.Request, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.URL, bytes.NewReader(o.Body))
	if err != nil {
		return nil, "", errors.New("the URL of a subscription cannot be requested")
	}
	now := time.Now()
	signatures := make([]string, len(o.Secrets))
	for i, secret := range o.Secrets {
		key, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, "", errors.New("the secret of a subscription is not one of Standard Webhooks")
		}
		if signatures[i], err = key.Sign(o.ID, now, o.Body); err != nil {
			return nil, "", fmt.Errorf("sign event %s: %w", o.ID, err)
		}
	}
	signature := strings.Join(signatures, " ")
	header := request.Header
	header.Set("Content-Type", o.ContentType)
	header.Set("User-Agent", s.userAgent)
	// net/http takes this header also for leave to send again when a reused connection turns out
	// to be closed.
	header.Set("Idempotency-Key", o.ID)
	header.Set("Hooktrail-Attempt", strconv.Itoa(o.Attempt))
	if o.TraceParent != "" && httpguts.ValidHeaderFieldValue(o.TraceParent) {
		header.Set("traceparent", o.TraceParent)
	}
	header.Set(standardwebhooks.HeaderWebhookID, o.ID)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return request, signature, nil
}

// unreachable words an error of the client by itself: the client's own texts quote the URL.
func unreachable(host string, err error) string {
	if errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort) {
		return "the receiver's host " + host + " has a private or reserved address; the operator can allow its network with HOOKTRAIL_ALLOW_PRIVATE_AGENTS"
	}
	return "the receiver at " + host + " could not be reached: " + networkReason(err)
}
