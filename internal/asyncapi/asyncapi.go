// Package asyncapi makes the AsyncAPI document of the events from the types in which they are
// declared, so that the document cannot say anything else than the code.
package asyncapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
)

type object = map[string]any

func ref(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

// The two forms in which an event goes out.
const (
	streamed  = "Event"      // of GET /api/v1/events/stream
	delivered = "CloudEvent" // to a subscription
)

// Document makes the document. root is the directory of the module, whose sources have the words in
// which fields are described.
func Document(root string) ([]byte, error) {
	schemas, err := newReflector(root)
	if err != nil {
		return nil, err
	}
	events := map[string]object{}
	messages := object{}
	channels := map[string]object{streamed: {}, delivered: {}}
	for _, codec := range application.Codecs {
		for _, declared := range codec.Types() {
			if declared.Since > 1 {
				return nil, fmt.Errorf("%s: the data of version %d has another form than the current one, which this document cannot describe yet", declared.Name, declared.Since-1)
			}
			schema, err := schemas.of(declared.Go)
			if err != nil {
				return nil, err
			}
			text, _ := schema["description"].(string)
			schema["description"] = "`" + declared.Name + "`" + strings.TrimPrefix(text, declared.Go.Name())
			for version := 1; version <= declared.Schema; version++ {
				name := Name(declared.Name, version)
				events[name] = schema
				for form, versionField := range map[string]string{streamed: "schema_version", delivered: "schemaversion"} {
					message := form + "." + name
					messages[message] = messageOf(form, declared, version, versionField)
					channels[form][name] = ref("messages", message)
				}
			}
		}
	}
	envelope, err := schemas.of(reflect.TypeFor[application.EventView]())
	if err != nil {
		return nil, err
	}
	envelope["description"] = "An event of the log."
	all := object{streamed: envelope, delivered: cloudEvent()}
	for name, schema := range events {
		all[name] = schema
	}
	return encode(object{
		"asyncapi":           "3.0.0",
		"info":               info(),
		"defaultContentType": "application/json",
		"servers":            servers(),
		"channels":           channelsOf(channels),
		"operations":         operations(),
		"components": object{
			"messages": messages, "schemas": all,
			"securitySchemes": object{
				"apiKey": object{"type": "httpApiKey", "name": "X-API-Key", "in": "header", "description": "An API key with the scope `events:read`."},
				"bearer": object{"type": "http", "scheme": "bearer", "description": "The same key."},
			},
		},
	})
}

// Name names the data of an event type in a version.
func Name(event string, version int) string { return fmt.Sprintf("%s.v%d", event, version) }

func info() object {
	return object{
		"title": "Hooktrail events", "version": "1",
		"description": "All events of the log, with the JSON Schema of what each holds. No event holds a token, a secret or a payload. " +
			"An event is never changed; a new shape of its data is a new schema version, and old versions stay in the log.",
	}
}

func servers() object {
	return object{
		"hooktrail": object{
			"host": "{host}", "protocol": "https", "description": "Your installation.",
			"variables": object{"host": object{"default": "localhost:8080", "description": "Host and port."}},
			"security":  []object{ref("securitySchemes", "apiKey"), ref("securitySchemes", "bearer")},
		},
	}
}

func channelsOf(messages map[string]object) object {
	return object{
		"stream": object{
			"address": "/api/v1/events/stream", "title": "Server-Sent Events", "messages": messages[streamed],
			"servers": []object{{"$ref": "#/servers/hooktrail"}},
			"description": "The log as it grows. An event's `id` is its position; with the header `Last-Event-ID`, or with `after`, a client goes on where it was. " +
				"`stream`, `type` and `actor` narrow it.",
			"bindings": object{"http": object{}},
		},
		"subscription": object{
			"address": nil, "title": "Deliveries", "messages": messages[delivered],
			"description": "Posted to the URL of a subscription, in order, at least once, signed by Standard Webhooks.",
		},
		"nats": object{
			"address": "hooktrail.events.{workspace}.{type}", "title": "NATS JetStream", "messages": messages[delivered],
			"parameters":  object{"workspace": object{"description": "Id of the workspace."}, "type": object{"description": "The type of the event, which has a dot in it."}},
			"description": "In the order of the log, at least once; `Nats-Msg-Id` is the event's id. Settings change the beginning of the subject, and give the binary form.",
		},
		"kafka": object{
			"address": "hooktrail.events", "title": "Kafka", "messages": messages[delivered],
			"description": "At least once, in the order of each stream, which is the key; the header `ce_id` is the event's id. Settings change the topic, and give the binary form.",
		},
	}
}

func operations() object {
	return object{
		"streamEvents": object{
			"action": "send", "channel": object{"$ref": "#/channels/stream"}, "summary": "Give the events of a workspace as they are recorded.",
			"bindings": object{"http": object{"method": "GET"}},
		},
		"deliverEvents": object{
			"action": "send", "channel": object{"$ref": "#/channels/subscription"}, "summary": "Post events to a subscription.",
			"bindings": object{"http": object{"method": "POST"}},
		},
		"publishToNATS":  object{"action": "send", "channel": object{"$ref": "#/channels/nats"}, "summary": "Publish events to NATS JetStream."},
		"publishToKafka": object{"action": "send", "channel": object{"$ref": "#/channels/kafka"}, "summary": "Publish events to Kafka."},
	}
}

func messageOf(form string, declared eventlog.Declared, version int, versionField string) object {
	name := Name(declared.Name, version)
	message := object{
		"name": declared.Name, "title": fmt.Sprintf("%s, version %d", declared.Name, version),
		"payload": object{"allOf": []object{
			ref("schemas", form),
			{"type": "object", "properties": object{
				"type": object{"const": declared.Name}, versionField: object{"const": version}, "data": ref("schemas", name),
			}},
		}},
	}
	if form == delivered {
		message["contentType"] = "application/cloudevents+json"
	}
	if version < declared.Schema {
		message["summary"] = fmt.Sprintf("Written by earlier releases; now it is version %d.", declared.Schema)
	}
	return message
}

// cloudEvent is the form of application.CloudEvent.
func cloudEvent() object {
	text := func(description string, more ...object) object {
		schema := object{"type": "string", "description": description}
		for _, fields := range more {
			maps.Copy(schema, fields)
		}
		return schema
	}
	return object{
		"type": "object", "description": "An event as a structured CloudEvent 1.0.", "additionalProperties": false,
		"required": []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "sequence", "partitionkey", "streamversion", "schemaversion", "actor", "data"},
		"properties": object{
			"specversion": object{"type": "string", "const": "1.0"}, "id": text("The event's id: a repeat has the same."),
			"source": text("Where it happened.", object{"format": "uri-reference"}), "type": text("The type of the event."), "subject": text("The stream: `<kind>-<id>`."),
			"time": text("When it was recorded.", object{"format": "date-time"}), "datacontenttype": object{"type": "string", "const": "application/json"},
			"sequence":     text("The position in the log, as a decimal number.", object{"pattern": "^[1-9][0-9]*$"}),
			"partitionkey": text("The stream, within which the order counts."), "traceparent": text("W3C Trace Context."),
			"streamversion": object{"type": "integer", "minimum": 0}, "schemaversion": object{"type": "integer", "minimum": 1},
			"actor":     text("Who caused it: `api_key:<id>`, `trigger:<id>`, `worker:<id>` or `system`."),
			"requestid": text("The request that caused it."), "causationid": text("The event that caused it."),
			"correlationid": text("What all that belongs together has in common."), "data": object{"type": "object"},
		},
	}
}

