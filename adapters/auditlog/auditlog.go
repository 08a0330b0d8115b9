package auditlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"hooktrail/adapters/database"
	"hooktrail/domain/trail"
)

const (
	// batch is how many events one turn takes: a transaction of less than 200 KiB.
	batch = 16 * trail.BlockWidth
	// keptCheckpoints is how many checkpoints stay in the database; then every second one of the
	// older half goes, so that the oldest are the farthest apart.
	keptCheckpoints = 10_000
	stopTimeout     = 5 * time.Second
)

// Config says how the tree follows the log.
type Config struct {
	Signer *trail.Signer
	// Look is how often the log is looked at; default 1 s.
	Look time.Duration
	// Every is the least time between two checkpoints; default 10 s.
	Every time.Duration
	// File gets every checkpoint too; nil is none.
	File   *File
	Logger *slog.Logger
	Now    func() time.Time
}

// Builder follows the log. Several may run on one database: what they write is the same.
type Builder struct {
	db      *database.DB
	config  Config
	broken  atomic.Bool
	last    string // error that was logged
	written uint64 // size of the last checkpoint in the file
	signed  uint64 // size of the latest checkpoint that is known here
}

// New makes a builder.
func New(db *database.DB, config Config) *Builder {
	if config.Look == 0 {
		config.Look = time.Second
	}
	if config.Every == 0 {
		config.Every = 10 * time.Second
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Builder{db: db, config: config}
}

// ErrInconsistent says that the log, the stored hashes and the checkpoints do not agree.
var ErrInconsistent = errors.New("the log is not what was signed")

// Broken reports whether the trail was found inconsistent.
func (b *Builder) Broken() bool { return b.broken.Load() }

// Run follows the log until ctx ends, and covers then what has come up to there.
func (b *Builder) Run(ctx context.Context) {
	for {
		err := b.follow(ctx, b.config.Every)
		if ctx.Err() != nil {
			break
		}
		b.report(err)
		pause := time.NewTimer(b.config.Look)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		if ctx.Err() != nil {
			break
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	b.report(b.follow(ending, 0))
}

// follow takes what is new, and signs it when a checkpoint is due.
func (b *Builder) follow(ctx context.Context, every time.Duration) error {
	size, err := b.catchUp(ctx)
	if err != nil {
		return err
	}
	if size > b.signed {
		if b.signed, err = b.Checkpoint(ctx, every); err != nil {
			return err
		}
	}
	return b.toFile(ctx)
}

// catchUp takes what is new in the log, part by part, and gives the size of the tree.
func (b *Builder) catchUp(ctx context.Context) (size uint64, err error) {
	for {
		size, added, err := b.Advance(ctx)
		if err != nil || added < batch {
			return size, err
		}
	}
}

// report logs an error once, as long as it stays the same.
func (b *Builder) report(err error) {
	var gap *gapError
	var unreadable *unreadableError
	inconsistent := errors.Is(err, ErrInconsistent) || errors.Is(err, trail.ErrDamaged) || errors.As(err, &gap) || errors.As(err, &unreadable)
	b.broken.Store(inconsistent)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == b.last {
		return
	}
	b.last = text
	switch {
	case inconsistent:
		b.config.Logger.Error("the audit trail does not go on; find the place with: hooktrail audit verify", "error", err)
	case err != nil:
		b.config.Logger.Warn("the audit trail cannot follow the log at the moment", "error", err)
	default:
		b.config.Logger.Info("the audit trail follows the log again")
	}
}

// Advance adds what is new in the log to the tree, up to a batch. It gives the size of the tree and
// how many events were added.
func (b *Builder) Advance(ctx context.Context) (size uint64, added int, err error) {
	stored := newBlocks(ctx, b.db)
	if size, err = stored.size(); err != nil {
		return 0, 0, err
	}
	leaves, problem := readLeaves(ctx, b.db, int64(size), int64(size)+batch, nil, nil)
	if len(leaves) == 0 {
		return size, 0, problem
	}
	tree, err := trail.Open(size, stored.get)
	if err != nil {
		return size, 0, err
	}
	var changed []trail.Block
	for _, leaf := range leaves {
		if err := tree.Add(leaf, func(block trail.Block) { changed = append(changed, block) }); err != nil {
			return size, 0, err
		}
	}
	changed = append(changed, tree.Growing()...)
	if err := b.db.Write(ctx, func(tx *database.Tx) error {
		WriteBlocks(tx, changed)
		return nil
	}); err != nil {
		return size, 0, fmt.Errorf("keep the hashes of events: %w", err)
	}
	return tree.Size(), len(leaves), problem
}

// Checkpoint signs the tree as it is, unless the latest checkpoint is of the same size or younger
// than every. Before, it holds the tree against that checkpoint: nothing is signed over hashes that
// were changed. It gives the size of the latest checkpoint, 0 when there is none.
func (b *Builder) Checkpoint(ctx context.Context, every time.Duration) (uint64, error) {
	last, found, err := Latest(ctx, b.db)
	if err != nil {
		return 0, err
	}
	now := b.config.Now()
	if age := now.Sub(last.MadeAt); found && age >= 0 && age < every {
		return last.Size, nil
	}
	stored := newBlocks(ctx, b.db)
	size, err := stored.size()
	if err != nil || size == 0 {
		return last.Size, err
	}
	if found {
		if err := b.agree(last, size, stored); err != nil || size == last.Size {
			return last.Size, err
		}
	}
	root, err := trail.Root(size, stored.get)
	if err != nil {
		return last.Size, err
	}
	checkpoint, err := b.config.Signer.Sign(size, root)
	if err != nil {
		return last.Size, err
	}
	if err := b.keep(ctx, checkpoint, now); err != nil {
		return last.Size, err
	}
	return size, nil
}

// agree holds the stored hashes against a checkpoint.
func (b *Builder) agree(last Stored, size uint64, stored *blocks) error {
	signed, err := b.config.Signer.Verifier().Open(last.Note)
	if err != nil {
		return fmt.Errorf("%w: the latest checkpoint: %w", ErrInconsistent, err)
	}
	if signed.Size != last.Size || size < signed.Size {
		return fmt.Errorf("%w: a checkpoint is of %d events, hashes are stored of %d", ErrInconsistent, signed.Size, size)
	}
	root, err := trail.Root(signed.Size, stored.get)
	if err != nil {
		return err
	}
	if !bytes.Equal(root, signed.Root) {
		return fmt.Errorf("%w: the checkpoint of %d events has another root than the stored hashes", ErrInconsistent, signed.Size)
	}
	return nil
}

func (b *Builder) keep(ctx context.Context, c trail.Checkpoint, now time.Time) error {
	err := b.db.Write(ctx, func(tx *database.Tx) error {
		tx.Exec("INSERT INTO audit_checkpoints (size, note, made_at) VALUES (?, ?, ?) ON CONFLICT (size) DO NOTHING", int64(c.Size), c.Note, database.Micros(now))
		count := 0
		tx.Query(func(scan database.Scan) error { return scan(&count) }, "SELECT count(*) FROM audit_checkpoints")
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		if count > keptCheckpoints {
			tx.Exec("DELETE FROM audit_checkpoints WHERE size IN (SELECT size FROM (SELECT size, row_number() OVER (ORDER BY size) AS place FROM audit_checkpoints) AS placed"+
				" WHERE place <= ? AND place % 2 = 0)", keptCheckpoints/2)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep a checkpoint: %w", err)
	}
	return nil
}

// Stored is a checkpoint of the database.
type Stored struct {
	Size   uint64
	Note   string
	MadeAt time.Time
}

type checkpointRow struct {
	Size   int64  `db:"size"`
	Note   string `db:"note"`
	MadeAt int64  `db:"made_at"`
}

// Latest gives the latest checkpoint of the database; false when there is none.
func Latest(ctx context.Context, db *database.DB) (Stored, bool, error) {
	var rows []checkpointRow
	if err := db.Select(ctx, &rows, "SELECT size, note, made_at FROM audit_checkpoints ORDER BY size DESC LIMIT 1"); err != nil {
		return Stored{}, false, fmt.Errorf("read the latest checkpoint: %w", err)
	}
	if len(rows) == 0 {
		return Stored{}, false, nil
	}
	return Stored{uint64(rows[0].Size), rows[0].Note, database.Time(rows[0].MadeAt)}, true, nil
}

// toFile adds the latest checkpoint to the file, whichever replica made it.
func (b *Builder) toFile(ctx context.Context) error {
	if b.config.File == nil || b.written >= b.signed {
		return nil
	}
	last, found, err := Latest(ctx, b.db)
	if err != nil || !found || last.Size <= b.written {
		return err
	}
	if err := b.config.File.Add(last.Note); err != nil {
		return err
	}
	b.written = last.Size
	return nil
}
