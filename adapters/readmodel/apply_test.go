package readmodel_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/adapters/readmodel"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/pgtest"
)

// TestApplyInParts applies histories as one batch, as the live service has the events in hand,
// then one by one and in parts, as they are read from the log: the rows are the same.
func TestApplyInParts(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		models := readmodel.New(db, publicURL)
		rapid.Check(t, func(rt *rapid.T) {
			h := drawHistory(rt, "", rapid.IntRange(1, 40).Draw(rt, "length"))
			apply := func(events []eventlog.Recorded) {
				require.NoError(rt, db.Write(t.Context(), func(tx *database.Tx) error { return models.Apply(t.Context(), tx, events) }))
			}
			result := func() map[string][]string {
				all := rows(rt, db, readmodel.Tables...)
				require.NoError(rt, db.Write(t.Context(), func(tx *database.Tx) error {
					for _, table := range readmodel.Tables {
						tx.Exec("DELETE FROM " + table)
					}
					return nil
				}))
				return all
			}
			apply(h.events)
			want := result()
			read := h.asRead()
			for i := range read {
				apply(read[i : i+1])
			}
			require.Equal(rt, want, result(), "one by one")
			for rest := read; len(rest) > 0; {
				n := rapid.IntRange(1, len(rest)).Draw(rt, "part")
				apply(rest[:n])
				rest = rest[n:]
			}
			require.Equal(rt, want, result(), "in parts")
		})
	})
}

// TestWhatCannotBeRead names the event that is in the way.
func TestWhatCannotBeRead(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		models := readmodel.New(db, publicURL)
		for _, e := range []eventlog.Recorded{
			{Position: 7, Stream: "agent-1", Type: "agent.promoted", Schema: 1, Data: []byte(`{}`)},
			{Position: 7, Stream: "trigger-1", Type: "trigger.created", Schema: 9, Data: []byte(`{}`)},
			{Position: 7, Stream: "execution-1", Type: "execution.started", Schema: 1, Data: []byte(`[]`)},
			{Position: 7, Stream: "trigger-1", Type: "trigger.invoked", Schema: 1, Data: []byte(`{`), Fact: true},
		} {
			err := db.Write(t.Context(), func(tx *database.Tx) error { return models.Apply(t.Context(), tx, []eventlog.Recorded{e}) })
			require.ErrorContains(t, err, e.Type)
			require.ErrorContains(t, err, "position 7")
		}
		require.Empty(t, rows(t, db, readmodel.Tables...))
	})
}
