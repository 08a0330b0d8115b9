package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/broker"
	"hooktrail/adapters/eventstore"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/kafkatest"
)

const patience = 30 * time.Second

var at = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// event makes the message that the subscriber to the log makes of an event.
func event(t *testing.T, id, data string) *message.Message {
	t.Helper()
	payload, err := broker.Encode(eventlog.Recorded{
		Position: 7, ID: id, WorkspaceID: "w1", Stream: "trigger-t1", Version: 3, Type: "trigger.renamed", Schema: 1, At: at,
		Meta: eventlog.Metadata{Actor: `api_key:"ä 100%"`, RequestID: "r1"}, Data: []byte(data),
	})
	require.NoError(t, err)
	m := message.NewMessage(id, payload)
	m.Metadata = message.Metadata{
		eventstore.MetadataWorkspace: "w1", eventstore.MetadataStream: "trigger-t1", eventstore.MetadataType: "trigger.renamed",
		eventstore.MetadataTime: strconv.FormatInt(at.UnixMicro(), 10), eventstore.MetadataPosition: "7",
	}
	return m
}

// attributes are those of event but for id, actor and the type of the data, as both brokers get them.
var attributes = map[string]string{
	"specversion": "1.0", "source": "/workspaces/w1/triggers/t1", "type": "trigger.renamed", "subject": "trigger-t1",
	"time": "2026-03-01T12:00:00.123456Z", "sequence": "7", "partitionkey": "trigger-t1", "streamversion": "3", "schemaversion": "1", "requestid": "r1",
}

func startNATS(t *testing.T, options server.Options) string {
	t.Helper()
	options.Host, options.Port, options.JetStream, options.StoreDir, options.NoSigs, options.NoLog = "127.0.0.1", -1, true, t.TempDir(), true, true
	s, err := server.NewServer(&options)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(patience))
	return s.Addr().String()
}

func publisher(t *testing.T, config broker.NATSConfig) *broker.NATS {
	t.Helper()
	config.Stream = "hooktrail"
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := broker.NewNATS(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// publish tries until a connection that is being made is there.
func publish(t *testing.T, p message.Publisher, topic string, m *message.Message) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { require.NoError(c, p.Publish(topic, m)) }, patience, 20*time.Millisecond)
}

func TestNATS(t *testing.T) {
	t.Parallel()
	address := startNATS(t, server.Options{MaxPayload: 2048})
	structured := publisher(t, broker.NATSConfig{URL: "nats://" + address, Format: broker.Structured})
	binary := publisher(t, broker.NATSConfig{URL: "nats://" + address, Format: broker.Binary})
	publish(t, structured, "a.b", event(t, "e1", `{"name": "x"}`))
	publish(t, structured, "a.b", event(t, "e1", `{"name": "x"}`))
	publish(t, binary, "a.b", event(t, "e2", `{"name": "x"}`))

	err := binary.Publish("a.b", event(t, "e3", `"`+strings.Repeat("x", 4096)+`"`))
	require.Error(t, err)
	require.True(t, broker.RefusedByNATS(err), err)

	conn, err := nats.Connect("nats://" + address)
	require.NoError(t, err)
	defer conn.Close()
	js, err := conn.JetStream()
	require.NoError(t, err)
	info, err := js.StreamInfo("hooktrail")
	require.NoError(t, err)
	require.Equal(t, []string{"a.b.>"}, info.Config.Subjects)
	require.EqualValues(t, 2, info.State.Msgs, "an event that was published twice is there once")

	first, err := js.GetMsg("hooktrail", 1)
	require.NoError(t, err)
	require.Equal(t, "a.b.w1.trigger.renamed", first.Subject)
	require.Equal(t, []string{"application/cloudevents+json; charset=UTF-8"}, first.Header["content-type"])
	require.JSONEq(t, string(event(t, "e1", `{"name": "x"}`).Payload), string(first.Data))

	second, err := js.GetMsg("hooktrail", 2)
	require.NoError(t, err)
	require.Equal(t, `{"name":"x"}`, compact(t, second.Data))
	require.Equal(t, "e2", second.Header.Get(nats.MsgIdHdr))
	got := map[string]string{}
	for name, values := range second.Header {
		if attribute, is := strings.CutPrefix(name, "ce-"); is {
			got[attribute] = values[0]
		}
	}
	require.Equal(t, with(attributes, "id", "e2", "actor", "api_key:%22%C3%A4%20100%25%22", "datacontenttype", "application/json"), got)

	// A stream that takes less than the server does.
	_, err = js.AddStream(&nats.StreamConfig{Name: "small", Subjects: []string{"c.>"}, MaxMsgSize: 512})
	require.NoError(t, err)
	small, err := broker.NewNATS(broker.NATSConfig{URL: "nats://" + address, Stream: "small", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, small.Close()) })
	publish(t, small, "c", event(t, "e4", `1`))
	err = small.Publish("c", event(t, "e5", `"`+strings.Repeat("x", 600)+`"`))
	require.True(t, broker.RefusedByNATS(err), err)

	require.NoError(t, js.DeleteStream("hooktrail"))
	publish(t, structured, "a.b", event(t, "e6", `1`)) // it makes the stream again
}

