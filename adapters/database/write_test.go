package database_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
	"hooktrail/internal/pgtest"
)

func settings(t *testing.T, db *database.DB) map[string]string {
	t.Helper()
	var rows []struct {
		Name  string `db:"name"`
		Value []byte `db:"value"`
	}
	require.NoError(t, db.Select(t.Context(), &rows, "SELECT name, value FROM settings"))
	all := map[string]string{}
	for _, row := range rows {
		all[row.Name] = string(row.Value)
	}
	return all
}

func set(tx *database.Tx, name, value string) {
	tx.Exec("INSERT INTO settings (name, value) VALUES (?, ?)", name, []byte(value))
}

func TestWrite(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		var order []string
		read := func(tx *database.Tx) {
			tx.Query(func(scan database.Scan) error {
				var name string
				err := scan(&name)
				order = append(order, name)
				return err
			}, "SELECT name FROM settings WHERE name <> ? ORDER BY name", "x")
		}
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
			require.Equal(t, b.Dialect, tx.Dialect().Name)
			require.NoError(t, tx.Flush(t.Context()), "an empty queue is nothing to send")
			set(tx, "a", "1")
			read(tx)
			set(tx, "b", "2")
			read(tx)
			require.Empty(t, order, "nothing is sent before the flush")
			require.NoError(t, tx.Flush(t.Context()))
			require.Equal(t, []string{"a", "a", "b"}, order, "statements run in their order and see the ones before")
			require.Empty(t, settings(t, db), "nobody else sees them before the commit")
			set(tx, "c", "3")
			return nil
		}))
		require.Equal(t, map[string]string{"a": "1", "b": "2", "c": "3"}, settings(t, db))
		require.NoError(t, db.Write(t.Context(), func(*database.Tx) error { return nil }))
	})
}

func TestWriteRollsBack(t *testing.T) {
	refusal := errors.New("no")
	cases := map[string]struct {
		do   func(ctx context.Context, tx *database.Tx) error
		want func(t *testing.T, err error)
	}{
		"refusal before the flush": {
			func(_ context.Context, tx *database.Tx) error { set(tx, "n", "1"); return refusal },
			func(t *testing.T, err error) { require.ErrorIs(t, err, refusal) },
		},
		"refusal after the flush": {
			func(ctx context.Context, tx *database.Tx) error {
				set(tx, "n", "1")
				if err := tx.Flush(ctx); err != nil {
					return err
				}
				return refusal
			},
			func(t *testing.T, err error) { require.ErrorIs(t, err, refusal) },
		},
		"refused row": {
			func(ctx context.Context, tx *database.Tx) error {
				set(tx, "n", "1")
				tx.Query(func(database.Scan) error { return refusal }, "SELECT name FROM settings")
				return tx.Flush(ctx)
			},
			func(t *testing.T, err error) { require.ErrorIs(t, err, refusal) },
		},
		"duplicate in the flush": {
			func(ctx context.Context, tx *database.Tx) error {
				set(tx, "n", "1")
				set(tx, "there", "2")
				return tx.Flush(ctx)
			},
			func(t *testing.T, err error) { require.True(t, database.IsDuplicate(err), "%v", err) },
		},
		"duplicate in the commit": {
			func(_ context.Context, tx *database.Tx) error {
				set(tx, "n", "1")
				set(tx, "there", "2")
				return nil
			},
			func(t *testing.T, err error) { require.True(t, database.IsDuplicate(err), "%v", err) },
		},
		"no value": {
			func(_ context.Context, tx *database.Tx) error {
				set(tx, "n", "1")
				tx.Exec("INSERT INTO settings (name, value) VALUES (?, NULL)", "m")
				return nil
			},
			func(t *testing.T, err error) { require.False(t, database.IsDuplicate(err), "%v", err) },
		},
		"no statement": {
			func(_ context.Context, tx *database.Tx) error {
				set(tx, "n", "1")
				tx.Exec("SELECT nothing FROM nowhere")
				return nil
			},
			func(t *testing.T, err error) { require.False(t, database.IsDuplicate(err), "%v", err) },
		},
	}
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error { set(tx, "there", "1"); return nil }))
		for name, c := range cases {
			err := db.Write(t.Context(), func(tx *database.Tx) error { return c.do(t.Context(), tx) })
			require.Error(t, err, name)
			require.False(t, db.IsUnavailable(err), "%s: what was asked for is wrong, not the database: %v", name, err)
			c.want(t, err)
			require.Equal(t, map[string]string{"there": "1"}, settings(t, db), name)
		}
	})
}

