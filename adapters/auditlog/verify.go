package auditlog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"hooktrail/adapters/database"
	"hooktrail/domain/trail"
)

// Given is a checkpoint that was kept outside the database.
type Given struct {
	From string // a file's name
	Note string
}

// Verification says what to verify a log against.
type Verification struct {
	// Keys are tried in turn; none means the key in the database.
	Keys  []*trail.Verifier
	Given []Given
	// Payloads that were not erased are to be held against their digests.
	Payloads bool
	// Progress is told how far it is; nil is nobody.
	Progress func(done, total uint64)
}

// Report is what Verify found.
type Report struct {
	Events      uint64 // that are in the log
	Hashed      uint64 // whose hash is stored
	Checkpoints int    // that agree
	Given       int    // of these, from outside the database
	Covered     uint64 // size of the largest of them
	Findings    []Finding
}

// Finding is something that is not as it was.
type Finding struct {
	// First and Last bound the positions of which one is the first bad one; both are the same
	// where it is known. 0 where no position is concerned.
	First, Last uint64
	Text        string
}

func (f Finding) String() string {
	switch {
	case f.First == 0:
		return f.Text
	case f.First == f.Last:
		return fmt.Sprintf("position %d: %s", f.First, f.Text)
	}
	return fmt.Sprintf("between position %d and %d: %s", f.First, f.Last, f.Text)
}

// partSize is how many events a reader takes at a time.
const partSize = 16 * trail.BlockWidth

// part is a part of the log, with what is stored of its hashes.
type part struct {
	leaves [][]byte
	stored map[uint64][]byte // by block of level 0
	forged []uint64          // positions whose payload is another one
	err    error
}

// Verify makes the tree anew from the events and holds it against the stored hashes and the
// checkpoints. An error means that it could not be done; what is wrong is in the report. The
// service may run meanwhile.
func Verify(ctx context.Context, db *database.DB, v Verification) (Report, error) {
	w := &verifying{db: db, payloads: v.Payloads, progress: v.Progress}
	keys := v.Keys
	if len(keys) == 0 {
		key, err := Verifier(ctx, db)
		if err != nil {
			return w.report, err
		}
		keys = []*trail.Verifier{key}
	}
	if err := w.checkpointsOf(ctx, keys, v.Given); err != nil {
		return w.report, err
	}
	// In this order: what is appended meanwhile must not look like hashes without events.
	stored := newBlocks(ctx, db)
	var err error
	if w.report.Hashed, err = stored.size(); errors.Is(err, trail.ErrDamaged) {
		w.find(Finding{Text: err.Error()})
	} else if err != nil {
		return w.report, err
	}
	var bounds struct {
		First int64 `db:"first"`
		Last  int64 `db:"last"`
	}
	if err := db.Get(ctx, &bounds, "SELECT coalesce((SELECT position FROM events ORDER BY position LIMIT 1), 1) AS first,"+
		" coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0) AS last"); err != nil {
		return w.report, fmt.Errorf("read the ends of the log: %w", err)
	}
	if bounds.First < 1 {
		w.find(Finding{Text: fmt.Sprintf("an event was put before the first one, at position %d", bounds.First)})
	}
	w.head = uint64(max(bounds.Last, 0))
	if err := w.events(ctx); err != nil {
		return w.report, err
	}
	return w.report, w.levels(stored)
}

// verifying is the state of one verification.
type verifying struct {
	db       *database.DB
	payloads bool
	forged   uint64 // how many payloads are other ones
	progress func(done, total uint64)
	report   Report
	head     uint64 // position of the last event
	pending  []claim
	tree     *trail.Tree
	filled   []trail.Block // above level 0
	agreed   uint64        // size of the last checkpoint that agreed
	differs  uint64        // first position whose stored hash is another one; 0 is none
	settled  bool          // whether it is known why
}

// claim is a checkpoint that is to be checked.
type claim struct {
	trail.Checkpoint

	from string
}

func (w *verifying) find(f Finding) { w.report.Findings = append(w.report.Findings, f) }

// shownPayloads bounds the findings about payloads, of which each stands for itself.
const shownPayloads = 20

