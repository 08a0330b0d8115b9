package auditlog_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trail"
	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// newSigner makes a key, and publishes it as a start of the service does.
func newSigner(t testing.TB, db *database.DB) *trail.Signer {
	t.Helper()
	signing, verifier, err := trail.NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 100)), "hooktrail/w1")
	require.NoError(t, err)
	_, err = db.SettingOnce(t.Context(), "audit_verifier", []byte(verifier))
	require.NoError(t, err)
	signer, err := trail.NewSigner(signing, verifier)
	require.NoError(t, err)
	return signer
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fill adds events to the log, which are alike but for what tells them apart.
func fill(t testing.TB, db *database.DB, from, to int) {
	t.Helper()
	numbers := fmt.Sprintf("WITH RECURSIVE numbers(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM numbers WHERE i < %d) ", from, to)
	require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
		tx.Exec("INSERT INTO events (position, event_id, workspace_id, stream, version, fact, type, schema_version, recorded_at, actor, metadata, data) " + numbers +
			`SELECT i, 'e' || i, 'w1', 'trigger-t' || (i % 7), i, i % 2 = 0, 'trigger.invoked', 1, 1000 + i, 'trigger:t1', '{"request_id":"r' || i || '"}', '{"n":' || i || '}' FROM numbers`)
		return nil
	}))
}

// change runs statements, one after the other.
func change(t testing.TB, db *database.DB, statements ...string) {
	t.Helper()
	require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
		for _, statement := range statements {
			tx.Exec(statement)
		}
		return nil
	}))
}

// catchUp has the tree follow the log to its end.
func catchUp(t testing.TB, b *auditlog.Builder) uint64 {
	t.Helper()
	for {
		size, added, err := b.Advance(t.Context())
		require.NoError(t, err)
		if added == 0 {
			return size
		}
	}
}

func sign(t testing.TB, b *auditlog.Builder) uint64 {
	t.Helper()
	size, err := b.Checkpoint(t.Context(), 0)
	require.NoError(t, err)
	return size
}

func verify(t testing.TB, db *database.DB, v auditlog.Verification) auditlog.Report {
	t.Helper()
	report, err := auditlog.Verify(t.Context(), db, v)
	require.NoError(t, err)
	return report
}

// blocks gives all stored hashes by level and block.
func blocks(t testing.TB, db *database.DB) map[[2]int64][]byte {
	t.Helper()
	var rows []struct {
		Level  int64  `db:"level"`
		Block  int64  `db:"block"`
		Hashes []byte `db:"hashes"`
	}
	require.NoError(t, db.Select(t.Context(), &rows, "SELECT level, block, hashes FROM audit_blocks"))
	all := map[[2]int64][]byte{}
	for _, row := range rows {
		all[[2]int64{row.Level, row.Block}] = row.Hashes
	}
	return all
}

func TestBuilderFollowsTheLog(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db, at := b.Open(t), newClock()
		builder := auditlog.New(db, auditlog.Config{Signer: newSigner(t, db), Now: at.now})
		size, added, err := builder.Advance(t.Context())
		require.NoError(t, err)
		require.Zero(t, size)
		require.Zero(t, added)
		require.Zero(t, sign(t, builder), "nothing is signed of an empty log")

		fill(t, db, 1, 5000)
		size, added, err = builder.Advance(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 4096, size, "one part")
		require.Equal(t, 4096, added)
		require.EqualValues(t, 5000, catchUp(t, builder))
		require.EqualValues(t, 5000, sign(t, builder))
		require.EqualValues(t, 5000, sign(t, builder))
		stored := blocks(t, db)
		require.Len(t, stored, 20+1)
		require.Len(t, stored[[2]int64{0, 19}], (5000-19*256)*32)
		require.Len(t, stored[[2]int64{1, 0}], 19*32)

		fill(t, db, 5001, 5010)
		require.EqualValues(t, 5010, catchUp(t, builder))
		early, err := builder.Checkpoint(t.Context(), 10*time.Second)
		require.NoError(t, err)
		require.EqualValues(t, 5000, early, "the last one is too young")
		at.pass(10 * time.Second)
		due, err := builder.Checkpoint(t.Context(), 10*time.Second)
		require.NoError(t, err)
		require.EqualValues(t, 5010, due)
		report := verify(t, db, auditlog.Verification{})
		require.Empty(t, report.Findings)
		require.Equal(t, auditlog.Report{Events: 5010, Hashed: 5010, Checkpoints: 2, Covered: 5010}, report)

		latest, found, err := auditlog.Latest(t.Context(), db)
		require.NoError(t, err)
		require.True(t, found)
		require.EqualValues(t, 5010, latest.Size)
		require.Equal(t, at.now(), latest.MadeAt)
	})
}

// TestBlocksNeverShrink has a replica write late what it read early.
func TestBlocksNeverShrink(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		builder := auditlog.New(db, auditlog.Config{Signer: newSigner(t, db)})
		fill(t, db, 1, 300)
		catchUp(t, builder)
		early := blocks(t, db)
		fill(t, db, 301, 700)
		catchUp(t, builder)
		want := blocks(t, db)
		for id, hashes := range early {
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				auditlog.WriteBlocks(tx, []trail.Block{{BlockID: trail.BlockID{Level: int(id[0]), Index: uint64(id[1])}, Hashes: hashes}})
				return nil
			}))
		}
		require.Equal(t, want, blocks(t, db))
		other := bytes.Repeat([]byte{1}, 200*32) // of another log
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
			auditlog.WriteBlocks(tx, []trail.Block{{BlockID: trail.BlockID{Level: 0, Index: 2}, Hashes: other}})
			return nil
		}))
		require.Equal(t, want, blocks(t, db))
	})
}

// nothing projects nothing.
type nothing struct{}

func (nothing) Apply(context.Context, *database.Tx, []eventlog.Recorded) error { return nil }

// TestReplicasFollowAppends runs two builders while events are appended through two stores.
func TestReplicasFollowAppends(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		signer := newSigner(t, b.Open(t))
		ctx, stop := context.WithCancel(t.Context())
		var building, appending sync.WaitGroup
		defer building.Wait()
		defer stop()
		path := filepath.Join(t.TempDir(), "checkpoints")
		var logs bytes.Buffer
		const writers, each = 4, 200
		for replica := range 2 {
			db := b.Open(t)
			file, err := auditlog.OpenFile(path)
			require.NoError(t, err)
			defer file.Close()
			config := auditlog.Config{Signer: signer, File: file, Look: time.Millisecond, Every: 5 * time.Millisecond}
			if replica == 0 {
				config.Logger = slog.New(slog.NewTextHandler(&logs, nil))
			}
			building.Go(func() { auditlog.New(db, config).Run(ctx) })
			store := eventstore.New(db, nothing{}, eventstore.Config{})
			defer store.Close()
			for writer := range writers / 2 {
				stream := eventlog.Stream("thing", fmt.Sprintf("%d-%d", replica, writer))
				appending.Go(func() {
					for version := range each {
						_, err := store.Append(t.Context(), eventlog.Append{WorkspaceID: "w1", Stream: stream, Expected: int64(version), Events: []eventlog.Proposed{
							{ID: fmt.Sprintf("%s-%d", stream, version), Type: "thing.made", Schema: 1, Data: []byte("{}")},
						}})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		appending.Wait()
		stop()
		building.Wait()
		require.Empty(t, logs.String())
		db := b.Open(t)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		notes := trail.SplitNotes(content)
		require.Greater(t, len(notes), 2)
		v := auditlog.Verification{}
		for _, note := range notes {
			v.Given = append(v.Given, auditlog.Given{From: "file", Note: note})
		}
		report := verify(t, db, v)
		require.Empty(t, report.Findings)
		require.EqualValues(t, writers*each, report.Covered, "what came up to the stop is signed")
		require.EqualValues(t, writers*each, report.Hashed)
		require.Equal(t, len(notes), report.Given)
	})
}

// TestNothingIsSignedOverAChangedTree changes what is stored between two checkpoints.
func TestNothingIsSignedOverAChangedTree(t *testing.T) {
	for name, test := range map[string]struct{ change, says string }{
		"a hash":           {"UPDATE audit_blocks SET hashes = (SELECT hashes FROM audit_blocks WHERE level = 0 AND block = 0) WHERE level = 0 AND block = 1", "another root"},
		"hashes are gone":  {"DELETE FROM audit_blocks WHERE level = 0 AND block > 0", "hashes are stored of 256"},
		"the note":         {"UPDATE audit_checkpoints SET note = 'nonsense'", "latest checkpoint"},
		"another's note":   {"UPDATE audit_checkpoints SET size = size + 1", "a checkpoint is of 500 events"},
		"level 1 is empty": {"DELETE FROM audit_blocks WHERE level = 1", "block 0 of level 1 is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db")).Open(t)
			builder := auditlog.New(db, auditlog.Config{Signer: newSigner(t, db)})
			fill(t, db, 1, 500)
			catchUp(t, builder)
			sign(t, builder)
			change(t, db, test.change)
			_, err := builder.Checkpoint(t.Context(), 0)
			require.ErrorContains(t, err, test.says)
		})
	}
}

