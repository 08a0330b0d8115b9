package application

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// ExecuteAgent asks for a run without a trigger.
type ExecuteAgent struct {
	Input     json.RawMessage   `json:"input"`
	Sync      bool              `json:"sync"`
	SessionID string            `json:"session_id"`
	UserID    string            `json:"user_id"`
	Metadata  map[string]string `json:"metadata"`
}

// ExecuteAgent records an execution; workers run it.
func (app *Application) ExecuteAgent(ctx context.Context, caller Caller, agentID string, e ExecuteAgent) (ExecutionView, error) {
	if len(e.Input) == 0 {
		e.Input = json.RawMessage("{}")
	}
	wrong := map[string]string{}
	for name, value := range map[string]string{"session_id": e.SessionID, "user_id": e.UserID} {
		switch {
		case len(value) > 255:
			wrong[name] = "is longer than 255 bytes"
		case strings.ContainsFunc(value, unicode.IsControl):
			wrong[name] = "has control characters"
		}
	}
	if len(e.Metadata) > 50 {
		wrong["metadata"] = "has more than 50 entries"
	}
	if err := fault.Fields(wrong); err != nil {
		return ExecutionView{}, err
	}
	return app.request(ctx, caller, app.NewID(), execution.Requested{
		AgentID: agentID, SessionID: e.SessionID, UserID: e.UserID, Metadata: e.Metadata,
	}, e.Input)
}

// request records an execution that no webhook call asked for. One of that id that is there already
// stays as it is.
func (app *Application) request(ctx context.Context, caller Caller, id string, r execution.Requested, input []byte) (ExecutionView, error) {
	meta := caller.metadata()
	meta.CorrelationID = id
	_, err := change(ctx, app, execution.Codec, caller.WorkspaceID, eventlog.Stream(eventlog.ExecutionStream, id), meta, func(x execution.Execution) (decision, error) {
		if x.Version > 0 {
			return decision{}, nil
		}
		stream := eventlog.Stream(eventlog.AgentStream, r.AgentID)
		runs, err := fold[agent.Agent](ctx, app.Store, agent.Codec, stream, 0)
		if err != nil {
			return decision{}, refusal(err)
		}
		if runs.Version == 0 || runs.Archived || runs.WorkspaceID != caller.WorkspaceID {
			return decision{}, fault.New(fault.NotFound, "there is no such agent")
		}
		if err := checkAgentInput(runs, r.MediaType, input); err != nil {
			return decision{}, err
		}
		r.Runs = runs.Runner.Kind != agent.RunnerNone
		r.Input = digestOf(input)
		return decision{
			events: []eventlog.Event{r}, payload: input, due: r.Runs,
			guards: []eventlog.Guard{{Stream: stream, Version: runs.Version}},
		}, nil
	})
	if err != nil {
		return ExecutionView{}, err
	}
	return app.GetExecution(ctx, caller, id)
}

func checkAgentInput(runs agent.Agent, mediaType string, raw []byte) error {
	input, err := payload.InputJSON(mediaType, raw)
	if err != nil {
		return err
	}
	kind, err := payload.CheckJSON(input)
	if err != nil {
		return err
	}
	var schema *payload.Schema
	if len(runs.InputSchema) > 0 {
		if schema, err = payload.CompileSchema(runs.InputSchema); err != nil {
			return err
		}
	}
	if kind != payload.Object && (schema == nil || !schema.AllowsNonObject()) {
		return fault.Field("input", "must be an object")
	}
	if schema == nil {
		return nil
	}
	return schema.Validate(input)
}

// changeExecution is change for an execution of the caller's workspace. One that a trigger
// made has its first event in the trigger's stream: what the view knows of it is the start.
func (app *Application) changeExecution(ctx context.Context, caller Caller, id string, decide func(execution.Execution) (decision, error)) (ExecutionView, error) {
	view, there, err := app.Views.Execution(ctx, caller.WorkspaceID, id)
	if _, err := found(view, there, err, "execution"); err != nil {
		return view, err
	}
	start := execution.Execution{ID: id, WorkspaceID: caller.WorkspaceID, AgentID: view.AgentID, TriggerID: view.TriggerID, Status: execution.Pending}
	meta := caller.metadata()
	meta.CorrelationID = id
	if _, err := changeFrom(ctx, app, execution.Codec, start, caller.WorkspaceID, eventlog.Stream(eventlog.ExecutionStream, id), meta, decide); err != nil {
		return view, err
	}
	return app.GetExecution(ctx, caller, id)
}

// CancelExecution ends an execution that has not ended; a run that is under way is told to
// stop and its result does not count.
func (app *Application) CancelExecution(ctx context.Context, caller Caller, id, reason string) (ExecutionView, error) {
	view, err := app.changeExecution(ctx, caller, id, func(x execution.Execution) (decision, error) {
		events, err := x.Cancel(reason)
		return decision{events: events, due: true}, err // it may have held back another of its agent
	})
	if err == nil {
		app.running.cancel(id, ErrCancelled)
	}
	return view, err
}

