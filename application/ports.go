package application

import (
	"context"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/expression"
)

// EventStore is the log, the one place where state changes.
type EventStore interface {
	// Append adds to the log atomically. Errors: *eventlog.ConflictError when a stream is not
	// at the version expected, eventlog.ErrIdempotencyMismatch, eventlog.ErrQueueFull,
	// eventlog.ErrUnavailable (then it may have happened).
	Append(ctx context.Context, a eventlog.Append) (eventlog.Appended, error)
	// Decisions reads the events that make up a stream's state up to a position; 0 means all.
	Decisions(ctx context.Context, stream eventlog.StreamID, upTo eventlog.Position) ([]eventlog.Recorded, error)
	// List reads the events of a workspace that fit a filter, and Count counts up to a bound.
	List(ctx context.Context, f EventFilter) ([]eventlog.Recorded, error)
	Count(ctx context.Context, f EventFilter, bound int) (int, error)
	Head(ctx context.Context) (eventlog.Position, error)
	// PositionAt gives the last position recorded at or before a time.
	PositionAt(ctx context.Context, at time.Time) (eventlog.Position, error)
	CredentialByHash(ctx context.Context, hash []byte) (eventlog.Credential, bool, error)
	Sealed(ctx context.Context, id string) ([]byte, bool, error)
	// Event reads an event of any workspace by its id, and At the one at a position; false when
	// there is none.
	Event(ctx context.Context, id string) (eventlog.Recorded, bool, error)
	At(ctx context.Context, position eventlog.Position) (eventlog.Recorded, bool, error)
	// Payloads reads what is kept beside events; what was erased is not among them.
	Payloads(ctx context.Context, positions []eventlog.Position) (map[eventlog.Position][]byte, error)
}

// Evaluator evaluates filters and mappings, within bounds.
type Evaluator interface {
	// Evaluate faults as expression.Compile and expression.Program.Run do, with ExpressionFailed
	// also for an evaluation that has reached a bound and Overloaded when too many wait.
	Evaluate(ctx context.Context, source expression.Source, m expression.Message) (expression.Result, error)
}

// EventFilter narrows the events of a workspace; zero values do not narrow.
type EventFilter struct {
	WorkspaceID  string
	Stream       eventlog.StreamID
	Type         string
	Actor        eventlog.Actor
	Since, Until time.Time
	// After reads onwards in order; without it the newest come first, from before Before on.
	After         *eventlog.Position
	Before        eventlog.Position
	Limit, Offset int
}

// Views are the read models. A view of nothing is reported by a false.
type Views interface {
	Trigger(ctx context.Context, workspace, id string) (TriggerView, bool, error)
	Triggers(ctx context.Context, workspace string, f TriggerFilter, p Paging) (Page[TriggerView], error)
	ActiveTriggersOf(ctx context.Context, agentID string) (int, error)
	LastUsed(ctx context.Context, triggerID string) (*time.Time, error)
	Agent(ctx context.Context, workspace, id string) (AgentView, bool, error)
	Agents(ctx context.Context, workspace string, f AgentFilter, p Paging) (Page[AgentView], error)
	Execution(ctx context.Context, workspace, id string) (ExecutionView, bool, error)
	Executions(ctx context.Context, workspace string, f ExecutionFilter, p Paging) (Page[ExecutionView], error)
	Input(ctx context.Context, executionID string) (body []byte, mediaType string, found bool, err error)
	// Kept lists the payloads that are kept of an execution and not erased.
	Kept(ctx context.Context, executionID string) ([]execution.KeptWith, error)
	APIKeys(ctx context.Context, workspace string, p Paging) (Page[APIKeyView], error)
	Subscription(ctx context.Context, workspace, id string) (SubscriptionView, bool, error)
	Subscriptions(ctx context.Context, workspace string, f SubscriptionFilter, p Paging) (Page[SubscriptionView], error)
	CountAPIKeys(ctx context.Context) (int, error)
}

// WorkQueue hands out executions that are due, each to one worker at a time.
type WorkQueue interface {
	// Claim picks up to limit executions that are due or whose worker is lost, lets decide
	// say what to append for each, and appends it; none can be picked twice.
	Claim(ctx context.Context, limit int, decide func(Due) (eventlog.Append, error)) ([]Claimed, error)
	// NextDue gives the time at which the next execution becomes due; false when none waits.
	NextDue(ctx context.Context) (time.Time, bool, error)
	// KeepAlive extends a worker's lease; without it its executions are taken over.
	KeepAlive(ctx context.Context, worker string, lease time.Duration) error
	// Retire ends a worker's lease at once.
	Retire(ctx context.Context, worker string) error
	// Ended lists those of the executions that are not running any more.
	Ended(ctx context.Context, ids []string) ([]string, error)
}

// Due is an execution that may be started, with the agent that it runs.
type Due struct {
	Execution execution.Execution
	Agent     agent.Agent
	// Lost is set when it is running under a worker that stopped reporting.
	Lost bool
}

// Claimed is an execution that was started for this worker.
type Claimed struct {
	Execution   execution.Execution
	Agent       agent.Agent
	Input       []byte
	InputErased bool
	MediaType   string
	CreatedAt   time.Time
	// Shadow is set for a run of a backtest, which is on no record of executions.
	Shadow bool
}

// Secrets hashes what is only ever compared and seals what must be read again.
type Secrets interface {
	HashToken(token string) []byte
	HashAPIKey(key string) []byte
	// Seal encrypts; the id of the credential is authenticated with it, so that a sealed
	// secret cannot be moved to another owner.
	Seal(plaintext []byte, credentialID string) ([]byte, error)
	Open(sealed []byte, credentialID string) ([]byte, error)
}

// RateLimiter bounds the calls of one key in any minute.
type RateLimiter interface {
	Take(ctx context.Context, key string, limit int) (RateDecision, error)
}

// RateDecision is what a limiter says about one call.
type RateDecision struct {
	Allowed bool
	// Limit is the calls that may be made in any 60 s; 0 when there is no limit.
	Limit int
	// Remaining is how many more calls would be allowed at once.
	Remaining int
	// ResetAfter is the time after which all of Limit is free again, if no call is made.
	ResetAfter time.Duration
	// RetryAfter is, for a refused call, the time after which one is allowed again: more than
	// 0 and at most 61 s. It is 0 for an allowed call.
	RetryAfter time.Duration
}
