package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"hooktrail/adapters/eventstore"
)

// NATSConfig says where and how JetStream gets events.
type NATSConfig struct {
	// URL is nats://[user:password@]host:port or tls://…, several parted by commas.
	URL string
	// CredentialsFile is one that NATS tools write for a user (JWT and key); "" is none.
	CredentialsFile string
	// RootCAs are those that count for TLS; nil are the system's.
	RootCAs *x509.CertPool
	// Stream is made with the subjects that we publish to when there is none of that name.
	Stream string
	Format Format
	Logger *slog.Logger
}

// deduplicate is how long a stream of ours remembers the ids of events.
const deduplicate = 10 * time.Minute

// NATS publishes to a stream. The topic is the beginning of the subjects: those of an event are
// topic.workspace.type.
type NATS struct {
	stream    string
	conn      *nats.Conn
	js        nats.JetStreamContext
	publisher *watermillnats.Publisher

	mu     sync.Mutex
	exists bool // the stream, as far as we know
}

// NewNATS connects, now or as soon as there is a server, and goes on doing so. It fails on a URL or
// a file that cannot be used; no error shows the URL, which may have a password.
func NewNATS(config NATSConfig) (*NATS, error) {
	logger := config.Logger.With("broker", "nats")
	options := []nats.Option{
		nats.Name("hooktrail"), nats.Timeout(5 * time.Second),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second), nats.IgnoreAuthErrorAbort(),
		// What the connection kept for later would come after our own next attempt, and out of order.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			logger.Warn("the NATS server complains", "error", err)
		}),
	}
	if config.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(config.CredentialsFile))
	}
	if config.RootCAs != nil {
		options = append(options, nats.Secure(&tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12}))
	}
	conn, err := nats.Connect(config.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %s", withoutURL(err, config.URL))
	}
	js, err := conn.JetStream()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	publisher, err := watermillnats.NewPublisherWithNatsConn(conn, watermillnats.PublisherPublishConfig{
		Marshaler: natsMarshaler{config.Format}, SubjectCalculator: watermillnats.DefaultSubjectCalculator,
		JetStream: watermillnats.JetStreamConfig{PublishOptions: []nats.PubOpt{nats.ExpectStream(config.Stream)}},
	}, watermill.NewSlogLogger(logger))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("make a publisher to NATS: %w", err)
	}
	return &NATS{stream: config.Stream, conn: conn, js: js, publisher: publisher}, nil
}

func withoutURL(err error, url string) string {
	text := err.Error()
	for server := range strings.SplitSeq(url, ",") {
		text = strings.ReplaceAll(text, strings.TrimSpace(server), "the given URL")
	}
	return text
}

// Publish returns when the stream has stored the messages.
func (n *NATS) Publish(topic string, messages ...*message.Message) error {
	if !n.conn.IsConnected() {
		return fmt.Errorf("there is no connection to NATS: %w", errors.Join(n.conn.LastError()))
	}
	if err := n.ensureStream(topic); err != nil {
		return err
	}
	err := n.publisher.Publish(topic, messages...)
	if errors.Is(err, nats.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		n.mu.Lock()
		n.exists = false // it was deleted, or the server lost it
		n.mu.Unlock()
	}
	return err
}

func (n *NATS) ensureStream(topic string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.exists {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := n.js.StreamInfo(n.stream, nats.Context(ctx))
	if errors.Is(err, nats.ErrStreamNotFound) {
		_, err = n.js.AddStream(&nats.StreamConfig{
			Name: n.stream, Subjects: []string{topic + ".>"}, Storage: nats.FileStorage, Duplicates: deduplicate,
			Description: "Events of Hooktrail",
		}, nats.Context(ctx))
	}
	if err != nil {
		return fmt.Errorf("find or make the JetStream stream %s: %w", n.stream, err)
	}
	n.exists = true
	return nil
}

// Close ends the connection.
func (n *NATS) Close() error { return n.publisher.Close() }

// streamMaxMessage is the server's code for a message larger than its stream allows.
const streamMaxMessage nats.ErrorCode = 10054

// RefusedByNATS tells whether the error of a publication would be the same at every further attempt.
func RefusedByNATS(err error) bool {
	var answer *nats.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &answer) && answer.ErrorCode == streamMaxMessage
}

type natsMarshaler struct{ format Format }

func (n natsMarshaler) Marshal(topic string, m *message.Message) (*nats.Msg, error) {
	out := nats.NewMsg(topic + "." + m.Metadata.Get(eventstore.MetadataWorkspace) + "." + m.Metadata.Get(eventstore.MetadataType))
	out.Header.Set(nats.MsgIdHdr, m.UUID)
	if n.format != Binary {
		out.Data = m.Payload
		out.Header[contentType] = []string{structuredType} // Set would change the letters
		return out, nil
	}
	attributes, data, err := split(m.Payload)
	if err != nil {
		return nil, err
	}
	for _, a := range attributes {
		out.Header["ce-"+a.name] = []string{percentEncode(a.value)}
	}
	out.Data = data
	return out, nil
}

// percentEncode writes a header's value as the binding of CloudEvents to NATS wants it.
func percentEncode(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
