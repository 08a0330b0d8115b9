package hooktrail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// The environment variables from which Options takes what it does not say.
const (
	EnvAPIKey = "HOOKTRAIL_API_KEY" //nolint:gosec // a variable's name is no key
	EnvURL    = "HOOKTRAIL_URL"
)

// DefaultURL is where a server is looked for when nothing says otherwise.
const DefaultURL = "http://localhost:8080"

const (
	defaultRetries = 3
	defaultTimeout = 30 * time.Second
	// mostPatience bounds a wait between two attempts, also one that Retry-After asks for.
	mostPatience = 60 * time.Second
	firstWait    = 200 * time.Millisecond
	longestWait  = 5 * time.Second
	// maxAnswer is more than any answer of the API comes to.
	maxAnswer = 256 << 20
)

// Options say how to reach a server. The zero value takes everything from the environment.
type Options struct {
	// APIKey is the key to the management API, "htk_…". Default: HOOKTRAIL_API_KEY. Only Fire
	// needs none.
	APIKey Secret
	// BaseURL is the server's, without /api. Default: HOOKTRAIL_URL, then DefaultURL.
	BaseURL string
	// HTTPClient sends the requests; default is one of the client's own. Redirects are not
	// followed, whatever it says: they would carry the key elsewhere.
	HTTPClient *http.Client
	// MaxRetries is how often a request is sent again after a passing failure, where that is safe:
	// default 3; a negative number means never.
	MaxRetries int
	// Timeout bounds one attempt, beyond the wait that the request itself asks for. Default 30 s.
	Timeout time.Duration
	// UserAgent is put before the client's own name.
	UserAgent string
}

// Client speaks to one server.
type Client struct {
	WebhookTriggers *WebhookTriggers
	Agents          *Agents
	Executions      *Executions
	Backtests       *Backtests
	Events          *Events
	Rejections      *Rejections
	APIKeys         *APIKeys
	Subscriptions   *Subscriptions
	Audit           *Audit

	key       Secret
	base      string
	http      *http.Client
	retries   int
	timeout   time.Duration
	userAgent string
}

// New makes a client. It does not connect; an error is about the options.
func New(options Options) (*Client, error) {
	if options.APIKey == "" {
		options.APIKey = Secret(os.Getenv(EnvAPIKey))
	}
	options.APIKey = Secret(strings.TrimSpace(string(options.APIKey)))
	if options.BaseURL == "" {
		options.BaseURL = os.Getenv(EnvURL)
	}
	if options.BaseURL == "" {
		options.BaseURL = DefaultURL
	}
	base, err := url.Parse(options.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("hooktrail: BaseURL (HOOKTRAIL_URL) must be an absolute http or https URL, such as https://hooks.example.com")
	}
	if base.User != nil {
		return nil, errors.New("hooktrail: BaseURL (HOOKTRAIL_URL) must not hold a user or password")
	}
	var sender http.Client
	if options.HTTPClient != nil {
		sender = *options.HTTPClient
	}
	sender.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &Client{
		key: options.APIKey, base: strings.TrimRight(base.String(), "/"), http: &sender,
		retries: options.MaxRetries, timeout: options.Timeout, userAgent: strings.TrimSpace(options.UserAgent + " hooktrail-go"),
	}
	if c.retries == 0 {
		c.retries = defaultRetries
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	c.WebhookTriggers, c.Agents, c.Executions = &WebhookTriggers{c}, &Agents{c}, &Executions{c}
	c.Backtests = &Backtests{c}
	c.Events, c.Rejections, c.APIKeys = &Events{c}, &Rejections{c}, &APIKeys{c}
	c.Subscriptions, c.Audit = &Subscriptions{c}, &Audit{c}
	return c, nil
}

// BaseURL is the server's URL.
func (c *Client) BaseURL() string { return c.base }

// Format shows the URL alone.
func (c Client) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "hooktrail.Client(%s)", c.base) }

