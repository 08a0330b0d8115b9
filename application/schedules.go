package application

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// DueSchedule is a trigger whose time has come.
type DueSchedule struct {
	Trigger trigger.Trigger
	Agent   agent.Agent
	At      time.Time // the first that was not seen to
}

// Schedules hands out the times of schedules, each once over all replicas.
type Schedules interface {
	// Fire lets decide see to some of those that are due. Nothing that they depend on changes
	// before what decide returns is appended.
	Fire(ctx context.Context, now time.Time, decide func(DueSchedule) (eventlog.Append, error)) error
	// Next gives the time that is due first; false when there is none.
	Next(ctx context.Context) (time.Time, bool, error)
}

// FireSchedules makes the runs that are due, and gives the time at which the next is; false when
// there is none.
func (app *Application) FireSchedules(ctx context.Context) (next time.Time, waiting bool, err error) {
	for {
		next, waiting, err := app.Schedules.Next(ctx)
		now := app.Now()
		if err != nil || !waiting || next.After(now) {
			return next, waiting, err
		}
		if err := app.Schedules.Fire(ctx, now, func(d DueSchedule) (eventlog.Append, error) { return app.fire(d, now) }); err != nil {
			return next, false, err
		}
	}
}

func (app *Application) fire(d DueSchedule, now time.Time) (eventlog.Append, error) {
	t, input := d.Trigger, d.Trigger.Options.Schedule.Input()
	refused := ""
	if d.Agent.Archived {
		refused = "the agent is archived"
	} else if err := checkAgentInput(d.Agent, "", input); err != nil {
		var unfit *fault.Error
		if !errors.As(err, &unfit) {
			return eventlog.Append{}, err
		}
		refused = shorten("the payload does not fit the agent: "+unfit.Message, 500)
	}
	firing := t.Fire(d.At, now, refused)
	a := eventlog.Append{
		WorkspaceID: t.WorkspaceID, Stream: eventlog.Stream(eventlog.TriggerStream, t.ID), Expected: t.Version,
		Meta: eventlog.Metadata{Actor: eventlog.System},
	}
	add := func(event eventlog.Event, id string, payload []byte) error {
		proposed, err := trigger.Codec.Encode(event)
		if err != nil {
			return err
		}
		proposed.ID, proposed.Payload = id, payload
		a.Events = append(a.Events, proposed)
		return nil
	}
	if firing.Missed != nil {
		if err := add(*firing.Missed, app.NewID(), nil); err != nil {
			return a, err
		}
	}
	for _, at := range firing.Runs {
		invoked := app.invokedBySelf(t, d.Agent, input)
		invoked.ScheduledFor, invoked.NextRunAt = &at, firing.Next
		a.Due = a.Due || invoked.Runs
		a.Meta.CorrelationID = invoked.ExecutionID
		if err := add(invoked, invoked.ExecutionID, input); err != nil {
			return a, err
		}
	}
	return a, nil
}

// invokedBySelf is the invocation of a trigger that no webhook call asked for.
func (app *Application) invokedBySelf(t trigger.Trigger, runs agent.Agent, input []byte) trigger.Invoked {
	return trigger.Invoked{
		ExecutionID: app.NewID(), AgentID: t.AgentID, Runs: runs.Runner.Kind != agent.RunnerNone, Input: digestOf(input),
	}
}

// RunTrigger asks for a run of a trigger now.
type RunTrigger struct {
	// Payload is the agent's input; absent means that of the trigger's schedule, else {}.
	Payload json.RawMessage `json:"payload"`
}

// RunTrigger runs a trigger's agent once, as its schedule would.
func (app *Application) RunTrigger(ctx context.Context, caller Caller, id string, r RunTrigger) (ExecutionView, error) {
	var made string
	_, err := app.changeTrigger(ctx, caller, id, 0, func(t trigger.Trigger) (decision, error) {
		if !t.Active {
			return decision{}, fault.New(fault.Conflict, "the trigger is inactive: activate it first")
		}
		input := []byte(r.Payload)
		switch {
		case len(input) > 0:
		case t.Options.Schedule != nil:
			input = t.Options.Schedule.Input()
		default:
			input = []byte("{}")
		}
		stream := eventlog.Stream(eventlog.AgentStream, t.AgentID)
		runs, err := fold[agent.Agent](ctx, app.Store, agent.Codec, stream, 0)
		if err != nil {
			return decision{}, refusal(err)
		}
		if runs.Archived {
			return decision{}, fault.New(fault.Conflict, "the trigger's agent is archived")
		}
		if err := checkAgentInput(runs, "", input); err != nil {
			return decision{}, err
		}
		invoked := app.invokedBySelf(t, runs, input)
		made = invoked.ExecutionID
		return decision{
			events: []eventlog.Event{invoked}, ids: []string{made}, payload: input, due: invoked.Runs,
			guards: []eventlog.Guard{{Stream: stream, Version: runs.Version}},
		}, nil
	})
	if err != nil {
		return ExecutionView{}, err
	}
	return app.GetExecution(ctx, caller, made)
}
