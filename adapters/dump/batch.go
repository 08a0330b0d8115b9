package dump

import (
	"hooktrail/adapters/database"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trail"
)

var insertEvents = database.Insert("events", "",
	database.Column{Name: "position", Type: "int8"}, database.Column{Name: "event_id", Type: "text"},
	database.Column{Name: "workspace_id", Type: "text"}, database.Column{Name: "stream", Type: "text"},
	database.Column{Name: "version", Type: "int8"}, database.Column{Name: "fact", Type: "bool"},
	database.Column{Name: "type", Type: "text"}, database.Column{Name: "schema_version", Type: "int8"},
	database.Column{Name: "recorded_at", Type: "int8"}, database.Column{Name: "actor", Type: "text"},
	database.Column{Name: "metadata", Type: "text"}, database.Column{Name: "data", Type: "text"},
	database.Column{Name: "payload", Type: "bytea"})

// eventBatch is events that are written together.
type eventBatch struct {
	positions, versions, schemas, ats                       []int64
	ids, workspaces, streams, types, actors, metadata, data []string
	facts                                                   []bool
	payloads                                                [][]byte

	recorded []eventlog.Recorded
	blocks   []trail.Block // of the audit trail, that they filled
	bytes    int
	encoded  []byte // of the last event
}

func (b *eventBatch) full() bool { return len(b.recorded) >= batchEvents || b.bytes >= batchBytes }

func (b *eventBatch) add(e *event) {
	b.positions, b.versions, b.schemas, b.ats = append(b.positions, e.Position), append(b.versions, e.Version), append(b.schemas, e.Schema), append(b.ats, e.RecordedAt)
	b.ids, b.workspaces, b.streams = append(b.ids, e.ID), append(b.workspaces, e.Workspace), append(b.streams, e.Stream)
	b.types, b.actors, b.facts = append(b.types, e.Type), append(b.actors, e.Actor), append(b.facts, e.Fact)
	b.metadata, b.data, b.payloads = append(b.metadata, string(e.Metadata)), append(b.data, string(e.Data)), append(b.payloads, e.Payload)
	b.recorded = append(b.recorded, eventlog.Recorded{
		Position: eventlog.Position(e.Position), ID: e.ID, WorkspaceID: e.Workspace, Stream: eventlog.StreamID(e.Stream), Version: e.Version, Fact: e.Fact,
		Type: e.Type, Schema: int(e.Schema), At: database.Time(e.RecordedAt), Meta: eventlog.Metadata{Actor: eventlog.Actor(e.Actor)}, Data: e.Data,
	})
	b.bytes += len(e.Data) + len(e.Metadata) + len(e.Payload)
}

func (b *eventBatch) insert(tx *database.Tx) {
	tx.Bulk(insertEvents.With(b.positions, b.ids, b.workspaces, b.streams, b.versions, b.facts, b.types, b.schemas, b.ats, b.actors, b.metadata, b.data, b.payloads))
}

// clear makes room for the next events. The slices are new: what was queued has the old ones.
func (b *eventBatch) clear() { *b = eventBatch{encoded: b.encoded} }
