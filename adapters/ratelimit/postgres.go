package ratelimit

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/jmoiron/sqlx"

	"hooktrail/domain/fault"
)

// PostgresTable is what Postgres needs in the database, for those who do not run the
// migrations. Unlogged: a crash of the server costs a minute's counts, and counting costs no
// wait for the disk.
const PostgresTable = `CREATE UNLOGGED TABLE rate_limit_slots (
    key   TEXT COLLATE "C" NOT NULL,
    slot  BIGINT NOT NULL,
    taken INT NOT NULL,
    PRIMARY KEY (key, slot)
)`

// Calls are counted in slots of one second of the database's clock. A slot is over 60 s
// after its last moment, which is 61 s after its first.
const slotsPerWindow = int64(window / granularity)

// lockClass keeps the locks of keys apart from all other advisory locks: those of two
// numbers and those of one never meet.
const lockClass = 0x72617465

// lockKey must be a statement of its own, before the one that counts: a statement sees what
// was committed before it began, not what was committed while it waited.
const lockKey = `SELECT pg_advisory_xact_lock($1, hashtext($2))`

const giveBack = `UPDATE rate_limit_slots SET taken = greatest(0, taken - $3) WHERE key = $1 AND slot = $2`

// lease grants up to $2 calls of the $3 that key $1 may make.
const lease = `
WITH clock AS MATERIALIZED (
	SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros
), live AS MATERIALIZED (
	SELECT slot, taken FROM rate_limit_slots, clock
	WHERE key = $1 AND taken > 0 AND slot BETWEEN micros / 1000000 - $4 AND micros / 1000000
), sums AS MATERIALIZED (
	SELECT coalesce(sum(taken), 0)::bigint AS taken, max(slot) AS newest FROM live
), granting AS MATERIALIZED (
	SELECT greatest(0, least($2::bigint, $3::bigint - taken)) AS granted FROM sums
), keeping AS (
	INSERT INTO rate_limit_slots (key, slot, taken)
	SELECT $1, micros / 1000000, granted FROM clock, granting WHERE granted > 0
	ON CONFLICT (key, slot) DO UPDATE SET taken = rate_limit_slots.taken + excluded.taken
)
SELECT micros, granted, sums.taken AS taken_before,
	CASE WHEN granted > 0 THEN micros / 1000000 ELSE newest END AS newest,
	coalesce((
		SELECT min(slot) FROM (SELECT slot, sum(taken) OVER (ORDER BY slot) AS freed FROM live) AS running
		WHERE freed > sums.taken - $3::bigint
	), micros / 1000000) AS freeing
FROM clock, sums, granting`

// A slot in the far future is left from before the database's clock was set back.
const sweep = `
WITH clock AS MATERIALIZED (SELECT extract(epoch FROM clock_timestamp())::bigint AS slot)
DELETE FROM rate_limit_slots WHERE (key, slot) IN (
	SELECT s.key, s.slot FROM rate_limit_slots AS s, clock
	WHERE s.slot NOT BETWEEN clock.slot - 2 * $1::bigint AND clock.slot + 2 * $1::bigint
	FOR UPDATE OF s SKIP LOCKED
)`

// Postgres limits the calls that all processes take which share a database. A process takes
// a sixtieth of the limit at a time and spends it within the second; it remembers a refusal
// for as long as it lasts, so that a flood costs no queries. What a process did not spend it
// gives back when it asks again; until then, and for a minute at most, a sixtieth of the
// limit may be out of the others' reach.
type Postgres struct {
	db    *sqlx.DB
	now   func() time.Time
	start time.Time

	mu    sync.Mutex
	local *simplelru.LRU[string, *leased]
}

// leased is what this process knows of one key. Times count from Postgres.start. A clock
// that is set back makes nothing valid: each fact is good from its own time on.
type leased struct {
	turn  chan struct{} // holds one token: who has it may read and write the rest
	limit int

	grantedAt, grantedUntil time.Duration
	slot                    int64
	left                    int

	refusedAt, refusedUntil time.Duration

	free    int // calls that were in nobody's hands when the database was last asked
	emptyAt time.Duration
}

// NewPostgres makes a limiter over the table rate_limit_slots of db. The database's clock
// counts; now tells how much time passes between two questions to it.
func NewPostgres(db *sqlx.DB, now func() time.Time) *Postgres {
	// It fails for a size below 1 only.
	local, _ := simplelru.NewLRU[string, *leased](DefaultMaxKeys, nil)
	return &Postgres{db: db, now: now, start: now(), local: local}
}

