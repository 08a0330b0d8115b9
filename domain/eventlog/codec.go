package eventlog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Event is a fact of one aggregate, as its package declares it.
type Event interface{ isEvent() }

// Base makes the struct that embeds it an Event.
type Base struct{}

func (Base) isEvent() {}

// Upcast turns the stored data of one schema version into that of the next.
type Upcast func(data []byte) ([]byte, error)

// Unchanged is the upcast to a version that has only got fields that may be absent.
func Unchanged(data []byte) ([]byte, error) { return data, nil }

type eventType struct {
	name    string
	schema  int
	fact    bool
	goType  reflect.Type
	decode  func([]byte) (Event, error)
	upcasts []Upcast // upcasts[i] leads from schema i+1 to i+2
}

// EventType declares how one Go type is stored.
type EventType func() eventType

// Type stores T under a name that never changes. Its current schema version is one more
// than the number of upcasts, which lead from version 1 up to it.
func Type[T Event](name string, upcasts ...Upcast) EventType {
	return declare[T](name, false, upcasts)
}

// FactType is Type for events that no later decision depends on.
func FactType[T Event](name string, upcasts ...Upcast) EventType {
	return declare[T](name, true, upcasts)
}

func declare[T Event](name string, fact bool, upcasts []Upcast) EventType {
	return func() eventType {
		return eventType{
			name: name, schema: len(upcasts) + 1, fact: fact, upcasts: upcasts,
			goType: reflect.TypeFor[T](),
			decode: func(data []byte) (Event, error) {
				var event T
				err := json.Unmarshal(data, &event)
				return event, err
			},
		}
	}
}

// Codec turns the events of one aggregate into stored bytes and back.
type Codec struct {
	byName map[string]eventType
	byType map[reflect.Type]eventType
}

// NewCodec makes a codec of those types. It panics when a name or a type is declared twice,
// which only a mistake in the program can cause.
func NewCodec(types ...EventType) *Codec {
	c := &Codec{byName: map[string]eventType{}, byType: map[reflect.Type]eventType{}}
	for _, declaration := range types {
		t := declaration()
		if _, twice := c.byName[t.name]; twice {
			panic("event name declared twice: " + t.name)
		}
		if _, twice := c.byType[t.goType]; twice {
			panic("event type declared twice: " + t.goType.String())
		}
		c.byName[t.name], c.byType[t.goType] = t, t
	}
	return c
}

// Encode gives an event the form in which it is appended. The caller adds the id.
func (c *Codec) Encode(event Event) (Proposed, error) {
	t, known := c.byType[reflect.TypeOf(event)]
	if !known {
		return Proposed{}, fmt.Errorf("event type %T is not declared", event)
	}
	data, err := encode(event)
	if err != nil {
		return Proposed{}, fmt.Errorf("encode %s: %w", t.name, err)
	}
	return Proposed{Type: t.name, Schema: t.schema, Data: data, Event: event, Fact: t.fact}, nil
}

// Frequent is an event that writes its JSON itself, because there are so many of it; the
// bytes are those of encoding/json.
type Frequent interface{ JSON() []byte }

func encode(event Event) ([]byte, error) {
	if frequent, ok := event.(Frequent); ok {
		return frequent.JSON(), nil
	}
	return json.Marshal(event)
}

// Decode reads a recorded event of any schema version up to the current one.
func (c *Codec) Decode(recorded Recorded) (Event, error) {
	if recorded.Event != nil {
		return recorded.Event, nil
	}
	t, known := c.byName[recorded.Type]
	if !known {
		return nil, fmt.Errorf("event type %q at position %d is not known to this version", recorded.Type, recorded.Position)
	}
	if recorded.Schema < 1 || recorded.Schema > t.schema {
		return nil, fmt.Errorf("event %q at position %d has schema version %d; this version knows 1 to %d", recorded.Type, recorded.Position, recorded.Schema, t.schema)
	}
	data := recorded.Data
	for _, upcast := range t.upcasts[recorded.Schema-1:] {
		var err error
		if data, err = upcast(data); err != nil {
			return nil, fmt.Errorf("upcast %s at position %d: %w", recorded.Type, recorded.Position, err)
		}
	}
	event, err := t.decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode %s at position %d: %w", recorded.Type, recorded.Position, err)
	}
	return event, nil
}

// Declared is an event type as its package declares it.
type Declared struct {
	Name   string
	Schema int // the current version
	Fact   bool
	Go     reflect.Type
	// Since is the first version from which on data of any version has the form of Go: later ones have
	// only got fields that may be absent.
	Since int
}

// Types lists what is declared, by name.
func (c *Codec) Types() []Declared {
	types := make([]Declared, 0, len(c.byName))
	for _, t := range c.byName {
		d := Declared{Name: t.name, Schema: t.schema, Fact: t.fact, Go: t.goType, Since: t.schema}
		for d.Since > 1 && reflect.ValueOf(t.upcasts[d.Since-2]).Pointer() == reflect.ValueOf(Unchanged).Pointer() {
			d.Since--
		}
		types = append(types, d)
	}
	slices.SortFunc(types, func(a, b Declared) int { return strings.Compare(a.Name, b.Name) })
	return types
}

// Names lists the stored names with their current schema versions.
func (c *Codec) Names() map[string]int {
	names := make(map[string]int, len(c.byName))
	for name, t := range c.byName {
		names[name] = t.schema
	}
	return names
}
