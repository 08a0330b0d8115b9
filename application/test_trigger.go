package application

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// TestTrigger asks what a trigger would make of a call: of one that is given, or of one on
// record. Nothing is run and nothing recorded.
type TestTrigger struct {
	Payload   json.RawMessage   `json:"payload"`
	Headers   map[string]string `json:"headers"`
	Query     map[string]string `json:"query"`
	Signature string            `json:"signature"`
	// ExecutionID names a call on record, by its execution or, if it was filtered, its event.
	ExecutionID string `json:"execution_id"`
	// Options change the trigger's for the test, as an update would.
	Options json.RawMessage `json:"options"`
	// Since asks about all calls on record from a time on, at most Limit of them.
	Since *time.Time `json:"since"`
	Limit *int       `json:"limit"`
}

// What may become of a call in a test.
const (
	TestAccepted = "accepted"
	TestFiltered = "filtered"
	TestRefused  = "refused"
)

// What may be said of a call's signature in a test.
const (
	SignatureNotRequired = "not_required"
	SignatureValid       = "valid"
	SignatureInvalid     = "invalid"
	SignatureNotGiven    = "not_given"
	SignatureNotChecked  = "not_checked" // of a call on record: signatures are not kept
)

// TestOutcome is what would become of one call.
type TestOutcome struct {
	Status    string            `json:"status"`
	Signature string            `json:"signature"`
	IsActive  bool              `json:"is_active"`
	Event     string            `json:"event,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"` // that the expressions are given
	Query     map[string]string `json:"query,omitempty"`
	// Input is what the agent would get; nil for a call that would be filtered or refused before.
	Input json.RawMessage `json:"input,omitempty"`
	Error *TestError      `json:"error,omitempty"`
	// kept is what would be kept as the input.
	kept trigger.Digest
}

// TestError is why a call would be refused.
type TestError struct {
	Code    fault.Code        `json:"code"`
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
}

func testError(err error) (*TestError, error) {
	var f *fault.Error
	if !errors.As(err, &f) || f.Code == fault.Internal || f.Code == fault.Unavailable || f.Code == fault.Overloaded {
		return nil, err
	}
	return &TestError{Code: f.Code, Message: f.Message, Details: f.Details}, nil
}

// TestTrigger says what would become of one call.
func (app *Application) TestTrigger(ctx context.Context, caller Caller, id string, test TestTrigger) (TestOutcome, error) {
	if (len(test.Payload) > 0) == (test.ExecutionID != "") {
		return TestOutcome{}, fault.Field("payload", "or execution_id is required, or since for all calls on record; one of them")
	}
	bound, err := app.bindForTest(ctx, caller, id, test.Options)
	if err != nil {
		return TestOutcome{}, err
	}
	if test.ExecutionID != "" {
		past, err := app.pastCall(ctx, caller, test.ExecutionID)
		if err != nil {
			return TestOutcome{}, err
		}
		if past.recorded.Stream != bound.stream {
			return TestOutcome{}, fault.Field("execution_id", "names a call of another trigger")
		}
		payloads, err := app.Store.Payloads(ctx, []eventlog.Position{past.recorded.Position})
		if err != nil {
			return TestOutcome{}, refusal(err)
		}
		body, kept := payloads[past.recorded.Position]
		if !kept {
			return TestOutcome{}, fault.New(fault.Conflict, "the body of this call has been erased")
		}
		return app.tryPast(ctx, bound, past, body, test)
	}
	call, mediaType, err := test.call()
	if err != nil {
		return TestOutcome{}, err
	}
	outcome, err := app.try(ctx, bound, call, mediaType, TestOutcome{Signature: SignatureNotRequired, IsActive: bound.trigger.Active})
	if err != nil || !bound.trigger.HasSecret() {
		return outcome, err
	}
	now := app.Now()
	var message *Message
	if bound.sender != nil {
		message = app.message(bound, &call, now)
	}
	switch unproven := bound.verify(call, message, now); {
	case unproven == nil:
		outcome.Signature = SignatureValid
	case len(call.Signatures) == 0 && (message == nil || len(test.Headers) == 0):
		outcome.Signature = SignatureNotGiven
	default: // and what else would become of it is shown all the same
		outcome.Signature, outcome.Status = SignatureInvalid, TestRefused
		outcome.Error, err = testError(unproven)
	}
	return outcome, err
}

// sent is the request that a test gives.
func (t TestTrigger) sent() given {
	sent := given{headers: map[string]string{}, query: map[string]string{}}
	for name, value := range t.Headers {
		sent.headers[strings.ToLower(name)] = value
	}
	maps.Copy(sent.query, t.Query)
	return sent
}

