package httpapi

import (
	"context"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

type (
	getter[V any]     func(ctx context.Context, caller application.Caller, id string) (V, error)
	pastGetter[V any] func(ctx context.Context, caller application.Caller, id string, m application.Moment) (V, error)
)

// getOrPast answers with one resource: as it is, or as it was if the request says when. show gives
// what is answered, and the version for the entity tag, 0 for none.
func getOrPast[P, V any](s *Server, c *fiber.Ctx, past pastGetter[P], present getter[V], show func(V) (any, int64)) error {
	when, err := instant(c, "as_of")
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	if when != nil {
		view, err := past(ctx, callerOf(c), c.Params("id"), *when)
		if err != nil {
			return err
		}
		return data(c, fiber.StatusOK, forNewer(c, view), nil)
	}
	view, err := present(ctx, callerOf(c), c.Params("id"))
	if err != nil {
		return err
	}
	shown, version := show(view)
	if version == 0 {
		return data(c, fiber.StatusOK, shown, nil)
	}
	return versioned(c, fiber.StatusOK, shown, version, nil)
}

// unversioned is for what cannot be changed at a version.
func unversioned[V any](view V) (any, int64) { return view, 0 }

// instant reads a place in the past; nil when it is absent.
func instant(c *fiber.Ctx, name string) (*application.Moment, error) {
	text := c.Query(name)
	if text == "" {
		return nil, nil
	}
	if position, err := strconv.ParseInt(text, 10, 64); err == nil && position > 0 {
		return &application.Moment{Position: eventlog.Position(position)}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fault.Field(name, "must be a position in the log or a time by RFC 3339")
	}
	return &application.Moment{Time: at}, nil
}

// history tells the history of things of that kind.
func (s *Server) history(kind string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		var (
			r   application.HistoryRange
			err error
		)
		if r.Limit, err = number(c, "limit", maxLimit, 1, maxLimit); err != nil {
			return err
		}
		if r.From, err = instant(c, "from"); err != nil {
			return err
		}
		if r.To, err = instant(c, "to"); err != nil {
			return err
		}
		ctx, cancel := s.contextOf()
		defer cancel()
		view, err := s.app.GetHistory(ctx, callerOf(c), kind, c.Params("id"), r)
		if err != nil {
			return err
		}
		return data(c, fiber.StatusOK, view, nil)
	}
}
