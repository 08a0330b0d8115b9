package database_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jmoiron/sqlx"
	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/deliveries"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/readmodel"
	"hooktrail/adapters/rejectionlog"
	"hooktrail/adapters/schedules"
	"hooktrail/adapters/workqueue"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/subscription"
	"hooktrail/domain/trigger"
	"hooktrail/internal/pgtest"
)

// large fills the tables with so much that reading one whole is never the better plan. There
// are 30000 events, every third a decision of one of 1000 agents, the others calls of 500
// triggers with an execution each, of which few are due, few run, few have failed, and the others
// wait for another attempt.
var large = []string{
	`INSERT INTO events (position, event_id, workspace_id, stream, version, fact, type, schema_version, recorded_at, actor, metadata, data, payload)
		SELECT i, 'e' || i, 'w1', CASE WHEN i % 3 = 0 THEN 'agent-' || (i / 3 % 1000) ELSE 'trigger-' || (i % 500) END,
		CASE WHEN i % 3 = 0 THEN i / 3000 + 1 ELSE 0 END, i % 3 <> 0, 'test', 1, i, 'system', '{}', '{}', CASE WHEN i % 3 <> 0 THEN CAST('{}' AS BODY) END FROM numbers`,
	`INSERT INTO executions (position, id, workspace_id, agent_id, trigger_id, session_id, status, attempt, version, ended_badly, created_at)
		SELECT i, 'x' || i, 'w1', 'a' || (i % 1000), 't' || (i % 500), 's' || (i % 700), CASE WHEN i % 3000 = 1 THEN 'failed' WHEN i % 3000 = 2 THEN 'running' WHEN i % 3000 = 4 THEN 'pending' ELSE 'completed' END,
		1, 1, CASE WHEN i % 3000 = 1 THEN 'failed' END, i FROM numbers WHERE i % 3 <> 0`,
	`INSERT INTO execution_queue (id, agent_id, due_at, worker) SELECT 'x' || i, 'a' || (i % 1000), CASE WHEN i % 3000 = 4 THEN i WHEN i % 3000 <> 2 THEN 9000000000000000 END,
		CASE WHEN i % 3000 = 2 THEN 'k1' END FROM numbers WHERE i % 3 <> 0`,
	`INSERT INTO agents (id, position, workspace_id, name, archived, max_concurrency, state) SELECT 'a' || i, i, 'w' || (i % 100), 'n', i % 2 = 0, 1, '{}' FROM numbers WHERE i < 20000`,
	`INSERT INTO triggers (id, position, workspace_id, agent_id, name, is_active, deleted, state) SELECT 't' || i, i, 'w' || (i % 100), 'a' || (i % 1000), 'n', i % 2 = 0, i % 4 = 0, '{}' FROM numbers WHERE i < 20000`,
	`INSERT INTO api_keys (id, position, workspace_id, revoked, state) SELECT 'k' || i, i, 'w' || (i % 100), i % 2 = 0, '{}' FROM numbers WHERE i < 20000`,
	`INSERT INTO credentials (id, workspace_id, owner, hash, sealed) SELECT 'c' || i, 'w1', 'trigger-1', CASE WHEN i % 2 = 0 THEN CAST('h' || i AS BODY) END, CASE WHEN i % 2 = 1 THEN CAST('s' AS BODY) END FROM numbers`,
	`INSERT INTO idempotency_keys (scope, key, digest, subject, expires_at) SELECT 't' || (i % 500), 'k' || i, CAST('d' AS BODY), 'x', i FROM numbers`,
	`INSERT INTO trigger_statistics (trigger_id, invocations, last_used_at) SELECT 't' || i, 1, 1 FROM numbers WHERE i < 20000`,
	`INSERT INTO schedules (trigger_id, spec, version, next_at) SELECT 't' || i, '[]', 1, i FROM numbers WHERE i < 20000`,
	`INSERT INTO subscriptions (id, position, workspace_id, active, deleted, state) SELECT 's' || i, i, 'w' || (i % 100), i % 4000 = 1, i % 4 = 0,
		'{"id": "s' || i || '", "workspace_id": "w1", "version": 1}' FROM numbers WHERE i < 20000`,
	`INSERT INTO subscription_deliveries (subscription_id, position, version, progress, revision, owner, lease_until, served_at)
		SELECT 's' || i, i, 1, '{}', 1, CASE WHEN i % 4000 = 1 THEN 'p' || i ELSE '' END, 0, 0 FROM numbers WHERE i < 20000`,
	`INSERT INTO rejections (trigger_id, minute, reason, client_ip, token_prefix, workspace_id, message, request_id, calls, first_at, last_at)
		SELECT 't' || (i % 500), i, 'r', 'c', 'p', 'w1', 'm', 'q', 1, i, i FROM numbers`,
	`INSERT INTO audit_blocks (level, block, hashes) SELECT 0, i, CAST('01234567890123456789012345678901' AS BODY) FROM numbers`,
	`INSERT INTO workers (id, lease_until) VALUES ('k1', 9000000000000000)`,
	`ANALYZE`,
}

