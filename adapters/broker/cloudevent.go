// Package broker publishes the events of the log to NATS JetStream and to Kafka as CloudEvents 1.0.
// Its publishers are watermill's: Publish returns when the broker has stored a message. A broker that is
// away makes no error when a publisher is made, only when it publishes.
package broker

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
)

// Format is how a CloudEvent is written into a message.
type Format string

// In a structured message the payload is the whole CloudEvent; in a binary one it is the event's data,
// and the attributes are headers.
const (
	Structured Format = "structured"
	Binary     Format = "binary"
)

const (
	contentType    = "content-type"
	structuredType = "application/cloudevents+json; charset=UTF-8"
)

// Encode makes the payload of the messages that the publishers take.
func Encode(e eventlog.Recorded) ([]byte, error) { return application.CloudEvent(e) }

type attribute struct{ name, value string }

// split takes a structured CloudEvent with JSON data apart: its attributes by name, and its data.
func split(structured []byte) ([]attribute, []byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(structured, &members); err != nil {
		return nil, nil, fmt.Errorf("read a CloudEvent: %w", err)
	}
	data := members["data"]
	delete(members, "data")
	attributes := make([]attribute, 0, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		text := string(members[name]) // of a number or a boolean it is what CloudEvents want
		if text[0] == '"' {
			if err := json.Unmarshal(members[name], &text); err != nil {
				return nil, nil, fmt.Errorf("read attribute %s of a CloudEvent: %w", name, err)
			}
		}
		attributes = append(attributes, attribute{name, text})
	}
	return attributes, data, nil
}

// ReadCAs reads the certificates, in PEM, of those whose signature on a broker's certificate counts;
// without a file these are the system's, given as nil.
func ReadCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // as crypto/tls has it
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("the file has no certificate in PEM")
	}
	return pool, nil
}
