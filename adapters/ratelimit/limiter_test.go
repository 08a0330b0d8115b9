package ratelimit_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/ratelimit"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type limiter interface {
	Take(ctx context.Context, key string, limit int) (ratelimit.Decision, error)
}

// world is limiters that share their counts, in a time that can be moved.
type world struct {
	limiters []limiter
	advance  func(time.Duration) // whole seconds
}

// testClock runs with the real one, from wherever it was set to.
type testClock struct{ ahead atomic.Int64 }

func (c *testClock) now() time.Time           { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *testClock) advance(by time.Duration) { c.ahead.Add(int64(by)) }
func oneProcess(*testing.T) world {
	clock := &testClock{}
	return world{[]limiter{ratelimit.NewMemory(clock.now, 0)}, clock.advance}
}

func replicas(n int) func(*testing.T) world {
	return func(t *testing.T) world {
		clock := &testClock{}
		dsn := database(t)
		w := world{}
		for range n {
			w.limiters = append(w.limiters, ratelimit.NewPostgres(connect(t, dsn), clock.now))
		}
		db := connect(t, dsn)
		w.advance = func(by time.Duration) {
			clock.advance(by)
			shift(t, db, by)
		}
		return w
	}
}

func database(t *testing.T) string {
	dsn := pgtest.Database(t)
	_, err := connect(t, dsn).Exec(ratelimit.PostgresTable)
	require.NoError(t, err)
	return dsn
}

