package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/backtests"
	"hooktrail/adapters/database"
	"hooktrail/adapters/deliveries"
	"hooktrail/adapters/eventstore"
	"hooktrail/adapters/rejectionlog"
	"hooktrail/adapters/retention"
	"hooktrail/adapters/schedules"
	"hooktrail/adapters/telemetry"
	"hooktrail/adapters/workqueue"
	"hooktrail/application"
	"hooktrail/ports/httpapi"
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
			retention.New,
			newRateLimiter,
			newRejectionLog,
			auditlog.NewTrail,
			newRunners,
			newEvaluator,
			func(db *database.DB) *deliveries.Deliveries { return deliveries.New(db, time.Now) },
			backtests.New,
			newSender,
			newApplication,
			newHTTPServer,
		),
		fx.Invoke(
			keepTrail, // first, so that it stops last and covers what came up to the end
			func(lc fx.Lifecycle, rejections *rejectionlog.Log) { background(lc, rejections.Run) },
			listenForAppends,
			followLog,
			publish,
			sweep,
			work,
			fireSchedules,
			deliver,
			runBacktests,
			serveAside,
			func(lc fx.Lifecycle, stopper fx.Shutdowner, config Config, server *httpapi.Server, app *application.Application, listener listener, logger *slog.Logger) {
				serveHTTP(lc, stopper, config, server, app, listener, logger, started)
			},
		),
	)
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
