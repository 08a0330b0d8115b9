package httpapi

import "github.com/gofiber/fiber/v2"

func (s *Server) getCheckpoint(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	checkpoint, err := s.app.GetCheckpoint(ctx)
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, checkpoint, nil)
}

func (s *Server) proveEvent(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	receipt, err := s.app.ProveEvent(ctx, callerOf(c), c.Params("id"))
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, receipt, nil)
}
