package httpapi

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/fault"
)

// sent is the request of a webhook call, of which nothing is copied unless it is asked for: few
// senders' schemes and expressions need more than the body. It fits into an interface as it is, so that a call
// costs nothing more for it.
type sent struct{ c *fiber.Ctx }

func (s sent) Method() string              { return s.c.Method() }
func (s sent) Header(name string) []string { return headerLines(s.c, name) }
func (s sent) Query(name string) string    { return string(s.c.Context().QueryArgs().Peek(name)) }
func (s sent) URI() string                 { return string(s.c.Request().Header.RequestURI()) }

func (s sent) URL(forwarded bool) string {
	scheme, host := "http", string(s.c.Request().Header.Host())
	if s.c.Context().IsTLS() {
		scheme = "https"
	}
	if forwarded {
		if proto := firstOf(s.c.Get(fiber.HeaderXForwardedProto)); proto == "https" || proto == "http" {
			scheme = proto
		}
		if said := firstOf(s.c.Get(fiber.HeaderXForwardedHost)); said != "" {
			host = said
		}
	}
	return scheme + "://" + host + s.URI()
}

// firstOf is the value of a list that the proxy nearest to the client has set.
func firstOf(list string) string {
	value, _, _ := strings.Cut(list, ",")
	return strings.ToLower(strings.TrimSpace(value))
}

// forwarded reports whether the peer is a trusted proxy.
func (s *Server) forwarded(c *fiber.Ctx) bool {
	if len(s.config.TrustedProxies) == 0 {
		return false
	}
	peer, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	return slices.ContainsFunc(s.config.TrustedProxies, func(trusted netip.Prefix) bool { return trusted.Contains(peer.Unmap()) })
}

// setUp answers requests of other methods than POST by which some senders set a hook up. Every
// other such request gets one and the same answer, whether its token is a trigger's or not.
func (s *Server) setUp(c *fiber.Ctx) error {
	text, _ := hookToken(c.Path(), c.Get(fiber.HeaderAuthorization))
	presented, client := application.Present(text), s.client(c)
	if !presented.Possible() || c.Method() == fiber.MethodHead {
		return notTaken(c)
	}
	if err := s.limitRate(c, presented, client); err != nil {
		return err
	}
	invocation, err := s.app.InvokeTrigger(s.hooks.context(), application.Call{
		Token: presented, Client: client, RequestID: requestID(c), TraceParent: traceParent(c),
		Sent: sent{c}, Forwarded: s.forwarded(c), SetUp: true,
	})
	if fault.CodeOf(err) == fault.MethodNotAllowed {
		return notTaken(c)
	}
	if err != nil {
		return err
	}
	return answerHandshake(c, invocation.Handshake)
}

func notTaken(c *fiber.Ctx) error {
	c.Set(fiber.HeaderAllow, fiber.MethodPost)
	return fiber.ErrMethodNotAllowed
}

func answerHandshake(c *fiber.Ctx, h *application.Handshake) error {
	for name, value := range h.Header {
		c.Set(name, value)
	}
	c.Status(fiber.StatusOK)
	if h.ContentType != "" {
		c.Set(fiber.HeaderContentType, h.ContentType)
	}
	return c.Send(h.Body)
}
