// Package application holds the use cases, one method each. A method that changes state
// loads an aggregate, lets it decide and appends the events; a query reads a view.
package application

import (
	"io"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trigger"
)

// Config is what the operator decides.
type Config struct {
	WorkspaceID        string // the default workspace
	PublicURL          string // under which senders reach us, without a slash at the end
	DefaultRunner      string // kind for agents that name none
	AllowCommandRunner bool
	RateLimit          int // webhook calls per minute and client; 0 is off
	MaxBodyBytes       int // of a webhook call, unless the trigger says otherwise; default 1 MiB
	CachedTriggers     int // default 10 000
}

// Dependencies are what the use cases drive.
type Dependencies struct {
	Store EventStore
	Views Views
	Queue WorkQueue
	// Schedules hands out the times at which triggers fire by themselves.
	Schedules Schedules
	// Retention hands out the executions whose payloads are past their time.
	Retention Retention
	// Deliveries keeps how far each subscription has been told of events, and Sender tells it.
	Deliveries Deliveries
	Sender     EventSender
	// Backtests keeps what trials on invocations of the past come to.
	Backtests Backtests
	Secrets   Secrets
	Runner    AgentRunner
	Limiter   RateLimiter
	// Rejections remembers refused calls.
	Rejections RejectionLog
	// Senders gives the sender of every scheme in trigger.Schemes.
	Senders func(trigger.Signature) Sender
	// Evaluator evaluates filters and mappings; without one no trigger can have them.
	Evaluator Evaluator
	// Trail proves what is in the log.
	Trail   AuditTrail
	Logger  *slog.Logger
	Now     func() time.Time
	NewID   func() string // a KSUID
	Random  io.Reader
	Jitter  func() float64 // from 0 up to 1
	Observe Observer
	// Appended wakes all who wait for something new in the log.
	Appended *Broadcast
	// Due wakes workers when there may be something to run.
	Due *Broadcast
}

// Observer is told what the metrics count.
type Observer interface {
	Invoked(outcome string)
	AttemptEnded(runner, outcome string, took time.Duration)
	AttemptStarted(waited time.Duration)
	Delivered(outcome string, took time.Duration)
}

// Application is all use cases.
type Application struct {
	Dependencies
	config   Config
	triggers *lru.Cache[string, *boundTrigger]
	loads    singleflight.Group
	running  *runningSet
	attempts attemptSet // to deliver events
}

// New makes the application.
func New(config Config, d Dependencies) (*Application, error) {
	if config.CachedTriggers == 0 {
		config.CachedTriggers = 10_000
	}
	if config.MaxBodyBytes == 0 {
		config.MaxBodyBytes = 1 << 20
	}
	cache, err := lru.New[string, *boundTrigger](config.CachedTriggers)
	if err != nil {
		return nil, err
	}
	return &Application{Dependencies: d, config: config, triggers: cache, running: newRunningSet()}, nil
}

// Caller is who asks for a use case, and in which request.
type Caller struct {
	WorkspaceID string
	Key         apikey.APIKey
	RequestID   string
	TraceParent string
}

// metadata is what the caller's events say about where they came from.
func (c Caller) metadata() eventlog.Metadata {
	return eventlog.Metadata{
		Actor: eventlog.ActorOf("api_key", c.Key.ID), RequestID: c.RequestID, TraceParent: c.TraceParent, CorrelationID: c.RequestID,
	}
}
