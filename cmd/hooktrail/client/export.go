package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	hooktrail "hooktrail/sdk/go"
)

type eventsExport struct {
	eventFilter
	since
	To     string `help:"File to write; default is standard output." placeholder:"FILE"`
	After  int64  `help:"Begin behind this position." default:"0" placeholder:"POSITION"`
	Resume bool   `help:"Go on behind the last event in the file."`
	Server
}

// Help is shown with --help.
func (eventsExport) Help() string {
	return "Up to the end that the log has when it begins, in order. Broken off, it goes\non with --resume, or with --after and the last position.\n\n" +
		example("hooktrail events export --to events.jsonl --resume")
}

// Validate is called by the parser.
func (c eventsExport) Validate() error {
	switch {
	case c.Resume && c.To == "":
		return usage("--resume needs --to FILE")
	case c.After < 0:
		return usage("--after must be a position, 0 or more")
	}
	return nil
}

// Run exports.
func (c *eventsExport) Run(s *Session) error {
	ctx, cancel := interruptible()
	defer cancel()
	from, to, err := c.times()
	if err != nil {
		return err
	}
	connected, err := s.connect(c.Server)
	if err != nil {
		return err
	}
	end, err := connected.Events.End(ctx) // before the file is touched
	if err != nil {
		return err
	}
	out, after := s.Out, c.After
	if c.To != "" {
		file, last, err := c.open()
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // for errors; in the end it is closed below
		out, after = file, max(after, last)
	}
	filter := hooktrail.ListEvents{Stream: c.Stream, Type: c.Type, Actor: c.Actor, Since: from, Until: to, After: &after}
	count, last, err := s.export(ctx, connected, filter, out, end)
	if file, isFile := out.(*os.File); isFile && c.To != "" {
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err == nil || count > 0 {
		fmt.Fprintf(s.Err, "%d events exported, up to position %d\n", count, last)
	}
	if err != nil && last > 0 {
		fmt.Fprintf(s.Err, "Go on with --after %d%s\n", last, map[bool]string{true: ", or --resume", false: ""}[c.To != ""])
	}
	return err
}

// export writes the events behind the filter's position up to end, and gives how many there
// were and where it stopped.
func (s *Session) export(ctx context.Context, connected *hooktrail.Client, filter hooktrail.ListEvents, out io.Writer, end int64) (count int, last int64, err error) {
	begin := *filter.After
	last = begin
	progress := NewProgress(s.Err)
	defer progress.Done()
	buffered := bufio.NewWriter(out)
	for event, err := range connected.Events.All(ctx, filter) {
		if err != nil {
			return count, last, errors.Join(buffered.Flush(), err)
		}
		if event.Position > end {
			break
		}
		if _, err := fmt.Fprintln(buffered, compact(event.Raw)); err != nil {
			return count, last, err
		}
		count++
		last = event.Position
		progress.Show(last-begin, end-begin, "events")
	}
	return count, last, buffered.Flush()
}

// open opens the file to write, at its end when it is to be gone on with, and gives the
// position of the last event in it.
func (c *eventsExport) open() (*os.File, int64, error) {
	mode := os.O_RDWR | os.O_CREATE
	if !c.Resume {
		mode |= os.O_EXCL
	}
	file, err := os.OpenFile(c.To, mode, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, 0, usage("%s exists already; go on with it by --resume, or name another file", c.To)
	}
	if err != nil {
		return nil, 0, err
	}
	last, err := lastPosition(file)
	if err != nil {
		_ = file.Close()
		return nil, 0, fmt.Errorf("%s: %w", c.To, err)
	}
	return file, last, nil
}

// longestLine is more than an event comes to.
const longestLine = 4 << 20

// lastPosition finds the last whole line of a file of events, cuts off what follows it, as a
// crash leaves it, and gives the position of its event; 0 for an empty file.
func lastPosition(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	from := max(0, info.Size()-longestLine)
	end := make([]byte, info.Size()-from)
	if _, err := file.ReadAt(end, from); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	whole := bytes.LastIndexByte(end, '\n') + 1
	if whole == 0 && from > 0 {
		return 0, errors.New("its last line is no event of an export")
	}
	var event struct{ Position int64 }
	if whole > 0 {
		line := end[bytes.LastIndexByte(end[:whole-1], '\n')+1 : whole-1]
		if json.Unmarshal(line, &event) != nil || event.Position < 1 {
			return 0, errors.New("its last line is no event of an export")
		}
	}
	if err := file.Truncate(from + int64(whole)); err != nil {
		return 0, err
	}
	_, err = file.Seek(0, io.SeekEnd)
	return event.Position, err
}

// Progress tells on a terminal how far long work has come, in one line that it writes over; it
// writes nothing elsewhere.
type Progress struct {
	out   io.Writer
	shown time.Time
}

// NewProgress makes one for a stream.
func NewProgress(out io.Writer) *Progress {
	if !isTerminal(out) {
		out = nil
	}
	return &Progress{out: out}
}

// Show shows how many are done of how many.
func (p *Progress) Show(done, total int64, what string) {
	if p.out == nil || time.Since(p.shown) < 200*time.Millisecond && done < total {
		return
	}
	p.shown = time.Now()
	fmt.Fprint(p.out, progressLine(done, total, what))
}

func progressLine(done, total int64, what string) string {
	return fmt.Sprintf("\r%d of %d %s (%d %%)\x1b[K", done, total, what, 100*done/max(total, 1))
}

// Done takes the line away.
func (p *Progress) Done() {
	if p.out != nil && !p.shown.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
