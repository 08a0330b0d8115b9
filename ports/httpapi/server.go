// Package httpapi is the HTTP contract: it turns requests into use cases and their results
// into answers. It is the only package, beside cmd, that knows the web framework.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/segmentio/ksuid"
	"github.com/valyala/fasthttp"

	"hooktrail/application"
	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
)

// Config is what the operator decides about the listener.
type Config struct {
	TrustedProxies []netip.Prefix
	MaxBodyBytes   int // of a management request; webhook calls have their own limit
	// Metrics serves /metrics; nil when it has a listener of its own.
	Metrics http.Handler
	// Ready reports whether requests can be served; nil means that they can.
	Ready func(ctx context.Context) error
	// NewID names requests that come without an id; nil means a KSUID.
	NewID func() string
	// Observe is told of every answer: the route's pattern, never the path.
	Observe func(method, route string, status int, took time.Duration)
}

// Server answers HTTP requests.
type Server struct {
	app     *application.Application
	config  Config
	logger  *slog.Logger
	fiber   *fiber.App
	hooks   sharedDeadline
	streams atomic.Int32 // of events, that are open
	stopped context.Context
	stop    context.CancelFunc
}

// New makes a server that listens nowhere yet.
func New(app *application.Application, config Config, logger *slog.Logger) *Server {
	if config.MaxBodyBytes == 0 {
		config.MaxBodyBytes = 1 << 20
	}
	if config.NewID == nil {
		config.NewID = func() string { return ksuid.New().String() }
	}
	if config.Observe == nil {
		config.Observe = func(string, string, int, time.Duration) {}
	}
	s := &Server{app: app, config: config, logger: logger, hooks: sharedDeadline{after: hookTimeout}}
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.fiber = fiber.New(fiber.Config{
		AppName:               "hooktrail",
		DisableStartupMessage: true,
		CaseSensitive:         true, // as hookToken is
		Immutable:             true, // values outlive the request: they go into events
		// Handlers read bodies, each after the checks that come before, up to a limit of its own.
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		ReadTimeout:                  30 * time.Second,
		WriteTimeout:                 30 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		ReadBufferSize:               16 << 10,
		ErrorHandler:                 s.answerError,
		// Without a proxy header the framework trusts none; we walk X-Forwarded-For ourselves.
		EnableTrustedProxyCheck: true,
	})
	server := s.fiber.Server()
	server.NoDefaultServerHeader = true
	server.Handler = takeUnknownMethods(server.Handler)
	s.routes()
	return s
}

// takeUnknownMethods has methods that the framework does not know, which it would answer by
// itself and in plain text, refused like one that it knows and that no path takes.
func takeUnknownMethods(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if method := string(ctx.Method()); !slices.Contains(fiber.DefaultMethods, method) {
			ctx.SetUserValue(localMethod, method)
			ctx.Request.Header.SetMethod(fiber.MethodTrace)
		}
		next(ctx)
	}
}

// Serve answers requests on a listener until Shutdown.
func (s *Server) Serve(on net.Listener) error {
	if err := s.fiber.Listener(listener{on, s.stopped}); err != nil {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// Shutdown takes no new requests and returns when those under way are answered.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	if err := s.fiber.ShutdownWithContext(ctx); err != nil {
		return fmt.Errorf("stop serving HTTP: %w", err)
	}
	return nil
}

