package e2e_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"hooktrail/internal/kafkatest"
	"hooktrail/internal/pgtest"
)

// published is an event as a broker has it.
type published struct {
	ID, Subject, Sequence string
	partition             int32
}

// stoppable is a broker that keeps what it has while it is stopped.
type stoppable interface {
	name() string
	settings() environment
	start()
	stop()
	// received gives all that it has, in its order.
	received() []published
}

// TestNATS checks that JetStream gets every event once, in the order of the log, over the ends of
// both sides; but for one that it refuses, which is recorded.
func TestNATS(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		broker := &natsBroker{t: t, dir: t.TempDir(), port: -1}
		broker.start()
		t.Cleanup(broker.stop)
		service := s.serve(t, quickTakeover.with(broker.settings()))
		refused := service.newAgent(`{"name": "` + strings.Repeat("n", 90) + `", "description": "` + strings.Repeat("large", 1800) + `"}`)
		eventually(t, func() bool { return service.metric("hooktrail_dead_letters") == 1 }, "the large event is no dead letter")
		require.Contains(t, service.logged("refused an event for good"), `"level":"ERROR"`)

		service = throughOutages(t, s, service, broker, true)
		var want []string
		for _, e := range loggedEvents(service) {
			if e.Stream != "agent-"+refused.ID {
				want = append(want, e.ID)
			}
		}
		got := broker.received()
		require.Len(t, got, len(want))
		for i, id := range want {
			require.Equal(t, id, got[i].ID, "message %d", i)
		}
		service.stop()
	})
}

// TestKafka checks that Kafka gets every event, and those of a stream in order, over the ends of both
// sides.
func TestKafka(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	kafka, err := kafkatest.Start(ctx)
	require.NoError(t, err)
	broker := &kafkaBroker{t: t, Server: kafka}
	t.Cleanup(func() { require.NoError(t, kafka.Stop()) })
	s := postgresStore(pgtest.Database(t))
	service := throughOutages(t, s, s.serve(t, quickTakeover.with(broker.settings())), broker, false)

	logged := map[string]loggedEvent{}
	for _, e := range loggedEvents(service) {
		logged[e.ID] = e
	}
	got := broker.received()
	seen, last, partitions := map[string]bool{}, map[string]int64{}, map[string]int32{}
	for _, p := range got {
		e, known := logged[p.ID]
		require.True(t, known, "Kafka has an event %s that the log has not", p.ID)
		require.Equal(t, e.Stream, p.Subject)
		if seen[p.ID] {
			continue
		}
		seen[p.ID] = true
		require.Greater(t, e.Position, last[e.Stream], "an event of %s came behind a later one", e.Stream)
		last[e.Stream] = e.Position
		if partition, there := partitions[e.Stream]; there {
			require.Equal(t, partition, p.partition, "a stream is in two partitions")
		}
		partitions[e.Stream] = p.partition
	}
	require.Len(t, seen, len(logged), "events are missing")
	t.Logf("%d events, %d of them again", len(seen), len(got)-len(seen))
	service.stop()
}

// throughOutages has calls made while the broker and the service end and start again, until the broker
// has all events. awayAtStart lets the service start while the broker is away, too.
func throughOutages(t *testing.T, s *store, service *service, b stoppable, awayAtStart bool) *service {
	t.Helper()
	const calls = 60
	token := service.echoTrigger().Token
	more := func() {
		t.Helper()
		for range calls {
			service.accepted(token, `{}`)
		}
	}
	again := func() {
		t.Helper()
		service.kill()
		service = s.serve(t, quickTakeover.with(b.settings()))
	}
	failing := func(figure float64) {
		t.Helper()
		eventually(t, func() bool { return service.metric("hooktrail_"+b.name()+"_failing") == figure }, "the metric of failing is not %v", figure)
		text := "the broker takes events again"
		if figure == 1 {
			text = "the broker does not take events"
		}
		require.Len(t, strings.Split(strings.TrimSpace(service.logged(text)), "\n"), 1, "a change is told once")
	}
	allPublished := func() {
		t.Helper()
		service.awaitIdle()
		eventually(t, func() bool { return service.metric("hooktrail_"+b.name()+"_waiting") == 0 }, "not all events are published")
	}

	more()
	allPublished()
	more()
	b.stop()
	more()
	failing(1)
	require.Equal(t, http.StatusOK, service.send(http.MethodGet, "/readyz", "").status)
	b.start()
	failing(0)
	more()
	again()
	more()
	allPublished()
	if awayAtStart {
		b.stop()
		again()
		more()
		failing(1)
		b.start()
		failing(0)
		allPublished()
	}
	require.NotContains(t, service.stderr.String(), "secret-of")
	return service
}

