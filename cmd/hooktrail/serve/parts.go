package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"time"

	"go.uber.org/fx"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/backtests"
	"hooktrail/adapters/database"
	"hooktrail/adapters/deliveries"
	"hooktrail/adapters/evaluator"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/ratelimit"
	"hooktrail/adapters/readmodel"
	"hooktrail/adapters/rejectionlog"
	"hooktrail/adapters/retention"
	"hooktrail/adapters/runner"
	"hooktrail/adapters/schedules"
	"hooktrail/adapters/senders"
	"hooktrail/adapters/telemetry"
	"hooktrail/adapters/workqueue"
	"hooktrail/application"
	"hooktrail/domain/agent"
	"hooktrail/ports/httpapi"
)

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
		release, err := config.Lock()
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

// parts are what the application is made of.
type parts struct {
	fx.In

	Config     Config
	DB         *database.DB
	Store      *eventstore.Store
	Models     *readmodel.Models
	Queue      *workqueue.Queue
	Schedules  *schedules.Schedules
	Retention  *retention.Retention
	Deliveries *deliveries.Deliveries
	Backtests  *backtests.Backtests
	Sender     *runner.Sender
	Ring       *keyring.Ring
	Runners    application.AgentRunner
	Limiter    application.RateLimiter
	Rejections *rejectionlog.Log
	Evaluator  application.Evaluator
	Trail      *auditlog.Trail
	Wake       wakeUps
	Metrics    *telemetry.Metrics
	Listener   listener
	Logger     *slog.Logger
}

func newApplication(p parts) (*application.Application, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	workspace, err := workspaceOf(ctx, p.DB)
	if err != nil {
		return nil, err
	}
	return application.New(application.Config{
		WorkspaceID: workspace, PublicURL: p.Listener.url, DefaultRunner: p.Config.DefaultRunner,
		AllowCommandRunner: p.Config.AllowCommandRunner, RateLimit: p.Config.RateLimit, MaxBodyBytes: p.Config.MaxBodyBytes,
	}, application.Dependencies{
		Store: p.Store, Views: p.Models, Queue: p.Queue, Schedules: p.Schedules, Retention: p.Retention, Deliveries: p.Deliveries, Sender: p.Sender, Secrets: p.Ring,
		Backtests: p.Backtests,
		Runner:    p.Runners, Limiter: p.Limiter, Rejections: p.Rejections, Senders: senders.Of, Evaluator: p.Evaluator, Trail: p.Trail, Logger: p.Logger,
		Now: time.Now, NewID: newID, Random: rand.Reader, Jitter: mathrand.Float64,
		Observe: p.Metrics, Appended: p.Wake.appended, Due: p.Wake.due,
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
