package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"

	"hooktrail/application"
	"hooktrail/domain/apikey"
	"hooktrail/domain/clientip"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

const (
	headerRequestID = "X-Request-Id"
	localRequestID  = "request_id"
	localCaller     = "caller"
	localMethod     = "method" // the one that was sent, where the framework knows none of that name
)

// As bytes they need not be brought into their usual form for every answer.
var (
	nameRequestID          = []byte(headerRequestID)
	nameContentTypeOptions = []byte(fiber.HeaderXContentTypeOptions)
	nameCacheControl       = []byte(fiber.HeaderCacheControl)
	noSniff                = []byte("nosniff")
	noStore                = []byte("no-store")
)

var (
	acceptableRequestID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)
	// W3C Trace Context, "traceparent header".
	acceptableTraceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
)

// frame gives every request an id, turns panics and errors into answers, and reports the
// answer. What is logged and measured is the route's pattern: a path may hold a token.
func (s *Server) frame(c *fiber.Ctx) (err error) {
	started := time.Now()
	id := s.begin(c)
	defer func() {
		if panicked := recover(); panicked != nil {
			s.logger.Error("a handler panicked", "request_id", id, "route", c.Route().Path, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
			err = nil
			_ = s.answerError(c, errPanic)
		}
		took := time.Since(started)
		route, status := routeOf(c), c.Response().StatusCode()
		s.config.Observe(c.Method(), route, status, took)
		if s.logger.Enabled(c.Context(), slog.LevelDebug) {
			s.logger.Debug("request", "method", c.Method(), "route", route, "status", status, "took", took, "request_id", id)
		}
	}()
	if err := c.Next(); err != nil {
		return s.answerError(c, err)
	}
	return nil
}

// begin gives a request its id, and its answer the headers that all answers have.
func (s *Server) begin(c *fiber.Ctx) (id string) {
	if id = c.Get(headerRequestID); id == "" || !acceptableRequestID.MatchString(id) {
		id = s.config.NewID()
	}
	c.Locals(localRequestID, id)
	answer := &c.Response().Header
	answer.SetCanonical(nameRequestID, []byte(id))
	answer.SetCanonical(nameContentTypeOptions, noSniff)
	answer.SetCanonical(nameCacheControl, noStore)
	return id
}

func routeOf(c *fiber.Ctx) string {
	if path := c.Route().Path; path != "/" {
		return path
	}
	return "unmatched"
}

func requestID(c *fiber.Ctx) string {
	id, _ := c.Locals(localRequestID).(string)
	return id
}

// methodOf is the method as it was sent.
func methodOf(c *fiber.Ctx) string {
	if unknown, ok := c.Locals(localMethod).(string); ok {
		return unknown
	}
	return c.Method()
}

func traceParent(c *fiber.Ctx) string {
	if value := c.Get("Traceparent"); acceptableTraceParent.MatchString(value) {
		return value
	}
	return ""
}

// client is the address of whoever called, past the proxies that the operator trusts.
func (s *Server) client(c *fiber.Ctx) netip.Addr {
	peer, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	if len(s.config.TrustedProxies) == 0 {
		return peer.Unmap()
	}
	return clientip.Of(peer, headerLines(c, fiber.HeaderXForwardedFor), s.config.TrustedProxies)
}

// headerLines gives the values of all headers of a name, in the order they were sent.
func headerLines(c *fiber.Ctx, name string) []string {
	var lines []string
	for _, line := range c.Request().Header.PeekAll(name) {
		lines = append(lines, string(line))
	}
	return lines
}

// bearer gives the credential of an Authorization header with the scheme Bearer.
func bearer(authorization string) string {
	scheme, credential, found := strings.Cut(authorization, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(credential)
}

// need lets a request through whose API key has a scope; "" is any valid key.
func (s *Server) need(scope apikey.Scope) fiber.Handler {
	return func(c *fiber.Ctx) error {
		text := c.Get("X-API-Key")
		if text == "" {
			text = bearer(c.Get(fiber.HeaderAuthorization))
		}
		ctx, cancel := s.contextOf()
		defer cancel()
		key, err := s.app.Authenticate(ctx, text)
		if err != nil {
			return err
		}
		if scope != "" && !key.May(scope) {
			return fault.New(fault.Forbidden, "the API key lacks the scope %s", scope)
		}
		if err := checkURL(c); err != nil {
			return err
		}
		c.Locals(localCaller, application.Caller{
			WorkspaceID: key.WorkspaceID, Key: key, RequestID: requestID(c), TraceParent: traceParent(c),
		})
		return c.Next()
	}
}

// checkURL refuses text that PostgreSQL cannot hold, so that no query has to.
func checkURL(c *fiber.Ctx) error {
	for name, value := range c.Queries() {
		if !storable(name) || !storable(value) {
			return fault.Field(strings.ToValidUTF8(name, "\uFFFD"), "must be UTF-8 text without NUL characters")
		}
	}
	if !storable(c.Params("id")) {
		return fault.New(fault.NotFound, "there is nothing of that id")
	}
	return nil
}

func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

func callerOf(c *fiber.Ctx) application.Caller {
	caller, _ := c.Locals(localCaller).(application.Caller)
	return caller
}

func adapt(handler http.Handler) fiber.Handler {
	handle := adaptor.HTTPHandler(handler)
	return func(c *fiber.Ctx) error {
		c.Request().ResetBody() // it would be read without a limit
		return handle(c)
	}
}

func (s *Server) me(c *fiber.Ctx) error {
	caller := callerOf(c)
	return data(c, fiber.StatusOK, struct {
		WorkspaceID string                 `json:"workspace_id"`
		APIKey      application.APIKeyView `json:"api_key"`
		Actor       eventlog.Actor         `json:"actor"`
	}{caller.WorkspaceID, application.NewAPIKeyView(caller.Key), eventlog.ActorOf("api_key", caller.Key.ID)}, nil)
}
