package application

import (
	"context"
	"strings"
	"time"

	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
)

func found[V any](view V, there bool, err error, what string) (V, error) {
	if err == nil && !there {
		err = fault.New(fault.NotFound, "there is no such %s", what)
	}
	return view, refusal(err)
}

// GetTrigger shows a trigger.
func (app *Application) GetTrigger(ctx context.Context, caller Caller, id string) (TriggerView, error) {
	view, there, err := app.Views.Trigger(ctx, caller.WorkspaceID, id)
	return found(view, there, err, "trigger")
}

// ListTriggers shows triggers, the newest first.
func (app *Application) ListTriggers(ctx context.Context, caller Caller, f TriggerFilter, p Paging) (Page[TriggerView], error) {
	page, err := app.Views.Triggers(ctx, caller.WorkspaceID, f, p)
	return page, refusal(err)
}

// GetAgent shows an agent.
func (app *Application) GetAgent(ctx context.Context, caller Caller, id string) (AgentView, error) {
	view, there, err := app.Views.Agent(ctx, caller.WorkspaceID, id)
	return found(view, there, err, "agent")
}

// ListAgents shows agents, the newest first.
func (app *Application) ListAgents(ctx context.Context, caller Caller, f AgentFilter, p Paging) (Page[AgentView], error) {
	page, err := app.Views.Agents(ctx, caller.WorkspaceID, f, p)
	return page, refusal(err)
}

// ListAPIKeys shows API keys, the newest first.
func (app *Application) ListAPIKeys(ctx context.Context, caller Caller, p Paging) (Page[APIKeyView], error) {
	page, err := app.Views.APIKeys(ctx, caller.WorkspaceID, p)
	return page, refusal(err)
}

// GetAPIKey shows an API key that is not revoked.
func (app *Application) GetAPIKey(ctx context.Context, caller Caller, id string) (APIKeyView, error) {
	key, err := fold[apikey.APIKey](ctx, app.Store, apikey.Codec, eventlog.Stream(eventlog.APIKeyStream, id), 0)
	there := key.Version > 0 && !key.Revoked && key.WorkspaceID == caller.WorkspaceID
	return found(NewAPIKeyView(key), there, err, "API key")
}

// ListExecutions shows executions, the newest first.
func (app *Application) ListExecutions(ctx context.Context, caller Caller, f ExecutionFilter, p Paging) (Page[ExecutionView], error) {
	page, err := app.Views.Executions(ctx, caller.WorkspaceID, f, p)
	return page, refusal(err)
}

// GetExecution shows an execution with its attempts.
func (app *Application) GetExecution(ctx context.Context, caller Caller, id string) (ExecutionView, error) {
	view, there, err := app.Views.Execution(ctx, caller.WorkspaceID, id)
	if view, err = found(view, there, err, "execution"); err != nil {
		return view, err
	}
	return app.withAttempts(ctx, view)
}

func (app *Application) withAttempts(ctx context.Context, view ExecutionView) (ExecutionView, error) {
	events, err := app.Store.Decisions(ctx, eventlog.Stream(eventlog.ExecutionStream, view.ID), 0)
	if err != nil {
		return view, refusal(err)
	}
	view.Attempts, err = attempts(events)
	return view, err
}

// attempts tells the story of an execution's attempts from its events.
func attempts(events []eventlog.Recorded) ([]AttemptView, error) {
	list := []AttemptView{}
	end := func(at time.Time, status execution.Status, failed execution.Error, retryAt *time.Time) {
		if len(list) == 0 {
			return
		}
		last := &list[len(list)-1]
		if last.EndedAt == nil {
			last.EndedAt, last.Status, last.Error, last.ErrorCode, last.RetryAt = &at, status, failed.Message, failed.Code, retryAt
		}
	}
	for _, recorded := range events {
		event, err := execution.Codec.Decode(recorded)
		if err != nil {
			return nil, err
		}
		switch e := event.(type) {
		case execution.Started:
			at := recorded.At
			list = append(list, AttemptView{Attempt: e.Attempt, Status: execution.Running, Worker: e.Worker, StartedAt: &at})
		case execution.AttemptFailed:
			end(recorded.At, execution.Failed, e.Error, &e.RetryAt)
		case execution.Succeeded:
			end(recorded.At, execution.Completed, execution.Error{}, nil)
		case execution.GaveUp:
			end(recorded.At, execution.Failed, e.Error, nil)
		case execution.WasCancelled:
			end(recorded.At, execution.Cancelled, execution.Error{}, nil)
		}
	}
	return list, nil
}

// Head gives the position of the last event.
func (app *Application) Head(ctx context.Context) (eventlog.Position, error) {
	head, err := app.Store.Head(ctx)
	return head, refusal(err)
}

// of narrows a filter to what a caller may see.
func (f EventFilter) of(caller Caller) EventFilter {
	f.WorkspaceID = caller.WorkspaceID
	if kind, id, _ := strings.Cut(string(f.Actor), ":"); kind == "trigger" && f.Stream == "" {
		// A trigger acts on its own stream alone, and by stream events are found.
		f.Stream = eventlog.Stream(eventlog.TriggerStream, id)
	}
	return f
}

// ListEvents shows events: onwards in order from f.After, else the newest first.
func (app *Application) ListEvents(ctx context.Context, caller Caller, f EventFilter) (Page[EventView], error) {
	f = f.of(caller)
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next part
	events, err := app.Store.List(ctx, f)
	if err != nil {
		return Page[EventView]{}, refusal(err)
	}
	counted := f
	counted.Before = 0
	total, err := app.Store.Count(ctx, counted, CountBound)
	if err != nil {
		return Page[EventView]{}, refusal(err)
	}
	page := Page[EventView]{Total: total, Items: make([]EventView, 0, limit)}
	for i, e := range events {
		if i == limit {
			page.Next = page.Items[i-1].Position
			break
		}
		page.Items = append(page.Items, NewEventView(e))
	}
	return page, nil
}
