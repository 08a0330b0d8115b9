package dump

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hooktrail/adapters/database"
)

// kind is what a column holds, in PostgreSQL's words.
type kind string

const (
	text   kind = "text"
	number kind = "int8"
	binary kind = "bytea"
)

type column struct {
	name     string
	kind     kind
	nullable bool
	// instead is the SQL expression that is written in the place of the column, such as that of no
	// lease: who held it does not come along.
	instead string
}

// table is one that stands beside the log and cannot be made from it.
type table struct {
	name    string
	order   string
	columns []column
}

const settingsTable, checkpointsTable = "settings", "audit_checkpoints"

// beforeEvents are what the events are held against when they are read; afterEvents is the rest.
var beforeEvents = []table{
	{settingsTable, "name", []column{{name: "name", kind: text}, {name: "value", kind: binary}}},
	{checkpointsTable, "size", []column{{name: "size", kind: number}, {name: "note", kind: text}, {name: "made_at", kind: number}}},
}

var afterEvents = []table{
	{"credentials", "id", []column{
		{name: "id", kind: text},
		{name: "workspace_id", kind: text},
		{name: "owner", kind: text},
		{name: "hash", kind: binary, nullable: true},
		{name: "sealed", kind: binary, nullable: true},
	}},
	{"idempotency_keys", "scope, key", []column{
		{name: "scope", kind: text}, {name: "key", kind: text}, {name: "digest", kind: binary}, {name: "subject", kind: text}, {name: "expires_at", kind: number},
	}},
	{"subscription_deliveries", "subscription_id", []column{
		{name: "subscription_id", kind: text},
		{name: "position", kind: number},
		{name: "version", kind: number},
		{name: "next_at", kind: number, nullable: true},
		{name: "progress", kind: text},
		{name: "revision", kind: number},
		{name: "owner", kind: text, instead: "''"},
		{name: "lease_until", kind: number, instead: "0"},
		{name: "served_at", kind: number},
	}},
	{"consumer_offsets", "consumer_group", []column{
		{name: "consumer_group", kind: text}, {name: "position", kind: number}, {name: "owner", kind: text, instead: "''"}, {name: "lease_until", kind: number, instead: "0"},
	}},
	{"dead_letters", "consumer_group, position", []column{
		{name: "consumer_group", kind: text}, {name: "position", kind: number}, {name: "error", kind: text}, {name: "failed_at", kind: number},
	}},
	{"rejections", "trigger_id, minute, reason, client_ip, token_prefix", []column{
		{name: "trigger_id", kind: text},
		{name: "minute", kind: number},
		{name: "reason", kind: text},
		{name: "client_ip", kind: text},
		{name: "token_prefix", kind: text},
		{name: "workspace_id", kind: text},
		{name: "message", kind: text},
		{name: "request_id", kind: text},
		{name: "calls", kind: number},
		{name: "first_at", kind: number},
		{name: "last_at", kind: number},
	}},
	{"backtest_results", "backtest_id, position", []column{
		{name: "backtest_id", kind: text},
		{name: "position", kind: number},
		{name: "execution_id", kind: text},
		{name: "shadow_id", kind: text},
		{name: "verdict", kind: text},
		{name: "reason", kind: text, nullable: true},
		{name: "original_status", kind: text},
		{name: "status", kind: text, nullable: true},
		{name: "error_code", kind: text, nullable: true},
		{name: "error_message", kind: text, nullable: true},
		{name: "output", kind: binary, nullable: true},
		{name: "difference", kind: text, nullable: true},
		{name: "original_micros", kind: number, nullable: true},
		{name: "micros", kind: number, nullable: true},
		{name: "original_prompt", kind: number, nullable: true},
		{name: "original_completion", kind: number, nullable: true},
		{name: "original_total", kind: number, nullable: true},
		{name: "prompt", kind: number, nullable: true},
		{name: "completion", kind: number, nullable: true},
		{name: "total", kind: number, nullable: true},
	}},
}

// madeAnew are the tables that are filled from the events.
var madeAnew = []string{
	"triggers", "agents", "api_keys", "executions", "execution_queue", "schedules", "subscriptions", "backtests", "trigger_statistics", "audit_blocks",
}

// leftBehind are the tables about processes that do not come along, and the one about the schema.
var leftBehind = []string{"workers", "backtest_work", "rate_limit_slots", "goose_db_version"}

