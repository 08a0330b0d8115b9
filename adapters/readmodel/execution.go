package readmodel

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// executionTable has a row for every execution. It is written on the hot path: with one
// insert and one update for all events of a transaction, and nothing read.
type executionTable struct {
	name   string
	insert database.BulkStatement
	update database.BulkStatement
}

func newExecutionTable(name string) executionTable {
	column := func(name, kind string) database.Column { return database.Column{Name: name, Type: kind} }
	return executionTable{
		name: name,
		insert: database.Insert(name, "",
			column("position", "int8"), column("id", "text"), column("workspace_id", "text"), column("agent_id", "text"),
			column("trigger_id", "text"), column("status", "text"), column("attempt", "int8"), column("version", "int8"),
			column("due_at", "int8"), column("created_at", "int8"), column("media_type", "text"), column("session_id", "text"),
			column("user_id", "text"), column("metadata", "text"), column("retry_of", "text")),
		update: database.Update(name,
			[]string{
				"new.version", "new.status", "coalesce(new.attempt, old.attempt)", "new.worker", "new.due_at",
				"coalesce(old.started_at, new.started_at)", "new.completed_at", "new.error_code", "new.error_message",
				"new.output_position",
			},
			column("id", "text"), column("version", "int8"), column("status", "text"), column("attempt", "int8"),
			column("worker", "text"), column("due_at", "int8"), column("started_at", "int8"), column("completed_at", "int8"),
			column("error_code", "text"), column("error_message", "text"), column("output_position", "int8")),
	}
}

// wave is a set of changes to different executions, which may be made in any order.
type wave struct {
	inserts insertRows
	updates updateRows
}

type insertRows struct {
	positions, attempts, versions, created                    []int64
	ids, workspaces, agents, statuses                         []string
	triggers, mediaTypes, sessions, users, metadata, retryOfs []*string
	due                                                       []*int64
}

