// Package backtests keeps what backtests are made of: the invocations on record, who works on which
// backtest, and what came of each invocation. A backtest is leased by one process at a time, and a
// result is written only together with the lease's extension: who has lost it writes nothing more.
package backtests

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
	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/jsonobject"
)

// Backtests is those of a store.
type Backtests struct{ db *database.DB }

// New makes the backtests of a store.
func New(db *database.DB) *Backtests { return &Backtests{db} }

// selected gives the conditions on executions x, and what they join.
func (s *Backtests) selected(workspace string, of backtest.Selection) (joins, where string, args []any) {
	where, args = "x.workspace_id = ? AND x.trigger_id IS NOT NULL AND x.retry_of IS NULL AND x.position <= ?", []any{workspace, int64(of.UpTo)}
	add := func(term string, arg any) { where, args = where+" AND "+term, append(args, arg) }
	if of.TriggerID != "" {
		add("x.trigger_id = ?", of.TriggerID)
	}
	if of.Status != "" {
		add("x.status = ?", string(of.Status))
	}
	if of.Event != "" {
		joins = " JOIN events i ON i.position = x.position"
		// As the event was written; within a text of it the quotes would be escaped.
		written := string(jsonobject.New(64).Text("sender_event", of.Event).End())
		find := "instr(i.data, ?) > 0"
		if s.db.Dialect.Name == database.Postgres {
			find = "strpos(i.data, ?) > 0"
		}
		add(find, strings.TrimSuffix(strings.TrimPrefix(written, "{"), "}"))
	}
	return joins, where, args
}

// Measure counts invocations, the latest first.
func (s *Backtests) Measure(ctx context.Context, workspace string, of backtest.Selection, limit int) (int, eventlog.Position, bool, error) {
	joins, where, args := s.selected(workspace, of)
	var measured struct {
		Count int    `db:"n"`
		First *int64 `db:"first"`
	}
	ask := func(limit int) error {
		return s.db.Get(ctx, &measured, "SELECT count(*) AS n, min(position) AS first FROM (SELECT x.position FROM executions x"+joins+
			" WHERE "+where+" AND x.position > ? ORDER BY x.position DESC LIMIT ?) AS latest", append(append([]any{}, args...), int64(of.After), limit)...)
	}
	err := ask(limit + 1)
	if err != nil || measured.Count <= limit {
		return measured.Count, of.After, false, s.db.Failure("count invocations", err)
	}
	if err := ask(limit); err != nil {
		return 0, of.After, false, s.db.Failure("count invocations", err)
	}
	return measured.Count, eventlog.Position(*measured.First - 1), true, nil
}

// Next reads what is to be tried next.
func (s *Backtests) Next(ctx context.Context, b backtest.Backtest, after eventlog.Position, limit int) ([]application.Selected, error) {
	joins, where, args := s.selected(b.WorkspaceID, b.Selection)
	var next []application.Selected
	err := s.db.Select(ctx, &next, "SELECT x.position, x.id FROM executions x"+joins+" WHERE "+where+" AND x.position > ?"+
		" AND NOT EXISTS (SELECT 1 FROM backtest_results r WHERE r.backtest_id = ? AND r.position = x.position) ORDER BY x.position LIMIT ?",
		append(args, int64(after), b.ID, limit)...)
	return next, s.db.Failure("read invocations", err)
}

// Claim takes the oldest active backtest that nobody works on.
func (s *Backtests) Claim(ctx context.Context, owner string, lease time.Duration) (backtest.Backtest, bool, error) {
	var b backtest.Backtest
	var waiting []struct {
		ID    string `db:"id"`
		State string `db:"state"`
	}
	now := s.db.Dialect.Now
	err := s.db.Select(ctx, &waiting, "SELECT v.id, v.state FROM backtests v LEFT JOIN backtest_work w ON w.backtest_id = v.id"+
		" WHERE v.active AND coalesce(w.lease_until, 0) < "+now+" ORDER BY v.position")
	if err != nil {
		return b, false, s.db.Failure("look for backtests", err)
	}
	for _, row := range waiting {
		taken := false
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			tx.Query(func(scan database.Scan) error {
				taken = true
				return scan(new(string))
			}, "INSERT INTO backtest_work (backtest_id, owner, lease_until) VALUES (?, ?, "+now+" + ?) ON CONFLICT (backtest_id) DO UPDATE SET owner = excluded.owner,"+
				" lease_until = excluded.lease_until WHERE backtest_work.lease_until < "+now+" RETURNING owner", row.ID, owner, lease.Microseconds())
			return nil
		})
		if err != nil {
			return b, false, s.db.Failure("take a backtest", err)
		}
		if !taken {
			continue
		}
		if err := json.Unmarshal([]byte(row.State), &b); err != nil {
			return b, false, fmt.Errorf("read backtest %s: %w", row.ID, err)
		}
		return b, true, nil
	}
	return b, false, nil
}

