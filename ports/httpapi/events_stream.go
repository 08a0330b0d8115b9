package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

const (
	// heartbeat is how often a stream without events shows that it is alive, and its key is checked.
	heartbeat = 15 * time.Second
	// streamWriteTimeout is how long a client may take nothing.
	streamWriteTimeout = 30 * time.Second
	// maxStreams bounds what one server holds open; each reads the log for itself.
	maxStreams = 256
)

// streamEvents sends the log as it grows, as Server-Sent Events (WHATWG HTML, section 9.2). An event's
// id is its position, so that a client that connects again goes on where it was.
func (s *Server) streamEvents(c *fiber.Ctx) error {
	f, _, err := eventFilter(c, eventlog.StreamID(c.Query("stream")))
	if err != nil {
		return err
	}
	caller := callerOf(c)
	ctx, cancel := s.contextOf()
	defer cancel()
	if last := c.Get("Last-Event-ID"); last != "" {
		position, err := strconv.ParseInt(last, 10, 64)
		if err != nil || position < 0 {
			return fault.Field("Last-Event-ID", "must be a position in the log, 0 or more")
		}
		f.After = new(eventlog.Position(position))
	}
	if f.After == nil {
		head, err := s.app.Head(ctx)
		if err != nil {
			return err
		}
		f.After = &head
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return fault.New(fault.Overloaded, "more than %d event streams are open", maxStreams).Retry(10 * time.Second)
	}
	c.Set(fiber.HeaderContentType, "text/event-stream")
	c.Set("X-Accel-Buffering", "no") // nginx would hold events back
	conn, key, id := c.Context().Conn(), presentedKey(c), requestID(c)
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer s.streams.Add(-1)
		begun := time.Now()
		err := s.app.FollowEvents(s.stopped, caller, f, heartbeat, func(events []application.EventView, read eventlog.Position) error {
			if time.Since(begun) >= heartbeat {
				begun = time.Now()
				if _, err := s.app.Authenticate(s.stopped, key); err != nil {
					return err
				}
			}
			if err := conn.SetWriteDeadline(time.Now().Add(streamWriteTimeout)); err != nil {
				return err
			}
			if err := writeEvents(w, events, read); err != nil {
				return &gone{err}
			}
			return nil
		})
		var left *gone
		if !errors.As(err, &left) && !errors.Is(err, context.Canceled) {
			s.logger.Warn("an event stream ended", "request_id", id, "error", err)
		}
	})
	return nil
}

// gone is the failure to write to a client, which need not say goodbye.
type gone struct{ error }

// writeEvents ends with the position up to which the log was read: an id without data is kept by
// clients, and nothing else happens there.
func writeEvents(w *bufio.Writer, events []application.EventView, read eventlog.Position) error {
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
		if _, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Position, e.Type, data); err != nil {
			return err
		}
	}
	if len(events) == 0 || events[len(events)-1].Position < read {
		if _, err := fmt.Fprintf(w, "id: %d\n\n", read); err != nil {
			return err
		}
	}
	return w.Flush()
}