type updateRows struct {
	ids, statuses                             []string
	versions                                  []int64
	attempts, due, started, completed, output []*int64
	workers, errorCodes, errorMessages        []*string
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// apply queues the changes that the events make. Events of one execution keep their order:
// the second one of an execution goes into the second wave.
func (t *executionTable) apply(tx *database.Tx, events []eventlog.Recorded) error {
	var waves []*wave
	next := map[string]int{}
	waveFor := func(id string) *wave {
		n := next[id]
		next[id]++
		if n == len(waves) {
			waves = append(waves, &wave{})
		}
		return waves[n]
	}
	for i := range events {
		if err := project(&events[i], waveFor); err != nil {
			return err
		}
	}
	for _, w := range waves {
		in, up := &w.inserts, &w.updates
		tx.Bulk(t.insert.With(in.positions, in.ids, in.workspaces, in.agents, in.triggers, in.statuses, in.attempts, in.versions,
			in.due, in.created, in.mediaTypes, in.sessions, in.users, in.metadata, in.retryOfs))
		tx.Bulk(t.update.With(up.ids, up.versions, up.statuses, up.attempts, up.workers, up.due, up.started, up.completed,
			up.errorCodes, up.errorMessages, up.output))
	}
	return nil
}

func project(recorded *eventlog.Recorded, waveFor func(id string) *wave) error {
	isInvoked := recorded.Fact && recorded.Stream.Kind() == eventlog.TriggerStream
	if !isInvoked && recorded.Stream.Kind() != eventlog.ExecutionStream {
		return nil
	}
	at := database.Micros(recorded.At)
	if isInvoked {
		event, err := trigger.Codec.Decode(*recorded)
		if err != nil {
			return err
		}
		e, ok := event.(trigger.Invoked)
		if !ok {
			return nil
		}
		waveFor(e.ExecutionID).inserts.add(recorded, insertRow{
			id: e.ExecutionID, agent: e.AgentID, trigger: recorded.Stream.ID(), runs: e.Runs, mediaType: e.MediaType,
		})
		return nil
	}
	event, err := execution.Codec.Decode(*recorded)
	if err != nil {
		return err
	}
	id := recorded.Stream.ID()
	if e, ok := event.(execution.Requested); ok {
		row := insertRow{
			id: id, agent: e.AgentID, trigger: e.TriggerID, runs: e.Runs, mediaType: e.MediaType,
			session: e.SessionID, user: e.UserID, retryOf: e.RetryOf,
		}
		if len(e.Metadata) > 0 {
			encoded, err := json.Marshal(e.Metadata)
			if err != nil {
				return fmt.Errorf("encode metadata: %w", err)
			}
			row.metadata = string(encoded)
		}
		waveFor(id).inserts.add(recorded, row)
		return nil
	}
	row := updateRow{}
	switch e := event.(type) {
	case execution.Started:
		attempt := int64(e.Attempt)
		row = updateRow{status: execution.Running, attempt: &attempt, worker: orNil(e.Worker), started: &at}
	case execution.AttemptFailed:
		row = updateRow{status: execution.Pending, due: new(database.Micros(e.RetryAt)), failed: e.Error}
	case execution.Succeeded:
		row = updateRow{status: execution.Completed, completed: &at, output: new(int64(recorded.Position))}
	case execution.GaveUp:
		row = updateRow{status: execution.Failed, completed: &at, failed: e.Error}
	case execution.WasCancelled:
		row = updateRow{status: execution.Cancelled, completed: &at, failed: execution.Error{Code: "cancelled", Message: orDefault(e.Reason, "cancelled")}}
	}
	waveFor(id).updates.add(id, recorded.Version, row)
	return nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

type insertRow struct {
	id, agent, trigger, mediaType, session, user, metadata, retryOf string
	runs                                                            bool
}

func (r *insertRows) add(recorded *eventlog.Recorded, row insertRow) {
	at := database.Micros(recorded.At)
	version := recorded.Version
	if recorded.Fact {
		version = 0 // the execution's own stream has not begun
	}
	var due *int64
	if row.runs {
		due = &at
	}
	r.positions, r.ids, r.workspaces = append(r.positions, int64(recorded.Position)), append(r.ids, row.id), append(r.workspaces, recorded.WorkspaceID)
	r.agents, r.triggers = append(r.agents, row.agent), append(r.triggers, orNil(row.trigger))
	r.statuses, r.attempts, r.versions = append(r.statuses, string(execution.Pending)), append(r.attempts, 0), append(r.versions, version)
	r.due, r.created = append(r.due, due), append(r.created, at)
	r.mediaTypes, r.sessions, r.users = append(r.mediaTypes, orNil(row.mediaType)), append(r.sessions, orNil(row.session)), append(r.users, orNil(row.user))
	r.metadata, r.retryOfs = append(r.metadata, orNil(row.metadata)), append(r.retryOfs, orNil(row.retryOf))
}

type updateRow struct {
	status                                   execution.Status
	attempt, due, started, completed, output *int64
	worker                                   *string
	failed                                   execution.Error
}

func (r *updateRows) add(id string, version int64, row updateRow) {
	r.ids, r.versions, r.statuses = append(r.ids, id), append(r.versions, version), append(r.statuses, string(row.status))
	r.attempts, r.workers, r.due = append(r.attempts, row.attempt), append(r.workers, row.worker), append(r.due, row.due)
	r.started, r.completed, r.output = append(r.started, row.started), append(r.completed, row.completed), append(r.output, row.output)
	r.errorCodes, r.errorMessages = append(r.errorCodes, orNil(row.failed.Code)), append(r.errorMessages, orNil(row.failed.Message))
}

type executionRow struct {
	Position     int64   `db:"position"`
	ID           string  `db:"id"`
	Workspace    string  `db:"workspace_id"`
	Agent        string  `db:"agent_id"`
	Trigger      *string `db:"trigger_id"`
	Status       string  `db:"status"`
	Attempt      int     `db:"attempt"`
	Version      int64   `db:"version"`
	Due          *int64  `db:"due_at"`
	Created      int64   `db:"created_at"`
	Started      *int64  `db:"started_at"`
	Completed    *int64  `db:"completed_at"`
	ErrorCode    *string `db:"error_code"`
	ErrorMessage *string `db:"error_message"`
	MediaType    *string `db:"media_type"`
	Session      *string `db:"session_id"`
	User         *string `db:"user_id"`
	Metadata     *string `db:"metadata"`
	RetryOf      *string `db:"retry_of"`
	Input        []byte  `db:"input"`
	Output       []byte  `db:"output"`
}

const executionFields = `x.position, x.id, x.workspace_id, x.agent_id, x.trigger_id, x.status, x.attempt, x.version, x.due_at,
	x.created_at, x.started_at, x.completed_at, x.error_code, x.error_message, x.media_type, x.session_id, x.user_id, x.metadata,
	x.retry_of, `

const executionColumns = executionFields + "i.payload AS input, o.payload AS output"

// listColumns leave out inputs and outputs of more than 64 KiB: a page of the largest would
// not fit into memory.
const listColumns = executionFields + `CASE WHEN length(i.payload) <= 65536 THEN i.payload END AS input,
	CASE WHEN length(o.payload) <= 65536 THEN o.payload END AS output`

const executionJoins = ` AS x LEFT JOIN events i ON i.position = x.position LEFT JOIN events o ON o.position = x.output_position `

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (r executionRow) view() (application.ExecutionView, error) {
	view := application.ExecutionView{
		ID: r.ID, ExecutionID: r.ID, AgentID: r.Agent, TriggerID: text(r.Trigger), WorkspaceID: r.Workspace, UserID: text(r.User),
		SessionID: text(r.Session), Status: execution.Status(r.Status), Output: json.RawMessage(r.Output), Error: text(r.ErrorMessage),
		ErrorCode: text(r.ErrorCode), RetryOf: text(r.RetryOf), CreatedAt: database.Time(r.Created), StartedAt: database.TimeOrNil(r.Started),
		CompletedAt: database.TimeOrNil(r.Completed), Attempt: r.Attempt, Version: r.Version, Position: eventlog.Position(r.Position),
	}
	if r.Attempt > 0 {
		view.NextAttemptAt = database.TimeOrNil(r.Due)
	}
	if r.Started != nil && r.Completed != nil {
		view.DurationMS = new((*r.Completed - *r.Started) / 1000)
	}
	if r.Metadata != nil {
		if err := json.Unmarshal([]byte(*r.Metadata), &view.Metadata); err != nil {
			return view, fmt.Errorf("read the metadata of execution %s: %w", r.ID, err)
		}
	}
	if r.Input != nil {
		input, err := payload.InputJSON(text(r.MediaType), r.Input)
		if err != nil {
			return view, fmt.Errorf("read the input of execution %s: %w", r.ID, err)
		}
		view.Input = input
	}
	return view, nil
}

// Execution shows one execution, without its attempts.
func (m *Models) Execution(ctx context.Context, workspace, id string) (application.ExecutionView, bool, error) {
	var row executionRow
	err := m.db.Get(ctx, &row, "SELECT "+executionColumns+" FROM "+m.executions.name+executionJoins+"WHERE x.id = ? AND x.workspace_id = ?", id, workspace)
	if errors.Is(err, sql.ErrNoRows) {
		return application.ExecutionView{}, false, nil
	}
	if err != nil {
		return application.ExecutionView{}, false, m.failed("read an execution", err)
	}
	view, err := row.view()
	return view, true, err
}

// Input reads what an execution was given, as it came in; false when it was erased.
func (m *Models) Input(ctx context.Context, id string) ([]byte, string, bool, error) {
	var row struct {
		Payload   []byte  `db:"payload"`
		MediaType *string `db:"media_type"`
	}
	err := m.db.Get(ctx, &row, "SELECT e.payload, x.media_type FROM "+m.executions.name+" x JOIN events e ON e.position = x.position WHERE x.id = ? AND e.payload IS NOT NULL", id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, "", false, nil
	}
	return row.Payload, text(row.MediaType), err == nil, m.failed("read an input", err)
}

// Executions lists executions, the newest first.
func (m *Models) Executions(ctx context.Context, workspace string, f application.ExecutionFilter, p application.Paging) (application.Page[application.ExecutionView], error) {
	where := conditions{}
	where.add("x.workspace_id = ?", workspace)
	where.addText("x.agent_id = ?", f.AgentID)
	where.addText("x.trigger_id = ?", f.TriggerID)
	where.addText("x.session_id = ?", f.SessionID)
	where.addText("x.status = ?", string(f.Status))
	switch f.Status {
	case execution.Failed, execution.Cancelled:
		// The condition of a partial index, by which the planner sees that it holds them all.
		where.terms = append(where.terms, "x.status IN ('failed', 'cancelled')")
	case execution.Running:
		where.terms = append(where.terms, "x.worker IS NOT NULL") // likewise
	default: // has no such index
	}
	where.addTime("x.created_at >= ?", f.Since)
	where.addTime("x.created_at <= ?", f.Until)
	var rows []executionRow
	page := application.Page[application.ExecutionView]{}
	total, err := m.page(ctx, &rows, listColumns, m.executions.name, executionJoins, "x", where, p)
	if err != nil {
		return page, m.failed("list executions", err)
	}
	page.Total = total
	page.Items = make([]application.ExecutionView, 0, len(rows))
	for i, row := range rows {
		if i == p.Limit {
			page.Next = eventlog.Position(rows[i-1].Position)
			break
		}
		view, err := row.view()
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, view)
	}
	return page, nil
}

// conditions are what a list is narrowed by.
type conditions struct {
	terms []string
	args  []any
}

func (c *conditions) add(term string, arg any) {
	c.terms, c.args = append(c.terms, term), append(c.args, arg)
}

func (c *conditions) addText(term, arg string) {
	if arg != "" {
		c.add(term, arg)
	}
}

func (c *conditions) addTime(term string, at time.Time) {
	if !at.IsZero() {
		c.add(term, database.Micros(at))
	}
}

// page reads one row more than the page has, and counts the whole list up to the bound.
func (m *Models) page(ctx context.Context, rows any, columns, table, joins, alias string, where conditions, p application.Paging) (int, error) {
	condition := strings.Join(where.terms, " AND ")
	var total int
	err := m.db.Get(ctx, &total, "SELECT count(*) FROM (SELECT 1 FROM "+table+" AS "+alias+" WHERE "+condition+" LIMIT ?) AS counted",
		append(append([]any{}, where.args...), application.CountBound)...)
	if err != nil {
		return 0, err
	}
	if p.Cursor > 0 {
		condition += " AND " + alias + ".position < ?"
		where.args = append(where.args, int64(p.Cursor))
	}
	err = m.db.Select(ctx, rows, "SELECT "+columns+" FROM "+table+joins+"WHERE "+condition+" ORDER BY "+alias+".position DESC LIMIT ? OFFSET ?",
		append(where.args, p.Limit+1, p.Offset())...)
	return total, err
}

func (m *Models) failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case m.db.IsUnavailable(err):
		return fmt.Errorf("%w: %s: %w", eventlog.ErrUnavailable, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
