package serve

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"go.uber.org/fx"

	"hooktrail/adapters/broker"
	"hooktrail/adapters/database"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/telemetry"
	"hooktrail/ports/messages"
)

// Brokers is where events are published, beside the subscriptions.
type Brokers struct {
	NATSURL         string   `name:"nats-url" help:"nats://[user:password@]host:port (or tls://), several parted by commas, of the NATS JetStream that gets all events; empty is none." env:"HOOKTRAIL_NATS_URL" placeholder:"URL"`
	NATSCredentials string   `name:"nats-credentials" help:"Credentials file of the NATS user." env:"HOOKTRAIL_NATS_CREDENTIALS" placeholder:"FILE"`
	NATSStream      string   `name:"nats-stream" help:"JetStream stream; it is made if there is none." default:"hooktrail" env:"HOOKTRAIL_NATS_STREAM"`
	NATSSubject     string   `name:"nats-subject" help:"Beginning of the subjects; the workspace and the type of the event follow." default:"hooktrail.events" env:"HOOKTRAIL_NATS_SUBJECT"`
	KafkaBrokers    []string `help:"host:port of brokers of the Kafka cluster that gets all events, parted by commas; empty is none." env:"HOOKTRAIL_KAFKA_BROKERS" placeholder:"HOST:PORT"`
	KafkaTopic      string   `help:"Kafka topic; it is made if there is none." default:"hooktrail.events" env:"HOOKTRAIL_KAFKA_TOPIC"`
	KafkaTLS        bool     `help:"Speak TLS with Kafka." default:"false" env:"HOOKTRAIL_KAFKA_TLS"`
	KafkaUsername   string   `help:"User of SASL PLAIN; needs TLS." env:"HOOKTRAIL_KAFKA_USERNAME" placeholder:"NAME"`
	KafkaPassword   string   `help:"Password of the Kafka user." env:"HOOKTRAIL_KAFKA_PASSWORD" placeholder:"PASSWORD"`
	BrokerFormat    string   `help:"How CloudEvents are written for brokers: structured (all in the payload) or binary (attributes are headers)." default:"structured" enum:"structured,binary" env:"HOOKTRAIL_BROKER_FORMAT"`
	BrokerFrom      string   `help:"With which event a broker begins that is new: beginning (of the log) or now." default:"beginning" enum:"beginning,now" env:"HOOKTRAIL_BROKER_FROM"`
	BrokerCA        string   `name:"broker-ca" help:"File of the CA certificates (PEM) that the brokers' certificates are checked by; empty means the system's." env:"HOOKTRAIL_BROKER_CA" placeholder:"FILE"`
	brokerCAs       *x509.CertPool
}

var (
	kafkaTopicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
	natsStreamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	natsSubject    = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// Validate checks the settings of those brokers that are used. No message shows a URL or a password.
func (b *Brokers) Validate() error {
	var problems []error
	bad := func(name, problem string) { problems = append(problems, errors.New(name+" "+problem)) }
	if b.NATSURL != "" {
		for server := range strings.SplitSeq(b.NATSURL, ",") {
			u, err := url.Parse(strings.TrimSpace(server))
			if err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" {
				bad("HOOKTRAIL_NATS_URL", "must be nats://host:port or tls://host:port; several are parted by commas")
				break
			}
		}
		if b.NATSCredentials != "" {
			if file, err := os.Open(b.NATSCredentials); err != nil {
				bad("HOOKTRAIL_NATS_CREDENTIALS", "cannot be read: "+err.Error())
			} else {
				_ = file.Close()
			}
		}
		if !natsStreamName.MatchString(b.NATSStream) {
			bad("HOOKTRAIL_NATS_STREAM", "must be of letters, digits, - and _")
		}
		if !natsSubject.MatchString(b.NATSSubject) {
			bad("HOOKTRAIL_NATS_SUBJECT", "must be words of letters, digits, - and _, parted by dots")
		}
	}
	if len(b.KafkaBrokers) > 0 {
		for _, address := range b.KafkaBrokers {
			if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
				bad("HOOKTRAIL_KAFKA_BROKERS", "must be host:port; several are parted by commas")
				break
			}
		}
		if !kafkaTopicName.MatchString(b.KafkaTopic) {
			bad("HOOKTRAIL_KAFKA_TOPIC", "must be of up to 249 letters, digits, dots, - and _")
		}
		if b.KafkaUsername != "" && !b.KafkaTLS {
			bad("HOOKTRAIL_KAFKA_USERNAME", "needs HOOKTRAIL_KAFKA_TLS=true: the password would be sent in the clear")
		}
		if (b.KafkaUsername == "") != (b.KafkaPassword == "") {
			bad("HOOKTRAIL_KAFKA_PASSWORD", "goes with HOOKTRAIL_KAFKA_USERNAME: set both or none")
		}
	}
	var err error
	if b.brokerCAs, err = broker.ReadCAs(b.BrokerCA); err != nil {
		bad("HOOKTRAIL_BROKER_CA", err.Error())
	}
	return errors.Join(problems...)
}

