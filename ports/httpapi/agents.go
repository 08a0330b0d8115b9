package httpapi

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
)

func (s *Server) createAgent(c *fiber.Ctx) error {
	var request application.AgentRequest
	warnings, err := s.decode(c, &request, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.CreateAgent(ctx, callerOf(c), request)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/v1/agents/"+issued.ID)
	return versioned(c, fiber.StatusCreated, issued, issued.Version, warnings)
}

func (s *Server) listAgents(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListAgents(ctx, callerOf(c), application.AgentFilter{Name: c.Query("name")}, p)
	if err != nil {
		return err
	}
	return list(c, page, p)
}

func (s *Server) getAgent(c *fiber.Ctx) error {
	return getOrPast(s, c, s.app.GetAgentAsOf, s.app.GetAgent, func(view application.AgentView) (any, int64) { return view, view.Version })
}

func (s *Server) updateAgent(c *fiber.Ctx) error {
	var request application.AgentRequest
	warnings, err := s.decode(c, &request, nil)
	if err != nil {
		return err
	}
	version, err := ifMatch(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.UpdateAgent(ctx, callerOf(c), c.Params("id"), request, version)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, issued, issued.Version, warnings)
}

func (s *Server) archiveAgent(c *fiber.Ctx) error {
	return s.end(c, s.app.ArchiveAgent)
}

// syncWait is how long an execution asked for with sync is waited for.
const syncWait = 60 * time.Second

func (s *Server) executeAgent(c *fiber.Ctx) error {
	var command application.ExecuteAgent
	warnings, err := s.decode(c, &command, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.ExecuteAgent(ctx, callerOf(c), c.Params("id"), command)
	if err != nil {
		return err
	}
	if command.Sync {
		patient, cancel := context.WithTimeout(s.stopped, requestTimeout+syncWait)
		defer cancel()
		if ended, err := s.app.AwaitExecution(patient, view.WorkspaceID, view.ID, syncWait); err == nil {
			view = ended
		}
	}
	c.Set(fiber.HeaderLocation, "/api/v1/executions/"+view.ID)
	return data(c, fiber.StatusCreated, view, warnings)
}
