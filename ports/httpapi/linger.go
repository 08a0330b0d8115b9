package httpapi

import (
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

// lingerListener accepts connections that can be closed in a way that lets a client read
// the answer to a request that was not read to its end. Closed at once, a connection with
// unread data is reset, and the reset may overtake the answer (RFC 9112, section 9.6).
type lingerListener struct{ net.Listener }

func (l lingerListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err // as it is: the framework looks at its type
	}
	return &lingerConn{Conn: accepted}, nil
}

type lingerConn struct {
	net.Conn

	unread atomic.Bool
}

// linger makes the end of the request's connection a gentle one.
func linger(c *fiber.Ctx) {
	if conn, ok := c.Context().Conn().(*lingerConn); ok {
		conn.unread.Store(true)
	}
}

func (c *lingerConn) Close() error {
	writing, half := c.Conn.(interface{ CloseWrite() error })
	if half && c.unread.Swap(false) && writing.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