func (t table) names() []string {
	list := make([]string, len(t.columns))
	for i, c := range t.columns {
		list[i] = c.name
	}
	return list
}

func (t table) query() string {
	list := t.names()
	for i, c := range t.columns {
		if c.instead != "" {
			list[i] = c.instead + " AS " + c.name
		}
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + t.name + " ORDER BY " + t.order
}

func (t table) insert() database.BulkStatement {
	columns := make([]database.Column, len(t.columns))
	for i, c := range t.columns {
		columns[i] = database.Column{Name: c.name, Type: string(c.kind)}
	}
	return database.Insert(t.name, "", columns...)
}

// values are the values of a column, as a scan takes them and a bulk statement gives them.
type values interface {
	destination() any
	encode() (any, error) // of what was scanned
	add(raw json.RawMessage) error
	all() any
}

func (c column) values() values {
	switch {
	case c.kind == binary:
		return &binaryValues{nullable: c.nullable}
	case c.kind == text && c.nullable:
		return &nullableValues[string]{}
	case c.kind == text:
		return &plainValues[string]{}
	case c.nullable:
		return &nullableValues[int64]{}
	}
	return &plainValues[int64]{}
}

var errNull = errors.New("must not be null")

type plainValues[V string | int64] struct {
	scanned V
	list    []V
}

func (v *plainValues[V]) destination() any     { return &v.scanned }
func (v *plainValues[V]) encode() (any, error) { return v.scanned, nil }
func (v *plainValues[V]) all() any             { return v.list }
func (v *plainValues[V]) add(raw json.RawMessage) error {
	var value *V
	if err := json.Unmarshal(raw, &value); err != nil {
		return err
	}
	if value == nil {
		return errNull
	}
	v.list = append(v.list, *value)
	return nil
}

type nullableValues[V string | int64] struct {
	scanned *V
	list    []*V
}

func (v *nullableValues[V]) destination() any     { return &v.scanned }
func (v *nullableValues[V]) encode() (any, error) { return v.scanned, nil }
func (v *nullableValues[V]) all() any             { return v.list }
func (v *nullableValues[V]) add(raw json.RawMessage) error {
	var value *V
	err := json.Unmarshal(raw, &value)
	v.list = append(v.list, value)
	return err
}

type binaryValues struct {
	nullable bool
	scanned  []byte
	list     [][]byte
}

func (v *binaryValues) destination() any { return &v.scanned }
func (v *binaryValues) all() any         { return v.list }
func (v *binaryValues) encode() (any, error) {
	if v.scanned == nil && !v.nullable {
		return []byte{}, nil // as SQLite's driver gives a value without bytes
	}
	return v.scanned, nil
}

func (v *binaryValues) add(raw json.RawMessage) error {
	var value []byte
	if err := json.Unmarshal(raw, &value); err != nil {
		return err
	}
	if value == nil && !v.nullable {
		return errNull
	}
	v.list = append(v.list, value)
	return nil
}

// rows gathers rows of a table until they are written.
type rows struct {
	table  table
	insert database.BulkStatement
	values []values
	count  int
}

func (t table) rows() *rows {
	r := &rows{table: t, insert: t.insert()}
	r.clear()
	return r
}

func (r *rows) clear() {
	r.count, r.values = 0, make([]values, len(r.table.columns))
	for i, c := range r.table.columns {
		r.values[i] = c.values()
	}
}

func (r *rows) add(row map[string]json.RawMessage) error {
	for i, c := range r.table.columns {
		raw, there := row[c.name]
		if !there {
			return fmt.Errorf("a row of %s without %s", r.table.name, c.name)
		}
		if err := r.values[i].add(raw); err != nil {
			return fmt.Errorf("a row of %s: %s: %w", r.table.name, c.name, err)
		}
	}
	if len(row) > len(r.table.columns) {
		return fmt.Errorf("a row of %s has columns that it should not have", r.table.name)
	}
	r.count++
	return nil
}

// write queues the rows and forgets them.
func (r *rows) write(tx *database.Tx) {
	columns := make([]any, len(r.values))
	for i, v := range r.values {
		columns[i] = v.all()
	}
	if r.count > 0 {
		tx.Bulk(r.insert.With(columns...))
	}
	r.clear()
}
