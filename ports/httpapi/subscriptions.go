package httpapi

import (
	"bytes"
	"encoding/json"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/fault"
)

func (s *Server) createSubscription(c *fiber.Ctx) error {
	var request application.SubscriptionRequest
	warnings, err := s.decode(c, &request, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.CreateSubscription(ctx, callerOf(c), request)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/api/v1/subscriptions/"+issued.ID)
	return versioned(c, fiber.StatusCreated, issued, issued.Version, warnings)
}

func (s *Server) listSubscriptions(c *fiber.Ctx) error {
	p, err := paging(c)
	if err != nil {
		return err
	}
	var f application.SubscriptionFilter
	if f.IsActive, err = flag(c, "is_active"); err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListSubscriptions(ctx, callerOf(c), f, p)
	if err != nil {
		return err
	}
	return list(c, page, p)
}

func (s *Server) getSubscription(c *fiber.Ctx) error {
	return getOrPast(s, c, s.app.GetSubscriptionAsOf, s.app.GetSubscription, func(view application.SubscriptionView) (any, int64) { return view, view.Version })
}

func (s *Server) updateSubscription(c *fiber.Ctx) error {
	var request application.SubscriptionRequest
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
	view, err := s.app.UpdateSubscription(ctx, callerOf(c), c.Params("id"), request, version)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, view, view.Version, warnings)
}

func (s *Server) deleteSubscription(c *fiber.Ctx) error {
	return s.end(c, s.app.DeleteSubscription)
}

func (s *Server) rotateSubscriptionSecret(c *fiber.Ctx) error {
	var r struct {
		GracePeriod *int `json:"grace_period"`
	}
	warnings, err := s.decode(c, &r, nil)
	if err != nil {
		return err
	}
	grace, err := (rotation{GracePeriod: r.GracePeriod}).grace()
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	issued, err := s.app.RotateSubscriptionSecret(ctx, callerOf(c), c.Params("id"), grace)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, issued, issued.Version, warnings)
}

func (s *Server) listDeliveries(c *fiber.Ctx) error {
	ctx, cancel := s.contextOf()
	defer cancel()
	page, err := s.app.ListDeliveries(ctx, callerOf(c), c.Params("id"))
	if err != nil {
		return err
	}
	return list(c, page, application.Paging{Page: 1, Limit: maxLimit})
}

// redeliver moves a subscription in the log, or sends one event once more.
func (s *Server) redeliver(c *fiber.Ctx) error {
	var r struct {
		From    json.RawMessage `json:"from"`
		EventID string          `json:"event_id"`
	}
	warnings, err := s.decode(c, &r, nil)
	if err != nil {
		return err
	}
	rewinds := len(r.From) > 0 && !bytes.Equal(r.From, []byte("null"))
	ctx, cancel := s.contextOf()
	defer cancel()
	if rewinds == (r.EventID != "") {
		// Whether there is such a subscription is told first, as everywhere.
		if _, err := s.app.GetSubscription(ctx, callerOf(c), c.Params("id")); err != nil {
			return err
		}
		return fault.Field("from", "or event_id must be given, and not both")
	}
	if rewinds {
		view, err := s.app.RewindSubscription(ctx, callerOf(c), c.Params("id"), r.From)
		if err != nil {
			return err
		}
		return versioned(c, fiber.StatusOK, view, view.Version, warnings)
	}
	view, err := s.app.RedeliverEvent(ctx, callerOf(c), c.Params("id"), r.EventID)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, view, view.Version, warnings)
}

func (s *Server) skipDelivery(c *fiber.Ctx) error {
	var r struct {
		EventID string `json:"event_id"`
	}
	warnings, err := s.decode(c, &r, nil)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	view, err := s.app.SkipDelivery(ctx, callerOf(c), c.Params("id"), r.EventID)
	if err != nil {
		return err
	}
	return versioned(c, fiber.StatusOK, view, view.Version, warnings)
}