type loggedEvent struct {
	ID, Stream, Type string
	Position         int64
}

func loggedEvents(s *service) []loggedEvent {
	return all[loggedEvent](&s.client, "/api/v1/events?after=0")
}

func readCloudEvent(t testing.TB, body []byte) published {
	var p published
	require.NoError(t, json.Unmarshal(body, &p))
	return p
}

// natsBroker is a NATS server with JetStream in the process of the test.
type natsBroker struct {
	t      testing.TB
	dir    string
	port   int
	server *server.Server
}

func (*natsBroker) name() string { return "nats" }

func (b *natsBroker) settings() environment {
	return environment{"HOOKTRAIL_NATS_URL": "nats://hooktrail:secret-of-nats@127.0.0.1:" + strconv.Itoa(b.port)}
}

func (b *natsBroker) start() {
	var err error
	b.server, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: b.port, Username: "hooktrail", Password: "secret-of-nats",
		JetStream: true, StoreDir: b.dir, MaxPayload: 4096, NoSigs: true, NoLog: true,
	})
	require.NoError(b.t, err)
	b.server.Start()
	require.True(b.t, b.server.ReadyForConnections(patience))
	b.port = b.server.Addr().(*net.TCPAddr).Port
}

func (b *natsBroker) stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

func (b *natsBroker) received() []published {
	conn, err := nats.Connect(b.settings()["HOOKTRAIL_NATS_URL"])
	require.NoError(b.t, err)
	defer conn.Close()
	js, err := conn.JetStream()
	require.NoError(b.t, err)
	stream, err := js.StreamInfo("hooktrail")
	require.NoError(b.t, err)
	events, err := js.SubscribeSync("hooktrail.events.>", nats.OrderedConsumer())
	require.NoError(b.t, err)
	all := make([]published, stream.State.Msgs)
	for i := range all {
		m, err := events.NextMsg(patience)
		require.NoError(b.t, err)
		all[i] = readCloudEvent(b.t, m.Data)
		require.Equal(b.t, all[i].ID, m.Header.Get(nats.MsgIdHdr))
	}
	return all
}

// kafkaBroker is a Kafka in a process of its own.
type kafkaBroker struct {
	*kafkatest.Server

	t testing.TB
}

func (*kafkaBroker) name() string { return "kafka" }

func (b *kafkaBroker) settings() environment {
	return environment{"HOOKTRAIL_KAFKA_BROKERS": b.Address()}
}

func (b *kafkaBroker) start() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(b.t, b.Restart(ctx))
}

func (b *kafkaBroker) stop() { b.Kill9() }

func (b *kafkaBroker) received() []published {
	config := sarama.NewConfig()
	config.Version = sarama.V2_4_0_0
	client, err := sarama.NewClient([]string{b.Address()}, config)
	require.NoError(b.t, err)
	defer func() { _ = client.Close() }()
	consumer, err := sarama.NewConsumerFromClient(client)
	require.NoError(b.t, err)
	partitions, err := client.Partitions("hooktrail.events")
	require.NoError(b.t, err)
	require.Len(b.t, partitions, 3)
	var all []published
	for _, partition := range partitions {
		end, err := client.GetOffset("hooktrail.events", partition, sarama.OffsetNewest)
		require.NoError(b.t, err)
		if end == 0 {
			continue
		}
		messages, err := consumer.ConsumePartition("hooktrail.events", partition, sarama.OffsetOldest)
		require.NoError(b.t, err)
		for m := range messages.Messages() {
			p := readCloudEvent(b.t, m.Value)
			p.partition = partition
			require.Equal(b.t, p.Subject, string(m.Key))
			all = append(all, p)
			if m.Offset == end-1 {
				break
			}
		}
		require.NoError(b.t, messages.Close())
	}
	return all
}
