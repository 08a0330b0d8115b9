package execution

import (
	"strings"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// Failure is how an attempt went wrong.
type Failure struct {
	Error Error
	// Final means that another attempt would end the same way.
	Final bool
	// RetryAfter is the least wait that the agent asked for.
	RetryAfter time.Duration
}

// WorkerLost is the failure of an attempt whose worker stopped reporting.
var WorkerLost = Failure{Error: Error{Code: "worker_lost", Message: "the worker that ran this attempt stopped without reporting a result"}}

// Start decides to begin the next attempt. An execution that still counts as running is
// one whose worker is lost: that attempt is put on record as failed first, and when it was
// the last one allowed the execution fails instead of starting.
func (x Execution) Start(worker string, retry agent.Retry, now time.Time) ([]eventlog.Event, error) {
	switch x.Status {
	case Pending:
		return []eventlog.Event{Started{Attempt: x.Attempt + 1, Worker: worker}}, nil
	case Running:
		if x.Attempt >= retry.MaxAttempts {
			return []eventlog.Event{GaveUp{Attempt: x.Attempt, Error: WorkerLost.Error}}, nil
		}
		return []eventlog.Event{
			AttemptFailed{Attempt: x.Attempt, Error: WorkerLost.Error, RetryAt: now.UTC()},
			Started{Attempt: x.Attempt + 1, Worker: worker},
		}, nil
	default:
		return nil, x.open()
	}
}

// Complete decides the good end of the running attempt, or of an execution whose work is
// done outside. usage is nil where nothing counts tokens.
func (x Execution) Complete(output trigger.Digest, usage *TokenUsage) ([]eventlog.Event, error) {
	if err := x.open(); err != nil {
		return nil, err
	}
	return []eventlog.Event{Succeeded{Attempt: x.Attempt, Output: output, TokenUsage: usage}}, nil
}

// Fail decides what follows a failed attempt: another one after a wait, or the end.
// jitter, from 0 up to 1, spreads the wait.
func (x Execution) Fail(failure Failure, retry agent.Retry, jitter float64, now time.Time) ([]eventlog.Event, error) {
	if err := x.open(); err != nil {
		return nil, err
	}
	if failure.Final || x.Attempt >= retry.MaxAttempts {
		return []eventlog.Event{GaveUp{Attempt: x.Attempt, Error: failure.Error}}, nil
	}
	wait := max(retry.Delay(max(x.Attempt, 1), jitter), failure.RetryAfter)
	return []eventlog.Event{AttemptFailed{Attempt: x.Attempt, Error: failure.Error, RetryAt: now.Add(wait).UTC()}}, nil
}

// Cancel decides to end an execution that has not ended.
func (x Execution) Cancel(reason string) ([]eventlog.Event, error) {
	if err := x.open(); err != nil {
		return nil, err
	}
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	return []eventlog.Event{WasCancelled{Reason: reason}}, nil
}

func checkReason(reason string) error {
	if len(reason) > 1000 {
		return fault.Field("reason", "is longer than 1000 bytes")
	}
	if strings.ContainsRune(reason, 0) {
		return fault.Field("reason", "must not hold a NUL character")
	}
	return nil
}

// Erase decides to erase the payloads that are kept of an execution that has ended; when there are
// none any more, nothing happens.
func (x Execution) Erase(kept []KeptWith, reason string) ([]eventlog.Event, error) {
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	if !x.Status.Final() {
		return nil, fault.New(fault.Conflict, "the execution has not ended yet: it is %s; wait for its end, or cancel it first", x.Status)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	return []eventlog.Event{PayloadsErased{Reason: reason, Payloads: kept}}, nil
}

// open checks that the execution is there and has not ended.
func (x Execution) open() error {
	switch {
	case x.Status == "":
		return fault.New(fault.NotFound, "there is no such execution")
	case x.Status.Final():
		return fault.New(fault.Conflict, "the execution has already ended: it is %s", x.Status)
	}
	return nil
}