func fill(t *testing.T, db *database.DB) {
	t.Helper()
	body, numbers := "BLOB", "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 30000) "
	if db.Dialect.Name == database.Postgres {
		body, numbers = "BYTEA", "WITH numbers AS (SELECT i FROM generate_series(1, 30000) AS i) "
	}
	require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
		for _, statement := range large {
			if strings.Contains(statement, "FROM numbers") {
				statement = numbers + strings.ReplaceAll(statement, "AS BODY)", "AS "+body+")")
			}
			tx.Exec(statement)
		}
		return nil
	}))
}

// hot are the operations whose cost must not grow with the data.
var hot = map[string]func(ctx context.Context, db *database.DB) error{
	"append": withStore(func(ctx context.Context, s *eventstore.Store) error { // heads, guards, keys, read models
		proposed, err := trigger.Codec.Encode(trigger.Invoked{ExecutionID: ksuid.New().String(), AgentID: "a1", Runs: true})
		if err != nil {
			return err
		}
		proposed.ID, proposed.Payload = ksuid.New().String(), []byte("{}")
		_, err = s.Append(ctx, eventlog.Append{
			WorkspaceID: "w1", Stream: "trigger-1", Guards: []eventlog.Guard{{Stream: "agent-1", Version: 10}}, Events: []eventlog.Proposed{proposed}, Forget: []string{"c1"},
			Idempotency: &eventlog.IdempotencyKey{Scope: "t1", Key: ksuid.New().String(), Digest: []byte("d"), Subject: "x", ExpiresAt: time.Now()},
		})
		return err
	}),
	"append again": withStore(func(ctx context.Context, s *eventstore.Store) error {
		_, err := s.Append(ctx, eventlog.Append{WorkspaceID: "w1", Stream: "trigger-1", Expected: 5, Events: []eventlog.Proposed{{ID: "e1", Type: "test"}}})
		return err
	}),
	"decisions": withStore(func(ctx context.Context, s *eventstore.Store) error {
		_, err := s.Decisions(ctx, "agent-1", 0)
		if err == nil {
			_, err = s.Decisions(ctx, "agent-1", 500)
		}
		return err
	}),
	"log": withStore(func(ctx context.Context, s *eventstore.Store) error {
		_, err := s.After(ctx, 29_000, 100)
		if err == nil {
			_, err = s.PositionAt(ctx, time.UnixMicro(1234))
		}
		return err
	}),
	"events": withStore(func(ctx context.Context, s *eventstore.Store) error {
		after := eventlog.Position(29_000)
		for _, f := range []application.EventFilter{{Limit: 20}, {Before: 5000, Limit: 20}, {After: &after, Limit: 20}, {Stream: "trigger-7", Limit: 20}, {Stream: "agent-7", Before: 9000, Limit: 20}, {Type: "trigger.created", Limit: 20}, {Actor: "api_key:k1", Limit: 20}} {
			f.WorkspaceID = "w1"
			if _, err := s.List(ctx, f); err != nil {
				return err
			}
		}
		_, err := s.Count(ctx, application.EventFilter{WorkspaceID: "w1", Stream: "trigger-7"}, 100)
		return err
	}),
	"credentials": withStore(func(ctx context.Context, s *eventstore.Store) error {
		_, _, err := s.CredentialByHash(ctx, []byte("h2"))
		if err == nil {
			_, _, err = s.Sealed(ctx, "c1")
		}
		return err
	}),
	"claim": func(ctx context.Context, db *database.DB) error {
		store := eventstore.New(db, readmodel.New(db, ""), eventstore.Config{})
		defer store.Close()
		_, err := workqueue.New(db, store, time.Now).Claim(ctx, 3, func(due application.Due) (eventlog.Append, error) {
			proposed, err := execution.Codec.Encode(execution.Started{Attempt: 2, Worker: "k1"})
			proposed.ID = ksuid.New().String()
			return eventlog.Append{WorkspaceID: "w1", Stream: eventlog.Stream(eventlog.ExecutionStream, due.Execution.ID), Expected: due.Execution.Version, Events: []eventlog.Proposed{proposed}}, err
		})
		return err
	},
	"schedules": func(ctx context.Context, db *database.DB) error {
		store := eventstore.New(db, readmodel.New(db, ""), eventstore.Config{})
		defer store.Close()
		fired := schedules.New(db, store)
		if _, _, err := fired.Next(ctx); err != nil {
			return err
		}
		return fired.Fire(ctx, time.UnixMicro(10), func(due application.DueSchedule) (eventlog.Append, error) {
			proposed, err := trigger.Codec.Encode(trigger.ScheduleMissed{Count: 1, NextRunAt: new(time.UnixMicro(1 << 50))})
			proposed.ID = ksuid.New().String()
			return eventlog.Append{WorkspaceID: "w1", Stream: eventlog.Stream(eventlog.TriggerStream, due.Trigger.ID), Events: []eventlog.Proposed{proposed}}, err
		})
	},
	"audit trail": func(ctx context.Context, db *database.DB) error {
		_, _, err := auditlog.New(db, auditlog.Config{}).Advance(ctx)
		return err
	},
	"rejections": func(ctx context.Context, db *database.DB) error {
		log := rejectionlog.New(db, rejectionlog.Config{})
		log.Note(application.Rejection{TriggerID: "t1", WorkspaceID: "w1", Reason: "x", Count: 1, FirstAt: time.UnixMicro(5), LastAt: time.UnixMicro(5)})
		_, err := log.List(ctx, application.RejectionFilter{TriggerID: "t2", WorkspaceID: "w1"}, application.Paging{Limit: 20})
		return err
	},
	"deliveries": func(ctx context.Context, db *database.DB) error {
		d := deliveries.New(db, time.Now)
		waiting, _, err := d.Waiting(ctx, "p1", time.Now())
		if err != nil {
			return err
		}
		of, err := d.Claim(ctx, waiting[0], "p1", time.Second)
		if err == nil {
			_, err = d.Save(ctx, of, false)
		}
		if err == nil {
			err = d.Renew(ctx, "p1", time.Second)
		}
		if err == nil {
			_, _, err = d.Get(ctx, "w1", "s1")
		}
		if err == nil {
			_, _, err = d.Current(ctx, "s1")
		}
		for _, narrow := range []subscription.Settings{
			{}, {Types: []string{"test"}}, {Types: []string{"te*", "x"}, Streams: []string{"agent-7", "trigger-*"}}, {TriggerID: "t1"}, {AgentID: "a1"},
		} {
			if err == nil {
				_, _, err = d.Pending(ctx, subscription.Subscription{WorkspaceID: "w1", Settings: narrow}, 29_900, 100)
			}
		}
		if err == nil {
			_, _, err = d.Event(ctx, "w1", "e7")
		}
		return err
	},
	"queue": func(ctx context.Context, db *database.DB) error {
		queue := workqueue.New(db, nil, time.Now)
		_, _, err := queue.NextDue(ctx)
		if err == nil {
			_, err = queue.Ended(ctx, []string{"x1", "x2"})
		}
		return err
	},
	"executions": withModels(func(ctx context.Context, m *readmodel.Models) error {
		for _, f := range []application.ExecutionFilter{{AgentID: "a1"}, {TriggerID: "t1"}, {SessionID: "s1"}, {Status: execution.Failed}, {Status: execution.Cancelled}, {Status: execution.Running}} {
			if _, err := m.Executions(ctx, "w1", f, application.Paging{Limit: 20}); err != nil {
				return err
			}
		}
		_, _, err := m.Execution(ctx, "w1", "x1")
		if err == nil {
			_, _, _, err = m.Input(ctx, "x1")
		}
		return err
	}),
	"views": withModels(func(ctx context.Context, m *readmodel.Models) error {
		_, err := m.Triggers(ctx, "w7", application.TriggerFilter{}, application.Paging{Limit: 20})
		if err == nil {
			_, err = m.Agents(ctx, "w7", application.AgentFilter{}, application.Paging{Limit: 20})
		}
		if err == nil {
			_, err = m.APIKeys(ctx, "w7", application.Paging{Limit: 20})
		}
		if err == nil {
			_, err = m.Subscriptions(ctx, "w7", application.SubscriptionFilter{}, application.Paging{Limit: 20})
		}
		if err == nil {
			_, _, err = m.Subscription(ctx, "w7", "s7")
		}
		if err == nil {
			_, _, err = m.Trigger(ctx, "w7", "t7")
		}
		if err == nil {
			_, _, err = m.Agent(ctx, "w7", "a7")
		}
		if err == nil {
			_, err = m.ActiveTriggersOf(ctx, "a7")
		}
		return err
	}),
}