// EraseExecution erases input and output of an execution that has ended, and puts on record that
// and why it did. What is erased already stays as it is.
func (app *Application) EraseExecution(ctx context.Context, caller Caller, id, reason string) (ExecutionView, error) {
	return app.changeExecution(ctx, caller, id, func(x execution.Execution) (decision, error) { return app.erasure(ctx, x, reason) })
}

// RetryExecution runs an execution that has ended once more, as a new one.
func (app *Application) RetryExecution(ctx context.Context, caller Caller, id string) (ExecutionView, error) {
	return app.retryAs(ctx, caller, id, app.NewID())
}

// retryAs is RetryExecution with the id of the new execution.
func (app *Application) retryAs(ctx context.Context, caller Caller, id, newID string) (ExecutionView, error) {
	view, body, mediaType, err := app.retriable(ctx, caller, id)
	if err != nil {
		return ExecutionView{}, err
	}
	return app.request(ctx, caller, newID, execution.Requested{
		AgentID: view.AgentID, TriggerID: view.TriggerID, SessionID: view.SessionID, UserID: view.UserID, Metadata: view.Metadata,
		RetryOf: id, MediaType: mediaType,
	}, body)
}

// retriable gives an execution that has ended, with the input that a retry gets.
func (app *Application) retriable(ctx context.Context, caller Caller, id string) (view ExecutionView, body []byte, mediaType string, err error) {
	view, there, err := app.Views.Execution(ctx, caller.WorkspaceID, id)
	if view, err = found(view, there, err, "execution"); err != nil {
		return view, nil, "", err
	}
	if !view.Status.Final() {
		return view, nil, "", fault.New(fault.Conflict, "the execution has not ended yet: it is %s", view.Status)
	}
	body, mediaType, kept, err := app.Views.Input(ctx, id)
	if err != nil {
		return view, nil, "", refusal(err)
	}
	if !kept {
		return view, nil, "", fault.New(fault.Conflict, "the input of this execution has been erased")
	}
	return view, body, mediaType, nil
}

// Report is what somebody who did an agent's work outside says of it.
type Report struct {
	Output json.RawMessage `json:"output"`
	Error  *ReportedError  `json:"error"`
}

// ReportedError is why the work failed.
type ReportedError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ReportExecution ends an execution of an agent whose runner is none.
func (app *Application) ReportExecution(ctx context.Context, caller Caller, id string, r Report) (ExecutionView, error) {
	if r.Error != nil && bytes.Equal(bytes.TrimSpace(r.Output), []byte("null")) {
		r.Output = nil // a client that always sends both fields
	}
	if (r.Error == nil) == (len(r.Output) == 0) {
		return ExecutionView{}, fault.Field("output", "or error is required, one of the two")
	}
	if r.Error == nil {
		if _, err := payload.CheckJSON(r.Output); err != nil {
			return ExecutionView{}, fault.Field("output", "is not JSON that can be kept: %s", err)
		}
	}
	return app.changeExecution(ctx, caller, id, func(x execution.Execution) (decision, error) {
		if x.Status == execution.Running {
			return decision{}, fault.New(fault.Conflict, "a worker runs this execution")
		}
		if r.Error != nil {
			failure := execution.Failure{Error: execution.NewError(orDefault(r.Error.Code, "reported"), r.Error.Message), Final: true}
			events, err := x.Fail(failure, agent.Retry{}, 0, app.Now())
			return decision{events: events}, err
		}
		events, err := x.Complete(digestOf(r.Output), nil)
		return decision{events: events, payload: r.Output}, err
	})
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func digestOf(body []byte) trigger.Digest {
	sum := sha256.Sum256(body)
	return trigger.Digest{SHA256: hex.EncodeToString(sum[:]), Size: len(body)}
}

// AwaitExecution waits until an execution has ended, but no longer than patience, and
// gives its state then.
func (app *Application) AwaitExecution(ctx context.Context, workspace, id string, patience time.Duration) (ExecutionView, error) {
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ended := app.running.awaitEnd(id)
	defer ended.leave()
	for {
		appended := app.Appended.Next()
		view, there, err := app.Views.Execution(ctx, workspace, id)
		if _, err := found(view, there, err, "execution"); err != nil {
			return view, err
		}
		if view.Status.Final() {
			return app.withAttempts(ctx, view)
		}
		select {
		case <-ended.signal:
			continue
		case <-deadline.Done():
			return view, nil
		case <-time.After(awaitPause): //nolint:forbidigo // a pause, of which nothing depends on the time
		}
		// Another replica may run it: then the log's growth is the only sign, or none.
		select {
		case <-ended.signal:
		case <-appended:
		case <-time.After(awaitPoll): //nolint:forbidigo // likewise
		case <-deadline.Done():
			return view, nil
		}
	}
}

// awaitPause keeps a busy log from making every waiter read all the time.
const awaitPause = 25 * time.Millisecond

// awaitPoll is how soon an end is seen of which nobody told this process.
const awaitPoll = time.Second

// ErrCancelled is the cause of the end of a run whose execution has ended otherwise: somebody
// cancelled it.
var ErrCancelled = errors.New("the execution was cancelled")

// errTakenOver is the cause of the end of a run whose execution runs elsewhere by now.
var errTakenOver = errors.New("the execution was taken over")
