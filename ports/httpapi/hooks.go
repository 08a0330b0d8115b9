package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
	"hooktrail/domain/jsonobject"
	"hooktrail/domain/trigger"
)

const (
	hookPath   = "/api/v1/webhook/trigger"
	hookPrefix = "/api/v1/hooks/"
	hookAlias  = "/hooks/"
	// hookTimeout bounds a call from when its body is there; senders give up after 1 to 30 seconds.
	hookTimeout = 10 * time.Second
	maxWait     = 60 * time.Second
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
	text, _ := hookToken(c.Path(), c.Get(fiber.HeaderAuthorization))
	presented, client := application.Present(text), s.client(c)
	err := s.take(c, presented, client)
	if err != nil {
		s.app.NoteRejection(presented, client, requestID(c), err)
	}
	return err
}

// take accepts a webhook call, or says why not.
func (s *Server) take(c *fiber.Ctx, presented *application.Presented, client netip.Addr) error {
	if err := s.limitRate(c, presented, client); err != nil {
		return err
	}
	call := application.Call{
		Token: presented, Signatures: signatures(c), ContentType: c.Get(fiber.HeaderContentType), Client: client,
		IdempotencyKey: idempotencyKey(c), RequestID: requestID(c), TraceParent: traceParent(c),
		Sent: sent{c}, Forwarded: s.forwarded(c),
	}
	if err := s.readCall(c, &call); err != nil {
		return err
	}
	invocation, err := s.app.InvokeTrigger(s.hooks.context(), call) // from now on, however slowly the body came
	if err != nil {
		return err
	}
	if invocation.Handshake != nil {
		return answerHandshake(c, invocation.Handshake)
	}
	if invocation.Filtered {
		return data(c, fiber.StatusOK, filteredCall{invocation.Status, invocation.ID, invocation.TriggerID, invocation.CreatedAt}, nil)
	}
	c.Set(fiber.HeaderLocation, "/api/v1/executions/"+invocation.ExecutionID)
	if invocation.Replayed {
		c.Set("Idempotent-Replayed", "true")
	}
	if wait := preferredWait(strings.Join(headerLines(c, "Prefer"), ",")); wait > 0 {
		patient, cancel := context.WithTimeout(s.stopped, wait+requestTimeout) // who waits when we stop gets a 202
		defer cancel()
		view, err := s.app.AwaitExecution(patient, invocation.WorkspaceID, invocation.ExecutionID, wait)
		if err == nil && view.Status.Final() {
			c.Set("Preference-Applied", fmt.Sprintf("wait=%d", int(wait.Seconds())))
			return data(c, fiber.StatusOK, view, nil)
		}
	}
	status := fiber.StatusAccepted
	if invocation.WantsOK {
		status = fiber.StatusOK
	}
	c.Status(status).Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Send(invocation.AddTo(jsonobject.New(320), "data").End())
}

// filteredCall is the answer to a call that the trigger's filter kept from its agent.
type filteredCall struct {
	Status    execution.Status `json:"status"`
	ID        string           `json:"id"` // of the event
	TriggerID string           `json:"trigger_id"`
	CreatedAt time.Time        `json:"created_at"`
}

// readCall reads the body of a call and decompresses it. What is wrong with the compression
// is told after the checks that come before parsing; only the size counts at once.
func (s *Server) readCall(c *fiber.Ctx, call *application.Call) (err error) {
	limit := s.app.BodyLimit(context.Background(), call.Token, c.Request().Header.ContentLength())
	if call.Signed, err = readBody(c, limit); err != nil {
		return err
	}
	switch strings.ToLower(c.Get(fiber.HeaderContentEncoding)) {
	case "", "identity":
		call.Body = call.Signed
		return nil
	case "gzip":
	default:
		call.Unreadable = fault.New(fault.UnsupportedMediaType, "the only Content-Encoding taken is gzip")
		return nil
	}
	limit = s.app.BodyLimit(context.Background(), call.Token, -1)
	reader, err := gzip.NewReader(bytes.NewReader(call.Signed))
	if err == nil {
		call.Body, err = io.ReadAll(io.LimitReader(reader, int64(limit)+1))
	}
	if len(call.Body) > limit {
		return fault.New(fault.PayloadTooLarge, "the body is larger than %d bytes when it is decompressed", limit)
	}
	if err != nil {
		call.Unreadable = fault.New(fault.InvalidJSON, "the body is not what Content-Encoding says: gzip")
	}
	return nil
}

func signatures(c *fiber.Ctx) []string {
	var given []string
	for _, name := range trigger.SignatureHeaders {
		given = append(given, headerLines(c, name)...)
	}
	return given
}

// idempotencyKey is the key under which a call counts once.
func idempotencyKey(c *fiber.Ctx) string { return c.Get("Idempotency-Key", c.Get("webhook-id")) }

// preferredWait reads "wait=N" from a Prefer header (RFC 7240, section 4.3); N is seconds,
// 60 at most. A preference that makes no sense is as good as none (section 2).
func preferredWait(prefer string) time.Duration {
	for preference := range strings.SplitSeq(prefer, ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	return 0
}

// limitRate counts the call against its client's limit and says in the answer how much is
// left (draft-ietf-httpapi-ratelimit-headers-10).
func (s *Server) limitRate(c *fiber.Ctx, presented *application.Presented, client netip.Addr) error {
	d, err := s.app.TakeRate(context.Background(), presented, client)
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
