// Package rejectionlog remembers refused webhook calls: counted, with the last of each kind as the
// sample, and never more than it may keep, whatever comes in.
package rejectionlog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

// Config bounds what is kept.
type Config struct {
	// Every is the time between two writes (default 1 s).
	Every time.Duration
	// Kinds is how many kinds of refusals are told apart between two writes (default 1000); what
	// is beyond is counted by reason alone.
	Kinds int
	// PerTrigger is how many rows a trigger keeps (default 500), and Unproven how many are kept
	// of calls that belong to none (default 5000). The latest stay.
	PerTrigger, Unproven int
	// Keep is for how long rows are kept (default 30 days).
	Keep   time.Duration
	Now    func() time.Time
	Logger *slog.Logger
}

// Log is the rejection log.
type Log struct {
	db     *database.DB
	config Config
	// writing lets one write follow the other, so that who waits for one finds all noted before.
	writing sync.Mutex

	mu    sync.Mutex
	noted map[kind]*application.Rejection
}

// kind is what refusals have in common that are one row.
type kind struct {
	trigger          string
	minute           int64
	reason           fault.Code
	client, prefixed string
}

// New makes the log. Run writes it.
func New(db *database.DB, config Config) *Log {
	if config.Every == 0 {
		config.Every = time.Second
	}
	if config.Kinds == 0 {
		config.Kinds = 1000
	}
	if config.PerTrigger == 0 {
		config.PerTrigger = 500
	}
	if config.Unproven == 0 {
		config.Unproven = 5000
	}
	if config.Keep == 0 {
		config.Keep = 30 * 24 * time.Hour
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Log{db: db, config: config, noted: map[kind]*application.Rejection{}}
}

// Note counts one refusal.
func (l *Log) Note(r application.Rejection) {
	k := kind{r.TriggerID, database.Micros(r.FirstAt.Truncate(time.Minute)), r.Reason, r.ClientIP, r.TokenPrefix}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noted[k] == nil && len(l.noted) >= l.config.Kinds {
		k.client, k.prefixed, r.ClientIP, r.TokenPrefix = "", "", "", ""
		if l.noted[k] == nil && len(l.noted) >= 2*l.config.Kinds { // as many triggers are called wrongly
			k.trigger, r.TriggerID, r.WorkspaceID = "", "", ""
		}
	}
	if earlier := l.noted[k]; earlier != nil {
		earlier.Count += r.Count
		earlier.LastAt, earlier.Message, earlier.RequestID = r.LastAt, r.Message, r.RequestID
		return
	}
	l.noted[k] = &r
}

// Run writes what is noted until ctx ends, and then once more.
func (l *Log) Run(ctx context.Context) {
	ended := ctx.Done()
	ctx = context.WithoutCancel(ctx) // what was taken to be written is written
	defer l.tryWrite(ctx)
	ticker := time.NewTicker(l.config.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.tryWrite(ctx)
		case <-ended:
			return
		}
	}
}

const writeTimeout = 3 * time.Second

// tryWrite drops what cannot be written: a log of refusals must not grow while the database is away.
func (l *Log) tryWrite(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := l.write(ctx); err != nil {
		l.config.Logger.Warn("refused calls could not be recorded", "error", err)
	}
}

var insertRejections = database.Insert("rejections", `ON CONFLICT (trigger_id, minute, reason, client_ip, token_prefix) DO UPDATE SET
	calls = rejections.calls + excluded.calls, last_at = excluded.last_at, message = excluded.message, request_id = excluded.request_id`,
	database.Column{Name: "trigger_id", Type: "text"}, database.Column{Name: "minute", Type: "int8"}, database.Column{Name: "reason", Type: "text"},
	database.Column{Name: "client_ip", Type: "text"}, database.Column{Name: "token_prefix", Type: "text"}, database.Column{Name: "workspace_id", Type: "text"},
	database.Column{Name: "message", Type: "text"}, database.Column{Name: "request_id", Type: "text"}, database.Column{Name: "calls", Type: "int8"},
	database.Column{Name: "first_at", Type: "int8"}, database.Column{Name: "last_at", Type: "int8"})

