package readmodel

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"hooktrail/adapters/database"
	"hooktrail/domain/agent"
	"hooktrail/domain/apikey"
	"hooktrail/domain/backtest"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/subscription"
	"hooktrail/domain/trigger"
)

const (
	rebuildSuffix = "_rebuild"
	rebuildBatch  = 5000
	// rebuildCacheKiB lets SQLite keep the indexes by trigger and by agent in memory, which are
	// filled all over; it is for the process that rebuilds.
	rebuildCacheKiB = "262144"
	// catchUp is how far behind the log a rebuild may be when it stops the appends to finish.
	catchUp = 2000
)

// Rebuild makes all read models anew from the log, beside the live ones, while the service
// goes on, and puts them in their place at the end. With resume it goes on where the last one was
// broken off, which must have been by the same program. progress is told how far it is.
func Rebuild(ctx context.Context, db *database.DB, publicURL string, resume bool, progress func(done, total eventlog.Position)) error {
	next := &Loader{onTables(db, publicURL, rebuildSuffix), statisticsOn(db, "trigger_statistics"+rebuildSuffix)}
	// In the order in which queries name them, so that none waits for a table behind this one
	// while this one waits for a table behind it.
	tables := append(slices.Clone(Tables), "trigger_statistics")
	var done eventlog.Position
	if resume {
		var err error
		if done, err = brokenOffAt(ctx, db, tables); err != nil {
			return fmt.Errorf("look for what was begun: %w", err)
		}
	}
	if err := db.Write(ctx, func(tx *database.Tx) error {
		if tx.Dialect().Name == database.SQLite {
			tx.Exec("PRAGMA cache_size = -" + rebuildCacheKiB)
		}
		if done > 0 {
			return nil
		}
		forgetPlace(tx)
		return createCopies(ctx, tx, tables)
	}); err != nil {
		return fmt.Errorf("make the new tables: %w", err)
	}
	if err := followAlong(ctx, db, &done, func(ctx context.Context, tx *database.Tx, events []eventlog.Recorded) error {
		keepPlace(tx, events[len(events)-1].Position)
		return next.apply(ctx, tx, events)
	}, progress); err != nil {
		return err
	}
	return db.Write(ctx, func(tx *database.Tx) error {
		if lock := tx.Dialect().AppendLock; lock != "" {
			tx.Query(func(database.Scan) error { return nil }, lock)
			if err := tx.Flush(ctx); err != nil {
				return err
			}
		}
		for {
			events, err := readAfter(ctx, db, done)
			if err != nil {
				return err
			}
			if len(events) == 0 {
				break
			}
			done = events[len(events)-1].Position
			if err := next.apply(ctx, tx, events); err != nil {
				return err
			}
			if err := tx.Flush(ctx); err != nil {
				return err
			}
		}
		keepStatisticsPosition(tx, done)
		forgetPlace(tx)
		progress(done, done)
		return swap(ctx, tx, tables)
	})
}

// rebuildPlace is the setting that has the position up to which the new tables are filled.
const rebuildPlace = "rebuild_position"

