package rejectionlog_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/rejectionlog"
	"hooktrail/application"
	"hooktrail/domain/fault"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var start = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func rows(t *testing.T, db *database.DB, trigger string) (n, calls int) {
	t.Helper()
	require.NoError(t, db.Get(t.Context(), &n, "SELECT count(*) FROM rejections WHERE trigger_id = ?", trigger))
	require.NoError(t, db.Get(t.Context(), &calls, "SELECT CAST(coalesce(sum(calls), 0) AS BIGINT) FROM rejections WHERE trigger_id = ?", trigger))
	return n, calls
}

func everything(t *testing.T, log *rejectionlog.Log, f application.RejectionFilter) []application.Rejection {
	t.Helper()
	page, err := log.List(t.Context(), f, application.Paging{Page: 1, Limit: 100})
	require.NoError(t, err)
	return page.Items
}

// TestBounds notes 100,000 refusals of which no two are alike, from many at once, while the log is
// written and read.
func TestBounds(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		log := rejectionlog.New(db, rejectionlog.Config{PerTrigger: 50, Unproven: 300})
		var callers sync.WaitGroup
		var at atomic.Int64
		const each = 25_000
		for caller := range 4 {
			callers.Go(func() {
				for i := range each {
					when := start.Add(time.Duration(at.Add(1)) * time.Millisecond)
					r := application.Rejection{
						Reason: fault.Unauthorized, TokenPrefix: fmt.Sprintf("wht_%d", i), ClientIP: fmt.Sprintf("10.%d.%d.%d", caller, i>>8, i&0xff),
						Count: 1, FirstAt: when, LastAt: when,
					}
					if i%2 == 0 {
						r.TriggerID, r.WorkspaceID, r.Reason = fmt.Sprintf("t%d", i%8), "w", fault.InvalidSignature
					}
					log.Note(r)
					if i%5000 == 0 {
						if _, err := log.List(t.Context(), application.RejectionFilter{WorkspaceID: "w"}, application.Paging{Page: 1, Limit: 10}); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		callers.Wait()
		require.NotEmpty(t, everything(t, log, application.RejectionFilter{WorkspaceID: "w", Unproven: true}))
		for _, trigger := range []string{"t0", "t2", "t4", "t6"} {
			n, calls := rows(t, db, trigger)
			require.LessOrEqual(t, n, 50)
			require.Positive(t, n)
			require.GreaterOrEqual(t, calls, n)
		}
		n, _ := rows(t, db, "")
		require.LessOrEqual(t, n, 300)
		require.Positive(t, n)
	})
}

// TestCounts keeps the number of what it does not keep apart.
func TestCounts(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		log := rejectionlog.New(db, rejectionlog.Config{Kinds: 10})
		for i := range 1000 {
			when := start.Add(time.Duration(i) * time.Millisecond)
			log.Note(application.Rejection{TriggerID: "t", WorkspaceID: "w", Reason: fault.InvalidSignature, ClientIP: fmt.Sprint(i), Count: 1, FirstAt: when, LastAt: when, RequestID: fmt.Sprint(i)})
		}
		found := everything(t, log, application.RejectionFilter{WorkspaceID: "w"})
		require.Len(t, found, 11)
		require.Empty(t, found[0].ClientIP)
		require.Equal(t, 990, found[0].Count)
		require.Equal(t, "999", found[0].RequestID, "the last of them is the sample")
		require.Equal(t, start.Add(10*time.Millisecond), found[0].FirstAt)
		require.Equal(t, start.Add(999*time.Millisecond), found[0].LastAt)

		// The same kind in the same minute is the same row; in the next it is another.
		for _, when := range []time.Time{start.Add(2 * time.Second), start.Add(time.Minute)} {
			log.Note(application.Rejection{TriggerID: "t", WorkspaceID: "w", Reason: fault.InvalidSignature, ClientIP: "0", Count: 1, FirstAt: when, LastAt: when})
			require.NotEmpty(t, everything(t, log, application.RejectionFilter{WorkspaceID: "w"}))
		}
		n, calls := rows(t, db, "t")
		require.Equal(t, 12, n)
		require.Equal(t, 1002, calls)
		require.Empty(t, everything(t, log, application.RejectionFilter{WorkspaceID: "another", Unproven: true}))
		require.Len(t, everything(t, log, application.RejectionFilter{WorkspaceID: "w", Since: start.Add(30 * time.Second)}), 1)
		require.Empty(t, everything(t, log, application.RejectionFilter{WorkspaceID: "w", Until: start}))

		late := rejectionlog.New(db, rejectionlog.Config{Now: func() time.Time { return start.Add(30*24*time.Hour + 30*time.Second) }})
		require.NoError(t, late.Sweep(t.Context()))
		n, _ = rows(t, db, "t")
		require.Equal(t, 1, n)
	})
}

// TestRun writes by itself, and what is noted last before the end.
func TestRun(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		log := rejectionlog.New(db, rejectionlog.Config{Every: time.Millisecond})
		note := func(trigger string) {
			log.Note(application.Rejection{TriggerID: trigger, WorkspaceID: "w", Reason: fault.InvalidJSON, Message: "no", Count: 1, FirstAt: start, LastAt: start})
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { log.Run(ctx); close(done) }()
		note("first")
		require.Eventually(t, func() bool { n, _ := rows(t, db, "first"); return n == 1 }, time.Minute, time.Millisecond)
		note("last")
		stop()
		<-done
		n, _ := rows(t, db, "last")
		require.Equal(t, 1, n)
	})
}
