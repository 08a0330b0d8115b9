package httpapi

import (
	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/fault"
)

func (s *Server) listRejections(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	f := application.RejectionFilter{TriggerID: c.Query("trigger_id"), Reason: fault.Code(c.Query("reason"))}
	if f.Since, f.Until, err = span(c); err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListRejections(ctx, callerOf(c), f, p)
	if err != nil {
		return err
	}
	return list(c, page, p)
}