func TestBulk(t *testing.T) {
	column := func(name, kind string) database.Column { return database.Column{Name: name, Type: kind} }
	insert := database.Insert("things", "", column("id", "text"), column("n", "int8"), column("flag", "bool"), column("body", "bytea"), column("note", "text"), column("at", "int8"))
	upsert := database.Insert("things", "ON CONFLICT (id) DO UPDATE SET n = things.n + excluded.n", column("id", "text"), column("n", "int8"))
	update := database.Update("things", []string{"new.n", "coalesce(new.note, old.note)", "new.at"}, column("id", "text"), column("n", "int8"), column("note", "text"), column("at", "int8"))
	type thing struct {
		ID   string  `db:"id"`
		N    int64   `db:"n"`
		Flag *bool   `db:"flag"`
		Body []byte  `db:"body"`
		Note *string `db:"note"`
		At   *int64  `db:"at"`
	}
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		write := func(bulks ...database.Bulk) {
			t.Helper()
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				for _, bulk := range bulks {
					tx.Bulk(bulk)
				}
				return nil
			}))
		}
		things := func() (list []thing) {
			require.NoError(t, db.Select(t.Context(), &list, "SELECT * FROM things ORDER BY id"))
			return list
		}
		blob := map[string]string{database.Postgres: "BYTEA", database.SQLite: "BLOB"}[b.Dialect]
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
			tx.Exec("CREATE TABLE things (id TEXT PRIMARY KEY, n BIGINT NOT NULL, flag BOOLEAN, body " + blob + ", note TEXT, at BIGINT)")
			return nil
		}))
		yes, no := true, false
		write(insert.With([]string{}, []int64{}, []bool{}, [][]byte{}, []*string{}, []*int64{})) // no rows, no statement
		write(
			insert.With([]string{"a", "b"}, []int64{1, 2}, []bool{true, false}, [][]byte{{0, 255}, nil}, []*string{new("x"), nil}, []*int64{nil, new(int64(9))}),
			upsert.With([]string{"b", "c"}, []int64{40, 3}),
			update.With([]string{"a", "nobody"}, []int64{10, 10}, []*string{nil, nil}, []*int64{new(int64(5)), nil}),
			update.With([]string{"b"}, []int64{50}, []*string{new("y")}, []*int64{nil}),
		)
		require.Equal(t, []thing{
			{ID: "a", N: 10, Flag: &yes, Body: []byte{0, 255}, Note: new("x"), At: new(int64(5))},
			{ID: "b", N: 50, Flag: &no, Note: new("y")},
			{ID: "c", N: 3},
		}, things())
		require.Panics(t, func() { insert.With([]string{"a"}) })

		// Many rows go another way than few: each kind of value has to arrive there, too.
		write(database.Update("things", []string{"new.n"}, column("id", "text"), column("n", "int8")).With([]string{"a", "b", "c"}, []int64{0, 0, 0}))
		const many = 40
		var (
			want   = things()
			ids    []string
			ns     []int64
			flags  []bool
			bodies [][]byte
			notes  []*string
			ats    []*int64
		)
		for i := range many {
			one := thing{ID: fmt.Sprintf("m%02d", i), N: int64(i-20) << 40, Flag: new(i%2 == 0)}
			if i%3 > 0 {
				one.Body, one.Note, one.At = bytes.Repeat([]byte{0, byte(i)}, i), new(strings.Repeat("ä\"\\\n", i)), new(int64(-i))
			}
			want = append(want, one)
			ids, ns, flags = append(ids, one.ID), append(ns, one.N), append(flags, *one.Flag)
			bodies, notes, ats = append(bodies, one.Body), append(notes, one.Note), append(ats, one.At)
		}
		write(insert.With(ids, ns, flags, bodies, notes, ats))
		require.Equal(t, want, things())
	})
}

// TestBulkOfAnySize writes batches around the sizes in which SQLite takes rows, and refuses
// whole batches for their last row.
func TestBulkOfAnySize(t *testing.T) {
	columns := []database.Column{{Name: "name", Type: "text"}, {Name: "value", Type: "bytea"}}
	insert := database.Insert("settings", "", columns...)
	double := database.Update("settings", []string{"new.value"}, columns...)
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		want := map[string]string{}
		for _, size := range []int{1, 2, 3, 7, 31, 64, 65, 127, 200} {
			names, values, doubled := make([]string, size), make([][]byte, size), make([][]byte, size)
			for i := range size {
				names[i], values[i] = strconv.Itoa(size)+" "+strconv.Itoa(i), []byte(strconv.Itoa(i))
				doubled[i] = []byte(strconv.Itoa(2 * i))
				want[names[i]] = strconv.Itoa(2 * i)
			}
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Bulk(insert.With(names, values))
				tx.Bulk(double.With(names, doubled))
				return nil
			}))
			require.Equal(t, want, settings(t, db))
			names = append([]string{strconv.Itoa(size) + " more"}, names[size-1:]...)
			err := db.Write(t.Context(), func(tx *database.Tx) error {
				tx.Bulk(insert.With(names, [][]byte{{1}, {2}}))
				return nil
			})
			require.True(t, database.IsDuplicate(err), "%v", err)
			require.Equal(t, want, settings(t, db))
		}
	})
}

