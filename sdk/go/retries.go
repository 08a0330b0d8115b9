package hooktrail

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"
)

// RetryExecutions says which executions are run once more: IDs, or a filter with Since.
type RetryExecutions struct {
	IDs       []string   `json:"ids,omitempty"` // up to 1000
	TriggerID string     `json:"trigger_id,omitempty"`
	AgentID   string     `json:"agent_id,omitempty"`
	Status    string     `json:"status,omitempty"` // a final one; default failed
	Since     *time.Time `json:"since,omitempty"`
	Until     *time.Time `json:"until,omitempty"` // default: now
	// Limit is the most that one request retries, the latest ones: 1 to 1000, default 1000.
	Limit  int  `json:"limit,omitempty"`
	DryRun bool `json:"dry_run,omitempty"`
	// IdempotencyKey has each execution retried once under it, however often it is asked for. ""
	// takes one of its own, so that the attempts of one call do not double anything.
	IdempotencyKey string `json:"-"`
}

// RetriedExecutions is what became of it.
type RetriedExecutions struct {
	DryRun  bool `json:"dry_run"`
	Retried int  `json:"retried"` // by this request; in a dry run, would be
	Already int  `json:"already"` // under the same key before
	// More says that there are more than the limit: ask once more with the same key.
	More       bool                  `json:"more"`
	Executions []RetriedExecution    `json:"executions"`
	Skipped    []ExecutionNotRetried `json:"skipped"`
}

// RetriedExecution is one that was retried.
type RetriedExecution struct {
	RetryOf     string `json:"retry_of"`
	ExecutionID string `json:"execution_id,omitempty"` // the new one; "" in a dry run
	Already     bool   `json:"already,omitempty"`
}

// ExecutionNotRetried is one that was not, and why.
type ExecutionNotRetried struct {
	ExecutionID string `json:"execution_id"`
	Code        string `json:"code"`
	Reason      string `json:"reason"`
}

// RetryMany runs many executions that have ended once more, each as a new one.
func (e *Executions) RetryMany(ctx context.Context, which RetryExecutions, options ...RequestOption) (*RetriedExecutions, error) {
	key := which.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	once := func(r *request) {
		r.header.Set("Idempotency-Key", key)
		r.repeatable = true
	}
	return result[RetriedExecutions](ctx, e.c, http.MethodPost, executionsPath+"/retry", which, append([]RequestOption{once}, options...))
}