func (s *Server) routes() {
	f := s.fiber
	f.Use(s.frame)

	f.Get("/healthz", func(c *fiber.Ctx) error { return c.JSON(fiber.Map{"status": "ok"}) })
	f.Get("/readyz", s.ready)
	f.Get("/openapi.yaml", openAPIDocument)
	f.Get("/asyncapi.json", asyncAPIDocument)
	f.Get("/docs", adapt(docsPage))
	f.Get("/docs/*", adapt(docsPage))
	if s.config.Metrics != nil {
		f.Get("/metrics", adapt(s.config.Metrics))
	}

	for _, hook := range []string{"/api/v1/webhook/trigger", "/api/v1/hooks/:token", "/hooks/:token"} {
		f.Post(hook, s.hook)
		f.Get(hook, s.setUp)
		f.Options(hook, s.setUp)
	}

	for _, triggers := range []string{"/api/v1/webhook-triggers", newerTriggers} {
		f.Post(triggers, s.need(apikey.TriggersWrite), s.createTrigger)
		f.Get(triggers, s.need(apikey.TriggersRead), s.listTriggers)
		f.Get(triggers+"/:id", s.need(apikey.TriggersRead), s.getTrigger)
		f.Patch(triggers+"/:id", s.need(apikey.TriggersWrite), s.updateTrigger)
		f.Delete(triggers+"/:id", s.need(apikey.TriggersWrite), s.deleteTrigger)
		f.Post(triggers+"/:id/rotate-token", s.need(apikey.TriggersWrite), s.rotateToken)
		f.Post(triggers+"/:id/rotate-secret", s.need(apikey.TriggersWrite), s.rotateSecret)
		f.Delete(triggers+"/:id/secret", s.need(apikey.TriggersWrite), s.removeSecret)
		f.Post(triggers+"/:id/run", s.need(apikey.TriggersWrite), s.runTrigger)
		f.Post(triggers+"/:id/test", s.need(apikey.TriggersWrite), s.testTrigger)
		f.Get(triggers+"/:id/events", s.need(apikey.EventsRead), s.listTriggerEvents)
		f.Get(triggers+"/:id/history", s.need(apikey.EventsRead), s.history(eventlog.TriggerStream))
	}

	f.Post("/api/v1/agents", s.need(apikey.AgentsWrite), s.createAgent)
	f.Get("/api/v1/agents", s.need(apikey.AgentsRead), s.listAgents)
	f.Get("/api/v1/agents/:id", s.need(apikey.AgentsRead), s.getAgent)
	f.Get("/api/v1/agents/:id/history", s.need(apikey.EventsRead), s.history(eventlog.AgentStream))
	f.Patch("/api/v1/agents/:id", s.need(apikey.AgentsWrite), s.updateAgent)
	f.Delete("/api/v1/agents/:id", s.need(apikey.AgentsWrite), s.archiveAgent)
	f.Post("/api/v1/agents/:id/execute", s.need(apikey.AgentsExecute), s.executeAgent)

	f.Get("/api/v1/executions", s.need(apikey.ExecutionsRead), s.listExecutions)
	f.Get("/api/v1/executions/:id", s.need(apikey.ExecutionsRead), s.getExecution)
	f.Get("/api/v1/executions/:id/history", s.need(apikey.EventsRead), s.history(eventlog.ExecutionStream))
	f.Get("/api/v1/executions/:id/received", s.need(apikey.ExecutionsRead), s.getReceived)
	f.Post("/api/v1/executions/:id/cancel", s.need(apikey.ExecutionsWrite), s.cancelExecution)
	f.Delete("/api/v1/executions/:id/payloads", s.need(apikey.ExecutionsWrite), s.eraseExecution)
	f.Post("/api/v1/executions/:id/retry", s.need(apikey.ExecutionsWrite), s.retryExecution)
	f.Post("/api/v1/executions/retry", s.need(apikey.ExecutionsWrite), s.retryExecutions)
	f.Post("/api/v1/executions/:id/report", s.need(apikey.ExecutionsWrite), s.reportExecution)

	f.Get("/api/v1/rejections", s.need(apikey.TriggersRead), s.listRejections)
	f.Get("/api/v1/events/stream", s.need(apikey.EventsRead), s.streamEvents)
	f.Get("/api/v1/events", s.need(apikey.EventsRead), s.listEvents)
	f.Get("/api/v1/events/:id/proof", s.need(apikey.EventsRead), s.proveEvent)
	f.Get("/api/v1/audit/checkpoint", s.need(apikey.EventsRead), s.getCheckpoint)

	backtests := "/api/v1/backtests"
	f.Post(backtests, s.need(apikey.AgentsExecute), s.createBacktest)
	f.Get(backtests, s.need(apikey.ExecutionsRead), s.listBacktests)
	f.Get(backtests+"/:id", s.need(apikey.ExecutionsRead), s.getBacktest)
	f.Get(backtests+"/:id/results", s.need(apikey.ExecutionsRead), s.listBacktestResults)
	f.Post(backtests+"/:id/cancel", s.need(apikey.AgentsExecute), s.cancelBacktest)

	subscriptions := "/api/v1/subscriptions"
	f.Post(subscriptions, s.need(apikey.Admin), s.createSubscription)
	f.Get(subscriptions, s.need(apikey.EventsRead), s.listSubscriptions)
	f.Get(subscriptions+"/:id", s.need(apikey.EventsRead), s.getSubscription)
	f.Get(subscriptions+"/:id/history", s.need(apikey.EventsRead), s.history(eventlog.SubscriptionStream))
	f.Patch(subscriptions+"/:id", s.need(apikey.Admin), s.updateSubscription)
	f.Delete(subscriptions+"/:id", s.need(apikey.Admin), s.deleteSubscription)
	f.Post(subscriptions+"/:id/rotate-secret", s.need(apikey.Admin), s.rotateSubscriptionSecret)
	f.Get(subscriptions+"/:id/deliveries", s.need(apikey.EventsRead), s.listDeliveries)
	f.Post(subscriptions+"/:id/redeliver", s.need(apikey.Admin), s.redeliver)
	f.Post(subscriptions+"/:id/skip", s.need(apikey.Admin), s.skipDelivery)

	f.Post("/api/v1/api-keys", s.need(apikey.Admin), s.createAPIKey)
	f.Get("/api/v1/api-keys", s.need(apikey.Admin), s.listAPIKeys)
	f.Get("/api/v1/api-keys/:id", s.need(apikey.Admin), s.getAPIKey)
	f.Get("/api/v1/api-keys/:id/history", s.need(apikey.Admin), s.history(eventlog.APIKeyStream))
	f.Delete("/api/v1/api-keys/:id", s.need(apikey.Admin), s.revokeAPIKey)
	f.Get("/api/v1/me", s.need(""), s.me)
}

func (s *Server) ready(c *fiber.Ctx) error {
	if s.stopped.Err() != nil {
		return c.Status(fiber.StatusServiceUnavailable).JSON(fiber.Map{"status": "stopping"})
	}
	if s.config.Ready != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.config.Ready(ctx); err != nil {
			s.logger.Warn("not ready", "error", err)
			return c.Status(fiber.StatusServiceUnavailable).JSON(fiber.Map{"status": "unavailable"})
		}
	}
	return c.JSON(fiber.Map{"status": "ready"})
}

// requestTimeout bounds the work of a management request.
const requestTimeout = 30 * time.Second

// contextOf gives a context that ends after requestTimeout. It outlives a stop of the server,
// so that what is under way is answered; the framework's own contexts end neither then nor
// when a client goes away.
func (s *Server) contextOf() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), requestTimeout)
}

var errPanic = errors.New("a handler panicked")