// Take counts one call of key and says whether it is within limit calls in any 60 s, all
// processes together. A limit of 0 or less is none: the call is allowed and not counted. An
// Unavailable fault means that the database did not answer within ctx; the call may or may
// not have been counted.
func (p *Postgres) Take(ctx context.Context, key string, limit int) (Decision, error) {
	if limit <= 0 {
		return Decision{Allowed: true}, nil
	}
	l := p.leasedTo(key)
	select {
	case <-l.turn:
	case <-ctx.Done():
		return Decision{}, unavailable(ctx.Err())
	}
	defer func() { l.turn <- struct{}{} }()
	if decision, known := l.decide(p.elapsed(), limit); known {
		return decision, nil
	}
	if err := p.renew(ctx, key, limit, l); err != nil {
		return Decision{}, unavailable(err)
	}
	return l.first(p.elapsed()), nil
}

func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the rate limit could not be counted").Retry(2 * time.Second)
}

func (p *Postgres) elapsed() time.Duration { return p.now().Sub(p.start) }

func (p *Postgres) leasedTo(key string) *leased {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, known := p.local.Get(key)
	if !known {
		l = &leased{turn: make(chan struct{}, 1)}
		l.turn <- struct{}{}
		p.local.Add(key, l)
	}
	return l
}

// decide answers without the database, if it can.
func (l *leased) decide(now time.Duration, limit int) (Decision, bool) {
	switch {
	case l.limit != limit:
		return Decision{}, false
	case now >= l.refusedAt && now < l.refusedUntil:
		return l.refusal(now), true
	case l.left > 0 && now >= l.grantedAt && now < l.grantedUntil:
		return l.spend(now), true
	}
	return Decision{}, false
}

// first answers the call for which the database was asked just now.
func (l *leased) first(now time.Duration) Decision {
	if l.left == 0 {
		return l.refusal(now)
	}
	return l.spend(now)
}

func (l *leased) spend(now time.Duration) Decision {
	l.left--
	return Decision{Allowed: true, Limit: l.limit, Remaining: l.free + l.left, ResetAfter: max(0, l.emptyAt-now)}
}

func (l *leased) refusal(now time.Duration) Decision {
	wait := max(time.Millisecond, l.refusedUntil-now)
	return Decision{Limit: l.limit, ResetAfter: max(wait, l.emptyAt-now), RetryAfter: wait}
}

// renew gives back what l has left and takes a new lease, or learns until when there is none.
func (p *Postgres) renew(ctx context.Context, key string, limit int, l *leased) error {
	lapsed := l.left
	// What becomes of it when the transaction fails is not known: it counts as spent.
	l.left, l.refusedUntil = 0, 0

	asked := p.elapsed()
	// In a stricter isolation the count would be as of before the lock was waited for.
	tx, err := p.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, lockKey, lockClass, key); err != nil {
		return err
	}
	if lapsed > 0 {
		if _, err := tx.ExecContext(ctx, giveBack, key, l.slot, lapsed); err != nil {
			return err
		}
	}
	var is struct {
		Micros      int64
		Granted     int
		TakenBefore int64 `db:"taken_before"`
		Newest      int64
		Freeing     int64
	}
	if err := tx.GetContext(ctx, &is, lease, key, max(1, limit/int(slotsPerWindow)), limit, slotsPerWindow); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	answered := p.elapsed()

	untilSlot := func(slot int64) time.Duration {
		return time.Duration(slot)*granularity - time.Duration(is.Micros)*time.Microsecond
	}
	l.limit, l.left = limit, is.Granted
	l.free = max(0, limit-int(is.TakenBefore)-is.Granted)
	l.emptyAt = answered + untilSlot(is.Newest+slotsPerWindow+1)
	if is.Granted > 0 {
		// From when it was asked, so that it ends here no later than in the database.
		l.slot = is.Micros / int64(time.Second/time.Microsecond)
		l.grantedAt, l.grantedUntil = asked, asked+untilSlot(l.slot+1)
		return nil
	}
	l.refusedAt, l.refusedUntil = answered, answered+untilSlot(is.Freeing+slotsPerWindow+1)
	return nil
}

// Sweep deletes slots that no longer count. Run it every few minutes on any replica; two at
// once do not wait for each other. It says how many there were.
func (p *Postgres) Sweep(ctx context.Context) (int64, error) {
	result, err := p.db.ExecContext(ctx, sweep, slotsPerWindow)
	if err != nil {
		return 0, unavailable(err)
	}
	return result.RowsAffected()
}
