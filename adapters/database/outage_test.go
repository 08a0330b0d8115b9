package database_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/internal/pgtest"
)

func TestAClosedDatabaseIsUnavailable(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error { set(tx, "a", "1"); return nil }))
		b.Shutdown(t)
		err := db.Write(t.Context(), func(tx *database.Tx) error { set(tx, "b", "1"); return nil })
		require.ErrorIs(t, err, database.ErrUnavailable)
		var one int
		err = db.Get(t.Context(), &one, "SELECT 1")
		require.ErrorIs(t, err, database.ErrUnavailable)
		require.True(t, db.IsUnavailable(err))
		require.Equal(t, map[string]string{"a": "1"}, settings(t, b.Open(t)))
	})
}

func TestABrokenConnectionIsUnavailable(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		b := databasetest.Postgres(pgtest.Database(t))
		db, admin := b.Open(t), b.Admin(t)
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error { set(tx, "a", "1"); return nil }))

		err := db.Write(t.Context(), func(tx *database.Tx) error {
			set(tx, "b", "1")
			require.NoError(t, tx.Flush(t.Context()))
			require.Positive(t, databasetest.Terminate(t, admin, "TRUE"))
			tx.Query(func(database.Scan) error { return nil }, "SELECT 1")
			return tx.Flush(t.Context())
		})
		require.ErrorIs(t, err, database.ErrUnavailable)
		require.NotErrorIs(t, err, database.ErrOutcomeUnknown)
		awaitRecovery(t, db)

		commit := func(before func()) error {
			return db.Write(t.Context(), func(tx *database.Tx) error {
				set(tx, "b", "1")
				require.NoError(t, tx.Flush(t.Context()))
				before()
				return nil
			})
		}
		require.NoError(t, commit(func() {})) // so that the connection knows the statement that commits
		_, err = admin.Exec(t.Context(), "DELETE FROM settings WHERE name = 'b'")
		require.NoError(t, err)
		err = commit(func() { require.Positive(t, databasetest.Terminate(t, admin, "TRUE")) })
		require.ErrorIs(t, err, database.ErrOutcomeUnknown)
		require.True(t, db.IsUnavailable(err))
		awaitRecovery(t, db)
		require.NotContains(t, settings(t, db), "b")
	})
}

// TestManyBrokenConnectionsAreUnavailable breaks more idle connections than database/sql tries
// for one query, whose last word is then driver.ErrBadConn.
func TestManyBrokenConnectionsAreUnavailable(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server, err := pgtest.Start(t.Context(), pgtest.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Stop()) })
		db := databasetest.Postgres(server.DSN("postgres")).Open(t)
		const tried = 3
		open := make([]*sql.Conn, tried+1)
		for i := range open {
			conn, err := db.Read.Conn(t.Context())
			require.NoError(t, err)
			require.NoError(t, conn.PingContext(t.Context()))
			open[i] = conn
		}
		for _, conn := range open {
			require.NoError(t, conn.Close())
		}
		server.Kill9() // a backend that is told to end would say so first
		var one int
		err = db.Get(t.Context(), &one, "SELECT 1")
		require.ErrorIs(t, err, driver.ErrBadConn)
		require.ErrorIs(t, err, database.ErrUnavailable)
		require.NoError(t, server.Restart(t.Context()))
		awaitRecovery(t, db)
	})
}

// awaitRecovery uses up the connections that are broken.
func awaitRecovery(t *testing.T, db *database.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var one int
		return db.Write(t.Context(), func(tx *database.Tx) error { return nil }) == nil && db.Get(t.Context(), &one, "SELECT 1") == nil
	}, 20*time.Second, time.Millisecond)
}

func TestANotReachableServerIsUnavailable(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := listener.Addr().String()
		require.NoError(t, listener.Close())
		db, err := database.OpenPostgres(t.Context(), "postgres://someone:hunter2@"+address+"/nothing")
		require.NoError(t, err)
		defer db.Close()
		var one int
		for _, err := range []error{
			db.Get(t.Context(), &one, "SELECT 1"),
			db.Write(t.Context(), func(*database.Tx) error { return nil }),
		} {
			require.ErrorIs(t, err, database.ErrUnavailable)
			require.NotContains(t, err.Error(), "hunter2")
		}
	})
}