var insertResults = func() database.BulkStatement {
	column := func(name, kind string) database.Column { return database.Column{Name: name, Type: kind} }
	return database.Insert("backtest_results", "ON CONFLICT (backtest_id, position) DO NOTHING",
		column("backtest_id", "text"), column("position", "int8"), column("execution_id", "text"), column("shadow_id", "text"), column("verdict", "text"),
		column("reason", "text"), column("original_status", "text"), column("status", "text"), column("error_code", "text"), column("error_message", "text"),
		column("output", "bytea"), column("difference", "text"), column("original_micros", "int8"), column("micros", "int8"),
		column("original_prompt", "int8"), column("original_completion", "int8"), column("original_total", "int8"),
		column("prompt", "int8"), column("completion", "int8"), column("total", "int8"))
}()

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

type resultRows struct {
	backtests, executions, shadows, verdicts, originals       []string
	positions                                                 []int64
	reasons, statuses, errorCodes, errorMessages, differences []*string
	outputs                                                   [][]byte
	originalMicros, micros                                    []*int64
	originalPrompt, originalCompletion, originalTotal         []*int64
	prompt, completion, total                                 []*int64
}

func (r *resultRows) add(id string, of backtest.Result) {
	r.backtests, r.executions, r.shadows = append(r.backtests, id), append(r.executions, of.ExecutionID), append(r.shadows, of.ShadowID)
	r.positions, r.verdicts, r.originals = append(r.positions, int64(of.Position)), append(r.verdicts, string(of.Verdict)), append(r.originals, of.Original.Status)
	r.reasons, r.statuses = append(r.reasons, orNil(of.Reason)), append(r.statuses, orNil(of.Shadow.Status))
	r.errorCodes, r.errorMessages = append(r.errorCodes, orNil(of.Shadow.ErrorCode)), append(r.errorMessages, orNil(of.Error))
	r.differences = append(r.differences, orNil(string(of.Difference)))
	output := of.Shadow.Output
	if of.Verdict == backtest.Same || len(output) > backtest.MaxOutput {
		output = nil // it is on record, or too much
	}
	r.outputs = append(r.outputs, output)
	r.originalMicros, r.micros = append(r.originalMicros, of.Original.Micros), append(r.micros, of.Shadow.Micros)
	tokens := func(used *execution.TokenUsage) (prompt, completion, total *int64) {
		if used == nil {
			return nil, nil, nil
		}
		return new(int64(used.PromptTokens)), new(int64(used.CompletionTokens)), new(int64(used.TotalTokens))
	}
	prompt, completion, total := tokens(of.Original.Tokens)
	r.originalPrompt, r.originalCompletion, r.originalTotal = append(r.originalPrompt, prompt), append(r.originalCompletion, completion), append(r.originalTotal, total)
	prompt, completion, total = tokens(of.Shadow.Tokens)
	r.prompt, r.completion, r.total = append(r.prompt, prompt), append(r.completion, completion), append(r.total, total)
}

// Keep extends the lease and writes results.
func (s *Backtests) Keep(ctx context.Context, id, owner string, lease time.Duration, results []backtest.Result) error {
	var r resultRows
	for _, result := range results {
		r.add(id, result)
	}
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		ours := false
		tx.Query(func(scan database.Scan) error {
			ours = true
			return scan(new(string))
		}, "UPDATE backtest_work SET lease_until = "+tx.Dialect().Now+" + ? WHERE backtest_id = ? AND owner = ?"+
			" AND EXISTS (SELECT 1 FROM backtests v WHERE v.id = backtest_work.backtest_id AND v.active) RETURNING owner", lease.Microseconds(), id, owner)
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		if !ours {
			return application.ErrBacktestTaken
		}
		tx.Bulk(insertResults.With(r.backtests, r.positions, r.executions, r.shadows, r.verdicts, r.reasons, r.originals, r.statuses, r.errorCodes,
			r.errorMessages, r.outputs, r.differences, r.originalMicros, r.micros, r.originalPrompt, r.originalCompletion, r.originalTotal,
			r.prompt, r.completion, r.total))
		return nil
	})
	if errors.Is(err, application.ErrBacktestTaken) {
		return err
	}
	return s.db.Failure("keep the results of a backtest", err)
}

