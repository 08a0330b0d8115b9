package httpapi

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

const newerTriggers = "/api/v1/triggers"

// source is what newer clients know a trigger to have: where its calls come from, and what is
// set for that. Ours come from webhooks, for which everything is set by options.
type source struct {
	Source       string   `json:"source"`
	SourceConfig struct{} `json:"source_config"`
	ReplyConfig  struct{} `json:"reply_config"`
}

var webhook = source{Source: "webhook"}

type (
	sourcedTrigger struct {
		application.TriggerView
		source
	}
	sourcedIssue struct {
		application.IssuedTrigger
		source
	}
)

// forNewer gives a trigger as the path's clients know it.
func forNewer(c *fiber.Ctx, trigger any) any {
	if strings.HasPrefix(c.Path(), newerTriggers) {
		switch t := trigger.(type) {
		case application.TriggerView:
			return sourcedTrigger{t, webhook}
		case application.IssuedTrigger:
			return sourcedIssue{t, webhook}
		}
	}
	return trigger
}

// askedSource is what a request says of a trigger's source.
type askedSource struct {
	Source       *string         `json:"source"`
	SourceConfig json.RawMessage `json:"source_config"`
	ReplyConfig  json.RawMessage `json:"reply_config"`
}

// check warns of what has no effect. It is not refused: clients of several versions send more
// than we know.
func (a askedSource) check(warnings []string) ([]string, error) {
	if a.Source != nil && *a.Source != webhook.Source {
		warnings = append(warnings, `source was ignored: it is "webhook" for every trigger of this server`)
	}
	wrong := map[string]string{}
	for name, value := range map[string]json.RawMessage{"source_config": a.SourceConfig, "reply_config": a.ReplyConfig} {
		var settings map[string]json.RawMessage
		if len(value) > 0 && json.Unmarshal(value, &settings) != nil {
			wrong[name] = "must be an object"
		} else if len(settings) > 0 {
			warnings = append(warnings, name+" was ignored: what can be set for webhooks is in options")
		}
	}
	slices.Sort(warnings)
	return warnings, fault.Fields(wrong)
}

func (s *Server) createTrigger(c *fiber.Ctx) error {
	var request struct {
		application.CreateTrigger
		askedSource
	}
	// One client asks for a secret by the name of the field that it gets back.
	warnings, err := s.decode(c, &request, map[string]string{"has_secret": "generate_secret"})
	if err == nil {
		warnings, err = request.check(warnings)
	}
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.CreateTrigger(ctx, callerOf(c), request.CreateTrigger)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, strings.TrimSuffix(c.Path(), "/")+"/"+issued.ID)
	return versioned(c, fiber.StatusCreated, forNewer(c, issued), issued.Version, warnings)
}

func (s *Server) listTriggers(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	filter := application.TriggerFilter{AgentID: c.Query("agent_id"), Name: c.Query("name")}
	if filter.IsActive, err = flag(c, "is_active"); err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListTriggers(ctx, callerOf(c), filter, p)
	if err != nil {
		return err
	}
	shown := application.Page[any]{Total: page.Total, Next: page.Next}
	for _, view := range page.Items {
		shown.Items = append(shown.Items, forNewer(c, view))
	}
	return list(c, shown, p)
}

func (s *Server) getTrigger(c *fiber.Ctx) error {
	return getOrPast(s, c, s.app.GetTriggerAsOf, s.app.GetTrigger, func(view application.TriggerView) (any, int64) {
		return forNewer(c, view), view.Version
	})
}

func (s *Server) updateTrigger(c *fiber.Ctx) error {
	var request struct {
		application.UpdateTrigger
		askedSource
	}
	warnings, err := s.decode(c, &request, nil)
	if err == nil {
		warnings, err = request.check(warnings)
	}
	if err != nil {
		return err
	}
	version, err := ifMatch(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.UpdateTrigger(ctx, callerOf(c), c.Params("id"), request.UpdateTrigger, version)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, forNewer(c, view), view.Version, warnings)
}

func (s *Server) deleteTrigger(c *fiber.Ctx) error {
	return s.end(c, s.app.DeleteTrigger)
}

// rotation is what both rotations take.
type rotation struct {
	GracePeriod *int   `json:"grace_period"` // seconds
	Secret      string `json:"secret"`       // one's own; for secrets only
}

const defaultGrace = 24 * time.Hour

func (r rotation) grace() (time.Duration, error) {
	if r.GracePeriod == nil {
		return defaultGrace, nil
	}
	const most = 1 << 32 // what is out of range is told by the decision; this keeps the product in bounds
	if *r.GracePeriod < 0 || *r.GracePeriod > most {
		return 0, fault.Field("grace_period", "must be a number of seconds, 0 or more")
	}
	return time.Duration(*r.GracePeriod) * time.Second, nil
}

func (s *Server) rotateToken(c *fiber.Ctx) error {
	var r rotation
	warnings, err := s.decode(c, &r, nil)
	if err != nil {
		return err
	}
	if r.Secret != "" {
		return fault.Field("secret", "is not taken here: tokens are made by the server")
	}
	grace, err := r.grace()
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.RotateTriggerToken(ctx, callerOf(c), c.Params("id"), grace)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, forNewer(c, issued), issued.Version, warnings)
}

func (s *Server) rotateSecret(c *fiber.Ctx) error {
	var r rotation
	warnings, err := s.decode(c, &r, nil)
	if err != nil {
		return err
	}
	grace, err := r.grace()
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.RotateTriggerSecret(ctx, callerOf(c), c.Params("id"), r.Secret, grace)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, forNewer(c, issued), issued.Version, warnings)
}

func (s *Server) removeSecret(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	if err := s.app.RemoveTriggerSecret(ctx, callerOf(c), c.Params("id")); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

func (s *Server) runTrigger(c *fiber.Ctx) error {
	var command application.RunTrigger
	warnings, err := s.decode(c, &command, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.RunTrigger(ctx, callerOf(c), c.Params("id"), command)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/v1/executions/"+view.ID)
	return data(c, fiber.StatusCreated, view, warnings)
}

func (s *Server) testTrigger(c *fiber.Ctx) error {
	var test application.TestTrigger
	warnings, err := s.decode(c, &test, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	if test.Since != nil {
		summary, err := s.app.TestPastCalls(ctx, callerOf(c), c.Params("id"), test)
		if err != nil {
			return err
		}
		return data(c, fiber.StatusOK, summary, warnings)
	}
	outcome, err := s.app.TestTrigger(ctx, callerOf(c), c.Params("id"), test)
	if err != nil {
		return err
	}
	return data(c, fiber.StatusOK, outcome, warnings)
}

func (s *Server) listTriggerEvents(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	// A trigger that was deleted has a past still.
	if _, err := s.app.GetTriggerAsOf(ctx, callerOf(c), c.Params("id"), application.Moment{Position: endOfLog}); err != nil {
		return err
	}
	return s.answerEvents(c, eventlog.Stream(eventlog.TriggerStream, c.Params("id")))
}

// endOfLog is a position behind every event.
const endOfLog = eventlog.Position(1<<63 - 1)