// call makes a call of what a test gives.
func (t TestTrigger) call() (Call, string, error) {
	sent := t.sent()
	mediaType, err := mediaTypeOf(sent.headers["content-type"])
	if err != nil {
		return Call{}, "", err
	}
	body := []byte(t.Payload)
	if mediaType != "" { // then the payload is the text of the form
		var text string
		if err := json.Unmarshal(t.Payload, &text); err != nil {
			return Call{}, "", fault.Field("payload", "must be a string with the form, since the header content-type says that it is one")
		}
		body = []byte(text)
	}
	call := Call{Body: body, Signed: body, Sent: sent}
	for _, name := range trigger.SignatureHeaders {
		call.Signatures = append(call.Signatures, sent.Header(name)...)
	}
	if t.Signature != "" {
		call.Signatures = append(call.Signatures, t.Signature)
	}
	return call, mediaType, nil
}

// bindForTest gives the trigger, under changed options, with what its calls need.
func (app *Application) bindForTest(ctx context.Context, caller Caller, id string, patch json.RawMessage) (*boundTrigger, error) {
	state, err := fold[trigger.Trigger](ctx, app.Store, trigger.Codec, eventlog.Stream(eventlog.TriggerStream, id), 0)
	if err != nil {
		return nil, refusal(err)
	}
	if state.Version == 0 || state.Deleted || state.WorkspaceID != caller.WorkspaceID {
		return nil, fault.New(fault.NotFound, "there is no such trigger")
	}
	if state.Options, err = state.Options.Merge(patch); err != nil {
		return nil, err
	}
	if err := checkExpressions(state.Options); err != nil {
		return nil, err
	}
	bound, err := app.bind(ctx, "", state)
	return bound, refusal(err)
}

// try goes through the checks from the parsing on.
func (app *Application) try(ctx context.Context, bound *boundTrigger, call Call, mediaType string, outcome TestOutcome) (TestOutcome, error) {
	refused := func(err error) (TestOutcome, error) {
		var internal error
		outcome.Status = TestRefused
		outcome.Error, internal = testError(err)
		return outcome, internal
	}
	if bound.evaluates == nil {
		if err := bound.checkInput(mediaType, call.Body); err != nil {
			return refused(err)
		}
		return app.accepts(call.Body, mediaType, outcome)
	}
	made, filtered, err := app.evaluate(ctx, bound, mediaType, call)
	if made != nil {
		outcome.Event, outcome.Headers, outcome.Query = made.seen.Event, made.seen.Headers, made.seen.Query
	}
	switch {
	case err != nil:
		return refused(err)
	case filtered:
		outcome.Status = TestFiltered
		return outcome, nil
	case bound.evaluates.source.Mapping == nil:
		if err := bound.checkInput(mediaType, call.Body); err != nil {
			return refused(err)
		}
		return app.accepts(call.Body, mediaType, outcome)
	}
	if err := bound.checkMapped(made.input); err != nil {
		outcome.Input = made.input // what does not fit
		return refused(err)
	}
	return app.accepts(made.input, "", outcome)
}

func (*Application) accepts(body []byte, mediaType string, outcome TestOutcome) (TestOutcome, error) {
	input, err := payload.InputJSON(mediaType, body)
	outcome.Status, outcome.Input, outcome.kept = TestAccepted, input, digestOf(body)
	return outcome, err
}

// tryPast tries a call on record. What expressions were not given then, the test may say.
func (app *Application) tryPast(ctx context.Context, bound *boundTrigger, past pastCall, body []byte, test TestTrigger) (TestOutcome, error) {
	sent := test.sent()
	maps.Copy(sent.headers, past.seen.Headers)
	maps.Copy(sent.query, past.seen.Query)
	call := Call{Body: body, Signed: body, Sent: sent}
	signature := SignatureNotRequired
	if bound.trigger.HasSecret() {
		signature = SignatureNotChecked
	}
	return app.try(ctx, bound, call, past.mediaType, TestOutcome{Signature: signature, IsActive: bound.trigger.Active})
}

// The bounds of a test over calls on record.
const (
	DefaultTestLimit = 100
	MaxTestLimit     = 1000
	testExamples     = 10
	exampleInput     = 4 << 10 // bytes
	testTime         = 20 * time.Second
	testPart         = 100 // calls read at a time
)

// TestSummary says what would become of the calls on record, the newest first.
type TestSummary struct {
	Since     time.Time  `json:"since"`
	Until     *time.Time `json:"until,omitempty"` // of the oldest that was looked at
	Examined  int        `json:"examined"`
	Complete  bool       `json:"complete"` // false when there are more than the limit, or than there was time for
	Accepted  int        `json:"accepted"`
	Filtered  int        `json:"filtered"`
	Refused   int        `json:"refused"`
	Erased    int        `json:"erased"`  // their bodies are gone
	Changed   int        `json:"changed"` // of which something else would become than did
	Examples  []Example  `json:"examples"`
	Reasons   []Reason   `json:"reasons,omitempty"` // of those that would be refused
	seenCause map[string]int
}

// Example is a call of which something else would become.
type Example struct {
	ExecutionID string          `json:"execution_id"` // of the event when it was filtered
	CreatedAt   time.Time       `json:"created_at"`
	Was         string          `json:"was"`
	Would       string          `json:"would"`
	Event       string          `json:"event,omitempty"`
	Input       json.RawMessage `json:"input,omitempty"` // left out above 4 KiB
	Error       *TestError      `json:"error,omitempty"`
}