func (s *Backtests) exec(ctx context.Context, what, query string, args ...any) error {
	return s.db.Failure(what, s.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec(query, args...)
		return nil
	}))
}

// Release gives a backtest back.
func (s *Backtests) Release(ctx context.Context, id, owner string) error {
	return s.exec(ctx, "end the lease on a backtest", "DELETE FROM backtest_work WHERE backtest_id = ? AND owner = ?", id, owner)
}

// ReleaseAll gives back what everybody has, where it is known that nobody is left.
func (s *Backtests) ReleaseAll(ctx context.Context) error {
	return s.exec(ctx, "end all leases on backtests", "DELETE FROM backtest_work")
}

// paired are the results whose durations can be compared.
const paired = " FROM backtest_results WHERE backtest_id = ? AND original_micros IS NOT NULL AND micros IS NOT NULL"

// Tally counts what has come of a backtest so far.
func (s *Backtests) Tally(ctx context.Context, id string) (backtest.Tally, error) {
	t := backtest.Tally{Statuses: []backtest.Moved{}}
	failed := func(err error) (backtest.Tally, error) {
		return t, s.db.Failure("count the results of a backtest", err)
	}
	var counts []struct {
		Verdict  backtest.Verdict `db:"verdict"`
		Reason   *string          `db:"reason"`
		Original string           `db:"original_status"`
		Status   *string          `db:"status"`
		Calls    int              `db:"n"`
	}
	if err := s.db.Select(ctx, &counts, "SELECT verdict, reason, original_status, status, count(*) AS n FROM backtest_results WHERE backtest_id = ?"+
		" GROUP BY verdict, reason, original_status, status ORDER BY original_status, status", id); err != nil {
		return failed(err)
	}
	for _, c := range counts {
		t.Done += c.Calls
		switch c.Verdict {
		case backtest.Same:
			t.Same += c.Calls
		case backtest.Differs:
			t.Differs += c.Calls
		case backtest.Worse:
			t.Failed += c.Calls
		case backtest.Skipped:
			t.Skipped += c.Calls
			if c.Reason != nil && *c.Reason == backtest.ReasonErased {
				t.Erased += c.Calls
			}
		}
		if c.Status == nil {
			continue
		}
		if last := len(t.Statuses) - 1; last >= 0 && t.Statuses[last].Original == c.Original && t.Statuses[last].Shadow == *c.Status {
			t.Statuses[last].Calls += c.Calls
		} else {
			t.Statuses = append(t.Statuses, backtest.Moved{Original: c.Original, Shadow: *c.Status, Calls: c.Calls})
		}
	}
	var sums struct {
		Paired             int    `db:"paired"`
		OriginalRuns       int64  `db:"original_runs"`
		OriginalPrompt     *int64 `db:"original_prompt"`
		OriginalCompletion *int64 `db:"original_completion"`
		OriginalTotal      *int64 `db:"original_total"`
		Runs               int64  `db:"runs"`
		Prompt             *int64 `db:"prompt"`
		Completion         *int64 `db:"completion"`
		Total              *int64 `db:"total"`
	}
	sum := func(column string) string { return "CAST(sum(" + column + ") AS BIGINT) AS " + column }
	if err := s.db.Get(ctx, &sums, "SELECT count(CASE WHEN original_micros IS NOT NULL AND micros IS NOT NULL THEN 1 END) AS paired, count(original_total) AS original_runs, "+
		sum("original_prompt")+", "+sum("original_completion")+", "+sum("original_total")+", count(total) AS runs, "+
		sum("prompt")+", "+sum("completion")+", "+sum("total")+" FROM backtest_results WHERE backtest_id = ?", id); err != nil {
		return failed(err)
	}
	value := func(n *int64) int64 {
		if n == nil {
			return 0
		}
		return *n
	}
	if sums.Runs+sums.OriginalRuns > 0 {
		t.Tokens = &backtest.Usage{
			Original: backtest.Tokens{Runs: sums.OriginalRuns, Prompt: value(sums.OriginalPrompt), Completion: value(sums.OriginalCompletion), Total: value(sums.OriginalTotal)},
			Shadow:   backtest.Tokens{Runs: sums.Runs, Prompt: value(sums.Prompt), Completion: value(sums.Completion), Total: value(sums.Total)},
		}
	}
	if sums.Paired == 0 {
		return t, nil
	}
	t.Durations = &backtest.Durations{Calls: sums.Paired}
	for _, of := range []struct {
		column  string
		percent int
		into    *float64
	}{
		{"original_micros", 50, &t.Durations.Original.P50},
		{"original_micros", 95, &t.Durations.Original.P95},
		{"micros", 50, &t.Durations.Shadow.P50},
		{"micros", 95, &t.Durations.Shadow.P95},
	} {
		var micros int64
		if err := s.db.Get(ctx, &micros, "SELECT "+of.column+paired+" ORDER BY "+of.column+" LIMIT 1 OFFSET ?", id, backtest.Rank(sums.Paired, of.percent)); err != nil {
			return failed(err)
		}
		*of.into = float64(micros) / 1000
	}
	return t, nil
}

