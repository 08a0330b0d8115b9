package readmodel

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

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
	Outcome      *string `db:"outcome"` // the event that the output came with
}

const executionFields = `x.position, x.id, x.workspace_id, x.agent_id, x.trigger_id, x.status, x.attempt, x.version, q.due_at,
	x.created_at, x.started_at, x.completed_at, x.error_code, x.error_message, x.media_type, x.session_id, x.user_id, x.metadata,
	x.retry_of, `

const executionColumns = executionFields + "i.payload AS input, o.payload AS output, o.data AS outcome"

// listColumns leave out inputs and outputs of more than 64 KiB: a page of the largest would
// not fit into memory.
const listColumns = executionFields + `CASE WHEN length(i.payload) <= 65536 THEN i.payload END AS input,
	CASE WHEN length(o.payload) <= 65536 THEN o.payload END AS output, o.data AS outcome`

// joins gives what a view is read from. The queue goes by the name of its table while the
// models are rebuilt, as the executions do.
func (t *executionTable) joins() string {
	return ` AS x LEFT JOIN ` + t.queue + ` q ON q.id = x.id LEFT JOIN events i ON i.position = x.position LEFT JOIN events o ON o.position = x.output_position `
}

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
	if r.Outcome != nil && strings.Contains(*r.Outcome, `"token_usage"`) {
		var succeeded execution.Succeeded
		if err := json.Unmarshal([]byte(*r.Outcome), &succeeded); err != nil {
			return view, fmt.Errorf("read the token usage of execution %s: %w", r.ID, err)
		}
		view.TokenUsage = succeeded.TokenUsage
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
	err := m.db.Get(ctx, &row, "SELECT "+executionColumns+" FROM "+m.executions.name+m.executions.joins()+"WHERE x.id = ? AND x.workspace_id = ?", id, workspace)
	if errors.Is(err, sql.ErrNoRows) {
		return application.ExecutionView{}, false, nil
	}
	if err != nil {
		return application.ExecutionView{}, false, m.db.Failure("read an execution", err)
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
	return row.Payload, text(row.MediaType), err == nil, m.db.Failure("read an input", err)
}

// Kept lists the payloads that are kept of an execution: what its trigger received, if that was mapped, its
// input and its output.
func (m *Models) Kept(ctx context.Context, id string) ([]execution.KeptWith, error) {
	var rows []struct {
		Position int64  `db:"position"`
		Data     string `db:"data"`
	}
	err := m.db.Select(ctx, &rows, "SELECT e.position, e.data FROM "+m.executions.name+" x JOIN events e ON e.position IN (x.position, x.output_position, x.position - 1)"+
		" WHERE x.id = ? AND e.payload IS NOT NULL AND (e.position <> x.position - 1 OR e.type = 'trigger.received' AND e.stream = 'trigger-' || x.trigger_id) ORDER BY e.position", id)
	if err != nil {
		return nil, m.db.Failure("look for payloads", err)
	}
	kept := make([]execution.KeptWith, 0, len(rows))
	for _, row := range rows {
		var data struct {
			ExecutionID         string `json:"execution_id"`
			Body, Input, Output *trigger.Digest
		}
		if err := json.Unmarshal([]byte(row.Data), &data); err != nil {
			return nil, fmt.Errorf("read the event at position %d: %w", row.Position, err)
		}
		digest := cmp.Or(data.Input, data.Output, data.Body)
		if digest == nil || data.Body != nil && data.ExecutionID != id {
			continue
		}
		kept = append(kept, execution.KeptWith{Position: eventlog.Position(row.Position), Payload: *digest})
	}
	return kept, nil
}

// Executions lists executions, the newest first.
func (m *Models) Executions(ctx context.Context, workspace string, f application.ExecutionFilter, p application.Paging) (application.Page[application.ExecutionView], error) {
	where := conditions{}
	// The executions of an agent or a trigger are all of one workspace: asking for it once, not
	// at every row, lets them be counted by their index alone.
	if f.AgentID == "" && f.TriggerID == "" {
		where.add("x.workspace_id = ?", workspace)
	}
	if f.AgentID != "" {
		where.add("x.agent_id = ?", f.AgentID)
		where.add("EXISTS (SELECT 1 FROM "+m.agents.name+" WHERE id = ? AND workspace_id = ?)", f.AgentID, workspace)
	}
	if f.TriggerID != "" {
		where.add("x.trigger_id = ?", f.TriggerID)
		where.add("EXISTS (SELECT 1 FROM "+m.triggers.name+" WHERE id = ? AND workspace_id = ?)", f.TriggerID, workspace)
	}
	where.addText("x.session_id = ?", f.SessionID)
	where.addText("x.status = ?", string(f.Status))
	switch f.Status {
	case execution.Failed, execution.Cancelled:
		where.add("x.ended_badly = ?", string(f.Status))
	case execution.Running:
		where.terms = append(where.terms, "x.id IN (SELECT id FROM "+m.executions.queue+" WHERE worker IS NOT NULL)")
	default: // has no such index
	}
	where.addTime("x.created_at >= ?", f.Since)
	where.addTime("x.created_at <= ?", f.Until)
	var rows []executionRow
	page := application.Page[application.ExecutionView]{}
	total, err := m.page(ctx, &rows, listColumns, m.executions.name, m.executions.joins(), "x", where, p)
	if err != nil {
		return page, m.db.Failure("list executions", err)
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
