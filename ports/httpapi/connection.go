package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
)

const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// listener accepts connections that know two things which the framework does not tell.
type listener struct {
	net.Listener

	stopped context.Context
}

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err // as it is: the framework looks at its type
	}
	return &connection{Conn: accepted, stopped: l.stopped}, nil
}

type connection struct {
	net.Conn

	ended   atomic.Bool // more was read for than the client had sent when it went
	linger  atomic.Bool
	stopped context.Context
}

func (c *connection) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	if errors.Is(err, io.EOF) {
		c.ended.Store(true)
	}
	return n, err
}

// Close closes in a way that lets the client read the answer to a request which was not read
// to its end, if linger was called. Closed at once, a connection with unread data is reset,
// and the reset may overtake the answer (RFC 9112, section 9.6).
func (c *connection) Close() error {
	writing, half := c.Conn.(interface{ CloseWrite() error })
	if half && c.linger.Swap(false) && c.stopped.Err() == nil && writing.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}

func linger(c *fiber.Ctx) {
	if conn, ok := c.Context().Conn().(*connection); ok {
		conn.linger.Store(true)
	}
}

// brokeOff reports whether the client went before it had sent all of a request whose body
// has been read to its end: the framework takes either for the end of the body.
func brokeOff(c *fiber.Ctx) bool {
	conn, ok := c.Context().Conn().(*connection)
	return ok && conn.ended.Load()
}
