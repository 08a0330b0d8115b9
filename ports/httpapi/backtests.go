package httpapi

import (
	"slices"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/backtest"
	"hooktrail/domain/fault"
)

func (s *Server) createBacktest(c *fiber.Ctx) error {
	var request application.BacktestRequest
	warnings, err := s.decode(c, &request, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	if request.DryRun {
		count, err := s.app.CountBacktest(ctx, callerOf(c), request)
		if err != nil {
			return err
		}
		return data(c, fiber.StatusOK, count, warnings)
	}
	view, err := s.app.CreateBacktest(ctx, callerOf(c), request)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/v1/backtests/"+view.ID)
	return data(c, fiber.StatusCreated, view, warnings)
}

func (s *Server) listBacktests(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListBacktests(ctx, callerOf(c), p)
	if err != nil {
		return err
	}
	return list(c, page, p)
}

func (s *Server) getBacktest(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.GetBacktest(ctx, callerOf(c), c.Params("id"))
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, view, nil)
}

func (s *Server) listBacktestResults(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	verdict := backtest.Verdict(c.Query("verdict"))
	if verdict != "" && !slices.Contains(backtest.Verdicts, verdict) {
		return fault.Field("verdict", "must be one of same, differs, failed, skipped")
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListBacktestResults(ctx, callerOf(c), c.Params("id"), verdict, p)
	if err != nil {
		return err
	}
	return list(c, page, p)
}

func (s *Server) cancelBacktest(c *fiber.Ctx) error { return cancelled(s, c, s.app.CancelBacktest) }