// The consumer groups that have the brokers' places in the log.
const (
	natsGroup  = "nats"
	kafkaGroup = "kafka"
)

// publish sends all events to the brokers that are configured; without any it makes nothing.
func publish(lc fx.Lifecycle, config Config, db *database.DB, wake wakeUps, metrics *telemetry.Metrics, logger *slog.Logger) error {
	if !config.has(RoleWorker) {
		return nil
	}
	format := broker.Format(config.BrokerFormat)
	if config.NATSURL != "" {
		publisher, err := broker.NewNATS(broker.NATSConfig{
			URL: config.NATSURL, CredentialsFile: config.NATSCredentials, RootCAs: config.brokerCAs,
			Stream: config.NATSStream, Format: format, Logger: logger,
		})
		if err != nil {
			return fmt.Errorf("HOOKTRAIL_NATS_URL: %w", err)
		}
		lc.Append(fx.StopHook(publisher.Close))
		relay := &messages.Relay{Broker: natsGroup, Topic: config.NATSSubject, Publisher: publisher, Refused: broker.RefusedByNATS, Logger: logger}
		if err := follow(lc, config, db, wake, metrics, logger, relay); err != nil {
			return err
		}
	}
	if len(config.KafkaBrokers) > 0 {
		publisher, err := broker.NewKafka(broker.KafkaConfig{
			Brokers: config.KafkaBrokers, TLS: config.KafkaTLS, RootCAs: config.brokerCAs,
			Username: config.KafkaUsername, Password: config.KafkaPassword, Format: format, Logger: logger,
		})
		if err != nil {
			return fmt.Errorf("HOOKTRAIL_KAFKA_BROKERS: %w", err)
		}
		lc.Append(fx.StopHook(publisher.Close))
		relay := &messages.Relay{Broker: kafkaGroup, Topic: config.KafkaTopic, Publisher: publisher, Refused: broker.RefusedByKafka, Logger: logger}
		return follow(lc, config, db, wake, metrics, logger, relay)
	}
	return nil
}

// follow has a relay follow the log as the consumer group of its broker's name.
func follow(lc fx.Lifecycle, config Config, db *database.DB, wake wakeUps, metrics *telemetry.Metrics, logger *slog.Logger, relay *messages.Relay) error {
	group := relay.Broker
	subscriber, err := eventstore.Subscribe(db, eventstore.Subscription{
		Group: group, Batch: 100, Lease: config.WorkerLease, Encode: broker.Encode, FromNow: config.BrokerFrom == "now", Wake: wake.appended.Next,
	}, watermill.NewSlogLogger(logger))
	if err != nil {
		return err
	}
	metrics.Register("hooktrail_"+group+"_waiting", "Events of the log that the broker has not confirmed, as far as the place of its consumer group is saved.", func() float64 {
		return count(db, "SELECT coalesce((SELECT max(position) FROM events), 0) - coalesce((SELECT position FROM consumer_offsets WHERE consumer_group = '"+group+"'), 0)")
	})
	metrics.Register("hooktrail_"+group+"_failing", "1 while this process repeats an event that the broker does not take, else 0.", func() float64 {
		if relay.Failing() {
			return 1
		}
		return 0
	})
	background(lc, func(ctx context.Context) {
		err := messages.Run(ctx, logger, eventstore.NewDeadLetters(db, time.Now), messages.Handler{
			Group: group, Subscriber: subscriber, Handle: relay.Handle, GiveUp: relay.Refused,
		})
		if err != nil && ctx.Err() == nil {
			logger.Error("events are not published any more", "broker", group, "error", err)
		}
	})
	return nil
}