// Answer is what the server answered.
type Answer struct {
	Status    int
	Header    http.Header
	RequestID string
	// Warnings name fields of the request that the server did not know.
	Warnings []string
	// Body is the answer as it came. It may hold a token or a secret.
	Body []byte
}

// Format leaves the body out, which may hold secrets.
func (a Answer) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "hooktrail.Answer(%d, request %s, %d bytes)", a.Status, a.RequestID, len(a.Body))
}

// RequestOption changes one request.
type RequestOption func(*request)

// WithAnswer puts the whole answer into a place of the caller's, also when it is an error. It
// stays as it was when there was no answer.
func WithAnswer(into *Answer) RequestOption { return func(r *request) { r.into = into } }

// IfVersion has the request refused by ErrConflict unless the resource still has this version.
// Only updates and deletions of triggers and agents take it.
func IfVersion(version int64) RequestOption {
	return func(r *request) { r.header.Set("If-Match", strconv.Quote(strconv.FormatInt(version, 10))) }
}

// WithQuery sets a parameter of the query, for filters that this version does not know.
func WithQuery(name, value string) RequestOption {
	return func(r *request) {
		if r.query == nil {
			r.query = url.Values{}
		}
		r.query.Set(name, value)
	}
}

// request is one call, which may take several attempts.
type request struct {
	method string
	url    string // without the base
	query  url.Values
	header http.Header
	body   []byte
	wait   time.Duration // how long the server is asked to wait
	// repeatable says that the request may arrive twice: it changes nothing the second time.
	repeatable bool
	// place is where a webhook call goes; it may hold the token, so errors leave it out.
	place string
	into  *Answer
}

// manage sends a request to the management API. in is encoded as the body unless nil; the data
// of the answer is decoded to out unless nil.
func (c *Client) manage(ctx context.Context, method, path string, query url.Values, in, out any, options []RequestOption) error {
	r := &request{method: method, url: "/api/v1" + path, query: query, header: http.Header{}, repeatable: method == http.MethodGet}
	if c.key == "" {
		return &Error{Code: codeUnauthorized, Message: "there is no API key: set Options.APIKey or " + EnvAPIKey}
	}
	r.header.Set("X-API-Key", string(c.key))
	if in != nil {
		body, err := encode(in)
		if err != nil {
			return err
		}
		r.body = body
		r.header.Set("Content-Type", "application/json")
	}
	if waits, ok := in.(interface{ wait() time.Duration }); ok {
		r.wait = waits.wait()
	}
	for _, option := range options {
		option(r)
	}
	answer, err := c.send(ctx, r)
	if err != nil || out == nil {
		return err
	}
	return decode(answer, out)
}

// encode keeps <, > and & as they are, so that raw JSON is sent as it was given.
func encode(value any) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("hooktrail: encode the request: %w", err)
	}
	return bytes.TrimRight(body.Bytes(), "\n"), nil
}

// decode reads an answer; a list is read whole, else its data.
func decode(answer *Answer, out any) error {
	into := out
	if _, whole := out.(interface{ wholeAnswer() }); !whole {
		into = &struct {
			Data any `json:"data"`
		}{out}
	}
	if err := json.Unmarshal(answer.Body, into); err != nil {
		return &Error{
			Status: answer.Status, Code: codeUnexpected, RequestID: answer.RequestID, cause: err,
			Message: "the answer is not one of a Hooktrail server; check the URL, and proxies on the way",
		}
	}
	return nil
}

// send makes the attempts.
func (c *Client) send(ctx context.Context, r *request) (*Answer, error) {
	for attempt := 0; ; attempt++ {
		answer, err := c.attempt(ctx, r)
		if err == nil {
			return answer, nil
		}
		var failed *Error
		if ctx.Err() != nil || !errors.As(err, &failed) || attempt >= c.retries || !failed.passing(r.repeatable) || failed.RetryAfter > mostPatience {
			return nil, err
		}
		if !sleep(ctx, max(failed.RetryAfter, pause(attempt))) {
			return nil, err
		}
	}
}