func connect(t *testing.T, dsn string) *sqlx.DB {
	db, err := sqlx.Open("pgx", dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(8)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// shift moves what was counted into the past: the server's clock cannot be moved.
func shift(t *testing.T, db *sqlx.DB, by time.Duration) {
	const farAway = int64(1) << 50 // in two steps, so that no slot meets another on the way
	_, err := db.Exec(`UPDATE rate_limit_slots SET slot = slot - $1::bigint`, farAway)
	require.NoError(t, err)
	_, err = db.Exec(`UPDATE rate_limit_slots SET slot = slot + $1::bigint`, farAway-int64(by/time.Second))
	require.NoError(t, err)
}

func TestLimiters(t *testing.T) {
	for name, newWorld := range map[string]func(*testing.T) world{
		"memory": oneProcess, "postgres": replicas(1), "two replicas": replicas(2),
	} {
		t.Run(name, func(t *testing.T) { testLimiter(t, newWorld) })
	}
}

// take asks the limiters in turn.
func (w world) take(t *testing.T, key string, limit, times int) []ratelimit.Decision {
	decisions := make([]ratelimit.Decision, times)
	for i := range decisions {
		d, err := w.limiters[i%len(w.limiters)].Take(t.Context(), key, limit)
		require.NoError(t, err)
		decisions[i] = d
	}
	return decisions
}

func allowed(decisions []ratelimit.Decision) int {
	n := 0
	for _, d := range decisions {
		if d.Allowed {
			n++
		}
	}
	return n
}

func testLimiter(t *testing.T, newWorld func(*testing.T) world) {
	const limit = 30
	t.Run("the 31st of 30 is refused", func(t *testing.T) {
		w := newWorld(t)
		for i, d := range w.take(t, "k", limit, limit) {
			require.True(t, d.Allowed, i)
			require.Equal(t, limit, d.Limit)
			require.Equal(t, limit-1-i, d.Remaining)
			require.Zero(t, d.RetryAfter)
			require.Greater(t, d.ResetAfter, 58*time.Second)
			require.LessOrEqual(t, d.ResetAfter, 61*time.Second)
		}
		for _, d := range w.take(t, "k", limit, 4) {
			require.False(t, d.Allowed)
			require.Equal(t, limit, d.Limit)
			require.Zero(t, d.Remaining)
			require.Greater(t, d.RetryAfter, 50*time.Second)
			require.LessOrEqual(t, d.RetryAfter, 61*time.Second)
			require.GreaterOrEqual(t, d.ResetAfter, d.RetryAfter)
		}
	})

	t.Run("keys are independent", func(t *testing.T) {
		w := newWorld(t)
		require.Equal(t, 3, allowed(w.take(t, "a", 3, 10)))
		require.Equal(t, 3, allowed(w.take(t, "b", 3, 10)))
		require.Equal(t, 5, allowed(w.take(t, "2001:db8::/64 é", 5, 10)))
	})

	t.Run("0 is no limit", func(t *testing.T) {
		w := newWorld(t)
		require.Equal(t, 3, allowed(w.take(t, "k", 3, 5)))
		for _, d := range w.take(t, "k", 0, 100) {
			require.Equal(t, ratelimit.Decision{Allowed: true}, d)
		}
	})

	t.Run("the window slides", func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			require.Equal(t, 10, allowed(w.take(t, "k", limit, 10)))
			w.advance(15 * time.Second)
		}
		// 45 s after the first ten, 15 s after the last.
		refused := w.take(t, "k", limit, 2)
		require.Zero(t, allowed(refused))
		require.Greater(t, refused[0].RetryAfter, 5*time.Second)
		require.LessOrEqual(t, refused[0].RetryAfter, 16*time.Second)
		require.Greater(t, refused[0].ResetAfter, refused[0].RetryAfter+20*time.Second)
		w.advance(17 * time.Second)
		require.Equal(t, 10, allowed(w.take(t, "k", limit, 20)), "the first ten are over")
		w.advance(15 * time.Second)
		require.Equal(t, 10, allowed(w.take(t, "k", limit, 20)), "the next ten are over")
		w.advance(62 * time.Second)
		require.Equal(t, limit, allowed(w.take(t, "k", limit, 40)), "all are over")
	})

	t.Run("a refusal says when to come back", func(t *testing.T) {
		w := newWorld(t)
		w.take(t, "k", 2, 2)
		refused := w.take(t, "k", 2, 2)
		require.Zero(t, allowed(refused))
		w.advance((refused[0].RetryAfter - 5*time.Second).Truncate(time.Second))
		require.Zero(t, allowed(w.take(t, "k", 2, 2)), "too early")
		w.advance(6 * time.Second)
		require.Equal(t, 2, allowed(w.take(t, "k", 2, 4)))
	})

	t.Run("a refused call costs nothing", func(t *testing.T) {
		w := newWorld(t)
		w.take(t, "k", 1, 1)
		for range 6 {
			w.advance(9 * time.Second)
			require.Zero(t, allowed(w.take(t, "k", 1, 2)))
		}
		w.advance(9 * time.Second)
		require.Equal(t, 1, allowed(w.take(t, "k", 1, 2)))
	})

	t.Run("a changed limit holds at once", func(t *testing.T) {
		w := newWorld(t)
		require.Equal(t, 2, allowed(w.take(t, "k", 2, 4)))
		w.advance(20 * time.Second)
		require.Equal(t, 3, allowed(w.take(t, "k", 5, 8)))
		lowered := w.take(t, "k", 3, 2) // the first two calls must end, and one more
		require.Zero(t, allowed(lowered))
		require.Greater(t, lowered[0].RetryAfter, 50*time.Second)
	})

	for _, limit := range []int{30, 600} {
		t.Run(fmt.Sprintf("%d at once, to the last", limit), func(t *testing.T) {
			w := newWorld(t)
			var total atomic.Int64
			var callers sync.WaitGroup
			for i := range 8 {
				l := w.limiters[i%len(w.limiters)]
				callers.Go(func() {
					for {
						d, err := l.Take(context.Background(), "k", limit)
						if err != nil {
							t.Error(err)
							return
						}
						if !d.Allowed {
							return
						}
						total.Add(1)
					}
				})
			}
			callers.Wait()
			require.EqualValues(t, limit, total.Load())
		})
	}
}

func TestMigrationsHoldTheSameTable(t *testing.T) {
	migration := readMigrations(t)
	require.Contains(t, squeeze(migration), squeeze(ratelimit.PostgresTable))
}

func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }
