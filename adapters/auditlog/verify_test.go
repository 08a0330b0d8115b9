package auditlog_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/domain/trail"
	"hooktrail/internal/pgtest"
)

// evidence is a log of 1000 events with checkpoints of 300, 600 and 1000, which can be put back as
// it was.
type evidence struct {
	db      *database.DB
	builder *auditlog.Builder
	signer  *trail.Signer
	kept    []auditlog.Given // what was kept elsewhere
}

var evidenceTables = []string{"events", "audit_blocks", "audit_checkpoints"}

func newEvidence(t testing.TB, db *database.DB) *evidence {
	t.Helper()
	e := &evidence{db: db, signer: newSigner(t, db)}
	e.builder = auditlog.New(db, auditlog.Config{Signer: e.signer})
	from := 1
	for _, to := range []int{300, 600, 1000} {
		fill(t, db, from, to)
		catchUp(t, e.builder)
		sign(t, e.builder)
		latest, _, err := auditlog.Latest(t.Context(), db)
		require.NoError(t, err)
		e.kept = append(e.kept, auditlog.Given{From: "elsewhere.txt", Note: latest.Note})
		from = to + 1
	}
	for _, table := range evidenceTables {
		change(t, db, "CREATE TABLE good_"+table+" AS SELECT * FROM "+table)
	}
	return e
}

func (e *evidence) restore(t testing.TB) {
	t.Helper()
	for _, table := range evidenceTables {
		change(t, e.db, "DELETE FROM "+table, "INSERT INTO "+table+" SELECT * FROM good_"+table)
	}
	require.Empty(t, verify(t, e.db, auditlog.Verification{Given: e.kept}).Findings)
}

// forgeHashes makes the stored hashes those of the events as they are now.
func (e *evidence) forgeHashes(t testing.TB) {
	t.Helper()
	change(t, e.db, "DELETE FROM audit_blocks")
	catchUp(t, e.builder)
}

// bound is a finding without its words.
type bound struct{ first, last uint64 }

func bounds(r auditlog.Report) []bound {
	var all []bound
	for _, f := range r.Findings {
		all = append(all, bound{f.First, f.Last})
	}
	return all
}

// flipped gives a stored value with one bit changed.
func flipped(value any) any {
	switch v := value.(type) {
	case int64:
		return v ^ 1<<20
	case bool:
		return !v
	case []byte:
		changed := bytes.Clone(v)
		changed[len(changed)/2] ^= 1
		return string(changed)
	case string:
		return flipped([]byte(v))
	}
	panic(fmt.Sprintf("a column of type %T", value))
}

// withoutIndexes lets anything be put into the log.
var withoutIndexes = []string{"DROP INDEX events_by_id", "DROP INDEX events_decisions"}

func TestOneBitInEveryColumn(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		const bad = 457
		db := b.Open(t)
		e := newEvidence(t, db)
		change(t, db, withoutIndexes...)
		columns := databasetest.Columns(t, db)["events"]
		require.Contains(t, columns, "payload")
		for _, column := range columns {
			if column == "payload" {
				continue
			}
			var value any
			require.NoError(t, db.Read.QueryRowContext(t.Context(), db.SQL("SELECT "+column+" FROM events WHERE position = ?"), bad).Scan(&value))
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Exec("UPDATE events SET "+column+" = ? WHERE position = ?", flipped(value), bad)
				return nil
			}))
			report := verify(t, db, auditlog.Verification{})
			require.Equal(t, []bound{{bad, bad}}, bounds(report), column)
			require.Equal(t, 1, report.Checkpoints, "the one before it")
			if column != "position" {
				e.forgeHashes(t)
				report := verify(t, db, auditlog.Verification{})
				require.Equal(t, []bound{{301, 600}}, bounds(report), "%s, with the hashes forged", column)
				require.Contains(t, report.Findings[0].Text, "checkpoint of size 600")
			}
			e.restore(t)
		}
	})
}

func TestPayloadsMayBeErased(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		e := newEvidence(t, db)
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
			tx.Exec("UPDATE events SET payload = ? WHERE position < 500", []byte("x"))
			return nil
		}))
		require.Empty(t, verify(t, db, auditlog.Verification{Given: e.kept}).Findings)
		change(t, db, "UPDATE events SET payload = NULL")
		require.Empty(t, verify(t, db, auditlog.Verification{Given: e.kept}).Findings)
	})
}

func TestPayloadsAreThoseOfTheirEvents(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		// Every third has an input, every third an output, in the form in which they are recorded.
		fill(t, db, 1, 600)
		digest := fmt.Sprintf("%x", sha256.Sum256([]byte("input")))
		output := fmt.Sprintf("%x", sha256.Sum256([]byte("output")))
		put := func(payload, where string) {
			t.Helper()
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Exec("UPDATE events SET payload = ? WHERE "+where, []byte(payload))
				return nil
			}))
		}
		change(t, db, `UPDATE events SET data = '{"a":1,"input":{"sha256":"`+digest+`","size":5}}' WHERE position % 3 = 0`,
			`UPDATE events SET data = '{"output":{"sha256":"`+output+`","size":6}}' WHERE position % 3 = 1`)
		put("input", "position % 3 = 0")
		put("output", "position % 3 = 1")
		builder := auditlog.New(db, auditlog.Config{Signer: newSigner(t, db)})
		catchUp(t, builder)
		sign(t, builder)
		whole := auditlog.Verification{Payloads: true}
		require.Empty(t, verify(t, db, whole).Findings)

		put("inpuT", "position = 300")
		put("input", "position = 301")
		put("input", "position = 302")
		report := verify(t, db, whole)
		require.Equal(t, []bound{{300, 300}, {301, 301}, {302, 302}}, bounds(report))
		require.Contains(t, report.Findings[0].Text, "payload")
		require.Empty(t, verify(t, db, auditlog.Verification{}).Findings)
		change(t, db, "UPDATE events SET payload = NULL WHERE position < 450")
		require.Empty(t, verify(t, db, whole).Findings)
		put("", "position >= 500")
		report = verify(t, db, whole)
		require.Len(t, report.Findings, 21)
		require.Equal(t, "81 payloads more are not those that their events were recorded with", report.Findings[20].String())
	})
}

// shift moves all events behind a position by one.
func shift(after, by int) []string {
	return []string{
		fmt.Sprintf("UPDATE events SET position = -(position + %d) WHERE position > %d", by, after),
		"UPDATE events SET position = -position WHERE position < 0",
	}
}

const copyOf = "INSERT INTO events (position, event_id, workspace_id, stream, version, fact, type, schema_version, recorded_at, actor, metadata, data)" +
	" SELECT %d, 'put in', workspace_id, 'x', version, fact, type, schema_version, recorded_at, actor, metadata, data FROM events WHERE position = 7"

// TestTampering does to the log what should be noticed.
func TestTampering(t *testing.T) {
	cases := map[string]struct {
		do     []string
		found  bound
		says   string
		forged bound // what is found when the hashes were made anew; none where they cannot be
	}{
		"removed": {
			do: []string{"DELETE FROM events WHERE position = 457"}, found: bound{457, 457}, says: "removed",
		},
		"first one removed": {
			do: []string{"DELETE FROM events WHERE position = 1"}, found: bound{1, 1}, says: "removed",
		},
		"many removed": {
			do: []string{"DELETE FROM events WHERE position > 200 AND position < 900"}, found: bound{201, 201}, says: "removed",
		},
		"removed, and the others moved up": {
			do: append([]string{"DELETE FROM events WHERE position = 457"}, shift(457, -1)...), found: bound{457, 457}, says: "not the one that was recorded", forged: bound{301, 600},
		},
		"swapped": {
			do: []string{
				"UPDATE events SET position = -1 WHERE position = 457", "UPDATE events SET position = 457 WHERE position = 801",
				"UPDATE events SET position = 801 WHERE position = -1",
			},
			found: bound{457, 457}, says: "not the one that was recorded", forged: bound{301, 600},
		},
		"put in": {
			do: append(shift(456, 1), fmt.Sprintf(copyOf, 457)), found: bound{457, 457}, says: "not the one that was recorded", forged: bound{301, 600},
		},
		"put in before the first": {
			do: []string{fmt.Sprintf(copyOf, 0)}, found: bound{0, 0}, says: "position 0",
		},
		"cut off": {
			do: []string{"DELETE FROM events WHERE position > 990"}, found: bound{991, 991}, says: "up to position 1000: 10 events were removed", forged: bound{991, 991},
		},
		"cut off at a checkpoint": {
			do: []string{"DELETE FROM events WHERE position > 600"}, found: bound{601, 601}, says: "400 events", forged: bound{601, 601},
		},
		"all removed": {
			do: []string{"DELETE FROM events"}, found: bound{1, 1}, says: "1000 events", forged: bound{1, 1},
		},
		"cut off and replaced": {
			do:    []string{"DELETE FROM events WHERE position > 999", fmt.Sprintf(copyOf, 1000), fmt.Sprintf(copyOf+"0", 1001)}, // of position 70
			found: bound{1000, 1000}, says: "not the one that was recorded", forged: bound{601, 1000},
		},
	}
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		e := newEvidence(t, db)
		change(t, db, withoutIndexes...)
		for name, test := range cases {
			change(t, db, test.do...)
			report := verify(t, db, auditlog.Verification{})
			// Where others moved up, the log has also become shorter.
			require.LessOrEqual(t, len(report.Findings), 2, "%s: %v", name, report.Findings)
			require.Equal(t, test.found, bounds(report)[0], "%s: %v", name, report.Findings)
			require.Contains(t, report.Findings[0].String(), test.says, name)

			if test.forged != (bound{}) {
				e.forgeHashes(t)
				report = verify(t, db, auditlog.Verification{})
				require.Equal(t, test.forged, bounds(report)[0], "%s, with the hashes forged: %v", name, report.Findings)

				// With the key, checkpoints can be forged too: only those elsewhere tell.
				change(t, db, "DELETE FROM audit_checkpoints")
				sign(t, e.builder)
				require.Empty(t, verify(t, db, auditlog.Verification{}).Findings, name)
				report = verify(t, db, auditlog.Verification{Given: e.kept})
				require.Equal(t, test.forged, bounds(report)[0], "%s, against what was kept: %v", name, report.Findings)
			}
			e.restore(t)
		}
	})
}

// TestTamperingWithTheEvidence changes what the log is held against.
func TestTamperingWithTheEvidence(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		e := newEvidence(t, db)
		var hashes []byte
		require.NoError(t, db.Get(t.Context(), &hashes, "SELECT hashes FROM audit_blocks WHERE level = 0 AND block = 1"))
		hashes[(457-1-256)*32+5] ^= 4
		other := newOther(t)
		forged, err := other.Sign(600, bytes.Repeat([]byte{1}, 32))
		require.NoError(t, err)
		for name, test := range map[string]struct {
			statement string
			args      []any
			found     []bound
			says      string
		}{
			"a hash":              {"UPDATE audit_blocks SET hashes = ? WHERE level = 0 AND block = 1", []any{hashes}, []bound{{457, 457}}, "stored hash of this event was changed"},
			"a block is gone":     {"DELETE FROM audit_blocks WHERE level = 0 AND block = 1", nil, []bound{{257, 257}}, "stored hash of this event was changed"},
			"the last block":      {"UPDATE audit_blocks SET hashes = ? WHERE level = 0 AND block = 3", []any{[]byte("odd")}, []bound{{0, 0}}, "3 bytes"},
			"a level":             {"UPDATE audit_blocks SET hashes = ? WHERE level = 1", []any{hashes[:96]}, []bound{{0, 0}}, "level 1, block 0"},
			"a checkpoint":        {"UPDATE audit_checkpoints SET note = ? WHERE size = 600", []any{forged.Note}, []bound{{0, 0}}, "not signed by the key"},
			"a checkpoint's size": {"UPDATE audit_checkpoints SET size = 601 WHERE size = 600", nil, []bound{{0, 0}}, "is one of size 600"},
			"all checkpoints":     {"DELETE FROM audit_checkpoints", nil, nil, ""},
		} {
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Exec(test.statement, test.args...)
				return nil
			}))
			report := verify(t, db, auditlog.Verification{})
			require.Equal(t, test.found, bounds(report), "%s: %v", name, report.Findings)
			for _, f := range report.Findings {
				require.Contains(t, f.String(), test.says, name)
			}
			e.restore(t)
		}

		// A checkpoint that is from elsewhere must be of this log and signed by its key.
		report := verify(t, db, auditlog.Verification{Given: []auditlog.Given{{From: "x.txt", Note: forged.Note}}})
		require.Contains(t, report.Findings[0].String(), "in x.txt is not good")
		report = verify(t, db, auditlog.Verification{Given: e.kept, Keys: []*trail.Verifier{other.Verifier()}})
		require.Len(t, report.Findings, 6)
		report = verify(t, db, auditlog.Verification{Given: e.kept, Keys: []*trail.Verifier{other.Verifier(), e.signer.Verifier()}})
		require.Empty(t, report.Findings)
		require.Equal(t, 6, report.Checkpoints)
		require.Equal(t, 3, report.Given)
		ahead, err := e.signer.Sign(2000, bytes.Repeat([]byte{1}, 32))
		require.NoError(t, err)
		report = verify(t, db, auditlog.Verification{Given: []auditlog.Given{{From: "x.txt", Note: ahead.Note}}})
		require.Equal(t, []bound{{1001, 1001}}, bounds(report))
		require.Contains(t, report.Findings[0].Text, "1000 events")
	})
}

func newOther(t testing.TB) *trail.Signer {
	t.Helper()
	signing, verifier, err := trail.NewKey(bytes.NewReader(bytes.Repeat([]byte{8}, 100)), "hooktrail/w1")
	require.NoError(t, err)
	signer, err := trail.NewSigner(signing, verifier)
	require.NoError(t, err)
	return signer
}

// TestVerifyWhileItFollows has hashes that are behind the log.
func TestVerifyWhileItFollows(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		e := newEvidence(t, db)
		fill(t, db, 1001, 9000)
		var seen []uint64
		report := verify(t, db, auditlog.Verification{Given: e.kept, Progress: func(done, total uint64) {
			require.EqualValues(t, 9000, total)
			seen = append(seen, done)
		}})
		require.Equal(t, auditlog.Report{Events: 9000, Hashed: 1000, Checkpoints: 6, Given: 3, Covered: 1000}, report)
		require.Equal(t, []uint64{4096, 8192, 9000}, seen)

		// Where no checkpoint is behind an event, nobody can tell whether it or its hash was changed.
		catchUp(t, e.builder)
		change(t, db, "UPDATE events SET data = '{}' WHERE position = 8500")
		report = verify(t, db, auditlog.Verification{})
		require.Equal(t, []bound{{8500, 8500}}, bounds(report))
		require.Contains(t, report.Findings[0].Text, "no checkpoint behind it")
	})
}

func TestVerifyWithoutATrail(t *testing.T) {
	t.Parallel()
	db := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db")).Open(t)
	_, err := auditlog.Verify(t.Context(), db, auditlog.Verification{})
	require.ErrorIs(t, err, auditlog.ErrNoKey)
	newSigner(t, db)
	require.Equal(t, auditlog.Report{}, verify(t, db, auditlog.Verification{}))
	fill(t, db, 1, 10)
	require.Equal(t, auditlog.Report{Events: 10}, verify(t, db, auditlog.Verification{}))
}

func TestReceipts(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		e := newEvidence(t, db)
		fill(t, db, 1001, 1010)
		proofs := auditlog.NewTrail(db)
		view, found, err := proofs.Checkpoint(t.Context())
		require.NoError(t, err)
		require.True(t, found)
		require.EqualValues(t, 1000, view.Size)
		require.Equal(t, e.kept[2].Note, view.Note)
		require.Equal(t, e.signer.Verifier().String(), view.VerifierKey)
		for _, position := range []int64{1, 256, 257, 457, 1000} {
			id := fmt.Sprintf("e%d", position)
			receipt, found, err := proofs.Receipt(t.Context(), "w1", id)
			require.NoError(t, err)
			require.True(t, found)
			leaf, checkpoint, err := receipt.Verify(e.signer.Verifier())
			require.NoError(t, err)
			require.Equal(t, position, leaf.Position)
			require.Equal(t, fmt.Sprintf(`{"n":%d}`, position), string(leaf.Data))
			require.EqualValues(t, 1000, checkpoint.Size)
		}
		receipt, found, err := proofs.Receipt(t.Context(), "w1", "e1001")
		require.NoError(t, err)
		require.True(t, found, "it is there, but not covered")
		require.Nil(t, receipt)
		for _, of := range [][2]string{{"w2", "e457"}, {"w1", "e0"}} {
			_, found, err := proofs.Receipt(t.Context(), of[0], of[1])
			require.NoError(t, err)
			require.False(t, found)
		}
		change(t, db, "UPDATE events SET data = '{}' WHERE position = 457")
		_, _, err = proofs.Receipt(t.Context(), "w1", "e457")
		require.ErrorIs(t, err, auditlog.ErrInconsistent)
	})
}

// TestEvidenceIsTheSameOnBoth holds the hashes of one database against those of the other.
func TestEvidenceIsTheSameOnBoth(t *testing.T) {
	t.Parallel()
	one := newEvidence(t, databasetest.SQLite(filepath.Join(t.TempDir(), "x.db")).Open(t))
	other := newEvidence(t, databasetest.Postgres(pgtest.Database(t)).Open(t))
	require.True(t, slices.Equal(one.kept, other.kept))
	require.Equal(t, blocks(t, one.db), blocks(t, other.db))
}