func withStore(do func(ctx context.Context, s *eventstore.Store) error) func(context.Context, *database.DB) error {
	return func(ctx context.Context, db *database.DB) error {
		store := eventstore.New(db, readmodel.New(db, ""), eventstore.Config{})
		defer store.Close()
		return do(ctx, store)
	}
}

func withModels(do func(ctx context.Context, m *readmodel.Models) error) func(context.Context, *database.DB) error {
	return func(ctx context.Context, db *database.DB) error { return do(ctx, readmodel.New(db, "")) }
}

// TestHotQueriesUseIndexes lets PostgreSQL count the tables that were read whole, and SQLite
// explain every statement that it was given.
func TestHotQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		b := databasetest.Postgres(pgtest.Database(t))
		fill(t, b.Open(t))
		b.Shutdown(t)
		admin := b.Admin(t)
		before := wholeReads(t, admin)
		for _, name := range slices.Sorted(maps.Keys(hot)) {
			require.NoError(t, hot[name](t.Context(), b.Open(t)), name)
			b.Shutdown(t)
			after := wholeReads(t, admin)
			require.Equal(t, before, after, "%q reads tables whole", name)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		b := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db"))
		fill(t, b.Open(t))
		for _, name := range slices.Sorted(maps.Keys(hot)) {
			b.Shutdown(t)
			db := b.Open(t)
			reads := &recorder{path: b.Path}
			require.NoError(t, db.Read.Close())
			db.Read = sqlx.NewDb(sql.OpenDB(reads), "sqlite")
			require.NoError(t, hot[name](t.Context(), db), name)
			statements := append(reads.statements(), db.WriterStatements()...)
			require.NotEmpty(t, statements)
			for _, statement := range statements {
				for _, step := range explain(t, db, statement) {
					require.False(t, readsWhole(statement, step), "%q reads a table whole: %s\n%s", name, step, statement)
				}
			}
		}
	})
}

