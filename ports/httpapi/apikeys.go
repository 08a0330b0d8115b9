package httpapi

import (
	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
)

func (s *Server) createAPIKey(c *fiber.Ctx) error {
	var command application.CreateAPIKey
	warnings, err := s.decode(c, &command, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.CreateAPIKey(ctx, callerOf(c), command)
	if err != nil {
		return err
	}
	return data(c, fiber.StatusCreated, issued, warnings)
}

func (s *Server) listAPIKeys(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListAPIKeys(ctx, callerOf(c), p)
	if err != nil {
		return err
	}
	return list(c, page, p)
}

func (s *Server) getAPIKey(c *fiber.Ctx) error {
	return getOrPast(s, c, s.app.GetAPIKeyAsOf, s.app.GetAPIKey, unversioned)
}

func (s *Server) revokeAPIKey(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	if err := s.app.RevokeAPIKey(ctx, callerOf(c), c.Params("id")); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}
