package database_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/ksuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"hooktrail/adapters/database"
	"hooktrail/adapters/database/databasetest"
)

// BenchmarkBatch writes batches of webhook calls to the embedded store: an event of more than
// 1 KiB and an execution for each call.
func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{1, 32, 128} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			db := databasetest.SQLite(filepath.Join(b.TempDir(), "x.db")).Open(b)
			calls := newCalls(size)
			started := processorTime(b)
			for b.Loop() {
				require.NoError(b, db.Write(b.Context(), calls.write))
			}
			perCall := func(took time.Duration) float64 { return float64(took.Nanoseconds()) / 1000 / float64(b.N*size) }
			b.ReportMetric(perCall(processorTime(b)-started), "cpu-µs/call")
			b.ReportMetric(perCall(b.Elapsed()), "µs/call")
		})
	}
}

// processorTime is what this process has used of the processors, in and out of the kernel.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func texts(names ...string) (list []database.Column) {
	for _, name := range names {
		list = append(list, database.Column{Name: name, Type: "text"})
	}
	return list
}

func integers(names ...string) (list []database.Column) {
	for _, name := range names {
		list = append(list, database.Column{Name: name, Type: "int8"})
	}
	return list
}

var (
	benchEvents = database.Insert("events", "", append(append(
		integers("position", "version", "schema_version", "recorded_at"),
		texts("event_id", "workspace_id", "stream", "type", "actor", "metadata", "data")...),
		database.Column{Name: "fact", Type: "bool"})...)
	benchExecutions = database.Insert("executions", "", append(
		integers("position", "attempt", "version", "due_at", "created_at"),
		texts("id", "workspace_id", "agent_id", "trigger_id", "status", "media_type", "session_id", "user_id", "metadata", "retry_of")...)...)
)

// calls makes batches of calls of one trigger.
type calls struct {
	position                                 int64
	versions, schemas, zeros                 []int64
	workspaces, streams, types, actors, data []string
	agents, statuses                         []string
	triggers, mediaTypes, none               []*string
	due                                      []*int64
	facts                                    []bool
	positions, ats                           []int64
	ids, meta                                []string
}

func newCalls(size int) *calls {
	id, payload := ksuid.New().String(), strings.Repeat("x", 1024)
	c := &calls{positions: make([]int64, size), zeros: make([]int64, size), none: make([]*string, size), due: make([]*int64, size)}
	for range size {
		c.versions, c.schemas, c.facts = append(c.versions, 3), append(c.schemas, 1), append(c.facts, true)
		c.workspaces, c.streams, c.types = append(c.workspaces, id), append(c.streams, "trigger-"+id), append(c.types, "trigger.invoked")
		c.actors, c.data = append(c.actors, "trigger:"+id), append(c.data, `{"agent_id":"`+id+`","payload":"`+payload+`"}`)
		c.agents, c.statuses = append(c.agents, id), append(c.statuses, "pending")
		c.triggers, c.mediaTypes = append(c.triggers, &id), append(c.mediaTypes, new("application/json"))
	}
	c.ats, c.ids, c.meta = make([]int64, size), make([]string, size), make([]string, size)
	return c
}

func (c *calls) write(tx *database.Tx) error {
	at := database.Micros(time.Now())
	for i := range c.positions {
		c.position++
		c.positions[i], c.ats[i], c.ids[i] = c.position, at, ksuid.New().String()
		c.meta[i] = `{"actor":"` + c.actors[i] + `","request_id":"` + c.ids[i] + `"}`
	}
	tx.Bulk(benchEvents.With(c.positions, c.versions, c.schemas, c.ats, c.ids, c.workspaces, c.streams, c.types, c.actors, c.meta, c.data, c.facts))
	tx.Bulk(benchExecutions.With(c.positions, c.zeros, c.zeros, c.due, c.ats, c.ids, c.workspaces, c.agents, c.triggers, c.statuses, c.mediaTypes, c.none, c.none, c.none, c.none))
	return nil
}
