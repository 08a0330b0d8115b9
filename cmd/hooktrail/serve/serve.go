package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
	_ "time/tzdata" // schedules have time zones, also on machines that know none

	"github.com/ThreeDotsLabs/watermill"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/adapters/deliveries"
	"hooktrail/adapters/evaluator"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/ratelimit"
	"hooktrail/adapters/readmodel"
	"hooktrail/adapters/rejectionlog"
	"hooktrail/adapters/runner"
	"hooktrail/adapters/schedules"
	"hooktrail/adapters/senders"
	"hooktrail/adapters/telemetry"
	"hooktrail/adapters/workqueue"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/domain/trail"
	"hooktrail/ports/delivery"
	"hooktrail/ports/httpapi"
	"hooktrail/ports/messages"
	"hooktrail/ports/schedule"
	"hooktrail/ports/worker"
)

// Started is what a service that has started tells about itself.
type Started struct {
	// URL is where it listens, such as http://127.0.0.1:8080; "" for a worker only.
	URL string
	// NewAPIKey is the key that was made because there was none; it is not shown again.
	NewAPIKey string
}

// Version is set when the binary is built.
var Version = "dev"

// New makes the service. Reading from top to bottom: what is made from what, then what
// runs. Parts stop in the opposite order: first no more requests, last the database.
func New(config Config, logs *os.File, started func(Started)) *fx.App {
	if os.Getenv("GOGC") == "" {
		// The live heap is small, so that collecting it at every doubling takes an eighth of the
		// time under load; at this setting the process stays under 150 MiB.
		debug.SetGCPercent(250)
	}
	return fx.New(
		fx.Supply(config),
		fx.StopTimeout(config.ShutdownTimeout+10*time.Second),
		fx.StartTimeout(2*time.Minute),
		fx.WithLogger(func(logger *slog.Logger) fxevent.Logger {
			if !logger.Enabled(context.Background(), slog.LevelDebug) {
				return fxevent.NopLogger // a failed start is told by its error alone
			}
			quiet := &fxevent.SlogLogger{Logger: logger}
			quiet.UseLogLevel(slog.LevelDebug)
			return quiet
		}),
		fx.Provide(
			func() *slog.Logger {
				return telemetry.NewLogger(logs, config.format(logs), config.level())
			},
			func() *telemetry.Metrics { return telemetry.NewMetrics(Version) },
			newWakeUps,
			openListener,
			openDatabase,
			openKeyRing,
			newReadModels,
			newEventStore,
			func(db *database.DB, store *eventstore.Store) *workqueue.Queue {
				return workqueue.New(db, store, time.Now)
			},
			schedules.New,
			newRateLimiter,
			newRejectionLog,
			auditlog.NewTrail,
			newRunners,
			newEvaluator,
			func(db *database.DB) *deliveries.Deliveries { return deliveries.New(db, time.Now) },
			newSender,
			newApplication,
			newHTTPServer,
		),
		fx.Invoke(
			keepTrail, // first, so that it stops last and covers what came up to the end
			func(lc fx.Lifecycle, rejections *rejectionlog.Log) { background(lc, rejections.Run) },
			listenForAppends,
			followLog,
			sweep,
			work,
			fireSchedules,
			deliver,
			serveAside,
			func(lc fx.Lifecycle, stopper fx.Shutdowner, config Config, server *httpapi.Server, app *application.Application, listener listener, logger *slog.Logger) {
				serveHTTP(lc, stopper, config, server, app, listener, logger, started)
			},
		),
	)
}

// wakeUps wake those who wait for something new in the log, and among them the workers when
// there may be something to run.
type wakeUps struct{ appended, due *application.Broadcast }

func newWakeUps() wakeUps {
	return wakeUps{appended: application.NewBroadcast(), due: application.NewBroadcast()}
}

func (w wakeUps) send(due bool) {
	w.appended.Send()
	if due {
		w.due.Send()
	}
}

// listener is the main listener; nil in a process without the role api.
type listener struct {
	net.Listener
	url string
}

