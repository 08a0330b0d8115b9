package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"hooktrail/internal/pgtest"
)

// host is where the beds of one store are made: a database server or a directory. The bare
// handler runs beside them all the time.
type host struct {
	settings settings
	store    string
	dir      string
	bare     *process
	server   *pgtest.Server // nil for the embedded store and for a server that was given
	url      string         // of a database from which others can be created, "" for the embedded store
}

func newHost(ctx context.Context, s settings, store, dir string) (*host, error) {
	h := &host{settings: s, store: store, dir: filepath.Join(dir, store)}
	var err error
	switch store {
	case "postgres":
		err = h.openPostgres(ctx)
	case "sqlite":
	default:
		err = fmt.Errorf("there is no store %q", store)
	}
	if err == nil {
		h.bare, err = launchBare(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *host) close() error {
	if h.bare != nil {
		h.bare.stop()
	}
	if h.server != nil {
		return h.server.Stop()
	}
	return nil
}

// databasePID is the process of the private server, 0 where there is none to look at.
func (h *host) databasePID() int {
	if h.server == nil {
		return 0
	}
	return h.server.PID()
}

// openPostgres starts a private server with fsync on, and says how it is set.
func (h *host) openPostgres(ctx context.Context) error {
	h.url = h.settings.postgres
	if h.url == "" {
		server, err := pgtest.Start(ctx, pgtest.Options{Durable: true})
		if err != nil {
			return err
		}
		h.server, h.url = server, server.DSN("postgres")
		if err := h.loadStatementCounts(ctx); err != nil {
			return err
		}
		if err := h.onServer(ctx, func(conn *pgx.Conn) error { return fillSegments(ctx, conn) }); err != nil {
			return err
		}
	}
	return h.onServer(ctx, func(conn *pgx.Conn) error {
		values := make([]string, 0, 5)
		for _, name := range []string{"server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size"} {
			var value string
			if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
				return err
			}
			values = append(values, name+" "+value)
		}
		fmt.Printf("PostgreSQL: %s\n", strings.Join(values, ", "))
		return nil
	})
}

// logSegments is how many segments of its write-ahead log, 16 MiB each, PostgreSQL keeps for use
// again with max_wal_size at its default of 1 GB.
const logSegments = 60

// fillSegments goes once around the write-ahead log, as a database does in its first minutes. A
// new segment is first written full of zeros, during which all commits wait for tens of
// milliseconds; one that has been used is used again as it is.
func fillSegments(ctx context.Context, conn *pgx.Conn) error {
	for range logSegments {
		for _, statement := range []string{"SELECT pg_logical_emit_message(true, 'bench', 'a segment')", "SELECT pg_switch_wal()"} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
	}
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	fmt.Printf("PostgreSQL has gone once around its write-ahead log\n")
	return nil
}

// onServer does something on a connection of its own.
func (h *host) onServer(ctx context.Context, do func(conn *pgx.Conn) error) error {
	return onDatabase(ctx, h.url, do)
}

func onDatabase(ctx context.Context, url string, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return do(conn)
}

// database makes an empty database on the PostgreSQL server.
func (h *host) database(ctx context.Context, name string) (address string, drop func() error, err error) {
	name = "hooktrail_bench_" + name
	parsed, err := url.Parse(h.url)
	if err != nil {
		return "", nil, errors.New("the database URL cannot be read") // its text may hold a password
	}
	parsed.Path = "/" + name
	drop = func() error {
		return h.onServer(context.WithoutCancel(ctx), func(conn *pgx.Conn) error {
			_, err := conn.Exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
			return err
		})
	}
	if err := drop(); err != nil {
		return "", nil, err
	}
	return parsed.String(), drop, h.onServer(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'")
		return err
	})
}

// bed starts a server on an empty database, without a rate limit.
func (h *host) bed(ctx context.Context, name string) (*bed, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	b := &bed{host: h, binary: h.settings.binary, profile: h.settings.profile, dir: filepath.Join(h.dir, name)}
	b.drop = func() error { return os.RemoveAll(b.dir) }
	b.environment = []string{
		"HOOKTRAIL_ADDR=" + addr, "HOOKTRAIL_API_KEY=" + benchKey, "HOOKTRAIL_RATE_LIMIT=0", "HOOKTRAIL_LOG_LEVEL=error",
		"HOOKTRAIL_DATA_DIR=" + b.dir, "HOOKTRAIL_WORKER_CONCURRENCY=256",
	}
	if b.profile != "" {
		if b.pprof, err = freeAddr(); err != nil {
			return nil, err
		}
		b.environment = append(b.environment, "HOOKTRAIL_PPROF_ADDR="+b.pprof)
	}
	if h.url != "" {
		if b.url, b.drop, err = h.database(ctx, name); err != nil {
			return nil, err
		}
		master := make([]byte, 32)
		if _, err := rand.Read(master); err != nil {
			return nil, err
		}
		b.environment = append(b.environment, "HOOKTRAIL_DATABASE_URL="+b.url, "HOOKTRAIL_MASTER_KEY="+base64.StdEncoding.EncodeToString(master))
	}
	if err := b.start(ctx); err != nil {
		b.remove()
		return nil, err
	}
	return b, nil
}

// What a run leaves on the disk at its fullest, for each event of the large log with its
// share of executions in two generations, and for each second of calls at full load.
const (
	bytesAnEvent     = 1200
	bytesASoakSecond = 40 << 20
	bytesBesides     = 4 << 30
)

// enoughDisk refuses a run that would fill the disk.
func enoughDisk(dir string, s settings) error {
	need := int64(bytesBesides)
	if s.soak > 0 {
		need += int64(s.soak.Seconds() * bytesASoakSecond)
	} else {
		need += int64(s.events) * bytesAnEvent
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return err
	}
	free := int64(disk.Bavail) * disk.Bsize
	if free < need {
		return fmt.Errorf("this run may need %d GiB in %s, where %d GiB are free: set TMPDIR, or ask for less by -events or -soak", need>>30, os.TempDir(), free>>30)
	}
	return nil
}