func TestAFullDiskIsUnavailable(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		b := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db"))
		db := b.Open(t)
		pages := func(limit string) {
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Query(func(database.Scan) error { return nil }, "PRAGMA max_page_count = "+limit)
				return nil
			}))
		}
		pages("1") // no more than there are
		fill := func(tx *database.Tx) error { set(tx, "large", strings.Repeat("x", 1<<20)); return nil }
		err := db.Write(t.Context(), fill)
		require.True(t, db.IsUnavailable(err), "%v", err)
		require.Empty(t, settings(t, db))
		pages("100000")
		require.NoError(t, db.Write(t.Context(), fill))
	})
}

func TestTooSlowIsUnavailable(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		held, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			done <- db.Write(context.WithoutCancel(t.Context()), func(tx *database.Tx) error {
				if lock := db.Dialect.AppendLock; lock != "" {
					tx.Query(func(database.Scan) error { return nil }, lock)
				}
				if err := tx.Flush(t.Context()); err != nil {
					return err
				}
				close(held)
				<-release
				return nil
			})
		}()
		<-held
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := db.Write(ctx, func(tx *database.Tx) error {
			if lock := db.Dialect.AppendLock; lock != "" {
				tx.Query(func(database.Scan) error { return nil }, lock)
			}
			return tx.Flush(ctx)
		})
		require.ErrorIs(t, err, database.ErrUnavailable)
		close(release)
		require.NoError(t, <-done)
	})
}

func TestAnURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://someone:hunter2@host:notaport/x", "hunter2", "postgres://someone:hunter2@[/x"} {
		_, err := database.OpenPostgres(t.Context(), url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		b := databasetest.Postgres(pgtest.Database(t))
		db, admin := b.Open(t), b.Admin(t)
		woken, ended, stop := listen(t, db)
		await(t, woken) // whatever was appended before it listened
		notify := func() {
			t.Helper()
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Notify(database.NoteAppended)
				return nil
			}))
		}
		notify()
		await(t, woken)
		for range 2 {
			require.Equal(t, 1, databasetest.Terminate(t, admin, "query LIKE 'LISTEN%'"))
			await(t, woken) // it may have missed something
			awaitListener(t, admin)
			notify()
			await(t, woken)
		}
		stop()
		<-ended
	})
	t.Run("alone and together", func(t *testing.T) {
		t.Parallel()
		b := databasetest.Postgres(pgtest.Database(t))
		one, two := b.Open(t), b.Open(t)
		notes := make(chan string, 1000)
		ctx, stop := context.WithCancel(t.Context())
		var listening sync.WaitGroup
		listening.Go(func() { one.Listen(ctx, database.AppendChannel, func(note string) { notes <- note }) })
		require.Empty(t, <-notes, "it begins to listen")
		told := func() bool { // whether what is told comes back
			require.NoError(t, one.Write(t.Context(), func(tx *database.Tx) error { tx.Notify("note"); return nil }))
			_, err := two.Read.ExecContext(t.Context(), "SELECT pg_notify($1, 'end')", database.AppendChannel)
			require.NoError(t, err)
			seen := false
			for note := range notes {
				switch note {
				case "note":
					seen = true
				case "end":
					return seen
				}
			}
			return seen
		}
		require.True(t, told(), "others may be there")
		require.Eventually(t, func() bool { return !told() }, time.Minute, 50*time.Millisecond, "nobody is there")
		listening.Go(func() { two.Listen(ctx, database.AppendChannel, func(string) {}) })
		require.Eventually(t, told, time.Minute, 5*time.Millisecond, "another process is there")
		stop()
		listening.Wait()
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		db := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db")).Open(t)
		woken, ended, stop := listen(t, db)
		await(t, woken)
		stop()
		<-ended
	})
}

func listen(t *testing.T, db *database.DB) (woken, ended <-chan struct{}, stop func()) {
	signals, end := make(chan struct{}, 100), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		db.Listen(ctx, database.AppendChannel, func(string) { signals <- struct{}{} })
		close(end)
	}()
	return signals, end, cancel
}

func await(t *testing.T, woken <-chan struct{}) {
	t.Helper()
	select {
	case <-woken:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was woken")
	}
}

func awaitListener(t *testing.T, admin *pgx.Conn) {
	t.Helper()
	require.Eventually(t, func() bool {
		var listening bool
		require.NoError(t, admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE "+databasetest.Others+" AND query LIKE 'LISTEN%')").Scan(&listening))
		return listening
	}, 20*time.Second, time.Millisecond)
}
