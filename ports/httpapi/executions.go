package httpapi

import (
	"context"
	"slices"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
)

func (s *Server) listExecutions(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	f := application.ExecutionFilter{
		AgentID: c.Query("agent_id"), TriggerID: c.Query("trigger_id"), SessionID: c.Query("session_id"),
		Status: execution.Status(c.Query("status")),
	}
	if f.Status != "" && !slices.Contains(execution.Statuses, f.Status) {
		return fault.Field("status", "must be one of pending, running, completed, failed, cancelled")
	}
	if f.Since, f.Until, err = span(c); err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListExecutions(ctx, callerOf(c), f, p)
	if err != nil {
		return err
	}
	return list(c, page, p)
}

func (s *Server) getExecution(c *fiber.Ctx) error {
	return getOrPast(s, c, s.app.GetExecutionAsOf, s.app.GetExecution, unversioned)
}

func (s *Server) cancelExecution(c *fiber.Ctx) error {
	return cancelled(s, c, s.app.CancelExecution)
}

// cancelled ends what the path names, for the reason in the body.
func cancelled[V any](s *Server, c *fiber.Ctx, cancel func(ctx context.Context, caller application.Caller, id, reason string) (V, error)) error {
	var request struct {
		Reason string `json:"reason"`
	}
	warnings, err := s.decode(c, &request, nil)
	if err != nil {
		return err
	}
	ctx, done := s.contextOf()
	defer done()
	view, err := cancel(ctx, callerOf(c), c.Params("id"), request.Reason)
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, view, warnings)
}

func (s *Server) eraseExecution(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.EraseExecution(ctx, callerOf(c), c.Params("id"), c.Query("reason"))
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, view, nil)
}

func (s *Server) retryExecution(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.RetryExecution(ctx, callerOf(c), c.Params("id"))
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/v1/executions/"+view.ID)
	return data(c, fiber.StatusCreated, view, nil)
}

func (s *Server) reportExecution(c *fiber.Ctx) error {
	var report application.Report
	warnings, err := s.decode(c, &report, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.ReportExecution(ctx, callerOf(c), c.Params("id"), report)
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, view, warnings)
}

func (s *Server) getReceived(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.GetReceived(ctx, callerOf(c), c.Params("id"))
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, view, nil)
}

func (s *Server) retryExecutions(c *fiber.Ctx) error {
	var request application.RetryMany
	warnings, err := s.decode(c, &request, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	outcome, err := s.app.RetryExecutions(ctx, callerOf(c), request, c.Get("Idempotency-Key"))
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, outcome, warnings)
}