func (l *Log) write(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	noted := l.noted
	l.noted = make(map[kind]*application.Rejection, len(noted))
	l.mu.Unlock()
	if len(noted) == 0 {
		return nil
	}
	var triggers, reasons, clients, prefixes, workspaces, messages, requests []string
	var minutes, counts, firsts, lasts []int64
	touched := map[string]bool{}
	for k, r := range noted {
		touched[k.trigger] = true
		triggers, minutes, reasons = append(triggers, k.trigger), append(minutes, k.minute), append(reasons, string(k.reason))
		clients, prefixes, workspaces = append(clients, k.client), append(prefixes, k.prefixed), append(workspaces, r.WorkspaceID)
		messages, requests, counts = append(messages, r.Message), append(requests, r.RequestID), append(counts, int64(r.Count))
		firsts, lasts = append(firsts, database.Micros(r.FirstAt)), append(lasts, database.Micros(r.LastAt))
	}
	err := l.db.Write(ctx, func(tx *database.Tx) error {
		tx.Bulk(insertRejections.With(triggers, minutes, reasons, clients, prefixes, workspaces, messages, requests, counts, firsts, lasts))
		for trigger := range touched {
			most := l.config.PerTrigger
			if trigger == "" {
				most = l.config.Unproven
			}
			tx.Exec("DELETE FROM rejections WHERE trigger_id = ? AND last_at <= (SELECT last_at FROM rejections WHERE trigger_id = ? ORDER BY last_at DESC LIMIT 1 OFFSET ?)",
				trigger, trigger, most)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the rejections: %w", err)
	}
	return nil
}

// Sweep deletes what is older than is kept.
func (l *Log) Sweep(ctx context.Context) error {
	return l.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec("DELETE FROM rejections WHERE last_at < ?", database.Micros(l.config.Now().Add(-l.config.Keep)))
		return nil
	})
}

type row struct {
	Trigger   string `db:"trigger_id"`
	Workspace string `db:"workspace_id"`
	Reason    string `db:"reason"`
	Client    string `db:"client_ip"`
	Prefix    string `db:"token_prefix"`
	Message   string `db:"message"`
	Request   string `db:"request_id"`
	Calls     int    `db:"calls"`
	First     int64  `db:"first_at"`
	Last      int64  `db:"last_at"`
}

// List gives the latest first, with all that this process has noted up to now.
func (l *Log) List(ctx context.Context, f application.RejectionFilter, p application.Paging) (application.Page[application.Rejection], error) {
	page := application.Page[application.Rejection]{}
	if err := l.write(ctx); err != nil {
		return page, l.db.Failure("read the rejections", err)
	}
	where, args := "workspace_id = ?", []any{f.WorkspaceID}
	if f.Unproven {
		where = "(workspace_id = ? OR workspace_id = '')"
	}
	narrow := func(term string, arg any) { where, args = where+" AND "+term, append(args, arg) }
	if f.TriggerID != "" {
		narrow("trigger_id = ?", f.TriggerID)
	}
	if f.Reason != "" {
		narrow("reason = ?", string(f.Reason))
	}
	if !f.Since.IsZero() {
		narrow("last_at >= ?", database.Micros(f.Since))
	}
	if !f.Until.IsZero() {
		narrow("last_at <= ?", database.Micros(f.Until))
	}
	if err := l.db.Get(ctx, &page.Total, "SELECT count(*) FROM (SELECT 1 FROM rejections WHERE "+where+" LIMIT ?) AS counted",
		append(append([]any{}, args...), application.CountBound)...); err != nil {
		return page, l.db.Failure("read the rejections", err)
	}
	if p.Cursor > 0 {
		narrow("last_at < ?", int64(p.Cursor))
	}
	var rows []row
	if err := l.db.Select(ctx, &rows, "SELECT trigger_id, workspace_id, reason, client_ip, token_prefix, message, request_id, calls, first_at, last_at FROM rejections WHERE "+
		where+" ORDER BY last_at DESC LIMIT ? OFFSET ?", append(args, p.Limit+1, p.Offset())...); err != nil {
		return page, l.db.Failure("read the rejections", err)
	}
	page.Items = make([]application.Rejection, 0, len(rows))
	for i, r := range rows {
		if i == p.Limit {
			page.Next = eventlog.Position(rows[i-1].Last)
			break
		}
		page.Items = append(page.Items, application.Rejection{
			TriggerID: r.Trigger, WorkspaceID: r.Workspace, Reason: fault.Code(r.Reason), Message: r.Message, TokenPrefix: r.Prefix,
			ClientIP: r.Client, Count: r.Calls, FirstAt: database.Time(r.First), LastAt: database.Time(r.Last), RequestID: r.Request,
		})
	}
	return page, nil
}
