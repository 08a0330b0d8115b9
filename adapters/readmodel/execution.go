package readmodel

import (
	"encoding/json"
	"fmt"

	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/trigger"
)

// executionTable has a row for every execution, and one in its queue for each that waits or
// runs. Both are written on the hot path: in a few statements for all events of a
// transaction, and nothing is read.
type executionTable struct {
	name, queue string
	insert      database.BulkStatement
	update      database.BulkStatement
	enqueue     database.BulkStatement
	requeue     database.BulkStatement
}

func newExecutionTable(suffix string) executionTable {
	column := func(name, kind string) database.Column { return database.Column{Name: name, Type: kind} }
	name, queue := "executions"+suffix, "execution_queue"+suffix
	return executionTable{
		name: name, queue: queue,
		insert: database.Insert(name, "",
			column("position", "int8"), column("id", "text"), column("workspace_id", "text"), column("agent_id", "text"),
			column("trigger_id", "text"), column("status", "text"), column("attempt", "int8"), column("version", "int8"),
			column("created_at", "int8"), column("started_at", "int8"), column("completed_at", "int8"), column("error_code", "text"),
			column("error_message", "text"), column("output_position", "int8"), column("ended_badly", "text"), column("media_type", "text"),
			column("session_id", "text"), column("user_id", "text"), column("metadata", "text"), column("retry_of", "text")),
		update: database.Update(name,
			[]string{
				"new.version", "new.status", "coalesce(new.attempt, old.attempt)", "coalesce(old.started_at, new.started_at)", "new.completed_at",
				"new.error_code", "new.error_message", "new.output_position", "new.ended_badly",
			},
			column("id", "text"), column("version", "int8"), column("status", "text"), column("attempt", "int8"), column("started_at", "int8"),
			column("completed_at", "int8"), column("error_code", "text"), column("error_message", "text"), column("output_position", "int8"),
			column("ended_badly", "text")),
		enqueue: database.Insert(queue, "", column("id", "text"), column("agent_id", "text"), column("due_at", "int8"), column("worker", "text")),
		requeue: database.Update(queue, []string{"new.due_at", "new.worker"}, column("id", "text"), column("due_at", "int8"), column("worker", "text")),
	}
}

// progress is where an execution stands.
type progress struct {
	version                             int64
	status                              execution.Status
	attempt, started, completed, output *int64
	due                                 *int64  // while it waits
	worker                              *string // while it runs
	left                                bool    // the queue, for good, or was never in it
	failed                              execution.Error
}

// follow gives the progress of two steps, one after the other. Attempt and start are told
// only by the step that changes them.
func (p progress) follow(next progress) progress {
	if next.attempt == nil {
		next.attempt = p.attempt
	}
	if p.started != nil {
		next.started = p.started
	}
	next.left = p.left || next.left
	return next
}

func (p *progress) endedBadly() *string {
	if p.status == execution.Failed || p.status == execution.Cancelled {
		return new(string(p.status))
	}
	return nil
}

// created is what the first event of an execution says of it.
type created struct {
	position                                                    int64
	at                                                          int64
	workspace                                                   string
	agent, trigger, mediaType, session, user, metadata, retryOf string
}

// executionChange is what a transaction makes of one execution. created is nil for those that
// are there already.
type executionChange struct {
	id      string
	created *created
	progress
}

// apply queues the changes that the events make: each execution is written once, however
// many of the events are its own.
func (t *executionTable) apply(tx *database.Tx, events []eventlog.Recorded) error {
	changes := make([]*executionChange, 0, len(events))
	byID := make(map[string]*executionChange, len(events))
	for i := range events {
		change, err := changeOf(&events[i])
		if err != nil {
			return err
		}
		if change == nil {
			continue
		}
		if earlier := byID[change.id]; earlier != nil {
			earlier.progress = earlier.follow(change.progress)
			continue
		}
		byID[change.id] = change
		changes = append(changes, change)
	}
	t.write(tx, changes)
	return nil
}