// TestCloseFoldsTheLogIn finds one file, whole, when the embedded store has been closed.
func TestCloseFoldsTheLogIn(t *testing.T) {
	t.Parallel()
	b := databasetest.SQLite(filepath.Join(t.TempDir(), "x.db"))
	db := b.Open(t)
	insert := database.Insert("settings", "", database.Column{Name: "name", Type: "text"}, database.Column{Name: "value", Type: "bytea"})
	require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
		set(tx, "a", "1")
		tx.Bulk(insert.With([]string{"b", "c", "d"}, [][]byte{{1}, {2}, {3}}))
		return nil
	}))
	require.Len(t, settings(t, db), 4)
	b.Shutdown(t)
	files, err := os.ReadDir(filepath.Dir(b.Path))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Len(t, settings(t, b.Open(t)), 4)
}

func TestLists(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		d := db.Dialect
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
			for _, name := range []string{"a", `q"uo'te`, "ü😀", "z"} {
				set(tx, name, name)
			}
			return nil
		}))
		for _, wanted := range [][]string{nil, {}, {"a"}, {"z", "a", "a", "none"}, {`q"uo'te`, "ü😀", ""}} {
			var found, each []string
			require.NoError(t, db.Select(t.Context(), &found, "SELECT name FROM settings WHERE "+d.In("name")+" ORDER BY name", d.List(wanted)))
			require.NoError(t, db.Select(t.Context(), &each, "SELECT asked.value FROM "+d.Each("asked"), d.List(wanted)))
			require.ElementsMatch(t, wanted, each)
			for _, name := range found {
				require.Contains(t, wanted, name)
			}
			require.Subset(t, append(found, "none", ""), wanted)
		}
	})
}

// TestGivingUp ends the context of transactions at any moment. The database works on, and what
// an error says is true: nothing was changed, unless the outcome is unknown.
func TestGivingUp(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		db := b.Open(t)
		const writers, each = 4, 60
		outcomes := make([][each]error, writers)
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for i := range each {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(time.Duration(rand.IntN(1500))*time.Microsecond, cancel)
					outcomes[w][i] = db.Write(ctx, func(tx *database.Tx) error {
						set(tx, strconv.Itoa(w)+" "+strconv.Itoa(i), "1")
						if i%2 == 0 {
							if err := tx.Flush(ctx); err != nil {
								return err
							}
						}
						set(tx, strconv.Itoa(w)+" "+strconv.Itoa(i)+" too", "1")
						return nil
					})
					cancel()
				}
			})
		}
		writing.Wait()
		require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error { set(tx, "after", "1"); return nil }))
		kept := settings(t, db)
		for w := range writers {
			for i, err := range outcomes[w] {
				name := strconv.Itoa(w) + " " + strconv.Itoa(i)
				require.Equal(t, kept[name], kept[name+" too"], "a transaction is whole")
				switch {
				case err == nil:
					require.NotEmpty(t, kept[name], "committed")
				case !errors.Is(err, database.ErrOutcomeUnknown):
					require.Empty(t, kept[name], "%v, but it was committed", err)
				}
			}
		}
	})
}

func TestSettings(t *testing.T) {
	databasetest.Each(t, pgtest.Database, func(t *testing.T, b *databasetest.Backend) {
		dbs := []*database.DB{b.Open(t), b.Open(t)}
		none, err := dbs[0].Setting(t.Context(), "shared")
		require.NoError(t, err)
		require.Nil(t, none)
		var values [8]string
		var asking sync.WaitGroup
		for i := range values {
			asking.Go(func() {
				value, err := dbs[i%2].SettingOnce(t.Context(), "shared", []byte(strconv.Itoa(i)))
				if err != nil {
					t.Error(err)
				}
				values[i] = string(value)
			})
		}
		asking.Wait()
		for _, value := range values {
			require.Equal(t, values[0], value)
		}
		kept, err := dbs[1].Setting(t.Context(), "shared")
		require.NoError(t, err)
		require.Equal(t, values[0], string(kept))
	})
}