// Reason is why calls would be refused, and how many.
type Reason struct {
	Message string `json:"message"`
	Calls   int    `json:"calls"`
}

// TestPastCalls says what would become of the calls on record since a time. A call that was
// refused is not on record.
func (app *Application) TestPastCalls(ctx context.Context, caller Caller, id string, test TestTrigger) (TestSummary, error) {
	if len(test.Payload) > 0 || test.ExecutionID != "" {
		return TestSummary{}, fault.Field("since", "asks about all calls on record: payload and execution_id have no place beside it")
	}
	limit := DefaultTestLimit
	if test.Limit != nil {
		limit = *test.Limit
	}
	if limit < 1 || limit > MaxTestLimit {
		return TestSummary{}, fault.Field("limit", "must be from 1 to %d", MaxTestLimit)
	}
	bound, err := app.bindForTest(ctx, caller, id, test.Options)
	if err != nil {
		return TestSummary{}, err
	}
	summary := TestSummary{Since: test.Since.UTC(), Examples: []Example{}, seenCause: map[string]int{}}
	until := app.Now().Add(testTime)
	var before eventlog.Position
	for {
		calls, next, err := app.pastCalls(ctx, caller, bound.stream, *test.Since, before)
		if err != nil {
			return TestSummary{}, err
		}
		positions := make([]eventlog.Position, len(calls))
		for i, past := range calls {
			positions[i] = past.recorded.Position
		}
		bodies, err := app.Store.Payloads(ctx, positions)
		if err != nil {
			return TestSummary{}, refusal(err)
		}
		for _, past := range calls {
			if summary.Examined == limit || app.Now().After(until) {
				return summary.done(false), nil
			}
			summary.Examined++
			summary.Until = new(past.recorded.At)
			body, kept := bodies[past.recorded.Position]
			if !kept {
				summary.Erased++
				continue
			}
			outcome, err := app.tryPast(ctx, bound, past, body, test)
			if err != nil {
				return TestSummary{}, err
			}
			summary.add(past, outcome)
		}
		if next == 0 {
			return summary.done(true), nil
		}
		before = next
	}
}

// pastCalls reads a part of the calls on record, the newest first, and where the next begins; 0
// when there is none.
func (app *Application) pastCalls(ctx context.Context, caller Caller, stream eventlog.StreamID, since time.Time, before eventlog.Position) ([]pastCall, eventlog.Position, error) {
	events, err := app.Store.List(ctx, EventFilter{WorkspaceID: caller.WorkspaceID, Stream: stream, Since: since, Before: before, Limit: testPart})
	if err != nil {
		return nil, 0, refusal(err)
	}
	var calls []pastCall
	for i, recorded := range events {
		past, isCall, err := pastCallOf(recorded)
		if err != nil {
			return nil, 0, err
		}
		if !isCall {
			continue
		}
		if i+1 < len(events) {
			if err := past.receive(events[i+1]); err != nil {
				return nil, 0, err
			}
		} else if preceding, there, err := app.Store.At(ctx, recorded.Position-1); err != nil {
			return nil, 0, refusal(err)
		} else if there {
			if err := past.receive(preceding); err != nil {
				return nil, 0, err
			}
		}
		calls = append(calls, past)
	}
	if len(events) < testPart {
		return calls, 0, nil
	}
	return calls, events[len(events)-1].Position, nil
}

func (s *TestSummary) add(past pastCall, outcome TestOutcome) {
	was, changed := TestAccepted, false
	if past.filtered {
		was = TestFiltered
	}
	switch outcome.Status {
	case TestAccepted:
		s.Accepted++
		changed = past.filtered || outcome.kept != past.input
	case TestFiltered:
		s.Filtered++
		changed = !past.filtered
	case TestRefused:
		s.Refused++
		changed = true
		s.seenCause[outcome.Error.Message]++
	}
	if !changed {
		return
	}
	if s.Changed++; len(s.Examples) == testExamples {
		return
	}
	example := Example{ExecutionID: past.id, CreatedAt: past.recorded.At, Was: was, Would: outcome.Status, Event: outcome.Event, Error: outcome.Error}
	if len(outcome.Input) <= exampleInput {
		example.Input = outcome.Input
	}
	s.Examples = append(s.Examples, example)
}

func (s TestSummary) done(complete bool) TestSummary {
	s.Complete = complete
	for message, calls := range s.seenCause {
		s.Reasons = append(s.Reasons, Reason{message, calls})
	}
	slices.SortFunc(s.Reasons, func(a, b Reason) int {
		if a.Calls != b.Calls {
			return b.Calls - a.Calls
		}
		return strings.Compare(a.Message, b.Message)
	})
	s.Reasons = s.Reasons[:min(len(s.Reasons), testExamples)]
	return s
}
