// Package backtest is the trial of another agent, filter or mapping on invocations of the past:
// what is tried, on which of them, and how what came of it differs from what happened.
package backtest

import (
	"encoding/json"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// Status is where a backtest stands.
type Status string

// The statuses of a backtest. All but Running are final.
const (
	Running   Status = "running"
	Completed Status = "completed"
	Cancelled Status = "cancelled"
	Failed    Status = "failed"
)

// Selection says which invocations are tried: accepted webhook calls and runs of schedules, not
// what was filtered or retried.
type Selection struct {
	TriggerID string `json:"trigger_id,omitempty"`
	// Event is the sender's own name for what happened, such as pull_request.
	Event string `json:"event,omitempty"`
	// Status is how the execution ended; "" is any.
	Status execution.Status `json:"status,omitempty"`
	Since  time.Time        `json:"since"`
	Until  time.Time        `json:"until"`
	// After and UpTo are the same span as positions, of which it has those behind After and up to
	// UpTo.
	After eventlog.Position `json:"after"`
	UpTo  eventlog.Position `json:"up_to"`
}

// Settings is what a person decides about a backtest.
type Settings struct {
	Selection
	// AgentID is the agent that is tried; "" is that of the trigger.
	AgentID string `json:"agent_id,omitempty"`
	// Options are the filter and the input_mapping that are tried in place of the trigger's, as in
	// an update of it.
	Options json.RawMessage `json:"options,omitempty"`
	// Limit is the most invocations that are tried, the latest ones: 1 to MaxLimit.
	Limit int `json:"limit"`
	// Concurrency is how many runs there are at one time, 1 to MaxConcurrency.
	Concurrency int `json:"concurrency"`
	// Rate is how many runs may begin in a second, up to MaxRate; 0 is no bound.
	Rate float64 `json:"rate,omitempty"`
}

// Backtest is the state that the events of one stream add up to.
type Backtest struct {
	ID          string `json:"id"`
	WorkspaceID string `json:"workspace_id"`
	Settings
	// AsOf is the position at which the agent and the trigger are tried: changes made to them while
	// the backtest runs do not count.
	AsOf        eventlog.Position `json:"as_of"`
	Total       int               `json:"total"`
	Status      Status            `json:"status"`
	Code        string            `json:"code,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Tally       *Tally            `json:"tally,omitempty"`
	CreatedByID string            `json:"created_by_id,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	EndedAt     *time.Time        `json:"ended_at,omitempty"`
	Version     int64             `json:"version"`
}

// Evolve gives the state after one more recorded event.
func (b Backtest) Evolve(recorded eventlog.Recorded, event eventlog.Event) Backtest {
	end := func(status Status, code, reason string) {
		at := recorded.At
		b.Status, b.Code, b.Reason, b.EndedAt = status, code, reason, &at
	}
	switch e := event.(type) {
	case Requested:
		b = Backtest{
			ID: recorded.Stream.ID(), WorkspaceID: recorded.WorkspaceID, Settings: e.Settings, AsOf: e.AsOf, Total: e.Total,
			Status: Running, CreatedByID: recorded.Meta.Actor.ID(), CreatedAt: recorded.At,
		}
	case Finished:
		end(Completed, "", "")
		b.Tally = &e.Tally
	case WasCancelled:
		end(Cancelled, "", e.Reason)
	case GaveUp:
		end(Failed, e.Code, e.Reason)
	}
	b.Version = recorded.Version
	return b
}

// StreamVersion is the version of the last decision that the state includes.
func (b Backtest) StreamVersion() int64 { return b.Version }

// Active reports whether there may be something left to try.
func (b Backtest) Active() bool { return b.Version > 0 && b.Status == Running }