type stateRow struct {
	Position int64  `db:"position"`
	State    string `db:"state"`
}

func (r stateRow) backtest() (backtest.Backtest, error) {
	var b backtest.Backtest
	if err := json.Unmarshal([]byte(r.State), &b); err != nil {
		return b, fmt.Errorf("read a backtest: %w", err)
	}
	return b, nil
}

// Get gives a backtest.
func (s *Backtests) Get(ctx context.Context, workspace, id string) (backtest.Backtest, bool, error) {
	var row stateRow
	err := s.db.Get(ctx, &row, "SELECT position, state FROM backtests WHERE id = ? AND workspace_id = ?", id, workspace)
	if errors.Is(err, sql.ErrNoRows) {
		return backtest.Backtest{}, false, nil
	}
	if err != nil {
		return backtest.Backtest{}, false, s.db.Failure("read a backtest", err)
	}
	b, err := row.backtest()
	return b, err == nil, err
}

// listed reads a part of a list, the latest first, and how much there is of it.
func listed[R, V any](ctx context.Context, s *Backtests, columns, from, where string, args []any, p application.Paging, position func(R) int64, show func(R) (V, error)) (application.Page[V], error) {
	var page application.Page[V]
	err := s.db.Get(ctx, &page.Total, "SELECT count(*) FROM (SELECT 1 FROM "+from+" WHERE "+where+" LIMIT ?) AS counted", append(append([]any{}, args...), application.CountBound)...)
	if err != nil {
		return page, err
	}
	if p.Cursor > 0 {
		where, args = where+" AND v.position < ?", append(args, int64(p.Cursor))
	}
	var rows []R
	if err := s.db.Select(ctx, &rows, "SELECT "+columns+" FROM "+from+" WHERE "+where+" ORDER BY v.position DESC LIMIT ? OFFSET ?", append(args, p.Limit+1, p.Offset())...); err != nil {
		return page, err
	}
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		page.Next = eventlog.Position(position(rows[p.Limit-1]))
	}
	for _, row := range rows {
		view, err := show(row)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, view)
	}
	return page, nil
}

// List gives the backtests of a workspace.
func (s *Backtests) List(ctx context.Context, workspace string, p application.Paging) (application.Page[backtest.Backtest], error) {
	page, err := listed(ctx, s, "v.position, v.state", "backtests v", "v.workspace_id = ?", []any{workspace}, p,
		func(r stateRow) int64 { return r.Position }, stateRow.backtest)
	return page, s.db.Failure("list backtests", err)
}

