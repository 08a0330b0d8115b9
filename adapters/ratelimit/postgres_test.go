package ratelimit_test

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/ratelimit"
	"hooktrail/domain/fault"
	"hooktrail/migrations"
)

func readMigrations(t *testing.T) string {
	files, err := migrations.For("postgres")
	require.NoError(t, err)
	names, err := fs.Glob(files, "*.sql")
	require.NoError(t, err)
	var all strings.Builder
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		require.NoError(t, err)
		all.Write(text)
	}
	return all.String()
}

func counted(t *testing.T, db *sqlx.DB, key string) (sum int) {
	require.NoError(t, db.Get(&sum, `SELECT coalesce(sum(taken), 0) FROM rate_limit_slots WHERE key = $1`, key))
	return sum
}

func TestPostgresAFloodCostsNoQueries(t *testing.T) {
	dsn := database(t)
	db := connect(t, dsn)
	clock := newHand()
	p := ratelimit.NewPostgres(db, clock.now)
	require.True(t, takeOne(t, p, "k", 1).Allowed)
	first := takeOne(t, p, "k", 1)
	require.False(t, first.Allowed)

	require.NoError(t, db.Close())
	clock.at = clock.at.Add(first.RetryAfter - 10*time.Second)
	for range 1000 {
		d := takeOne(t, p, "k", 1)
		require.False(t, d.Allowed)
		require.Equal(t, 10*time.Second, d.RetryAfter)
	}

	for name, move := range map[string]time.Duration{
		"when it is over": 10 * time.Second, "when the clock is set back": -time.Hour,
	} {
		was := clock.at
		clock.at = was.Add(move)
		_, err := p.Take(t.Context(), "k", 1)
		require.Equal(t, fault.Unavailable, fault.CodeOf(err), "%s it asks again", name)
		p = refusedOnce(t, dsn, clock)
		clock.at = was
	}
}

// refusedOnce gives a limiter that remembers a refusal of k and has lost its database.
func refusedOnce(t *testing.T, dsn string, clock *hand) *ratelimit.Postgres {
	db := connect(t, dsn)
	p := ratelimit.NewPostgres(db, clock.now)
	require.False(t, takeOne(t, p, "k", 1).Allowed)
	require.NoError(t, db.Close())
	return p
}

func TestPostgresSpendsALeaseWithoutQueries(t *testing.T) {
	dsn := database(t)
	db, watch := connect(t, dsn), connect(t, dsn)
	clock := newHand()
	p := ratelimit.NewPostgres(db, clock.now)
	first := takeOne(t, p, "k", 600)
	require.True(t, first.Allowed)
	require.Equal(t, 599, first.Remaining)
	require.Equal(t, 10, counted(t, watch, "k"))

	require.NoError(t, db.Close())
	for i := range 9 {
		d := takeOne(t, p, "k", 600)
		require.True(t, d.Allowed)
		require.Equal(t, 598-i, d.Remaining)
	}
	_, err := p.Take(t.Context(), "k", 600)
	var refusal *fault.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, fault.Unavailable, refusal.Code)
	require.Equal(t, 2*time.Second, refusal.RetryAfter, "senders are told when to try again")
	require.Equal(t, 10, counted(t, watch, "k"))
}

func TestPostgresGivesBackWhatItDidNotSpend(t *testing.T) {
	db := connect(t, database(t))
	clock := newHand()
	p := ratelimit.NewPostgres(db, clock.now)
	for i := range 100 {
		d := takeOne(t, p, "k", 600)
		require.True(t, d.Allowed)
		require.Equal(t, 599-i, d.Remaining, "a call a second uses one call a second")
		clock.at = clock.at.Add(time.Second) // the lease has lapsed here
	}
	require.Equal(t, 109, counted(t, db, "k"), "only the last lease has something left")
}

func TestPostgresWaitsNoLongerThanItsContext(t *testing.T) {
	db := connect(t, database(t))
	p := ratelimit.NewPostgres(db, time.Now)
	tx, err := db.Beginx()
	require.NoError(t, err)
	_, err = tx.Exec(`SELECT pg_advisory_xact_lock($1, hashtext('k'))`, 0x72617465)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = p.Take(ctx, "k", 30)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, takeOne(t, p, "other", 30).Allowed, "another key does not wait")

	require.NoError(t, tx.Rollback())
	require.Equal(t, 29, takeOne(t, p, "k", 30).Remaining, "what was not answered was not counted")
}

func TestPostgresSweep(t *testing.T) {
	db := connect(t, database(t))
	p := ratelimit.NewPostgres(db, time.Now)
	takeOne(t, p, "new", 30)
	_, err := db.Exec(`INSERT INTO rate_limit_slots (key, slot, taken)
		SELECT 'old', extract(epoch FROM now())::bigint - n, 1 FROM generate_series(200, 209) AS n
		UNION ALL SELECT 'recent', extract(epoch FROM now())::bigint - 55, 1
		UNION ALL SELECT 'future', extract(epoch FROM now())::bigint + 3600, 1`)
	require.NoError(t, err)

	busy, err := db.Beginx()
	require.NoError(t, err)
	_, err = busy.Exec(`UPDATE rate_limit_slots SET taken = 2 WHERE key = 'future'`)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	swept, err := p.Sweep(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 10, swept, "a row in use is left for the next time")
	require.NoError(t, busy.Rollback())

	swept, err = p.Sweep(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, swept)
	require.Equal(t, 1, counted(t, db, "new"))
	require.Equal(t, 1, counted(t, db, "recent"))
}
