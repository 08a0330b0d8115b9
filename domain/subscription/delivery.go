package subscription

import (
	"fmt"
	"slices"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
)

// Persistence is how long the delivery of one event is tried before the subscription is disabled.
const Persistence = 24 * time.Hour

// retry is the schedule of attempts: after 1 s, 3 s, 9 s and so on up to 2 h.
var retry = agent.Retry{InitialSeconds: 1, MaxSeconds: 7200, Factor: 3}

// The answers of HTTP that mean more than success or failure.
const (
	requestTimeout  = 408
	conflict        = 409
	gone            = 410
	tooEarly        = 425
	tooManyRequests = 429
)

// maxRecent bounds the failures that are kept to be looked at.
const maxRecent = 20

// The ends that the delivery of an event, once it has failed, can have.
const (
	EndDelivered = "delivered"
	EndSkipped   = "skipped"
)

// Failure is an event that the receiver did not take at once.
type Failure struct {
	Position eventlog.Position `json:"position"`
	EventID  string            `json:"event_id"`
	Type     string            `json:"type"`
	Stream   eventlog.StreamID `json:"stream"`
	Attempts int               `json:"attempts"`
	Since    time.Time         `json:"since"`
	LastAt   time.Time         `json:"last_at"`
	// Status is that of the receiver's last answer; 0 when there was none.
	Status int    `json:"status,omitempty"`
	Error  string `json:"error"`
	// NextAt is when the next attempt is due; nil when there will be none.
	NextAt *time.Time `json:"next_at,omitempty"`
	// End is how it ended; "" while the event holds back those behind it.
	End string `json:"end,omitempty"`
}

// Rejected reports whether the receiver's answer says that it will not take this event.
func (f Failure) Rejected() bool {
	switch f.Status {
	case requestTimeout, conflict, tooEarly, tooManyRequests:
		return false
	}
	return f.Status >= 400 && f.Status < 500
}

// Success is an event that the receiver took.
type Success struct {
	Position eventlog.Position `json:"position"`
	EventID  string            `json:"event_id"`
	Type     string            `json:"type"`
	Stream   eventlog.StreamID `json:"stream"`
	At       time.Time         `json:"at"`
	Status   int               `json:"status"`
}

// Progress is how deliveries go.
type Progress struct {
	// Failing is the event that is being retried; nil when none is.
	Failing *Failure `json:"failing,omitempty"`
	// LastSuccess is the last event that was taken.
	LastSuccess *Success `json:"last_success,omitempty"`
	// Recent are events that failed and were delivered or skipped later, the latest first.
	Recent []Failure `json:"recent,omitempty"`
}

// Answer is what came of one attempt.
type Answer struct {
	// Status is that of the receiver's answer; 0 when there was none.
	Status int
	// RetryAfter is how long the receiver asked to be left alone; 0 when it did not.
	RetryAfter time.Duration
	// Error says why the event was not taken; "" when it was.
	Error string
}

// Delivered notes that an event was taken.
func (p Progress) Delivered(e eventlog.Recorded, status int, now time.Time) Progress {
	p = p.end(EndDelivered)
	p.LastSuccess = &Success{Position: e.Position, EventID: e.ID, Type: e.Type, Stream: e.Stream, At: now.UTC(), Status: status}
	return p
}

// Skipped notes that the failing event was given up.
func (p Progress) Skipped() Progress { return p.end(EndSkipped) }

func (p Progress) end(how string) Progress {
	if p.Failing == nil {
		return p
	}
	ended := *p.Failing
	ended.End, ended.NextAt = how, nil
	p.Failing = nil
	p.Recent = slices.Insert(slices.Clone(p.Recent), 0, ended)
	p.Recent = p.Recent[:min(len(p.Recent), maxRecent)]
	return p
}

// Failed notes that an event was not taken. jitter, from 0 up to 1, spreads the next attempt. When
// there is to be none, the second result says why the subscription must be disabled.
func (p Progress) Failed(e eventlog.Recorded, answer Answer, jitter float64, now time.Time) (Progress, *Disabled) {
	now = now.UTC()
	f := Failure{Position: e.Position, EventID: e.ID, Type: e.Type, Stream: e.Stream, Since: now}
	if p.Failing != nil && p.Failing.EventID == e.ID {
		f = *p.Failing
	}
	f.Attempts++
	f.LastAt, f.Status, f.Error, f.NextAt = now, answer.Status, answer.Error, nil
	p.Failing = &f

	why := &Disabled{Position: e.Position, EventID: e.ID}
	end := f.Since.Add(Persistence)
	switch {
	case answer.Status == gone:
		why.Code, why.Reason = Gone, "the receiver answered 410 Gone"
		return p, why
	case !now.Before(end) && f.Rejected():
		why.Code = Rejected
		why.Reason = fmt.Sprintf("the receiver has refused the event at position %d for a day, at last with status %d: skip it or mend the receiver, then enable the subscription", e.Position, answer.Status)
		return p, why
	case !now.Before(end):
		why.Code = Unreachable
		why.Reason = fmt.Sprintf("the event at position %d could not be delivered for a day, at last because: %s", e.Position, answer.Error)
		return p, why
	}
	next := now.Add(max(retry.Delay(f.Attempts, jitter), answer.RetryAfter))
	if next.After(end) {
		next = end // one last attempt
	}
	f.NextAt = &next
	return p, nil
}