func (w *verifying) foundForged(positions []uint64) {
	for _, position := range positions {
		if w.forged++; w.forged <= shownPayloads {
			w.find(Finding{position, position, "its payload is not the one that it was recorded with"})
		}
	}
}

// checkpointsOf opens all checkpoints, those from outside first, and orders them by size.
func (w *verifying) checkpointsOf(ctx context.Context, keys []*trail.Verifier, given []Given) error {
	open := func(note, from string) (trail.Checkpoint, bool) {
		var first error
		for _, key := range keys {
			opened, err := key.Open(note)
			if err == nil {
				return opened, true
			}
			if first == nil {
				first = err
			}
		}
		w.find(Finding{Text: fmt.Sprintf("the checkpoint %s is not good: %v", from, first)})
		return trail.Checkpoint{}, false
	}
	for _, g := range given {
		if opened, good := open(g.Note, "in "+g.From); good {
			w.pending = append(w.pending, claim{opened, g.From})
		}
	}
	var rows []checkpointRow
	if err := w.db.Select(ctx, &rows, "SELECT size, note, made_at FROM audit_checkpoints ORDER BY size"); err != nil {
		return fmt.Errorf("read the checkpoints: %w", err)
	}
	for _, row := range rows {
		opened, good := open(row.Note, fmt.Sprintf("of size %d in the database", row.Size))
		if good && opened.Size != uint64(row.Size) {
			w.find(Finding{Text: fmt.Sprintf("the checkpoint of size %d in the database is one of size %d", row.Size, opened.Size)})
		}
		if good {
			w.pending = append(w.pending, claim{opened, ""})
		}
	}
	slices.SortStableFunc(w.pending, func(a, b claim) int {
		return cmp.Compare(a.Size, b.Size)
	})
	return nil
}