type resultRow struct {
	Position             int64            `db:"position"`
	Execution            string           `db:"execution_id"`
	ShadowID             string           `db:"shadow_id"`
	Verdict              backtest.Verdict `db:"verdict"`
	Reason               *string          `db:"reason"`
	OriginalStatus       string           `db:"original_status"`
	Status               *string          `db:"status"`
	ErrorCode            *string          `db:"error_code"`
	ErrorMessage         *string          `db:"error_message"`
	Output               []byte           `db:"output"`
	Difference           *string          `db:"difference"`
	Micros               *int64           `db:"micros"`
	OriginalPrompt       *int64           `db:"original_prompt"`
	OriginalCompletion   *int64           `db:"original_completion"`
	OriginalTotal        *int64           `db:"original_total"`
	Prompt               *int64           `db:"prompt"`
	Completion           *int64           `db:"completion"`
	Total                *int64           `db:"total"`
	Created              *int64           `db:"created_at"`
	Started              *int64           `db:"started_at"`
	Completed            *int64           `db:"completed_at"`
	Attempt              *int             `db:"attempt"`
	OriginalErrorCode    *string          `db:"original_error_code"`
	OriginalErrorMessage *string          `db:"original_error_message"`
	OriginalOutput       []byte           `db:"original_output"`
	Erased               bool             `db:"erased"` // since
}

const (
	resultColumns = `v.position, v.execution_id, v.shadow_id, v.verdict, v.reason, v.original_status, v.status, v.error_code, v.error_message, v.output,
	v.difference, v.micros, v.original_prompt, v.original_completion, v.original_total, v.prompt, v.completion, v.total,
	x.created_at, x.started_at, x.completed_at, x.attempt, x.error_code AS original_error_code, x.error_message AS original_error_message,
	CASE WHEN length(o.payload) <= 65536 THEN o.payload END AS original_output, (i.payload IS NULL OR x.output_position IS NOT NULL AND o.payload IS NULL) AS erased`
	resultsFrom = `backtest_results v LEFT JOIN executions x ON x.id = v.execution_id LEFT JOIN events i ON i.position = v.position
	LEFT JOIN events o ON o.position = x.output_position`
)

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func tokensOf(prompt, completion, total *int64) *execution.TokenUsage {
	if prompt == nil || completion == nil || total == nil {
		return nil
	}
	return &execution.TokenUsage{PromptTokens: int(*prompt), CompletionTokens: int(*completion), TotalTokens: int(*total)}
}

func (r resultRow) view() (application.BacktestResultView, error) {
	view := application.BacktestResultView{
		ExecutionID: r.Execution, Verdict: r.Verdict, Reason: text(r.Reason),
		Original: application.BacktestSide{
			Status: r.OriginalStatus, Output: r.OriginalOutput, ErrorCode: text(r.OriginalErrorCode), Error: text(r.OriginalErrorMessage),
			TokenUsage: tokensOf(r.OriginalPrompt, r.OriginalCompletion, r.OriginalTotal),
		},
	}
	if r.Created != nil {
		view.InvokedAt = database.Time(*r.Created)
	}
	if r.Started != nil && r.Completed != nil {
		view.Original.DurationMS = new(float64(*r.Completed-*r.Started) / 1000)
	}
	if r.Attempt != nil {
		view.Original.Attempts = *r.Attempt
	}
	if r.Status == nil {
		return view, nil
	}
	view.Shadow = &application.BacktestSide{
		ExecutionID: r.ShadowID, Status: *r.Status, ErrorCode: text(r.ErrorCode), Error: text(r.ErrorMessage), TokenUsage: tokensOf(r.Prompt, r.Completion, r.Total),
	}
	if r.Micros != nil {
		view.Shadow.DurationMS = new(float64(*r.Micros) / 1000)
	}
	if r.Erased {
		return view, nil // what was made of an input that has been erased since is not shown either
	}
	view.Shadow.Output, view.Difference = r.Output, json.RawMessage(text(r.Difference))
	if r.Verdict == backtest.Same && *r.Status == backtest.ShadowCompleted {
		view.Shadow.Output = r.OriginalOutput
	}
	return view, nil
}

// Results gives what came of the invocations of a backtest.
func (s *Backtests) Results(ctx context.Context, id string, verdict backtest.Verdict, p application.Paging) (application.Page[application.BacktestResultView], error) {
	where, args := "v.backtest_id = ?", []any{id}
	if verdict != "" {
		where, args = where+" AND v.verdict = ?", append(args, string(verdict))
	}
	page, err := listed(ctx, s, resultColumns, resultsFrom, where, args, p, func(r resultRow) int64 { return r.Position }, resultRow.view)
	return page, s.db.Failure("list the results of a backtest", err)
}
