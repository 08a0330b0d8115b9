package hooktrail

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"
)

// Call is a webhook call. Token or URL is required.
type Call struct {
	// Token is the trigger's, "wht_…".
	Token Secret
	// URL is the trigger's hook_url, which holds the token; it takes the place of Token.
	URL Secret
	// Secret signs the call, if the trigger has one.
	Secret Secret
	// Scheme is how it is signed. Default SchemeHooktrail.
	Scheme Scheme
	// Payload is anything that encodes as JSON. Default {}.
	Payload any
	// Body takes the place of Payload: the exact bytes to send.
	Body []byte
	// ContentType is that of Body. Default application/json.
	ContentType string
	// IdempotencyKey is under which the call counts once in 24 hours; default is a random one, so
	// that sending the call again after a broken connection runs nothing twice.
	IdempotencyKey string
	// Wait waits so long for the result, up to 60 s, in whole seconds.
	Wait time.Duration
}

// Invocation is what a webhook call has begun: an execution, of which all but the ids, the
// status and the time are there only if it was waited for and has ended.
type Invocation struct {
	Execution
	// Reason is why the call ran nothing, though it was acknowledged: then Status is "ignored". Of
	// one that the trigger's filter is against, Status is "filtered" and ID its event's.
	Reason string `json:"reason,omitempty"`
	// Replayed says that the call was accepted before, under the same key; nothing ran now.
	Replayed bool `json:"-"`
}

// Fire makes a webhook call. It needs no API key. When it returns without an error, the call is
// on the server's disk.
func (c *Client) Fire(ctx context.Context, call Call, options ...RequestOption) (*Invocation, error) {
	r := &request{method: http.MethodPost, header: http.Header{}, body: call.Body, wait: call.Wait, repeatable: true}
	switch {
	case call.URL != "":
		place, err := url.Parse(string(call.URL))
		if err != nil || place.Host == "" || place.Scheme != "http" && place.Scheme != "https" {
			return nil, errors.New("hooktrail: Call.URL must be an absolute http or https URL: a trigger's hook_url")
		}
		r.place = place.String()
	case call.Token != "":
		r.url = "/api/v1/webhook/trigger"
		r.header.Set("Authorization", "Bearer "+string(call.Token))
	default:
		return nil, &Error{Code: codeUnauthorized, Message: "a call needs the trigger's token, or its hook_url"}
	}
	if r.body == nil {
		payload := call.Payload
		if payload == nil {
			payload = struct{}{}
		}
		var err error
		if r.body, err = encode(payload); err != nil {
			return nil, err
		}
	}
	r.header.Set("Content-Type", "application/json")
	if call.ContentType != "" {
		r.header.Set("Content-Type", call.ContentType)
	}
	key := call.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	r.header.Set("Idempotency-Key", key)
	if call.Secret != "" {
		if err := call.Scheme.addTo(r.header, r.body, call.Secret, key, time.Now()); err != nil {
			return nil, err
		}
	}
	if call.Wait > 0 {
		r.header.Set("Prefer", fmt.Sprintf("wait=%d", int(math.Ceil(call.Wait.Seconds()))))
	}
	for _, option := range options {
		option(r)
	}
	answer, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	var begun Invocation
	if err := decode(answer, &begun); err != nil {
		return nil, err
	}
	begun.Replayed = answer.Header.Get("Idempotent-Replayed") == "true"
	return &begun, nil
}