func TestNATSTellsNoPassword(t *testing.T) {
	t.Parallel()
	address := startNATS(t, server.Options{Username: "u", Password: "right"})
	var log bytes.Buffer
	p := publisher(t, broker.NATSConfig{URL: "nats://u:wrong-secret@" + address, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	err := p.Publish("a", event(t, "e1", `1`))
	require.ErrorContains(t, err, "connection to NATS")
	require.False(t, broker.RefusedByNATS(err), "the operator may put it right")
	_, unusable := broker.NewNATS(broker.NATSConfig{URL: "nats://u:wrong-secret@[::1", Logger: slog.New(slog.DiscardHandler)})
	require.Error(t, unusable)
	for _, text := range []string{err.Error(), unusable.Error(), log.String()} {
		require.NotContains(t, text, "wrong-secret")
	}
}

func TestKafka(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	kafka, err := kafkatest.Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kafka.Stop()) })
	for i, format := range []broker.Format{broker.Structured, broker.Binary} {
		p, err := broker.NewKafka(broker.KafkaConfig{Brokers: []string{kafka.Address()}, Format: format, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		publish(t, p, "topic", event(t, "e"+strconv.Itoa(i), `{"name": "x"}`))
		err = p.Publish("topic", event(t, "large", `"`+strings.Repeat("x", 2<<20)+`"`))
		require.True(t, broker.RefusedByKafka(err), err)
		require.NoError(t, p.Publish("topic", event(t, "again"+strconv.Itoa(i), `1`)), "a refusal does not hold up what follows")
		require.NoError(t, p.Close())
	}
	messages := consume(t, kafka.Address(), 4)

	structured := messages[0]
	require.Equal(t, "trigger-t1", string(structured.Key))
	require.Equal(t, at.UnixMilli(), structured.Timestamp.UnixMilli())
	require.Equal(t, map[string]string{"content-type": "application/cloudevents+json; charset=UTF-8", "ce_id": "e0"}, headers(structured))
	require.JSONEq(t, string(event(t, "e0", `{"name": "x"}`).Payload), string(structured.Value))

	binary := messages[2]
	require.Equal(t, `{"name":"x"}`, compact(t, binary.Value))
	want := map[string]string{"content-type": "application/json", "ce_id": "e1", "ce_actor": `api_key:"ä 100%"`}
	for name, value := range attributes {
		want["ce_"+name] = value
	}
	require.Equal(t, want, headers(binary))
}

func TestKafkaAway(t *testing.T) {
	t.Parallel()
	p, err := broker.NewKafka(broker.KafkaConfig{Brokers: []string{"127.0.0.1:1"}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err, "a service starts without its broker")
	err = p.Publish("topic", event(t, "e1", `1`))
	require.ErrorContains(t, err, "connect to Kafka")
	require.False(t, broker.RefusedByKafka(err))
	require.NoError(t, p.Close())
	require.Error(t, p.Publish("topic", event(t, "e1", `1`)))
}

// consume reads the first messages of the only partition that has any.
func consume(t *testing.T, address string, count int) []*sarama.ConsumerMessage {
	t.Helper()
	consumer, err := sarama.NewConsumer([]string{address}, nil)
	require.NoError(t, err)
	defer func() { _ = consumer.Close() }()
	all := make(chan *sarama.ConsumerMessage, 16)
	for partition := range int32(3) {
		messages, err := consumer.ConsumePartition("topic", partition, sarama.OffsetOldest)
		require.NoError(t, err)
		defer func() { _ = messages.Close() }()
		go func() {
			for m := range messages.Messages() {
				all <- m
			}
		}()
	}
	got := make([]*sarama.ConsumerMessage, count)
	for i := range got {
		select {
		case got[i] = <-all:
			require.Equal(t, got[0].Partition, got[i].Partition)
			require.EqualValues(t, i, got[i].Offset)
		case <-time.After(patience):
			require.FailNow(t, "a message is missing")
		}
	}
	return got
}

func headers(m *sarama.ConsumerMessage) map[string]string {
	all := map[string]string{}
	for _, h := range m.Headers {
		all[string(h.Key)] = string(h.Value)
	}
	return all
}

func with(all map[string]string, more ...string) map[string]string {
	grown := map[string]string{}
	for name, value := range all {
		grown[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		grown[more[i]] = more[i+1]
	}
	return grown
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, text))
	return b.String()
}
