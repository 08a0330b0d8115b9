package database

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pipeline sends statements to PostgreSQL in one write and reads what all of them answer. The
// driver has pipelines too, but none in which a COPY can stand among other statements, and
// COPY takes half of the server's time for a row that INSERT takes.
type pipeline struct {
	conn  *pgx.Conn
	steps []step
}

// step is one statement of a pipeline, and what is done with the rows it answers.
type step struct {
	described *pgconn.StatementDescription
	encoded   pgx.ExtendedQueryBuilder
	copied    *Bulk // whose rows follow the statement
	each      func(scan Scan) error
}

// copyRows is from how many rows on COPY is cheaper than an INSERT, whose plan is kept.
const copyRows = 4

func (p *pipeline) front() *pgproto3.Frontend { return p.conn.PgConn().Frontend() }

// add queues a statement. The first use of one on a connection takes a round trip, and so
// nothing is sent before all are queued.
func (p *pipeline) add(ctx context.Context, st statement) (err error) {
	s := step{each: st.each}
	sql, args := st.sql, st.args
	switch {
	case st.bulk == nil:
		sql = rebindDollar(sql)
	case st.bulk.statement.copying != "" && st.bulk.Len() >= copyRows:
		sql, s.copied = st.bulk.statement.copying, st.bulk
	default:
		sql, args = st.bulk.statement.postgres, st.bulk.columns
	}
	if s.described, err = p.conn.Prepare(ctx, sql, sql); err != nil {
		return err
	}
	if err := s.encoded.Build(p.conn.TypeMap(), s.described, args); err != nil {
		return err
	}
	p.steps = append(p.steps, s)
	return nil
}

func (p *pipeline) send() error {
	front := p.front()
	for i := range p.steps {
		s := &p.steps[i]
		front.SendBind(&pgproto3.Bind{
			PreparedStatement: s.described.Name, ParameterFormatCodes: s.encoded.ParamFormats, Parameters: s.encoded.ParamValues,
			ResultFormatCodes: s.encoded.ResultFormats,
		})
		front.SendExecute(&pgproto3.Execute{})
		if s.copied != nil {
			front.Send(&pgproto3.CopyData{Data: s.copied.binary()})
			front.Send(&pgproto3.CopyDone{})
		}
	}
	front.SendSync(&pgproto3.Sync{})
	return front.Flush()
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

// binary gives the rows in the format of COPY … (FORMAT binary): PostgreSQL documentation,
// "COPY", "File Formats".
func (b *Bulk) binary() []byte {
	size := 32
	for _, column := range b.columns {
		switch values := column.(type) {
		case []string:
			size += textSize(values)
		case [][]byte:
			size += textSize(values)
		}
	}
	rows := b.Len()
	out := make([]byte, 0, size+rows*(2+12*len(b.columns)))
	out = append(out, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for i := range rows {
		out = binary.BigEndian.AppendUint16(out, uint16(len(b.columns))) //nolint:gosec // a table has few columns
		for _, column := range b.columns {
			out = appendField(out, column, i)
		}
	}
	return binary.BigEndian.AppendUint16(out, 0xffff)
}

func textSize[T string | []byte](values []T) (size int) {
	for _, value := range values {
		size += len(value)
	}
	return size
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
	return append(binary.BigEndian.AppendUint32(out, uint32(len(value))), value...) //nolint:gosec // bounded by the size of a body
}

func appendInt8(out []byte, value int64) []byte {
	return binary.BigEndian.AppendUint64(append(out, 0, 0, 0, 8), uint64(value)) //nolint:gosec // the same bits
}
