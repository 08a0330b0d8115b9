package application

import (
	"context"
	"strings"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// evaluated is a trigger's filter and mapping. Its compiled form is kept by the evaluator, which
// knows it by its text.
type evaluated struct {
	source         expression.Source
	headers, query []string // that the source is given
}

func evaluatedBy(o trigger.Options) *evaluated {
	if !o.Evaluates() {
		return nil
	}
	e := &evaluated{source: expression.Source{Filter: o.Filter, Mapping: o.InputMapping}}
	e.headers, e.query = e.source.Names()
	return e
}

// sameAs says that the trigger and its agent are as they were.
func (b *boundTrigger) sameAs(before *boundTrigger) bool {
	return b != nil && b.tokenID == before.tokenID && b.trigger.ID == before.trigger.ID && b.trigger.Version == before.trigger.Version &&
		b.agent.ID == before.agent.ID && b.agent.Version == before.agent.Version
}

// checkExpressions compiles the expressions of options, to refuse what does not.
func checkExpressions(o trigger.Options) error {
	if !o.Evaluates() {
		return nil
	}
	_, err := expression.Compile(expression.Source{Filter: o.Filter, Mapping: o.InputMapping})
	return err
}

// mappedCall is what an evaluation made of a call.
type mappedCall struct {
	input []byte // nil when the body is the input
	seen  trigger.Seen
}

// given is a call that was not sent: the one value of each of its headers, by names in lower
// case, and parameters.
type given struct{ headers, query map[string]string }

func (g given) Header(name string) []string {
	if value, has := g.headers[strings.ToLower(name)]; has {
		return []string{value}
	}
	return nil
}

func (g given) Query(name string) string { return g.query[name] }

// Method, URL and URI are as for any call to the usual path.
func (g given) Method() string  { return "POST" }
func (g given) URL(bool) string { return "" }
func (g given) URI() string     { return "/api/v1/webhook/trigger" }

// evaluate filters and maps a body. mapped is nil when the filter was false, and its input nil
// when there is no mapping. The faults are those that the sender is told.
func (app *Application) evaluate(ctx context.Context, b *boundTrigger, mediaType string, call Call) (*mappedCall, bool, error) {
	document := call.Body
	if mediaType == "" {
		if _, err := payload.CheckJSON(document); err != nil {
			return nil, false, err
		}
	} else {
		var err error
		if document, err = payload.FormToJSON(document); err != nil {
			return nil, false, err
		}
	}
	made := &mappedCall{seen: expression.SeenOf(b.evaluates.headers, b.evaluates.query, call.Sent)}
	if app.Evaluator == nil {
		return made, false, fault.New(fault.Unavailable, "this server evaluates no filters and mappings")
	}
	result, err := app.Evaluator.Evaluate(ctx, b.evaluates.source, expression.Message{Payload: document, Seen: made.seen})
	if err != nil {
		return made, false, asCallFault(err)
	}
	if result.Filtered {
		return made, true, nil
	}
	made.input = result.Input
	return made, false, nil
}

// asCallFault turns the fault of a source that does not compile any more, which a newer version of
// an engine can cause, into one about the call: a sender is not to read of a wrong request.
func asCallFault(err error) error {
	if fault.CodeOf(err) != fault.Validation {
		return err
	}
	return fault.Wrap(err, fault.ExpressionFailed, "the trigger's filter or mapping does not compile")
}

// checkMapped holds the input that a mapping made against the agent.
func (b *boundTrigger) checkMapped(input []byte) error {
	kind, err := payload.CheckJSON(input)
	if err != nil {
		return fault.Wrap(err, fault.ExpressionFailed, "the mapping gives no input that can be kept")
	}
	if kind != payload.Object && (b.schema == nil || !b.schema.AllowsNonObject()) {
		return fault.New(fault.SchemaMismatch, "the mapping must give an object, and gives a value of the type %s", kind)
	}
	if b.schema == nil {
		return nil
	}
	return b.schema.Validate(input)
}

// admitEvaluated goes on with a call of a trigger that has a filter or a mapping.
func (app *Application) admitEvaluated(ctx context.Context, bound *boundTrigger, call Call, message *Message, mediaType string) (Invocation, error) {
	made, filtered, err := app.evaluate(ctx, bound, mediaType, call)
	if err != nil {
		return Invocation{}, err
	}
	if filtered {
		return app.keepFiltered(ctx, bound, call, mediaType, made.seen)
	}
	if bound.evaluates.source.Mapping == nil {
		err = bound.checkInput(mediaType, call.Body)
		if len(made.seen.Headers)+len(made.seen.Query) == 0 {
			made = nil // nothing to put on record beside the body
		}
	} else {
		err = bound.checkMapped(made.input)
	}
	if err != nil {
		return Invocation{}, err
	}
	delivery, err := bound.deliveryOf(&call, message)
	if err != nil {
		return Invocation{}, err
	}
	return app.accept(ctx, bound, call, mediaType, delivery, made)
}

// keepFiltered puts a call on record that the filter kept from the agent.
func (app *Application) keepFiltered(ctx context.Context, bound *boundTrigger, call Call, mediaType string, seen trigger.Seen) (Invocation, error) {
	t := &bound.trigger
	proposed, err := trigger.Codec.Encode(trigger.Filtered{
		AgentID: t.AgentID, Body: digestOf(call.Body), MediaType: mediaType, TokenID: bound.tokenID, Signed: t.HasSecret(),
		ClientIP: call.Client.String(), Seen: seen,
	})
	if err != nil {
		return Invocation{}, err
	}
	proposed.ID, proposed.Payload = app.NewID(), call.Body
	appended, err := app.Store.Append(ctx, eventlog.Append{
		WorkspaceID: t.WorkspaceID, Stream: bound.stream, Expected: t.Version, Guards: bound.guards, Events: []eventlog.Proposed{proposed},
		Meta: eventlog.Metadata{Actor: bound.actor, RequestID: call.RequestID, TraceParent: call.TraceParent, CorrelationID: proposed.ID},
	})
	if err != nil {
		return Invocation{}, err
	}
	return Invocation{
		ID: proposed.ID, TriggerID: t.ID, AgentID: t.AgentID, Status: execution.Status("filtered"), CreatedAt: appended.Events[0].At,
		WorkspaceID: t.WorkspaceID, Filtered: true,
	}, nil
}

// putBefore puts an event before an invocation with what the expressions were given. When the body
// was mapped it has the body, too, and the invocation has what was made of it.
func (app *Application) putBefore(a *eventlog.Append, call Call, mapped *mappedCall, executionID, sha256 string, mediaType string) error {
	received, err := trigger.Codec.Encode(trigger.Received{
		ExecutionID: executionID, Body: trigger.Digest{SHA256: sha256, Size: len(call.Body)}, MediaType: mediaType, Seen: mapped.seen,
	})
	if err != nil {
		return err
	}
	received.ID = app.NewID()
	if mapped.input != nil {
		received.Payload, a.Events[0].Payload = call.Body, mapped.input
	}
	a.Events = []eventlog.Proposed{received, a.Events[0]}
	return nil
}

// ReceivedView is what a call brought.
type ReceivedView struct {
	EventID   string            `json:"event_id"`
	Type      string            `json:"type"` // of the event
	MediaType string            `json:"media_type"`
	SHA256    string            `json:"sha256"`
	Size      int               `json:"size"`
	Event     string            `json:"event,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Query     map[string]string `json:"query,omitempty"`
	// Mapped says that the agent's input was made of it by a mapping.
	Mapped bool `json:"mapped"`
	// Body is the text as it was sent; nil when it has been erased.
	Body *string `json:"body"`
}

// GetReceived shows what a webhook call brought, by the id of its execution or, for a call that
// was filtered, of its event.
func (app *Application) GetReceived(ctx context.Context, caller Caller, id string) (ReceivedView, error) {
	past, err := app.pastCall(ctx, caller, id)
	if err != nil {
		return ReceivedView{}, err
	}
	view := ReceivedView{
		EventID: past.recorded.ID, Type: past.recorded.Type, MediaType: orDefault(past.mediaType, "application/json"), SHA256: past.body.SHA256,
		Size: past.body.Size, Event: past.seen.Event, Headers: past.seen.Headers, Query: past.seen.Query, Mapped: past.mapped,
	}
	payloads, err := app.Store.Payloads(ctx, []eventlog.Position{past.recorded.Position})
	if err != nil {
		return ReceivedView{}, refusal(err)
	}
	if body, kept := payloads[past.recorded.Position]; kept {
		view.Body = new(string(body))
	}
	return view, nil
}

// pastCall is a webhook call on record.
type pastCall struct {
	recorded  eventlog.Recorded // the event that has the body
	id        string            // of the execution, or of the event for a call that was filtered
	body      trigger.Digest
	mediaType string
	seen      trigger.Seen
	mapped    bool
	filtered  bool
	input     trigger.Digest // the agent's
}

var errNoCall = fault.New(fault.NotFound, "there is no such webhook call")

// pastCall finds a call by the id of its execution or event.
func (app *Application) pastCall(ctx context.Context, caller Caller, id string) (pastCall, error) {
	recorded, there, err := app.Store.Event(ctx, id)
	if err != nil {
		return pastCall{}, refusal(err)
	}
	if !there || recorded.WorkspaceID != caller.WorkspaceID || recorded.Stream.Kind() != eventlog.TriggerStream {
		return pastCall{}, errNoCall
	}
	past, ok, err := pastCallOf(recorded)
	if err != nil || !ok {
		return pastCall{}, orNoCall(err)
	}
	// The body of a mapped call is in the event right before, by the same append.
	before, there, err := app.Store.At(ctx, recorded.Position-1)
	if err != nil {
		return pastCall{}, refusal(err)
	}
	if there {
		err = past.receive(before)
	}
	return past, err
}

func orNoCall(err error) error {
	if err != nil {
		return err
	}
	return errNoCall
}

// pastCallOf reads an event that is a call: one that was accepted or filtered.
func pastCallOf(recorded eventlog.Recorded) (pastCall, bool, error) {
	event, err := trigger.Codec.Decode(recorded)
	if err != nil {
		return pastCall{}, false, err
	}
	switch e := event.(type) {
	case trigger.Invoked:
		return pastCall{recorded: recorded, id: e.ExecutionID, body: e.Input, mediaType: e.MediaType, input: e.Input}, true, nil
	case trigger.Filtered:
		return pastCall{recorded: recorded, id: recorded.ID, body: e.Body, mediaType: e.MediaType, seen: e.Seen, filtered: true}, true, nil
	}
	return pastCall{}, false, nil
}

// receive takes the body from the event before the call's own, if it is there.
func (p *pastCall) receive(before eventlog.Recorded) error {
	if before.Stream != p.recorded.Stream || before.Position != p.recorded.Position-1 {
		return nil
	}
	event, err := trigger.Codec.Decode(before)
	if err != nil {
		return err
	}
	e, ok := event.(trigger.Received)
	if !ok || e.ExecutionID != p.id {
		return nil
	}
	p.seen = e.Seen
	if e.Body != p.input || e.MediaType != p.mediaType {
		p.recorded, p.body, p.mediaType, p.mapped = before, e.Body, e.MediaType, true
	}
	return nil
}
