package runner

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hooktrail/application"
)

func networkReason(err error) string {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host name"
	case errors.As(err, &dns):
		return "its name could not be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it"
	case errors.As(err, &certificate):
		return "its TLS certificate is not valid for this host, or not trusted"
	case errors.As(err, &notTLS), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS on this port"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "it closed the connection without an answer"
	}
	return "it gave no valid HTTP answer"
}

// refusal is the error of an answer that is no success.
// secrets are what its text must not repeat.
func refusal(ctx context.Context, response *http.Response, secrets []string) *application.RunError {
	status := response.StatusCode
	if status >= 300 && status <= 399 {
		return final(application.RunRedirectRefused, "the agent answered %s; only redirects of status 307 and 308 are followed: "+
			"set the agent's url to the new address", statusLine(status))
	}
	// As long as the body fits, reading it lets the connection be used again.
	body, _ := io.ReadAll(io.LimitReader(response.Body, errorBodyBytes))
	if ctx.Err() != nil {
		return ended(ctx)
	}
	refused := &application.RunError{Code: application.RunAgentFailed, Message: "the agent answered " + statusLine(status)}
	if text := excerpt(complaint(body), secrets); text != "" {
		refused.Message += ": " + text
	}
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		refused.RetryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
	default:
		refused.Final = true
	}
	return refused
}

// complaint is the message in an error of the form that OpenAI's API has; else the whole body.
func complaint(body []byte) []byte {
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		return []byte(said.Error.Message)
	}
	return body
}

func statusLine(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3): at least 0, at most longestWait, and
// 0 for anything else.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds > int(longestWait/time.Second) {
			return longestWait
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), longestWait)
}

// shortestSecret (bytes): what is shorter is not worth hiding, and would blot out the text.
const shortestSecret = 4

// sensitive are the parts of a request that an agent may quote in its answer, and that must
// not get into an error: header values, signature, secret, credential, user info, query.
func sensitive(sent *http.Request, run application.Run, target *url.URL) []string {
	values := []string{run.SigningSecret, run.Credential, sent.Header.Get("Webhook-Signature"), target.RawQuery}
	for _, value := range run.Runner.Headers {
		values = append(values, value)
		if _, credentials, found := strings.Cut(value, " "); found { // Bearer …
			values = append(values, credentials)
		}
	}
	for _, several := range target.Query() {
		values = append(values, several...)
	}
	if target.User != nil {
		password, _ := target.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(target.User.Username() + ":" + password))
		values = append(values, target.User.Username(), password, basic)
	}
	return worthHiding(values)
}

// worthHiding leaves out what is too short, and puts the longer ones first, so that no part of one
// remains after a shorter one is replaced.
func worthHiding(values []string) []string {
	values = slices.DeleteFunc(values, func(value string) bool { return len(value) < shortestSecret })
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	return values
}

const excerptRunes = 500

// excerpt is the beginning of an agent's error text on one line, without the secrets.
func excerpt(body []byte, secrets []string) string {
	text := string(body)
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if runes := []rune(text); len(runes) > excerptRunes {
		return string(runes[:excerptRunes]) + "…"
	}
	return text
}
