package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	watermillkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"hooktrail/adapters/eventstore"
)

// KafkaConfig says where and how Kafka gets events.
type KafkaConfig struct {
	// Brokers are host:port of some of the cluster's.
	Brokers []string
	TLS     bool
	// RootCAs are those that count for TLS; nil are the system's.
	RootCAs *x509.CertPool
	// Username and Password are those of SASL PLAIN; an empty name is none.
	Username, Password string
	Format             Format
	Logger             *slog.Logger
}

// Kafka publishes to a topic, which it makes with the cluster's defaults if there is none. Events of a
// stream are in one partition.
type Kafka struct {
	config KafkaConfig
	sarama *sarama.Config

	mu        sync.Mutex
	publisher *watermillkafka.Publisher
	failures  int
	closed    bool
}

// reconnectAfter is how many failures in a row a producer is given to recover by itself. While it
// lives, the cluster recognises its repetitions.
const reconnectAfter = 10

// NewKafka makes a publisher, which connects when it publishes first.
func NewKafka(config KafkaConfig) (*Kafka, error) {
	c := watermillkafka.DefaultSaramaSyncPublisherConfig()
	c.ClientID = "hooktrail"
	c.Version = sarama.V2_4_0_0 // from which on a topic can be made with the cluster's defaults
	c.Net.MaxOpenRequests = 1   // as Idempotent wants it
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = 5*time.Second, 10*time.Second, 10*time.Second
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff, c.Metadata.Timeout = 1, 250*time.Millisecond, 5*time.Second
	c.Producer.Idempotent, c.Producer.RequiredAcks = true, sarama.WaitForAll
	c.Producer.Retry.Max = 3
	c.Producer.Timeout = 5 * time.Second
	c.Producer.MaxMessageBytes = int(sarama.MaxRequestSize) - 1<<10 // the cluster decides
	c.Producer.Partitioner = sarama.NewHashPartitioner
	c.Net.TLS.Enable = config.TLS
	c.Net.TLS.Config = &tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12}
	if config.Username != "" {
		c.Net.SASL.Enable, c.Net.SASL.Mechanism = true, sarama.SASLTypePlaintext
		c.Net.SASL.User, c.Net.SASL.Password = config.Username, config.Password
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("set up the Kafka producer: %w", err)
	}
	return &Kafka{config: config, sarama: c}, nil
}

// Publish returns when all replicas in sync have the messages.
func (k *Kafka) Publish(topic string, messages ...*message.Message) error {
	publisher, err := k.connected(topic)
	if err != nil {
		return err
	}
	err = publisher.Publish(topic, messages...)
	return errors.Join(err, k.count(err))
}

func (k *Kafka) connected(topic string) (*watermillkafka.Publisher, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, errors.New("the publisher to Kafka is closed")
	}
	if k.publisher != nil {
		return k.publisher, nil
	}
	if err := k.ensureTopic(topic); err != nil {
		return nil, err
	}
	publisher, err := watermillkafka.NewPublisher(watermillkafka.PublisherConfig{
		Brokers: k.config.Brokers, Marshaler: kafkaMarshaler{k.config.Format}, OverwriteSaramaConfig: k.sarama,
	}, watermill.NewSlogLogger(k.config.Logger.With("broker", "kafka")))
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	k.publisher, k.failures = publisher, 0
	return publisher, nil
}

func (k *Kafka) ensureTopic(topic string) (err error) {
	admin, err := sarama.NewClusterAdmin(k.config.Brokers, k.sarama)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	found, err := admin.DescribeTopics([]string{topic})
	if err != nil {
		return fmt.Errorf("look for the Kafka topic %s: %w", topic, err)
	}
	if len(found) == 1 && !errors.Is(found[0].Err, sarama.ErrUnknownTopicOrPartition) {
		return nil
	}
	err = admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: -1, ReplicationFactor: -1}, false)
	if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return fmt.Errorf("make the Kafka topic %s: %w", topic, err)
	}
	return nil
}

// count drops a producer that does not recover.
func (k *Kafka) count(err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil || RefusedByKafka(err) {
		k.failures = 0
		return nil
	}
	k.failures++
	if k.failures < reconnectAfter || k.publisher == nil {
		return nil
	}
	dropped := k.publisher
	k.publisher = nil
	return dropped.Close()
}

// Close ends the connections.
func (k *Kafka) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.publisher == nil {
		return nil
	}
	return k.publisher.Close()
}

// RefusedByKafka tells whether the error of a publication would be the same at every further attempt.
func RefusedByKafka(err error) bool {
	var ours sarama.ConfigurationError // it is larger than any request may be
	return errors.Is(err, sarama.ErrMessageSizeTooLarge) || errors.Is(err, sarama.ErrInvalidRecord) || errors.As(err, &ours)
}

type kafkaMarshaler struct{ format Format }

func (k kafkaMarshaler) Marshal(topic string, m *message.Message) (*sarama.ProducerMessage, error) {
	micros, err := strconv.ParseInt(m.Metadata.Get(eventstore.MetadataTime), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("message without a time: %w", err)
	}
	out := &sarama.ProducerMessage{
		Topic: topic, Key: sarama.StringEncoder(m.Metadata.Get(eventstore.MetadataStream)), Value: sarama.ByteEncoder(m.Payload),
		Timestamp: time.UnixMicro(micros),
	}
	header := func(name, value string) {
		out.Headers = append(out.Headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	if k.format != Binary {
		header(contentType, structuredType)
		header("ce_id", m.UUID)
		return out, nil
	}
	attributes, data, err := split(m.Payload)
	if err != nil {
		return nil, err
	}
	out.Value = sarama.ByteEncoder(data)
	for _, a := range attributes {
		if a.name == "datacontenttype" {
			header(contentType, a.value)
		} else {
			header("ce_"+a.name, a.value)
		}
	}
	return out, nil
}
