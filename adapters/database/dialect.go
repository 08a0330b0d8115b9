package database

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"

	"github.com/jmoiron/sqlx"
)

// Dialect is what differs between the databases.
type Dialect struct {
	Name string // "postgres" or "sqlite"
	// AppendLock is the statement that makes appends wait for each other until commit; ""
	// where the database has one writer anyway.
	AppendLock string
	// Now is the expression for the database's clock in microseconds since 1970.
	Now string

	bindType      int
	inList        string
	isUnavailable func(error) bool
	rebound       *sync.Map
}

// AppendChannel is the channel on which appends are notified.
const AppendChannel = "hooktrail_appended"

// What is told on AppendChannel.
const (
	NoteAppended = "appended"
	NoteDue      = "due" // workers may have something to run
)

func (d Dialect) rebind(sql string) string {
	if d.bindType == sqlx.QUESTION {
		return sql
	}
	if cached, found := d.rebound.Load(sql); found {
		return cached.(string)
	}
	bound := sqlx.Rebind(d.bindType, sql)
	d.rebound.Store(sql, bound)
	return bound
}

// In gives the condition that a column has one of the values passed as List.
func (d Dialect) In(column string) string { return column + d.inList }

// Each gives a table of the values passed as List, with the column "value".
func (d Dialect) Each(alias string) string {
	if d.Name == Postgres {
		return "unnest(?::text[]) AS " + alias + "(value)"
	}
	return "json_each(?) AS " + alias
}

// List gives the argument for In and Each.
func (d Dialect) List(values []string) any {
	if d.Name == Postgres {
		return values
	}
	if len(values) == 0 {
		return "[]" // nil would be null, which json_each takes for one value
	}
	list, _ := json.Marshal(values) // strings always encode
	return string(list)
}

// The names of the dialects.
const (
	Postgres = "postgres"
	SQLite   = "sqlite"
)

// Column is a column of a bulk statement with its type in PostgreSQL's words.
type Column struct{ Name, Type string }

// BulkStatement is a statement for many rows at once: on PostgreSQL with one array a column, on
// SQLite as a few prepared statements of so many rows each.
type BulkStatement struct {
	postgres string
	single   string // for PostgreSQL: of one row
	copying  string // for PostgreSQL; "" where rows may meet others
	sqlite   sqliteBulk
	columns  int
}

func names(columns []Column) []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.Name
	}
	return list
}

func arrays(columns []Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = "?::" + c.Type + "[]"
	}
	return strings.Join(list, ", ")
}

// Insert declares an insert of many rows. suffix, such as an ON CONFLICT clause, may be "".
func Insert(table, suffix string, columns ...Column) BulkStatement {
	list := strings.Join(names(columns), ", ")
	copying := ""
	if suffix == "" {
		copying = "COPY " + table + " (" + list + ") FROM STDIN (FORMAT binary)"
	}
	holes := make([]string, len(columns))
	for i := range columns {
		holes[i] = "$" + strconv.Itoa(i+1)
	}
	return BulkStatement{
		copying:  copying,
		single:   "INSERT INTO " + table + " (" + list + ") VALUES (" + strings.Join(holes, ", ") + ") " + suffix,
		postgres: sqlx.Rebind(sqlx.DOLLAR, "INSERT INTO "+table+" ("+list+") SELECT * FROM unnest("+arrays(columns)+") "+suffix),
		sqlite:   sqliteInsert(table, suffix, names(columns)),
		columns:  len(columns),
	}
}

// Update declares an update of many rows, each found by the first column. The other columns
// have a set expression each, in their order, in which the column's new value stands once,
// as "new." and its name; "old." before a name is the present value.
func Update(table string, sets []string, columns ...Column) BulkStatement {
	key := columns[0].Name
	setters := make([]string, len(sets))
	for i, set := range sets {
		setters[i] = columns[i+1].Name + " = " + set
	}
	list := strings.Join(setters, ", ")
	row := "new(" + strings.Join(names(columns), ", ") + ")"
	holes, numbered := make([]string, len(sets)), make([]string, len(sets))
	for i, set := range sets {
		column := columns[i+1]
		holes[i] = column.Name + " = " + strings.Replace(set, "new."+column.Name, "?", 1)
		numbered[i] = column.Name + " = " + strings.Replace(set, "new."+column.Name, "$"+strconv.Itoa(i+2)+"::"+column.Type, 1)
	}
	return BulkStatement{
		single:   "UPDATE " + table + " AS old SET " + strings.Join(numbered, ", ") + " WHERE old." + key + " = $1",
		postgres: sqlx.Rebind(sqlx.DOLLAR, "UPDATE "+table+" AS old SET "+list+" FROM unnest("+arrays(columns)+") AS "+row+" WHERE old."+key+" = new."+key),
		sqlite: sqliteBulk{
			texts:   []string{"UPDATE " + table + " AS old SET " + strings.Join(holes, ", ") + " WHERE old." + key + " = ?"},
			keyLast: true,
		},
		columns: len(columns),
	}
}

// Bulk is a bulk statement with its values: a slice a column, all of one length, of type
// []string, []*string, []int64, []*int64, []bool or [][]byte.
type Bulk struct {
	statement BulkStatement
	columns   []any
}

// With adds the values to a bulk statement.
func (b BulkStatement) With(columns ...any) Bulk {
	if len(columns) != b.columns {
		panic("bulk statement with a wrong number of columns: " + b.postgres)
	}
	return Bulk{statement: b, columns: columns}
}

// Len is the number of rows.
func (b Bulk) Len() int {
	switch column := b.columns[0].(type) {
	case []string:
		return len(column)
	case []int64:
		return len(column)
	default:
		panic("the first column of a bulk statement must be []string or []int64")
	}
}