// wholeReads is how often each table was read whole by sessions that have ended; the others
// have not told yet.
func wholeReads(t *testing.T, admin *pgx.Conn) map[string]int64 {
	t.Helper()
	require.Eventually(t, func() bool {
		var others int
		require.NoError(t, admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE "+databasetest.Others).Scan(&others))
		return others == 0
	}, 20*time.Second, time.Millisecond)
	_, err := admin.Exec(t.Context(), "SELECT pg_stat_clear_snapshot()")
	require.NoError(t, err)
	rows, err := admin.Query(t.Context(), "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname NOT IN ('workers', 'settings', 'consumer_offsets', 'goose_db_version')")
	require.NoError(t, err)
	reads := map[string]int64{}
	for rows.Next() {
		var table string
		var count int64
		require.NoError(t, rows.Scan(&table, &count))
		reads[table] = count
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, reads)
	return reads
}

func explain(t *testing.T, db *database.DB, statement string) (steps []string) {
	t.Helper()
	if word, _, _ := strings.Cut(statement, " "); !slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}, word) {
		return nil
	}
	args := make([]any, strings.Count(statement, "?"))
	for i := range args {
		args[i] = "1"
	}
	rows, err := db.Read.QueryxContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, args...)
	require.NoError(t, err, statement)
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		steps = append(steps, detail)
	}
	require.NoError(t, rows.Err())
	return steps
}

var (
	scan = regexp.MustCompile(`^SCAN (\w+)( USING.*)?$`)
	// A walk along the log, as far as a limit goes.
	walk = regexp.MustCompile(`ORDER BY position( DESC| ASC)? LIMIT`)
)

func readsWhole(statement, step string) bool {
	found := scan.FindStringSubmatch(step)
	switch {
	case found == nil:
		return false
	case slices.Contains([]string{"asked", "json_each", "part", "counted", "workers", "CONSTANT"}, found[1]):
		return false // lists that were given, parts of the statement, a handful of rows
	case strings.Contains(step, "execution_queue_running"), strings.Contains(step, "execution_queue_due"), strings.Contains(step, "executions_ended_badly"), strings.Contains(step, "subscriptions_active"):
		return false // partial indexes, which hold few executions, and subscriptions that are delivered
	}
	return !(found[1] == "events" && walk.MatchString(statement))
}

// recorder opens an SQLite file and keeps the queries that it is asked.
type recorder struct {
	path    string
	mu      sync.Mutex
	queries map[string]bool
}

func (r *recorder) statements() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.queries))
}

func (*recorder) Driver() driver.Driver { return &sqlite.Driver{} }

func (r *recorder) Connect(context.Context) (driver.Conn, error) {
	conn, err := r.Driver().Open("file:" + r.path)
	return &recordedConn{Conn: conn, recorder: r}, err
}

type recordedConn struct {
	driver.Conn

	recorder *recorder
}

func (c *recordedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.recorder.mu.Lock()
	if c.recorder.queries == nil {
		c.recorder.queries = map[string]bool{}
	}
	c.recorder.queries[query] = true
	c.recorder.mu.Unlock()
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}