func (t *executionTable) write(tx *database.Tx, changes []*executionChange) {
	var (
		up              updateRows
		entering, moved queueRows
		leaving         []string
	)
	inserts := 0
	for _, c := range changes {
		if c.created != nil {
			inserts++
		}
	}
	in := newInsertRows(inserts)
	for _, c := range changes {
		switch {
		case c.created != nil:
			in.add(c)
			if !c.left {
				entering.add(c)
			}
		case c.left:
			up.add(c)
			leaving = append(leaving, c.id)
		default:
			up.add(c)
			moved.add(c)
		}
	}
	tx.Bulk(t.insert.With(in.positions, in.ids, in.workspaces, in.agents, in.triggers, in.statuses, in.attempts, in.versions, in.created, in.started,
		in.completed, in.errorCodes, in.errorMessages, in.outputs, in.endedBadly, in.mediaTypes, in.sessions, in.users, in.metadata, in.retryOfs))
	tx.Bulk(t.update.With(up.ids, up.versions, up.statuses, up.attempts, up.started, up.completed, up.errorCodes, up.errorMessages, up.outputs, up.endedBadly))
	tx.Bulk(t.enqueue.With(entering.ids, entering.agents, entering.due, entering.workers))
	tx.Bulk(t.requeue.With(moved.ids, moved.due, moved.workers))
	if len(leaving) > 0 {
		tx.Exec("DELETE FROM "+t.queue+" WHERE "+tx.Dialect().In("id"), tx.Dialect().List(leaving))
	}
}

