package runner

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"hooktrail/application"
	"hooktrail/domain/agent"
)

// outbound is what the runners share that call agents over HTTP.
type outbound struct {
	transport *http.Transport
	maxOutput int64
	userAgent string
}

// Close closes the connections that wait for reuse. Runs under way are not disturbed.
func (o *outbound) Close() { o.transport.CloseIdleConnections() }

// agentURL reads the address of a run's agent.
func agentURL(address string) (*url.URL, error) {
	parsed, err := url.Parse(address)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "" {
		return nil, final(application.RunInvalidRunner, "the agent's URL is not an absolute http or https URL")
	}
	return parsed, nil
}

// notForwarded are headers that belong to one connection, or that net/http must manage by
// itself to decompress answers.
var notForwarded = []string{"Accept-Encoding", "Connection", "Expect", "Keep-Alive", "Proxy-Connection", "Te", "Upgrade"}

// address writes the headers that every request to an agent has.
func (o *outbound) address(header http.Header, run application.Run) error {
	header.Set("User-Agent", o.userAgent)
	for name, value := range run.Runner.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return final(application.RunInvalidRunner, "the agent's header %q is not valid", name)
		}
		header.Set(name, value)
	}
	for _, name := range notForwarded {
		header.Del(name)
	}
	for _, name := range []string{"traceparent", "tracestate"} {
		if value := run.Metadata[name]; value != "" && httpguts.ValidHeaderFieldValue(value) {
			header.Set(name, value)
		}
	}
	if run.Shadow {
		header.Set("Hooktrail-Shadow", "true")
	}
	if run.Credential != "" {
		header.Set("Authorization", "Bearer "+run.Credential)
	}
	// net/http takes this header also for leave to send again when a reused connection turns
	// out to be closed.
	header.Set("Idempotency-Key", run.ExecutionID)
	header.Set("Hooktrail-Execution-Id", run.ExecutionID)
	header.Set("Hooktrail-Attempt", strconv.Itoa(run.Attempt))
	return nil
}

// client is for a library that speaks a protocol to the agent of a run: its requests get the
// run's headers, and all that goes wrong below the protocol comes back as a *RunError.
func (o *outbound) client(run application.Run, target *url.URL) *http.Client {
	return &http.Client{CheckRedirect: checkRedirect, Transport: &exchange{outbound: o, run: run, target: target}}
}

// exchange makes the requests of one run. It reads answers whole, so that a connection that
// breaks is told from an answer that is wrong.
type exchange struct {
	*outbound

	run    application.Run
	target *url.URL
}

// RoundTrip makes one request. Every error is a *RunError.
func (e *exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	if !sameOrigin(e.target, request.URL) {
		closeBody(request)
		return nil, final(application.RunRedirectRefused, "the agent's host is %s; requests for it do not go to %s", e.target.Host, request.URL.Host)
	}
	sent := request.Clone(request.Context())
	for name := range sent.Header {
		// They tell the library's version, and the machine that it runs on.
		if strings.HasPrefix(name, "X-Stainless-") {
			sent.Header.Del(name)
		}
	}
	if err := e.address(sent.Header, e.run); err != nil {
		closeBody(request)
		return nil, err
	}
	if e.run.Runner.Kind == agent.RunnerA2A {
		// Its requests differ, so they must not have one key; the message's id is the protocol's
		// own. Present but empty, it is not sent and still lets net/http send again.
		sent.Header["Idempotency-Key"] = []string{}
	}
	for _, name := range []string{"Content-Type", "A2a-Version", "A2a-Extensions"} { // the protocol's own
		if values := request.Header.Values(name); len(values) > 0 {
			sent.Header[name] = values
		}
	}
	response, err := e.transport.RoundTrip(sent)
	if err != nil {
		return nil, failure(request.Context(), request.URL.Hostname(), err)
	}
	status := response.StatusCode
	if (status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect) && response.Header.Get("Location") != "" {
		return response, nil // which http.Client follows, or not, by checkRedirect
	}
	defer response.Body.Close()
	if status < 200 || status > 299 {
		return nil, refusal(request.Context(), response, sensitive(sent, e.run, e.target))
	}
	body, err := readAnswer(request.Context(), response, e.maxOutput, e.target.Hostname())
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

func closeBody(request *http.Request) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
}

// sameOrigin holds also for the same host with TLS in place of none.
func sameOrigin(from, to *url.URL) bool {
	if from.Scheme == to.Scheme && strings.EqualFold(from.Host, to.Host) {
		return true
	}
	return from.Scheme == "http" && to.Scheme == "https" && strings.EqualFold(from.Hostname(), to.Hostname())
}

// redacted is a text of an agent on one line, without the run's secrets.
func redacted(text string, run application.Run, target *url.URL) string {
	return excerpt([]byte(text), sensitive(&http.Request{}, run, target))
}

// asRunError finds the *RunError that a library has wrapped; nil when the library itself failed.
func asRunError(err error) *application.RunError {
	var failed *application.RunError
	if errors.As(err, &failed) {
		return failed
	}
	return nil
}