// TestRunTellsWhatIsWrong has a builder meet a log that has a gap, and then go on.
func TestRunTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	db := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db")).Open(t)
	fill(t, db, 1, 300)
	change(t, db, "UPDATE events SET position = -position WHERE position = 280")
	logs := &safeBuffer{}
	builder := auditlog.New(db, auditlog.Config{Signer: newSigner(t, db), Look: time.Millisecond, Logger: slog.New(slog.NewTextHandler(logs, nil))})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { builder.Run(ctx) })
	defer running.Wait()
	defer stop()
	require.Eventually(t, func() bool { return strings.Contains(logs.String(), "event 280 is missing") }, time.Minute, time.Millisecond)
	require.True(t, builder.Broken())
	require.Contains(t, logs.String(), "hooktrail audit verify")
	change(t, db, "UPDATE events SET position = 280 WHERE position = -280")
	require.Eventually(t, func() bool { return !builder.Broken() && strings.Contains(logs.String(), "follows the log again") }, time.Minute, time.Millisecond)
	require.Equal(t, 1, strings.Count(logs.String(), "level=ERROR"), "it is told once")
}

// safeBuffer is read while others write.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestCheckpointsAreThinned(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		builder := auditlog.New(db, auditlog.Config{Signer: newSigner(t, db)})
		numbers := "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 10000) "
		fill(t, db, 1, 10_100)
		catchUp(t, builder)
		change(t, db, "INSERT INTO audit_checkpoints (size, note, made_at) "+numbers+"SELECT i - 10000, 'old', 0 FROM numbers WHERE i < 10000")
		change(t, db, "DELETE FROM audit_checkpoints WHERE size = 0")
		latest, found, err := auditlog.Latest(t.Context(), db)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "old", latest.Note)
		require.NoError(t, builder.Keep(t.Context(), 10_099))
		require.NoError(t, builder.Keep(t.Context(), 10_100))
		var sizes []int64
		require.NoError(t, db.Select(t.Context(), &sizes, "SELECT size FROM audit_checkpoints ORDER BY size"))
		require.Len(t, sizes, 7501)
		require.Equal(t, []int64{-9999, -9997}, sizes[:2])
		require.Equal(t, []int64{-1, 10_099, 10_100}, sizes[7498:])
	})
}

func TestFileGoesOnBehindAPart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "checkpoints")
	require.NoError(t, os.WriteFile(path, []byte("hooktrail/w1\n5"), 0o600))
	for range 2 {
		file, err := auditlog.OpenFile(path)
		require.NoError(t, err)
		require.NoError(t, file.Add("note\n"))
		require.NoError(t, file.Close())
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "hooktrail/w1\n5\n\nnote\n\nnote\n\n", string(content))
	_, err = auditlog.OpenFile(t.TempDir())
	require.ErrorContains(t, err, "open the file of checkpoints")
}