// changeOf gives what an event makes of an execution; nil when it is about something else.
func changeOf(recorded *eventlog.Recorded) (*executionChange, error) {
	isInvoked := recorded.Fact && recorded.Stream.Kind() == eventlog.TriggerStream
	if !isInvoked && recorded.Stream.Kind() != eventlog.ExecutionStream {
		return nil, nil
	}
	at := database.Micros(recorded.At)
	begin := func(id string, version int64, runs bool, c created) *executionChange {
		c.position, c.at, c.workspace = int64(recorded.Position), at, recorded.WorkspaceID
		change := &executionChange{id: id, created: &c, progress: progress{version: version, status: execution.Pending, attempt: new(int64), left: !runs}}
		if runs {
			change.due = &at
		}
		return change
	}
	if isInvoked {
		event, err := trigger.Codec.Decode(*recorded)
		if err != nil {
			return nil, err
		}
		e, ok := event.(trigger.Invoked)
		if !ok {
			return nil, nil
		}
		// At version 0: the execution's own stream has not begun.
		return begin(e.ExecutionID, 0, e.Runs, created{agent: e.AgentID, trigger: recorded.Stream.ID(), mediaType: e.MediaType}), nil
	}
	event, err := execution.Codec.Decode(*recorded)
	if err != nil {
		return nil, err
	}
	id := recorded.Stream.ID()
	if e, ok := event.(execution.Requested); ok {
		c := created{
			agent: e.AgentID, trigger: e.TriggerID, mediaType: e.MediaType, session: e.SessionID, user: e.UserID, retryOf: e.RetryOf,
		}
		if len(e.Metadata) > 0 {
			encoded, err := json.Marshal(e.Metadata)
			if err != nil {
				return nil, fmt.Errorf("encode metadata: %w", err)
			}
			c.metadata = string(encoded)
		}
		return begin(id, recorded.Version, e.Runs, c), nil
	}
	if recorded.Fact {
		return nil, nil // it changes nothing that is shown
	}
	p := progress{version: recorded.Version}
	switch e := event.(type) {
	case execution.Started:
		p.status, p.attempt, p.worker, p.started = execution.Running, new(int64(e.Attempt)), orNil(e.Worker), &at
	case execution.AttemptFailed:
		p.status, p.due, p.failed = execution.Pending, new(database.Micros(e.RetryAt)), e.Error
	case execution.Succeeded:
		p.status, p.completed, p.output = execution.Completed, &at, new(int64(recorded.Position))
	case execution.GaveUp:
		p.status, p.completed, p.failed = execution.Failed, &at, e.Error
	case execution.WasCancelled:
		p.status, p.completed, p.failed = execution.Cancelled, &at, execution.Error{Code: "cancelled", Message: orDefault(e.Reason, "cancelled")}
	}
	p.left = p.status.Final()
	return &executionChange{id: id, progress: p}, nil
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

type insertRows struct {
	positions, attempts, versions, created                    []int64
	ids, workspaces, agents, statuses                         []string
	triggers, mediaTypes, sessions, users, metadata, retryOfs []*string
	started, completed, outputs                               []*int64
	errorCodes, errorMessages, endedBadly                     []*string
}

func newInsertRows(n int) *insertRows {
	numbers := func() []int64 { return make([]int64, 0, n) }
	texts := func() []string { return make([]string, 0, n) }
	perhaps := func() []*string { return make([]*string, 0, n) }
	perhapsNumbers := func() []*int64 { return make([]*int64, 0, n) }
	return &insertRows{
		positions: numbers(), attempts: numbers(), versions: numbers(), created: numbers(),
		ids: texts(), workspaces: texts(), agents: texts(), statuses: texts(),
		triggers: perhaps(), mediaTypes: perhaps(), sessions: perhaps(), users: perhaps(), metadata: perhaps(), retryOfs: perhaps(),
		started: perhapsNumbers(), completed: perhapsNumbers(), outputs: perhapsNumbers(),
		errorCodes: perhaps(), errorMessages: perhaps(), endedBadly: perhaps(),
	}
}

func (r *insertRows) add(c *executionChange) {
	k := c.created
	r.positions, r.ids, r.workspaces = append(r.positions, k.position), append(r.ids, c.id), append(r.workspaces, k.workspace)
	r.agents, r.triggers, r.created = append(r.agents, k.agent), append(r.triggers, orNil(k.trigger)), append(r.created, k.at)
	r.statuses, r.attempts, r.versions = append(r.statuses, string(c.status)), append(r.attempts, *c.attempt), append(r.versions, c.version)
	r.started, r.completed, r.outputs = append(r.started, c.started), append(r.completed, c.completed), append(r.outputs, c.output)
	r.errorCodes, r.errorMessages = append(r.errorCodes, orNil(c.failed.Code)), append(r.errorMessages, orNil(c.failed.Message))
	r.endedBadly, r.mediaTypes = append(r.endedBadly, c.endedBadly()), append(r.mediaTypes, orNil(k.mediaType))
	r.sessions, r.users = append(r.sessions, orNil(k.session)), append(r.users, orNil(k.user))
	r.metadata, r.retryOfs = append(r.metadata, orNil(k.metadata)), append(r.retryOfs, orNil(k.retryOf))
}

type updateRows struct {
	ids, statuses                         []string
	versions                              []int64
	attempts, started, completed, outputs []*int64
	errorCodes, errorMessages, endedBadly []*string
}

func (r *updateRows) add(c *executionChange) {
	r.ids, r.versions, r.statuses = append(r.ids, c.id), append(r.versions, c.version), append(r.statuses, string(c.status))
	r.attempts, r.started, r.completed = append(r.attempts, c.attempt), append(r.started, c.started), append(r.completed, c.completed)
	r.errorCodes, r.errorMessages = append(r.errorCodes, orNil(c.failed.Code)), append(r.errorMessages, orNil(c.failed.Message))
	r.outputs, r.endedBadly = append(r.outputs, c.output), append(r.endedBadly, c.endedBadly())
}

type queueRows struct {
	ids, agents []string
	due         []*int64
	workers     []*string
}

func (r *queueRows) add(c *executionChange) {
	r.ids, r.due, r.workers = append(r.ids, c.id), append(r.due, c.due), append(r.workers, c.worker)
	if c.created != nil {
		r.agents = append(r.agents, c.created.agent)
	}
}