// reflector makes JSON Schemas of Go types.
type reflector struct{ jsonschema.Reflector }

func newReflector(root string) (*reflector, error) {
	top, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	working, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	below, err := filepath.Rel(top, working)
	if err != nil {
		return nil, err
	}
	r := &reflector{jsonschema.Reflector{DoNotReference: true, Anonymous: true}}
	for _, directory := range []string{"domain", "application"} {
		// The comments are looked for below the working directory, whose import path is asked for.
		if err := r.AddGoComments(path.Join("hooktrail", filepath.ToSlash(below)), filepath.Join(root, directory)); err != nil {
			return nil, fmt.Errorf("read the comments of %s: %w", directory, err)
		}
	}
	return r, nil
}

func (r *reflector) of(t reflect.Type) (object, error) {
	encoded, err := json.Marshal(r.ReflectFromType(t))
	if err != nil {
		return nil, fmt.Errorf("write the schema of %s: %w", t, err)
	}
	var schema object
	if err := json.Unmarshal(encoded, &schema); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", t, err)
	}
	delete(schema, "$schema") // it is one within a document
	plain(schema)
	if text, described := schema["description"].(string); described {
		schema["description"] = strings.Join(strings.Fields(text), " ")
	}
	return schema, nil
}

// plain tells of fields by the names that they have in JSON.
func plain(schema object) {
	properties, _ := schema["properties"].(object)
	for name, property := range properties {
		field, isObject := property.(object)
		if !isObject {
			continue // true: anything
		}
		if text, described := field["description"].(string); described {
			text = strings.Join(strings.Fields(text), " ")
			first, rest, _ := strings.Cut(text, " ")
			if strings.EqualFold(first, strings.ReplaceAll(name, "_", "")) {
				text = "`" + name + "` " + rest
			}
			field["description"] = text
		}
		plain(field)
		if items, isList := field["items"].(object); isList {
			plain(items)
		}
	}
}

func encode(document object) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	err := encoder.Encode(document)
	return b.Bytes(), err
}
