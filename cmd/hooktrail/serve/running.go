package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
	_ "time/tzdata" // schedules have time zones, also on machines that know none

	"github.com/ThreeDotsLabs/watermill"
	"go.uber.org/fx"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/backtests"
	"hooktrail/adapters/database"
	"hooktrail/adapters/deliveries"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/keyring"
	"hooktrail/adapters/ratelimit"
	"hooktrail/adapters/readmodel"
	"hooktrail/adapters/rejectionlog"
	"hooktrail/adapters/telemetry"
	"hooktrail/adapters/workqueue"
	"hooktrail/application"
	"hooktrail/domain/trail"
	"hooktrail/ports/backtest"
	"hooktrail/ports/delivery"
	"hooktrail/ports/messages"
	"hooktrail/ports/schedule"
	"hooktrail/ports/worker"
)

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
	if config.Embedded() {
		// No other process works on this store: whoever has a lease is gone.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := eventstore.ReleaseGroups(ctx, db); err != nil {
			return err
		}
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

// sweep deletes and erases what has expired.
func sweep(lc fx.Lifecycle, config Config, app *application.Application, store *eventstore.Store, limiter application.RateLimiter, rejections *rejectionlog.Log, logger *slog.Logger) {
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
	if age := config.PayloadRetention; age > 0 {
		jobs = append(jobs, schedule.Job{
			Name: "erase payloads past their retention", Every: max(time.Second, min(age/10, time.Hour)),
			Do: func(ctx context.Context) error { return app.EraseExpired(ctx, age) },
		})
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

// backtestsAtOnce is how many backtests a process works on at one time.
const backtestsAtOnce = 2

// runBacktests makes the shadow runs of backtests.
func runBacktests(lc fx.Lifecycle, config Config, app *application.Application, kept *backtests.Backtests, logger *slog.Logger) {
	if !config.has(RoleWorker) {
		return
	}
	owners := make([]string, backtestsAtOnce)
	for i := range owners {
		owners[i] = newID()
	}
	background(lc, func(ctx context.Context) {
		if config.Embedded() {
			// No other process works on this store: whoever has a lease is gone.
			if err := kept.ReleaseAll(ctx); err != nil {
				logger.Warn("leases of earlier backtests could not be ended", "error", err)
			}
		}
		backtest.Run(ctx, app, backtest.Config{Owners: owners, Lease: config.WorkerLease}, logger)
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