func keepPlace(tx *database.Tx, position eventlog.Position) {
	tx.Exec("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		rebuildPlace, strconv.AppendInt(nil, int64(position), 10))
}

func forgetPlace(tx *database.Tx) { tx.Exec("DELETE FROM settings WHERE name = ?", rebuildPlace) }

// brokenOffAt gives the position up to which an earlier rebuild has filled the new tables; 0 when
// there is nothing to go on with.
func brokenOffAt(ctx context.Context, db *database.DB, tables []string) (eventlog.Position, error) {
	place, err := db.Setting(ctx, rebuildPlace)
	if err != nil || place == nil {
		return 0, err
	}
	catalogue := "sqlite_schema WHERE type = 'table' AND name = ?"
	if db.Dialect.Name == database.Postgres {
		catalogue = "pg_tables WHERE schemaname = current_schema() AND tablename = ?"
	}
	for _, table := range tables { // a setting may have come from elsewhere by an import
		var there bool
		if err := db.Get(ctx, &there, "SELECT count(*) > 0 FROM "+catalogue, table+rebuildSuffix); err != nil || !there {
			return 0, err
		}
	}
	position, err := strconv.ParseInt(string(place), 10, 64)
	return eventlog.Position(position), err
}

// keepStatisticsPosition queues that the statistics go up to here: a consumer at work must not add to
// them what it has gathered before.
func keepStatisticsPosition(tx *database.Tx, position eventlog.Position) {
	tx.Exec("INSERT INTO consumer_offsets (consumer_group, position, owner, lease_until) VALUES (?, ?, '', 0)"+
		" ON CONFLICT (consumer_group) DO UPDATE SET position = excluded.position, owner = '', lease_until = 0", StatisticsGroup, int64(position))
}

// Loader makes all read models of a log that is read from its beginning.
type Loader struct {
	models     *Models
	statistics *Statistics
}

// NewLoader makes a loader for the live tables of an empty store.
func NewLoader(db *database.DB) *Loader { return &Loader{New(db, ""), NewStatistics(db)} }

// Load queues what the next events of the log, in their order, make of the read models. Of their
// metadata the actor is needed alone.
func (l *Loader) Load(ctx context.Context, tx *database.Tx, events []eventlog.Recorded) error {
	for i := range events {
		if err := decode(&events[i]); err != nil {
			return fmt.Errorf("position %d: %w", events[i].Position, err)
		}
	}
	return l.apply(ctx, tx, events)
}

// End queues what has to be known behind the last event, which is at this position.
func (l *Loader) End(tx *database.Tx, position eventlog.Position) {
	keepStatisticsPosition(tx, position)
}

func (l *Loader) apply(ctx context.Context, tx *database.Tx, events []eventlog.Recorded) error {
	for _, e := range events {
		if counts(e) {
			l.statistics.Add(e.Stream, 1, e.At)
		}
	}
	if err := l.models.Apply(ctx, tx, events); err != nil {
		return err
	}
	l.statistics.write(tx, l.statistics.take())
	return nil
}

func decode(e *eventlog.Recorded) (err error) {
	if codec, known := codecs[e.Stream.Kind()]; known {
		e.Event, err = codec.Decode(*e)
	}
	return err
}

// followAlong applies the log up to where appends must wait for the rest. What comes next is
// read and decoded while a part is written.
func followAlong(ctx context.Context, db *database.DB, done *eventlog.Position, apply func(context.Context, *database.Tx, []eventlog.Recorded) error, progress func(done, total eventlog.Position)) error {
	type part struct {
		events []eventlog.Recorded
		head   eventlog.Position
		err    error
	}
	parts := make(chan part)
	ctx, stop := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	reading.Go(func() {
		defer close(parts)
		for at := *done; ; {
			var p part
			p.err = db.Get(ctx, &p.head, "SELECT coalesce(max(position), 0) FROM events")
			if p.err == nil && p.head-at > catchUp {
				p.events, p.err = readAfter(ctx, db, at)
			}
			select {
			case parts <- p:
			case <-ctx.Done():
				return
			}
			if p.err != nil || len(p.events) == 0 {
				return
			}
			at = p.events[len(p.events)-1].Position
		}
	})
	for p := range parts {
		if p.err != nil {
			return fmt.Errorf("read the log behind position %d: %w", *done, p.err)
		}
		progress(*done, p.head)
		if len(p.events) == 0 {
			return nil
		}
		if err := db.Write(ctx, func(tx *database.Tx) error { return apply(ctx, tx, p.events) }); err != nil {
			return fmt.Errorf("rebuild behind position %d: %w", *done, err)
		}
		*done = p.events[len(p.events)-1].Position
	}
	return ctx.Err()
}

// readAfter reads and decodes what the read models are made of: of the metadata that is the
// actor alone.
func readAfter(ctx context.Context, db *database.DB, position eventlog.Position) ([]eventlog.Recorded, error) {
	rows, err := db.Read.QueryContext(ctx, db.SQL("SELECT position, workspace_id, stream, version, fact, type, schema_version, recorded_at, actor, data"+
		" FROM events WHERE position > ? ORDER BY position LIMIT ?"), int64(position), rebuildBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	events := make([]eventlog.Recorded, 0, rebuildBatch)
	for rows.Next() {
		var e eventlog.Recorded
		var at int64
		if err := rows.Scan(&e.Position, &e.WorkspaceID, &e.Stream, &e.Version, &e.Fact, &e.Type, &e.Schema, &at, &e.Meta.Actor, &e.Data); err != nil {
			return nil, err
		}
		e.At = database.Time(at)
		if err := decode(&e); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, rows.Err()
}

var codecs = map[string]*eventlog.Codec{
	eventlog.TriggerStream: trigger.Codec, eventlog.AgentStream: agent.Codec,
	eventlog.APIKeyStream: apikey.Codec, eventlog.ExecutionStream: execution.Codec,
	eventlog.SubscriptionStream: subscription.Codec, eventlog.BacktestStream: backtest.Codec,
}

// object is a table or index with the statement that makes it.
type object struct{ name, sql string }

// createCopies makes an empty table beside each one, with the same columns and indexes.
func createCopies(ctx context.Context, tx *database.Tx, tables []string) error {
	for _, table := range tables {
		tx.Exec("DROP TABLE IF EXISTS " + table + rebuildSuffix)
	}
	if tx.Dialect().Name == database.Postgres {
		for _, table := range tables {
			tx.Exec("CREATE TABLE " + table + rebuildSuffix + " (LIKE " + table + " INCLUDING ALL)")
			tx.Exec("ALTER TABLE " + table + rebuildSuffix + " SET (fillfactor = 70)")
		}
		return tx.Flush(ctx)
	}
	for _, table := range tables {
		objects, err := sqliteObjects(ctx, tx, table)
		if err != nil {
			return err
		}
		for _, o := range objects {
			made := strings.Replace(o.sql, " "+o.name+" ", " "+otherName(o.name, table)+" ", 1)
			made = strings.Replace(made, " ON "+table+" ", " ON "+table+rebuildSuffix+" ", 1)
			tx.Exec(made)
		}
	}
	return tx.Flush(ctx)
}

// otherName is what an object is called in the copy. SQLite cannot rename an index, so the
// indexes have the suffix after every second rebuild.
func otherName(name, table string) string {
	if plain, had := strings.CutSuffix(name, rebuildSuffix); had && name != table {
		return plain
	}
	return name + rebuildSuffix
}

func sqliteObjects(ctx context.Context, tx *database.Tx, table string) ([]object, error) {
	var objects []object
	tx.Query(func(scan database.Scan) error {
		var o object
		err := scan(&o.name, &o.sql)
		// A table that was renamed once has its name in quotes.
		o.sql = strings.ReplaceAll(o.sql, `"`+table+`"`, table)
		objects = append(objects, o)
		return err
	}, "SELECT name, sql FROM sqlite_schema WHERE tbl_name = ? AND sql IS NOT NULL ORDER BY type DESC", table)
	return objects, tx.Flush(ctx)
}

// swap puts the new tables in the place of the live ones, with the names of their indexes.
func swap(ctx context.Context, tx *database.Tx, tables []string) error {
	for _, table := range tables {
		live, err := indexesOf(ctx, tx, table)
		if err != nil {
			return err
		}
		made, err := indexesOf(ctx, tx, table+rebuildSuffix)
		if err != nil {
			return err
		}
		tx.Exec("DROP TABLE " + table)
		tx.Exec("ALTER TABLE " + table + rebuildSuffix + " RENAME TO " + table)
		for what, name := range made {
			if known, same := live[what]; same {
				tx.Exec("ALTER INDEX " + name + " RENAME TO " + known)
			}
		}
	}
	return tx.Flush(ctx)
}

// indexesOf gives the names of a table's indexes by what they are. On SQLite, where they
// cannot be renamed, it gives none.
func indexesOf(ctx context.Context, tx *database.Tx, table string) (map[string]string, error) {
	if tx.Dialect().Name != database.Postgres {
		return nil, nil
	}
	indexes := map[string]string{}
	tx.Query(func(scan database.Scan) error {
		var name, definition string
		if err := scan(&name, &definition); err != nil {
			return err
		}
		_, what, _ := strings.Cut(definition, " USING ")
		indexes[what] = name
		return nil
	}, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = ?", table)
	return indexes, tx.Flush(ctx)
}