// passing reports whether the request may be sent again, and it may help.
func (e *Error) passing(repeatable bool) bool {
	if e.unbegun {
		return true
	}
	// A 409 is a webhook call whose trigger is being changed at this moment.
	return repeatable && (e.Status >= 500 || e.Status == http.StatusConflict || e.Code == codeConnection)
}

// pause is the wait before the next attempt, which grows from 0.1 s or more to 5 s.
func pause(attempt int) time.Duration {
	most := min(firstWait<<min(attempt, 10), longestWait)
	return most/2 + rand.N(most/2) //nolint:gosec // spreads clients; nothing depends on it being unguessable
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Client) attempt(ctx context.Context, r *request) (*Answer, error) {
	patient, cancel := context.WithTimeout(ctx, c.timeout+r.wait)
	defer cancel()
	place := r.place
	if place == "" {
		place = c.base + r.url
	}
	if len(r.query) > 0 {
		place += "?" + r.query.Encode()
	}
	sent, err := http.NewRequestWithContext(patient, r.method, place, bytes.NewReader(r.body))
	if err != nil {
		return nil, errors.New("hooktrail: the URL of the request cannot be read") // the error would show it
	}
	sent.Header = r.header.Clone()
	sent.Header.Set("Accept", "application/json")
	sent.Header.Set("User-Agent", c.userAgent)
	response, err := c.http.Do(sent)
	if err != nil {
		return nil, unanswered(ctx, sent, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, unanswered(ctx, sent, err)
	}
	answer := &Answer{Status: response.StatusCode, Header: response.Header, RequestID: response.Header.Get("X-Request-Id"), Body: body}
	if len(body) > maxAnswer {
		return nil, &Error{Status: answer.Status, Code: codeUnexpected, RequestID: answer.RequestID, Message: "the answer is over 256 MiB"}
	}
	var warned struct {
		Warnings []string `json:"warnings"`
	}
	if json.Unmarshal(body, &warned) == nil {
		answer.Warnings = warned.Warnings
	}
	if r.into != nil {
		*r.into = *answer
	}
	if answer.Status < 200 || answer.Status > 299 {
		return nil, errorOf(answer)
	}
	return answer, nil
}

// givenUp is the error of what the caller's context has ended, with the context's own error and
// with the cause that the caller may have given.
func givenUp(ctx context.Context, what string) error {
	if cause := context.Cause(ctx); !errors.Is(ctx.Err(), cause) {
		return fmt.Errorf("hooktrail: %s was given up: %w: %w", what, ctx.Err(), cause)
	}
	return fmt.Errorf("hooktrail: %s was given up: %w", what, ctx.Err())
}

// unanswered makes an error that names the server but not the path, which may hold a token.
func unanswered(ctx context.Context, sent *http.Request, err error) error {
	if ctx.Err() != nil {
		return givenUp(ctx, "the request")
	}
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	message := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		message = "it did not answer in time"
	}
	// What failed while dialling was never sent.
	var network *net.OpError
	unbegun := errors.As(err, &network) && network.Op == "dial"
	return &Error{Code: codeConnection, Message: fmt.Sprintf("%s://%s cannot be reached: %s", sent.URL.Scheme, sent.URL.Host, message), cause: err, unbegun: unbegun}
}

// at is the path of one resource.
func at(collection, id string, more ...string) (string, error) {
	if id == "" {
		return "", &Error{Code: "validation_failed", Message: "an id is needed", Details: map[string]string{"id": "is required"}}
	}
	escaped := url.PathEscape(id)
	if strings.Trim(id, ".") == "" { // a path of dots leads elsewhere
		escaped = strings.ReplaceAll(id, ".", "%2E")
	}
	return collection + "/" + escaped + strings.Join(more, ""), nil
}
