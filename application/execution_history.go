package application

import (
	"context"
	"encoding/json"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// pastExecution is an execution as it was. Payloads are not in the log: it has their digests.
type pastExecution struct {
	ExecutionView
	Input  *trigger.Digest `json:"input,omitempty"`
	Output *trigger.Digest `json:"output,omitempty"`
	// Where the payloads are kept, and of what type the input is.
	began, ended eventlog.Position
	mediaType    string
}

// executionEvents are those of its own stream, and before them the call that created it, which is in
// its trigger's.
func executionEvents(ctx context.Context, app *Application, caller Caller, stream eventlog.StreamID) ([]eventlog.Recorded, error) {
	view, there, err := app.Views.Execution(ctx, caller.WorkspaceID, stream.ID())
	if err != nil || !there {
		return nil, err
	}
	first, there, err := app.Store.At(ctx, view.Position)
	if err != nil || !there {
		return nil, err
	}
	own, err := app.Store.Decisions(ctx, stream, 0)
	if first.Stream == stream {
		return own, err
	}
	return append([]eventlog.Recorded{first}, own...), err
}

// tellExecution folds an execution: its state by the domain's rules, and what else is shown of it.
func tellExecution(*Application) func(eventlog.Recorded) (any, error) {
	var (
		state execution.Execution
		view  pastExecution
	)
	return func(recorded eventlog.Recorded) (any, error) {
		if recorded.Stream.Kind() == eventlog.TriggerStream {
			event, err := trigger.Codec.Decode(recorded)
			if err != nil {
				return nil, err
			}
			if invoked, ok := event.(trigger.Invoked); ok {
				state = execution.FromInvoked(recorded, invoked)
				view.Input, view.mediaType = &invoked.Input, invoked.MediaType
			}
		} else {
			event, err := execution.Codec.Decode(recorded)
			if err != nil {
				return nil, err
			}
			state = state.Evolve(recorded, event)
			view.tell(recorded, event)
		}
		if view.began == 0 {
			view.began, view.CreatedAt, view.Position = recorded.Position, recorded.At, recorded.Position
		}
		view.ID, view.ExecutionID, view.WorkspaceID, view.AgentID, view.TriggerID = state.ID, state.ID, state.WorkspaceID, state.AgentID, state.TriggerID
		view.Status, view.Attempt, view.Version = state.Status, state.Attempt, state.Version
		return view, nil
	}
}

// tell adds what the state does not hold, because no decision depends on it.
func (v *pastExecution) tell(recorded eventlog.Recorded, event eventlog.Event) {
	at := recorded.At
	v.NextAttemptAt, v.Error, v.ErrorCode = nil, "", ""
	switch e := event.(type) {
	case execution.Requested:
		v.Input, v.mediaType = &e.Input, e.MediaType
		v.SessionID, v.UserID, v.Metadata, v.RetryOf = e.SessionID, e.UserID, e.Metadata, e.RetryOf
		return
	case execution.Started:
		if v.StartedAt == nil {
			v.StartedAt = &at
		}
		return
	case execution.AttemptFailed:
		v.NextAttemptAt, v.Error, v.ErrorCode = &e.RetryAt, e.Error.Message, e.Error.Code
		return
	case execution.Succeeded:
		v.Output, v.TokenUsage, v.ended = &e.Output, e.TokenUsage, recorded.Position
	case execution.GaveUp:
		v.Error, v.ErrorCode = e.Error.Message, e.Error.Code
	case execution.WasCancelled:
		v.Error, v.ErrorCode = orDefault(e.Reason, "cancelled"), "cancelled"
	}
	v.CompletedAt = &at
	if v.StartedAt != nil {
		v.DurationMS = new(at.Sub(*v.StartedAt).Milliseconds())
	}
}

// GetExecutionAsOf shows an execution as it was, with the attempts that there were then.
func (app *Application) GetExecutionAsOf(ctx context.Context, caller Caller, id string, m Moment) (ExecutionView, error) {
	past, position, err := viewAsOf[pastExecution](ctx, app, caller, eventlog.ExecutionStream, id, m)
	if err != nil {
		return ExecutionView{}, err
	}
	view := past.ExecutionView
	payloads, err := app.Store.Payloads(ctx, []eventlog.Position{past.began, past.ended})
	if err != nil {
		return view, refusal(err)
	}
	if body, kept := payloads[past.began]; kept {
		if view.Input, err = payload.InputJSON(past.mediaType, body); err != nil {
			return view, err
		}
	}
	if body, kept := payloads[past.ended]; kept {
		view.Output = json.RawMessage(body)
	}
	events, err := app.Store.Decisions(ctx, eventlog.Stream(eventlog.ExecutionStream, id), position)
	if err != nil {
		return view, refusal(err)
	}
	view.Attempts, err = attempts(events)
	return view, err
}
