package database

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pipeline sends statements to PostgreSQL in one write and reads what all of them answer. The
// driver has pipelines too, but none in which a COPY can stand among other statements, and
// COPY takes half of the server's time for a row that INSERT takes.
type pipeline struct {
	conn    *pgx.Conn
	dialect Dialect
	steps   []step
}

// step is one statement of a pipeline, and what is done with the rows it answers.
type step struct {
	described *pgconn.StatementDescription
	encoded   pgx.ExtendedQueryBuilder
	copied    *Bulk // whose rows follow the statement
	each      func(scan Scan) error
}

// Below singleRows rows, each is cheaper by a statement of its own; from copyRows on, COPY is
// cheaper than a statement with arrays, although its plan is kept.
const (
	singleRows = 4
	copyRows   = 16
)

// largestKept is how large a buffer is kept for the next pipeline.
const largestKept = 1 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// add queues a statement. The first use of one on a connection takes a round trip, and so
// nothing is sent before all are queued.
func (p *pipeline) add(ctx context.Context, st statement) error {
	bulk := st.bulk
	switch {
	case bulk == nil:
		return p.addStep(ctx, step{each: st.each}, p.dialect.rebind(st.sql), st.args)
	case bulk.Len() < singleRows:
		for i := range bulk.Len() {
			args := make([]any, len(bulk.columns))
			for c, column := range bulk.columns {
				args[c] = cell(column, i)
			}
			if err := p.addStep(ctx, step{}, bulk.statement.single, args); err != nil {
				return err
			}
		}
		return nil
	case bulk.statement.copying != "" && bulk.Len() >= copyRows:
		return p.addStep(ctx, step{copied: bulk}, bulk.statement.copying, nil)
	default:
		return p.addStep(ctx, step{}, bulk.statement.postgres, bulk.columns)
	}
}

func (p *pipeline) addStep(ctx context.Context, s step, sql string, args []any) (err error) {
	if s.described, err = p.conn.Prepare(ctx, sql, sql); err != nil {
		return err
	}
	if err := s.encoded.Build(p.conn.TypeMap(), s.described, args); err != nil {
		return err
	}
	p.steps = append(p.steps, s)
	return nil
}

// send writes all messages at once: the driver's buffer would be made anew each time, and
// grow to the size of a batch in many steps.
func (p *pipeline) send() error {
	buffer := buffers.Get().(*[]byte)
	out := (*buffer)[:0]
	for i := range p.steps {
		var err error
		if out, err = p.steps[i].appendMessages(out); err != nil {
			return err
		}
	}
	out, err := (&pgproto3.Sync{}).Encode(out)
	if err != nil {
		return err
	}
	_, err = p.conn.PgConn().Conn().Write(out)
	if cap(out) <= largestKept {
		*buffer = out
		buffers.Put(buffer)
	}
	return err
}

func (s *step) appendMessages(out []byte) ([]byte, error) {
	bind := pgproto3.Bind{
		PreparedStatement: s.described.Name, ParameterFormatCodes: s.encoded.ParamFormats, Parameters: s.encoded.ParamValues,
		ResultFormatCodes: s.encoded.ResultFormats,
	}
	out, err := bind.Encode(out)
	if err != nil {
		return out, err
	}
	if out, err = (&pgproto3.Execute{}).Encode(out); err != nil || s.copied == nil {
		return out, err
	}
	data := len(out)
	out = s.copied.appendBinary(append(out, 'd', 0, 0, 0, 0)) // CopyData, and the place of its length
	binary.BigEndian.PutUint32(out[data+1:], uint32(len(out)-data-1))
	return (&pgproto3.CopyDone{}).Encode(out)
}

// run sends what is queued and hands out the answers. Its error is that of the first
// statement that failed, behind which the server skips the others. When ctx ends meanwhile
// the connection is closed.
func (p *pipeline) run(ctx context.Context) error {
	// The driver would watch ctx anew for every message.
	patience := context.AfterFunc(ctx, func() { _ = p.conn.PgConn().Conn().SetDeadline(time.Unix(1, 0)) })
	failed, err := p.exchange()
	if !patience() {
		p.close()
		return fmt.Errorf("%w: %w", ctx.Err(), context.DeadlineExceeded)
	}
	if err != nil {
		p.close()
		return err
	}
	return failed
}

// exchange gives the refusal of a statement, or else the failure of the connection.
func (p *pipeline) exchange() (failed, err error) {
	if err := p.send(); err != nil {
		return nil, err
	}
	for at := 0; ; {
		message, err := p.conn.PgConn().ReceiveMessage(context.Background())
		if err != nil {
			return nil, err
		}
		switch m := message.(type) {
		case *pgproto3.DataRow:
			if current := &p.steps[at]; failed == nil && current.each != nil {
				failed = current.each(func(dest ...any) error { return p.scan(current, m.Values, dest) })
			}
		case *pgproto3.CommandComplete:
			at++
		case *pgproto3.ErrorResponse:
			failed = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			return failed, nil
		}
	}
}

func (p *pipeline) scan(s *step, values [][]byte, dest []any) error {
	if len(dest) != len(values) {
		return fmt.Errorf("%d columns are read into %d values", len(values), len(dest))
	}
	for i, value := range values {
		if err := p.conn.TypeMap().Scan(s.described.Fields[i].DataTypeOID, s.encoded.ResultFormats[i], value, dest[i]); err != nil {
			return fmt.Errorf("read the column %s: %w", s.described.Fields[i].Name, err)
		}
	}
	return nil
}

func (p *pipeline) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx)
}

// appendBinary adds the rows in the format of COPY … (FORMAT binary): PostgreSQL
// documentation, "COPY", "File Formats".
func (b *Bulk) appendBinary(out []byte) []byte {
	out = append(out, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for i := range b.Len() {
		out = binary.BigEndian.AppendUint16(out, uint16(len(b.columns)))
		for _, column := range b.columns {
			out = appendField(out, column, i)
		}
	}
	return binary.BigEndian.AppendUint16(out, 0xffff)
}

func appendField(out []byte, column any, i int) []byte {
	switch values := column.(type) {
	case []string:
		return appendText(out, values[i])
	case []int64:
		return appendInt8(out, values[i])
	case []bool:
		out = binary.BigEndian.AppendUint32(out, 1)
		if values[i] {
			return append(out, 1)
		}
		return append(out, 0)
	case [][]byte:
		if values[i] != nil {
			return appendText(out, values[i])
		}
	case []*string:
		if values[i] != nil {
			return appendText(out, *values[i])
		}
	case []*int64:
		if values[i] != nil {
			return appendInt8(out, *values[i])
		}
	default:
		panic("bulk column of a type that is not supported")
	}
	return append(out, 0xff, 0xff, 0xff, 0xff) // NULL
}

func appendText[T string | []byte](out []byte, value T) []byte {
	return append(binary.BigEndian.AppendUint32(out, uint32(len(value))), value...)
}

func appendInt8(out []byte, value int64) []byte {
	return binary.BigEndian.AppendUint64(append(out, 0, 0, 0, 8), uint64(value))
}
