package httpapi

import (
	"strconv"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

func (s *Server) listEvents(c *fiber.Ctx) error {
	return s.answerEvents(c, eventlog.StreamID(c.Query("stream")))
}

func (s *Server) answerEvents(c *fiber.Ctx, stream eventlog.StreamID) error {
	f, p, err := eventFilter(c, stream)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListEvents(ctx, callerOf(c), f)
	if err != nil {
		return err
	}
	return list(c, page, p)
}

// eventFilter reads what events a request asks for.
func eventFilter(c *fiber.Ctx, stream eventlog.StreamID) (application.EventFilter, application.Paging, error) {
	p, err := paging(c)
	if err != nil {
		return application.EventFilter{}, p, err
	}
	f := application.EventFilter{
		Stream: stream, Type: c.Query("type"), Actor: eventlog.Actor(c.Query("actor")), Limit: p.Limit, Offset: p.Offset(), Before: p.Cursor,
	}
	if f.Since, f.Until, err = span(c); err != nil {
		return f, p, err
	}
	if text := c.Query("after"); text != "" {
		position, err := strconv.ParseInt(text, 10, 64)
		if err != nil || position < 0 {
			return f, p, fault.Field("after", "must be a position in the log, 0 or more")
		}
		after := eventlog.Position(position)
		if p.Cursor > 0 { // of a list that goes onwards
			after = max(after, p.Cursor)
		}
		f.After, f.Before = &after, 0
	}
	return f, p, nil
}
