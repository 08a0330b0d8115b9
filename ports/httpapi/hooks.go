package httpapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

const (
	hookPath   = "/api/v1/webhook/trigger"
	hookPrefix = "/api/v1/hooks/"
	hookAlias  = "/hooks/"
	// hookTimeout bounds a call up to its commit; senders give up after 1 to 30 seconds.
	hookTimeout = 10 * time.Second
	maxWait     = 60 * time.Second
	maxKey      = 255
)

// hookToken gives the token that a webhook call presents, in its path or its Authorization
// header; false when the path is not one of a webhook call.
func hookToken(uri, authorization string) (string, bool) {
	path, _, _ := strings.Cut(uri, "?")
	if path == hookPath || path == hookPath+"/" {
		return bearer(authorization), true
	}
	for _, prefix := range []string{hookPrefix, hookAlias} {
		if inPath, found := strings.CutPrefix(path, prefix); found {
			return strings.TrimSuffix(inPath, "/"), true
		}
	}
	return "", false
}

// hook is the webhook call.
func (s *Server) hook(c *fiber.Ctx) error {
	if err := s.limitRate(c, c.Path()); err != nil {
		return err
	}
	text, _ := hookToken(c.Path(), c.Get(fiber.HeaderAuthorization))
	ctx, cancel := s.contextOf(hookTimeout)
	defer cancel()
	body, signed, err := s.hookBody(c, text)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	wait, err := preferredWait(c)
	if err != nil {
		return err
	}
	invocation, err := s.app.InvokeTrigger(ctx, application.Call{
		Token: text, Signatures: signatures(c), ContentType: c.Get(fiber.HeaderContentType), Body: body, Signed: signed,
		Client: s.client(c), IdempotencyKey: key, RequestID: requestID(c), TraceParent: traceParent(c),
	})
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/v1/executions/"+invocation.ExecutionID)
	if invocation.Replayed {
		c.Set("Idempotent-Replayed", "true")
	}
	if wait > 0 {
		patient, cancel := s.contextOf(wait + requestTimeout)
		defer cancel()
		view, err := s.app.AwaitExecution(patient, invocation.WorkspaceID, invocation.ExecutionID, wait)
		if err == nil && view.Status.Final() {
			c.Set("Preference-Applied", fmt.Sprintf("wait=%d", int(wait.Seconds())))
			return data(c, fiber.StatusOK, view, nil)
		}
	}
	return data(c, fiber.StatusAccepted, invocation, nil)
}

// hookBody gives the body as the agent gets it and as it was signed. Both are copies: the
// framework uses its buffer again for the next request.
func (s *Server) hookBody(c *fiber.Ctx, text string) (body, signed []byte, err error) {
	raw := bytes.Clone(c.Request().Body())
	switch encoding := strings.ToLower(c.Get(fiber.HeaderContentEncoding)); encoding {
	case "", "identity":
		return raw, raw, nil
	case "gzip":
		ctx, cancel := s.contextOf(hookTimeout)
		defer cancel()
		limit := s.app.BodyLimit(ctx, text, -1)
		reader, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, nil, fault.New(fault.InvalidJSON, "the body is not what Content-Encoding says: gzip")
		}
		inflated, err := io.ReadAll(io.LimitReader(reader, int64(limit)+1))
		if err != nil {
			return nil, nil, fault.New(fault.InvalidJSON, "the body is not what Content-Encoding says: gzip")
		}
		if len(inflated) > limit {
			return nil, nil, fault.New(fault.PayloadTooLarge, "the body is larger than %d bytes when it is decompressed", limit)
		}
		return inflated, raw, nil
	}
	return nil, nil, fault.New(fault.UnsupportedMediaType, "the only Content-Encoding taken is gzip")
}

func signatures(c *fiber.Ctx) []string {
	var given []string
	for _, name := range trigger.SignatureHeaders {
		for _, value := range c.Request().Header.PeekAll(name) {
			given = append(given, string(value))
		}
	}
	return given
}

// idempotencyKey reads the key under which a call counts once.
func idempotencyKey(c *fiber.Ctx) (string, error) {
	for _, name := range []string{"Idempotency-Key", "webhook-id"} {
		key := c.Get(name)
		if key == "" {
			continue
		}
		if len(key) > maxKey {
			return "", fault.Field(name, "is longer than %d bytes", maxKey)
		}
		for _, r := range key {
			if r < 0x20 || r == 0x7f || r == 0xfffd {
				return "", fault.Field(name, "must be printable text")
			}
		}
		return key, nil
	}
	return "", nil
}

// preferredWait reads "Prefer: wait=N" (RFC 7240, section 4.3); N is seconds, 60 at most.
func preferredWait(c *fiber.Ctx) (time.Duration, error) {
	for preference := range strings.SplitSeq(c.Get("Prefer"), ",") {
		name, value, found := strings.Cut(strings.TrimSpace(preference), "=")
		if !found || !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
		if err != nil || seconds < 0 {
			return 0, fault.Field("Prefer", "has a wait that is not a number of seconds")
		}
		return min(time.Duration(seconds)*time.Second, maxWait), nil
	}
	return 0, nil
}

// limitRate counts the call against its client's limit and says in the answer how much is
// left (draft-ietf-httpapi-ratelimit-headers-10).
func (s *Server) limitRate(c *fiber.Ctx, path string) error {
	text, _ := hookToken(path, c.Get(fiber.HeaderAuthorization))
	ctx, cancel := s.contextOf(hookTimeout)
	defer cancel()
	d, err := s.app.TakeRate(ctx, text, s.client(c))
	if err != nil {
		return err
	}
	if d.Limit == 0 {
		return nil
	}
	c.Set("RateLimit-Policy", fmt.Sprintf(`"ip";q=%d;w=60`, d.Limit))
	c.Set("RateLimit", fmt.Sprintf(`"ip";r=%d;t=%d`, d.Remaining, int(math.Ceil(d.ResetAfter.Seconds()))))
	if d.Allowed {
		return nil
	}
	return fault.New(fault.RateLimited, "more than %d calls in a minute from this address", d.Limit).Retry(max(d.RetryAfter, time.Second))
}