// events reads the log, several parts at a time, and follows it with the tree.
func (w *verifying) events(ctx context.Context) error {
	var err error
	if w.tree, err = trail.Open(0, nil); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	parts := make(chan chan part, runtime.GOMAXPROCS(0))
	reading.Go(func() {
		defer close(parts)
		for from := uint64(0); from < w.head; from += partSize {
			one := make(chan part, 1)
			select {
			case parts <- one: // bounds how many are read at a time
			case <-ctx.Done():
				return
			}
			reading.Go(func() { one <- w.read(ctx, from) })
		}
	})
	if err := w.checkClaims(); err != nil {
		return err
	}
	for one := range parts {
		p := <-one
		if err := w.take(p); err != nil {
			return err
		}
		w.foundForged(p.forged)
		w.report.Events = w.tree.Size()
		if p.err != nil { // it ends here, for better or worse
			return w.broken(p.err)
		}
		if w.progress != nil {
			w.progress(w.tree.Size(), w.head)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.ended()
	return nil
}

func (w *verifying) read(ctx context.Context, from uint64) part {
	p := part{stored: map[uint64][]byte{}}
	upTo := min(from+partSize, w.head)
	if from < w.report.Hashed {
		var rows []struct {
			Block  int64  `db:"block"`
			Hashes []byte `db:"hashes"`
		}
		if p.err = w.db.Select(ctx, &rows, "SELECT block, hashes FROM audit_blocks WHERE level = 0 AND block >= ? AND block < ?",
			int64(from/trail.BlockWidth), int64((from+partSize)/trail.BlockWidth)); p.err != nil {
			return p
		}
		for _, row := range rows {
			p.stored[uint64(row.Block)] = row.Hashes
		}
	}
	var forged func(int64)
	if w.payloads {
		forged = func(position int64) { p.forged = append(p.forged, uint64(position)) }
	}
	p.leaves, p.err = readLeaves(ctx, w.db, int64(from), int64(upTo), make([][]byte, 0, partSize), forged)
	if missing := from + uint64(len(p.leaves)) + 1; p.err == nil && missing <= upTo {
		p.err = &gapError{int64(missing)}
	}
	return p
}

// take adds a part to the tree, and compares.
func (w *verifying) take(p part) error {
	for _, leaf := range p.leaves {
		index := w.tree.Size()
		if w.differs == 0 && index < w.report.Hashed {
			at := int(index%trail.BlockWidth) * trail.HashSize
			block := p.stored[index/trail.BlockWidth]
			if len(block) < at+trail.HashSize || !bytes.Equal(block[at:at+trail.HashSize], leaf) {
				w.differs = index + 1
			}
		}
		if err := w.tree.Add(leaf, func(block trail.Block) {
			if block.Level > 0 {
				w.filled = append(w.filled, block)
			}
		}); err != nil {
			return err
		}
		if err := w.checkClaims(); err != nil {
			return err
		}
	}
	return nil
}

// checkClaims holds the tree against the checkpoints of its size.
func (w *verifying) checkClaims() error {
	for len(w.pending) > 0 && w.pending[0].Size == w.tree.Size() {
		c := w.pending[0]
		w.pending = w.pending[1:]
		root, err := w.tree.Root()
		if err != nil {
			return err
		}
		if bytes.Equal(root, c.Root) {
			w.report.Checkpoints++
			if c.from != "" {
				w.report.Given++
			}
			w.agreed, w.report.Covered = c.Size, c.Size
			if w.differs > 0 && !w.settled {
				w.settled = true
				w.find(Finding{w.differs, w.differs, "the stored hash of this event was changed; the event is as it was signed"})
			}
			continue
		}
		if w.settled {
			continue // all checkpoints behind the first bad event fail
		}
		w.settled = true
		if w.differs > 0 {
			w.find(Finding{w.differs, w.differs, "this event is not the one that was recorded here: it was changed, put in, or moved, or one before it was removed"})
			continue
		}
		where := "in the database"
		if c.from != "" {
			where = "in " + c.from
		}
		w.find(Finding{w.agreed + 1, c.Size, fmt.Sprintf("the events are not those of the checkpoint of size %d %s; the stored hashes were changed with them", c.Size, where)})
	}
	return nil
}

// broken tells what it means that the log could not be read on.
func (w *verifying) broken(err error) error {
	var gap *gapError
	var unreadable *unreadableError
	switch {
	case errors.As(err, &gap):
		w.unsettled()
		w.find(Finding{uint64(gap.missing), uint64(gap.missing), "this event was removed"})
	case errors.As(err, &unreadable):
		w.unsettled()
		w.find(Finding{uint64(unreadable.position), uint64(unreadable.position), "this event cannot be read: " + unreadable.cause.Error()})
	default:
		return err
	}
	return nil
}

// unsettled reports a hash that differs where no checkpoint told which one is right.
func (w *verifying) unsettled() {
	if w.differs > 0 && !w.settled {
		w.settled = true
		w.find(Finding{w.differs, w.differs, "this event and its stored hash do not belong together; no checkpoint behind it tells which one was changed"})
	}
}

// ended looks at what should have followed the last event.
func (w *verifying) ended() {
	w.unsettled()
	if w.forged > shownPayloads {
		w.find(Finding{Text: fmt.Sprintf("%d payloads more are not those that their events were recorded with", w.forged-shownPayloads)})
	}
	beyond := w.report.Hashed
	why := "the log ends here, but hashes are stored"
	if len(w.pending) > 0 && w.pending[len(w.pending)-1].Size > w.head {
		last := w.pending[len(w.pending)-1]
		beyond = max(beyond, last.Size)
		why = "the log ends here, but it was signed"
	}
	if beyond > w.head {
		w.find(Finding{w.head + 1, w.head + 1, fmt.Sprintf("%s up to position %d: %d events were removed from its end", why, beyond, beyond-w.head)})
	}
}

// levels compares the upper levels, from which receipts are made.
func (w *verifying) levels(stored *blocks) error {
	if len(w.report.Findings) > 0 || w.tree.Size() < w.report.Hashed {
		return nil
	}
	for _, block := range append(w.filled, w.tree.Growing()...) {
		if block.Level == 0 {
			continue
		}
		// Not all may be there yet: the hashes follow the log.
		want := block.Hashes
		if id, width := trail.Last(w.report.Hashed, block.Level); block.Index > id.Index {
			continue
		} else if block.Index == id.Index {
			want = want[:min(len(want), width*trail.HashSize)]
		}
		hashes, err := stored.get(block.BlockID)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(hashes, want) {
			w.find(Finding{Text: fmt.Sprintf("the stored hashes of level %d, block %d, are not those of the level below", block.Level, block.Index)})
			return nil
		}
	}
	return nil
}
