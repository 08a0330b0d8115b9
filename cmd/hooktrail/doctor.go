package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hooktrail/adapters/database"
	"hooktrail/cmd/hooktrail/serve"
)

type doctorCommand struct{ serve.Config }

// Help is shown with --help.
func (*doctorCommand) Help() string {
	return "Takes the settings that serve takes, and changes nothing.\n\n" + example("hooktrail doctor --data-dir ./hooktrail-data")
}

// Run checks everything and ends with exit code 1 when something is wrong. It changes
// nothing.
func (c *doctorCommand) Run(out io.Writer) error {
	ctx, cancel := interruptible()
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	e := &examination{out: out}
	e.check("settings", "valid", c.Validate())
	if c.Embedded() {
		e.dataDir(c.DataDir)
	}
	if c.Embedded() && !c.StoreExists() {
		e.report("ok", "database", "does not exist yet; serve makes it")
		return e.verdict()
	}
	db, err := c.OpenDatabase(ctx)
	if err == nil {
		err = db.Read.PingContext(ctx)
	}
	e.check("database", "reachable: "+kind(&c.Storage), err)
	if err != nil {
		return e.verdict()
	}
	defer func() { _ = db.Close() }()
	e.database(ctx, db)
	if migrated(ctx, db) {
		err = c.MasterKeyMissing()
		if err == nil {
			_, err = c.OpenKeyRing(ctx, db)
		}
		e.check("key ring", "opens with the master key", err)
	}
	return e.verdict()
}

func kind(s *serve.Storage) string {
	if s.Embedded() {
		return "embedded SQLite"
	}
	return "PostgreSQL"
}

type examination struct {
	out  io.Writer
	sick bool
}

func (e *examination) report(mark, what, finding string) {
	fmt.Fprintf(e.out, "%-5s %-14s %s\n", mark, what, finding)
}

func (e *examination) check(what, healthy string, err error) {
	if err != nil {
		e.sick = true
		e.report("FAIL", what, err.Error())
		return
	}
	e.report("ok", what, healthy)
}

func (e *examination) verdict() error {
	if e.sick {
		return exitCode(1)
	}
	return nil
}

func (e *examination) dataDir(dir string) {
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		e.report("ok", "data directory", dir+" does not exist yet; serve makes it")
		return
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s can be read by others (mode %04o); run: chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	e.check("data directory", dir, err)
	var disk unix.Statfs_t
	if unix.Statfs(dir, &disk) == nil {
		free := disk.Bavail * uint64(disk.Bsize)
		err = nil
		if free < 256<<20 {
			err = fmt.Errorf("only %d MiB are free", free>>20)
		}
		e.check("disk", fmt.Sprintf("%d MiB free", free>>20), err)
	}
}

func (e *examination) database(ctx context.Context, db *database.DB) {
	steps, err := db.Migrations(ctx)
	pending := 0
	for _, step := range steps {
		if !step.Applied {
			pending++
		}
	}
	finding := "up to date"
	if pending > 0 {
		finding = fmt.Sprintf("%d steps behind; serve and migrate take them", pending)
	}
	e.check("schema", finding, err)
	var now int64
	err = db.Get(ctx, &now, "SELECT "+db.Dialect.Now)
	skew := time.Since(database.Time(now)).Abs().Round(time.Millisecond)
	if err == nil && skew > 2*time.Second {
		err = fmt.Errorf("the database's clock differs from this machine's by %s", skew)
	}
	e.check("clock", fmt.Sprintf("within %s of the database's", max(skew, time.Millisecond)), err)
	if db.Dialect.Name != database.Postgres {
		return
	}
	var version int
	err = db.Get(ctx, &version, "SELECT current_setting('server_version_num')::int")
	if err == nil && version < 140000 {
		err = fmt.Errorf("version %d is too old; 14 or newer is needed", version/10000)
	}
	e.check("version", fmt.Sprintf("PostgreSQL %d.%d", version/10000, version%10000), err)
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		err := db.Get(ctx, &value, "SELECT current_setting(?)", setting)
		if err == nil && value == "off" {
			err = errors.New("is off: calls that were answered can be lost in a crash")
		}
		e.check(setting, value, err)
	}
}

func migrated(ctx context.Context, db *database.DB) bool {
	_, err := db.Setting(ctx, "default_workspace")
	return err == nil
}