func openListener(lc fx.Lifecycle, config Config) (listener, error) {
	if !config.has(RoleAPI) {
		return listener{url: config.publicURL()}, nil
	}
	open, err := net.Listen("tcp", config.Addr)
	if err != nil {
		return listener{}, fmt.Errorf("HOOKTRAIL_ADDR: cannot listen on %s: %w", config.Addr, err)
	}
	lc.Append(fx.StopHook(func() {
		_ = open.Close() // it is closed already when requests were served
	}))
	if config.PublicURL == "" {
		// With port 0 only the listener knows the port.
		host, _, _ := net.SplitHostPort(config.Addr)
		_, port, _ := net.SplitHostPort(open.Addr().String())
		config.Addr = net.JoinHostPort(host, port)
	}
	return listener{Listener: open, url: config.publicURL()}, nil
}

func openDatabase(lc fx.Lifecycle, config Config, logger *slog.Logger) (*database.DB, error) {
	if config.Embedded() {
		release, err := config.lock()
		if err != nil {
			return nil, err
		}
		lc.Append(fx.StopHook(release))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := config.OpenDatabase(ctx)
	if err != nil {
		return nil, err
	}
	lc.Append(fx.StopHook(db.Close))
	steps, err := db.Migrate(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for _, step := range steps {
		logger.Info("migrated the database", "version", step.Version)
	}
	return db, nil
}

func openKeyRing(config Config, db *database.DB) (*keyring.Ring, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return config.OpenKeyRing(ctx, db)
}

func newReadModels(db *database.DB, listener listener) *readmodel.Models {
	return readmodel.New(db, listener.url)
}

func newEventStore(lc fx.Lifecycle, config Config, db *database.DB, models *readmodel.Models, wake wakeUps, metrics *telemetry.Metrics, logger *slog.Logger) *eventstore.Store {
	store := eventstore.New(db, models, eventstore.Config{
		Queue: config.QueueLength, Now: time.Now, Logger: logger, Appended: wake.send,
		Observe: func(b eventstore.Batch) { metrics.Committed(b.Appends, b.Events, b.Waiting, b.Took, b.Err != nil) },
	})
	lc.Append(fx.StopHook(store.Close))
	return store
}

func newRateLimiter(db *database.DB) application.RateLimiter {
	if db.Dialect.Name == database.Postgres {
		return ratelimit.NewPostgres(db.Read, time.Now)
	}
	return ratelimit.NewMemory(time.Now, ratelimit.DefaultMaxKeys)
}

func newRejectionLog(db *database.DB, logger *slog.Logger) *rejectionlog.Log {
	return rejectionlog.New(db, rejectionlog.Config{Logger: logger})
}

func newRunners(lc fx.Lifecycle, config Config) application.AgentRunner {
	outbound := runner.HTTPConfig{AllowPrivate: config.allowedPrivateAgents, UserAgent: "Hooktrail/" + Version}
	overHTTP, models, a2a := runner.NewHTTP(outbound), runner.NewOpenAI(outbound), runner.NewA2A(outbound)
	lc.Append(fx.StopHook(func() { overHTTP.Close(); models.Close(); a2a.Close() }))
	runners := runner.Set{agent.RunnerHTTP: overHTTP, agent.RunnerOpenAI: models, agent.RunnerA2A: a2a, agent.RunnerEcho: runner.Echo{}}
	if config.AllowCommandRunner {
		runners[agent.RunnerCommand] = runner.NewCommand(runner.CommandConfig{})
	}
	return runners
}

func newEvaluator(lc fx.Lifecycle, logger *slog.Logger) (application.Evaluator, error) {
	pool, err := evaluator.New(evaluator.Config{Logger: logger}, runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	lc.Append(fx.StopHook(pool.Close))
	return pool, nil
}

func newSender(lc fx.Lifecycle, config Config) *runner.Sender {
	sender := runner.NewSender(runner.HTTPConfig{AllowPrivate: config.allowedPrivateAgents, UserAgent: "Hooktrail/" + Version})
	lc.Append(fx.StopHook(sender.Close))
	return sender
}

// defaultWorkspace is the name of the setting that holds the default workspace's id.
const defaultWorkspace = "default_workspace"

// workspaceOf gives the id of the default workspace, which the first process makes.
func workspaceOf(ctx context.Context, db *database.DB) (string, error) {
	id, err := db.SettingOnce(ctx, defaultWorkspace, []byte(newID()))
	if err != nil {
		return "", fmt.Errorf("make the default workspace: %w", err)
	}
	return string(id), nil
}

func newApplication(config Config, db *database.DB, store *eventstore.Store, models *readmodel.Models, queue *workqueue.Queue, scheduled *schedules.Schedules, delivered *deliveries.Deliveries, sender *runner.Sender, ring *keyring.Ring, runners application.AgentRunner, limiter application.RateLimiter, rejections *rejectionlog.Log, evaluates application.Evaluator, proofs *auditlog.Trail, wake wakeUps, metrics *telemetry.Metrics, listener listener, logger *slog.Logger) (*application.Application, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	workspace, err := workspaceOf(ctx, db)
	if err != nil {
		return nil, err
	}
	return application.New(application.Config{
		WorkspaceID: workspace, PublicURL: listener.url, DefaultRunner: config.DefaultRunner,
		AllowCommandRunner: config.AllowCommandRunner, RateLimit: config.RateLimit, MaxBodyBytes: config.MaxBodyBytes,
	}, application.Dependencies{
		Store: store, Views: models, Queue: queue, Schedules: scheduled, Deliveries: delivered, Sender: sender, Secrets: ring,
		Runner: runners, Limiter: limiter, Rejections: rejections, Senders: senders.Of, Evaluator: evaluates, Trail: proofs, Logger: logger,
		Now: time.Now, NewID: newID, Random: rand.Reader, Jitter: mathrand.Float64,
		Observe: metrics, Appended: wake.appended, Due: wake.due,
	})
}

func newHTTPServer(config Config, app *application.Application, db *database.DB, metrics *telemetry.Metrics, logger *slog.Logger) *httpapi.Server {
	httpConfig := httpapi.Config{
		TrustedProxies: config.trustedProxies, NewID: newID, Observe: metrics.Request,
		Ready: func(ctx context.Context) error { return db.Read.PingContext(ctx) },
	}
	if config.MetricsAddr == "" {
		httpConfig.Metrics = metrics.Handler()
	}
	return httpapi.New(app, httpConfig, logger)
}

// background runs something from start to stop and waits for its end.
func background(lc fx.Lifecycle, run func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	lc.Append(fx.StartStopHook(
		func() { running.Go(func() { run(ctx) }) },
		func() { cancel(); running.Wait() },
	))
}

// listenForAppends wakes those who wait when another replica has appended.
func listenForAppends(lc fx.Lifecycle, db *database.DB, wake wakeUps) {
	background(lc, func(ctx context.Context) {
		db.Listen(ctx, database.AppendChannel, func(note string) { wake.send(note != database.NoteAppended) })
	})
}

// followLog runs what follows the log behind the answers.
func followLog(lc fx.Lifecycle, config Config, db *database.DB, wake wakeUps, metrics *telemetry.Metrics, logger *slog.Logger) error {
	if !config.has(RoleWorker) {
		return nil
	}
	statistics := readmodel.NewStatistics(db)
	subscriber, err := eventstore.Subscribe(db, eventstore.Subscription{
		Group: readmodel.StatisticsGroup, Where: readmodel.StatisticsEvents, Batch: 10_000, CountByStream: true, Linger: 200 * time.Millisecond,
		Wake: wake.appended.Next, Begin: statistics.Begin, Flush: statistics.Flush,
	}, watermill.NewSlogLogger(logger))
	if err != nil {
		return err
	}
	metrics.Register("hooktrail_executions_waiting", "Executions that wait for a worker or for their next attempt, counted up to 100,000.", func() float64 {
		return count(db, "SELECT count(*) FROM (SELECT 1 FROM execution_queue WHERE due_at IS NOT NULL LIMIT 100000) AS waiting")
	})
	metrics.Register("hooktrail_dead_letters", "Events that a consumer of the log has given up.", func() float64 {
		return count(db, "SELECT count(*) FROM dead_letters")
	})
	background(lc, func(ctx context.Context) {
		err := messages.Run(ctx, logger, eventstore.NewDeadLetters(db, time.Now), messages.Handler{
			Group: readmodel.StatisticsGroup, Subscriber: subscriber, Handle: messages.Count(statistics),
		})
		if err != nil && ctx.Err() == nil {
			logger.Error("the event log is not followed any more", "error", err)
		}
	})
	return nil
}

// count reads one figure; -1 when the database does not tell.
func count(db *database.DB, query string) float64 {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var figure float64
	if err := db.Get(ctx, &figure, query); err != nil {
		return -1
	}
	return figure
}

// keepTrail makes the log tamper-evident, behind it.
func keepTrail(lc fx.Lifecycle, config Config, db *database.DB, ring *keyring.Ring, metrics *telemetry.Metrics, logger *slog.Logger) error {
	if !config.has(RoleWorker) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	workspace, err := workspaceOf(ctx, db)
	if err != nil {
		return err
	}
	signer, err := auditlog.OpenSigner(ctx, db, ring, trail.Origin(workspace))
	if err != nil {
		return err
	}
	var file *auditlog.File
	if config.AuditFile != "" {
		if file, err = auditlog.OpenFile(config.AuditFile); err != nil {
			return fmt.Errorf("HOOKTRAIL_AUDIT_FILE: %w", err)
		}
		lc.Append(fx.StopHook(file.Close))
	}
	builder := auditlog.New(db, auditlog.Config{Signer: signer, File: file, Logger: logger, Now: time.Now})
	metrics.Register("hooktrail_audit_signed_position", "Position of the last event that a signed checkpoint covers.", func() float64 {
		return count(db, "SELECT coalesce(max(size), 0) FROM audit_checkpoints")
	})
	metrics.Register("hooktrail_audit_inconsistent", "1 while the log, the stored hashes and the last checkpoint do not agree, else 0.", func() float64 {
		if builder.Broken() {
			return 1
		}
		return 0
	})
	background(lc, builder.Run)
	return nil
}

// sweep deletes what has expired.
func sweep(lc fx.Lifecycle, config Config, store *eventstore.Store, limiter application.RateLimiter, rejections *rejectionlog.Log, logger *slog.Logger) {
	if !config.has(RoleWorker) {
		return
	}
	jobs := []schedule.Job{
		{Name: "delete expired idempotency keys", Every: time.Minute, Do: store.SweepKeys},
		{Name: "delete old rejections", Every: time.Hour, Do: rejections.Sweep},
	}
	if shared, ok := limiter.(*ratelimit.Postgres); ok {
		jobs = append(jobs, schedule.Job{Name: "delete past rate limit slots", Every: time.Minute, Do: func(ctx context.Context) error {
			_, err := shared.Sweep(ctx)
			return err
		}})
	}
	background(lc, func(ctx context.Context) { schedule.Run(ctx, logger, jobs...) })
}

// work runs executions.
func work(lc fx.Lifecycle, config Config, app *application.Application, queue *workqueue.Queue, logger *slog.Logger) {
	if !config.has(RoleWorker) {
		return
	}
	w := worker.New(app, worker.Config{
		ID: newID(), Concurrency: config.WorkerConcurrency, Lease: config.WorkerLease, Grace: config.ShutdownTimeout,
	}, logger)
	background(lc, func(ctx context.Context) {
		if config.Embedded() {
			// No other process works on this store: whoever has a lease is gone.
			if err := queue.RetireAll(ctx); err != nil {
				logger.Warn("leases of earlier workers could not be ended", "error", err)
			}
		}
		if err := w.Run(ctx); err != nil && ctx.Err() == nil {
			logger.Error("the worker stopped", "error", err)
		}
	})
}

// fireSchedules fires triggers at their times.
func fireSchedules(lc fx.Lifecycle, config Config, app *application.Application, logger *slog.Logger) {
	if config.has(RoleWorker) {
		background(lc, func(ctx context.Context) { schedule.Fire(ctx, logger, time.Now, app.FireSchedules) })
	}
}

// deliver tells subscriptions of events.
func deliver(lc fx.Lifecycle, config Config, app *application.Application, db *database.DB, delivered *deliveries.Deliveries, wake wakeUps, metrics *telemetry.Metrics, logger *slog.Logger) {
	if !config.has(RoleWorker) {
		return
	}
	metrics.Register("hooktrail_subscriptions_failing", "Active subscriptions with an event that failed and is tried again.", func() float64 {
		return count(db, "SELECT count(*) FROM subscription_deliveries d JOIN subscriptions s ON s.id = d.subscription_id WHERE s.active AND d.next_at IS NOT NULL")
	})
	metrics.Register("hooktrail_subscriptions_disabled", "Subscriptions that get no events, by request or because their receiver failed.", func() float64 {
		return count(db, "SELECT count(*) FROM subscriptions WHERE NOT active AND NOT deleted")
	})
	background(lc, func(ctx context.Context) {
		if config.Embedded() {
			// No other process works on this store: whoever has a lease is gone.
			if err := delivered.ReleaseAll(ctx); err != nil {
				logger.Warn("leases of earlier deliveries could not be ended", "error", err)
			}
		}
		delivery.Run(ctx, app, delivery.Config{Owner: newID(), Lease: config.WorkerLease, Wake: wake.appended.Next}, logger)
	})
}

// serveAside serves what operators look at on listeners of its own, if it has any.
func serveAside(lc fx.Lifecycle, config Config, metrics *telemetry.Metrics, logger *slog.Logger) error {
	if config.MetricsAddr != "" {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", metrics.Handler())
		if err := aside(lc, "HOOKTRAIL_METRICS_ADDR", config.MetricsAddr, mux, logger); err != nil {
			return err
		}
	}
	if config.PprofAddr == "" {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return aside(lc, "HOOKTRAIL_PPROF_ADDR", config.PprofAddr, mux, logger)
}

func aside(lc fx.Lifecycle, setting, addr string, handler http.Handler, logger *slog.Logger) error {
	open, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%s: cannot listen on %s: %w", setting, addr, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	background(lc, func(context.Context) {
		if err := server.Serve(open); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("a listener does not serve any more", "setting", setting, "error", err)
		}
	})
	lc.Append(fx.StopHook(server.Close)) // hooks stop in the opposite order: close, then wait
	return nil
}

// serveHTTP makes sure that there is a first key, and then takes requests.
func serveHTTP(lc fx.Lifecycle, stopper fx.Shutdowner, config Config, server *httpapi.Server, app *application.Application, listener listener, logger *slog.Logger, started func(Started)) {
	var serving sync.WaitGroup
	lc.Append(fx.Hook{
		OnStart: func(ctx context.Context) error {
			made, err := app.EnsureAPIKey(ctx, config.APIKey)
			if err != nil {
				return err
			}
			if config.has(RoleAPI) {
				serving.Go(func() {
					if err := server.Serve(listener); err != nil && !errors.Is(err, net.ErrClosed) {
						logger.Error("requests are not served any more", "error", err)
						_ = stopper.Shutdown(fx.ExitCode(1))
					}
				})
			}
			s := Started{NewAPIKey: made}
			if config.has(RoleAPI) {
				s.URL = listener.url
			}
			started(s)
			return nil
		},
		OnStop: func(ctx context.Context) error {
			err := server.Shutdown(ctx)
			if config.has(RoleAPI) {
				// A server told to stop before it began to serve would begin still, and not end.
				_ = listener.Close()
			}
			serving.Wait()
			return err
		},
	})
}

// Announce tells on a terminal that the service has started.
func Announce(out io.Writer, s Started) {
	if s.URL == "" {
		fmt.Fprintf(out, "Hooktrail %s works on executions and serves no requests\n", Version)
	} else {
		fmt.Fprintf(out, "Hooktrail %s serves at %s (API reference: %s/docs)\n", Version, s.URL, s.URL)
	}
	if s.NewAPIKey != "" {
		fmt.Fprintf(out, "\nThe first API key, shown only now:\n  %s\n\n", s.NewAPIKey)
	}
}
