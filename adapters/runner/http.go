package runner

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"hooktrail/application"
)

const (
	maxRedirects     = 3
	longestWait      = time.Hour // of a Retry-After
	connectTimeout   = 10 * time.Second
	maxHeaderBytes   = 64 << 10
	errorBodyBytes   = 16 << 10
	defaultUserAgent = "Hooktrail"
)

// HTTPConfig sets up the runners that call agents over HTTP; its zero value is ready for use.
type HTTPConfig struct {
	// AllowPrivate are the prefixes that agents may have although they are private, loopback,
	// link-local or otherwise special (HOOKTRAIL_ALLOW_PRIVATE_AGENTS).
	AllowPrivate []netip.Prefix
	// MaxOutput bounds an answer (bytes, decompressed); 0 is DefaultMaxOutput.
	MaxOutput int64
	// UserAgent is sent unless the agent's headers hold another; "" is "Hooktrail".
	UserAgent string
	// TLS is for agents of a private certificate authority; nil is the system's.
	TLS *tls.Config
}

func (config HTTPConfig) outbound() *outbound {
	// Control sees the address of every connection after the name is resolved, so a name that
	// changes its address between two look-ups gets nowhere.
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second, Control: guard(config.AllowPrivate).Safe}
	o := &outbound{maxOutput: config.MaxOutput, userAgent: config.UserAgent}
	if o.maxOutput <= 0 {
		o.maxOutput = DefaultMaxOutput
	}
	if o.userAgent == "" {
		o.userAgent = defaultUserAgent
	}
	// No Proxy: the guard would see the proxy's address instead of the agent's.
	o.transport = &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config.TLS.Clone(),
		TLSHandshakeTimeout:    connectTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return o
}

// HTTP runs agents that are web services: it posts the input and takes the answer for the
// output. Time limits come from the context of each run.
type HTTP struct {
	*outbound

	client *http.Client
}

// NewHTTP makes the http runner. Close gives its idle connections up.
func NewHTTP(config HTTPConfig) *HTTP {
	o := config.outbound()
	return &HTTP{outbound: o, client: &http.Client{CheckRedirect: checkRedirect, Transport: o.transport}}
}

func guard(allowPrivate []netip.Prefix) *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	for _, prefix := range allowPrivate {
		switch addr := prefix.Addr(); {
		case addr.Is4():
			v4 = append(v4, prefix)
		case addr.Is4In6() && prefix.Bits() >= 96:
			// The dialer treats such an address as the IPv4 one that it contains.
			v4 = append(v4, netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96))
		default:
			v6 = append(v6, prefix)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
}

// Run posts the input. 2xx is success. 408, 425, 429, 5xx and a failing network are worth
// another attempt; every other answer is final.
func (h *HTTP) Run(ctx context.Context, run application.Run) (application.Result, error) {
	target, err := agentURL(run.Runner.URL)
	if err != nil {
		return application.Result{}, err
	}
	request, err := h.request(ctx, run)
	if err != nil {
		return application.Result{}, err
	}
	response, err := h.client.Do(request)
	if err != nil {
		return application.Result{}, failure(ctx, target.Hostname(), err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return application.Result{}, refusal(ctx, response, sensitive(response.Request, run, target))
	}
	body, err := readAnswer(ctx, response, h.maxOutput, target.Hostname())
	if err != nil {
		return application.Result{}, err
	}
	return application.Result{Output: httpOutput(response.Header.Get("Content-Type"), body)}, nil
}

// readAnswer reads an answer whole, up to a limit. Every error is a *RunError.
func readAnswer(ctx context.Context, response *http.Response, limit int64, host string) ([]byte, error) {
	if response.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case int64(len(body)) > limit:
		return nil, tooLarge(limit)
	case ctx.Err() != nil:
		return nil, ended(ctx)
	case err != nil:
		return nil, &application.RunError{
			Code:    application.RunUnreachable,
			Message: "the answer of the agent at " + host + " broke off",
		}
	}
	return body, nil
}

func (h *HTTP) request(ctx context.Context, run application.Run) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, run.Runner.URL, bytes.NewReader(run.Input))
	if err != nil {
		return nil, final(application.RunInvalidRunner, "the agent's URL cannot be requested")
	}
	header := request.Header
	header.Set("Accept", "application/json, */*;q=0.5")
	if err := h.address(header, run); err != nil {
		return nil, err
	}
	header.Set("Content-Type", "application/json")
	if run.SigningSecret == "" {
		return request, nil
	}
	if err := sign(header, run, time.Now()); err != nil {
		return nil, err
	}
	return request, nil
}

// sign adds the headers of Standard Webhooks
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
func sign(header http.Header, run application.Run, now time.Time) error {
	key, err := standardwebhooks.NewWebhook(run.SigningSecret)
	if err != nil || strings.TrimPrefix(run.SigningSecret, "whsec_") == "" {
		return final(application.RunInvalidRunner, "the agent's signing secret is not one of Standard Webhooks (whsec_ and base64)")
	}
	signature, err := key.Sign(run.ExecutionID, now, run.Input)
	if err != nil {
		return final(application.RunInvalidRunner, "the input could not be signed with the agent's signing secret")
	}
	header.Set(standardwebhooks.HeaderWebhookID, run.ExecutionID)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}

// checkRedirect follows only redirects that keep the method and the body (RFC 9110 §15.4.8
// and §15.4.9), and only to the same host: the request carries a signature and the agent's
// headers. From http to https is the same host, back is not.
func checkRedirect(next *http.Request, via []*http.Request) error {
	status := next.Response.StatusCode
	if status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return final(application.RunRedirectRefused, "the agent redirects more than %d times", maxRedirects)
	}
	from, to := via[len(via)-1].URL, next.URL
	if !sameOrigin(from, to) {
		return final(application.RunRedirectRefused,
			"the agent redirects from %s://%s to %s://%s; redirects are followed on one host only: set the agent's url to the new address",
			from.Scheme, from.Host, to.Scheme, to.Host)
	}
	return nil
}

// failure words an error of the client by itself: the client's own texts quote the URL.
func failure(ctx context.Context, host string, err error) *application.RunError {
	var ours *application.RunError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrInvalidHostPort):
		refused := final(application.RunAddressRefused, "the agent's host %s has a private or reserved address; "+
			"the operator can allow its network with HOOKTRAIL_ALLOW_PRIVATE_AGENTS", host)
		refused.Cause = err
		return refused
	case ctx.Err() != nil:
		return ended(ctx)
	}
	return &application.RunError{
		Code:    application.RunUnreachable,
		Message: "the agent at " + host + " could not be reached: " + networkReason(err),
	}
}
