package httpapi

import (
	"errors"
	"math"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/fault"
)

// hookStatus is the one table from codes to statuses, as webhook senders get them.
var hookStatus = map[fault.Code]int{
	fault.Validation:           fiber.StatusBadRequest,
	fault.InvalidJSON:          fiber.StatusBadRequest,
	fault.Unauthorized:         fiber.StatusUnauthorized,
	fault.InvalidSignature:     fiber.StatusUnauthorized,
	fault.Forbidden:            fiber.StatusForbidden,
	fault.TriggerInactive:      fiber.StatusForbidden,
	fault.NotFound:             fiber.StatusNotFound,
	fault.MethodNotAllowed:     fiber.StatusMethodNotAllowed,
	fault.Conflict:             fiber.StatusConflict,
	fault.PreconditionFailed:   fiber.StatusPreconditionFailed,
	fault.PayloadTooLarge:      fiber.StatusRequestEntityTooLarge,
	fault.UnsupportedMediaType: fiber.StatusUnsupportedMediaType,
	fault.ExpressionFailed:     fiber.StatusUnprocessableEntity,
	fault.SchemaMismatch:       fiber.StatusUnprocessableEntity,
	fault.IdempotencyMismatch:  fiber.StatusUnprocessableEntity,
	fault.RateLimited:          fiber.StatusTooManyRequests,
	fault.Overloaded:           fiber.StatusServiceUnavailable,
	fault.Unavailable:          fiber.StatusServiceUnavailable,
	fault.Internal:             fiber.StatusInternalServerError,
}

// statusOf gives the status of a code. Clients of the management API take every 4xx but
// these for a server error and try again; to them the rest is a 400.
func statusOf(code fault.Code, management bool) int {
	status, known := hookStatus[code]
	if !known {
		return fiber.StatusInternalServerError
	}
	if !management || status >= 500 {
		return status
	}
	switch status {
	case 400, 401, 403, 404, 405, 412, 429:
		return status
	}
	return fiber.StatusBadRequest
}

type errorBody struct {
	Code    fault.Code        `json:"code"`
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
}

type clientError struct {
	Error     errorBody `json:"error"`
	RequestID string    `json:"request_id"`
}

// serverError has a plain string where a client error has an object: clients decode it so.
type serverError struct {
	Error     string     `json:"error"`
	Code      fault.Code `json:"code"`
	RequestID string     `json:"request_id"`
}

// answerError turns any error into an answer. What is no fault is ours, and its text stays
// in the log.
func (s *Server) answerError(c *fiber.Ctx, err error) error {
	if requestID(c) == "" { // the request failed before it reached any handler
		return s.answerUnread(c, err)
	}
	management := !isHookPath(c.Path())
	var acknowledged *application.Acknowledged
	if errors.As(err, &acknowledged) {
		return data(c, fiber.StatusOK, fiber.Map{"status": "ignored", "reason": acknowledged.Fault.Code}, nil)
	}
	refused := faultOf(c, err)
	status := statusOf(refused.Code, management)
	if c.Request().IsBodyStream() {
		linger(c) // some of the body may be unread
	}
	var gone *application.Gone
	if errors.As(err, &gone) {
		status = fiber.StatusGone
	}
	if refused.RetryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(refused.RetryAfter.Seconds()))))
	}
	if status == fiber.StatusUnauthorized {
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	}
	if status >= 500 {
		if refused.Code != fault.Overloaded { // which the metrics tell; a line for each would make it worse
			s.logger.Error("request failed", "request_id", requestID(c), "route", routeOf(c), "error", err)
		}
		return writeJSON(c, status, serverError{Error: refused.Message, Code: refused.Code, RequestID: requestID(c)})
	}
	return writeJSON(c, status, clientError{
		Error:     errorBody{Code: refused.Code, Message: refused.Message, Details: refused.Details},
		RequestID: requestID(c),
	})
}

// answerUnread answers a request whose head cannot be read, which is never our fault.
// Its connection is closed.
func (s *Server) answerUnread(c *fiber.Ctx, err error) error {
	s.begin(c)
	linger(c)
	if faultOf(c, err).Code == fault.Internal {
		err = fiber.ErrBadRequest
	}
	return s.answerError(c, err)
}

func faultOf(c *fiber.Ctx, err error) *fault.Error {
	var refused *fault.Error
	if errors.As(err, &refused) {
		return refused
	}
	var framework *fiber.Error
	if errors.As(err, &framework) {
		switch {
		case framework.Code == fiber.StatusMethodNotAllowed:
			return fault.New(fault.MethodNotAllowed, "this path does not take the method %.40s", methodOf(c))
		case framework.Code == fiber.StatusNotFound:
			return fault.New(fault.NotFound, "there is nothing at this path")
		case framework.Code < 500:
			return fault.New(fault.Validation, "the request cannot be read")
		}
	}
	return fault.New(fault.Internal, "something went wrong on our side; the request id finds it in our log")
}

func isHookPath(path string) bool {
	_, isHook := hookToken(path, "")
	return isHook
}
