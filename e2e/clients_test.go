package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dial opens a bare connection to a service.
func dial(t testing.TB, service *service) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(service.base, "http://"), patience)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func say(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

// hear reads one answer.
func hear(conn net.Conn) (answer, error) {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(content)}, err
}

// head is the head of a webhook call; framing is the header that tells the length of its body.
func head(token, framing string) string {
	return "POST " + hookPath + " HTTP/1.1\r\nHost: hooktrail\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\n" + framing + "\r\n\r\n"
}

func length(n int) string { return fmt.Sprintf("Content-Length: %d", n) }

const chunked = "Transfer-Encoding: chunked"

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

// TestClientsThatLeave half-closes connections, and breaks them off, before there is an answer.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		const each = 20
		service := sqliteStore(t).serve(t, noLimit)
		book := newLedger(service.echoTrigger().Token, at(service.base))
		stop := book.run(t, 2)

		// Who has sent all has a right to the answer, and may say that nothing follows.
		for range each {
			for _, framing := range []string{"", chunked} {
				body := book.body()
				book.send(body)
				conn := dial(t, service)
				if framing == chunked {
					say(t, conn, head(book.token, chunked)+chunk(body[:10])+chunk(body[10:])+"0\r\n\r\n")
				} else {
					say(t, conn, head(book.token, length(len(body)))+body)
				}
				require.NoError(t, conn.CloseWrite())
				began := time.Now()
				a, err := hear(conn)
				require.NoError(t, err)
				book.answer(body, a, err, time.Since(began))
				require.Equal(t, http.StatusAccepted, a.status, a.body)
			}
		}

		// Who leaves before has called nobody, even where what came would do for a body.
		const part = `{"part": true}`
		unfinished := map[string]string{
			"a part":                     head(book.token, length(100)) + part,
			"all but a byte":             head(book.token, length(len(part)+1)) + part,
			"no end of chunks":           head(book.token, chunked) + chunk(part),
			"no end of a chunk":          head(book.token, chunked) + "64\r\n" + part,
			"nothing of the body":        head(book.token, length(100)),
			"nothing of the head's end":  strings.TrimSuffix(head(book.token, length(len(part))), "\r\n"),
			"nothing but a line's start": "POST " + hookPath[:8],
		}
		leave := map[string]func(*net.TCPConn) error{
			"close":      (*net.TCPConn).Close,
			"half-close": (*net.TCPConn).CloseWrite,
			"reset":      func(conn *net.TCPConn) error { return errors.Join(conn.SetLinger(0), conn.Close()) },
		}
		for range each {
			for name, request := range unfinished {
				for how, end := range leave {
					conn := dial(t, service)
					say(t, conn, request)
					require.NoError(t, end(conn))
					if how != "half-close" {
						continue
					}
					a, err := hear(conn)
					require.NotEqual(t, http.StatusAccepted, a.status, name)
					require.True(t, err != nil || a.status == http.StatusBadRequest, "%s: %d %s", name, a.status, a.body)
				}
			}
		}
		awaitCount(t, &book.accepted, book.accepted.Load()+50)
		stop()
		book.check(t, service)
		require.Equal(t, int(book.accepted.Load()), service.total("/api/v1/executions?"), "what did not come as a whole is not recorded")
		require.Zero(t, book.unavailable.Load()+book.unanswered.Load())
		service.stop()
	})
}

// TestSlowClients has a crowd of clients send next to nothing, and read nothing.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		const (
			each   = 100              // clients of a kind
			limit  = 30 * time.Second // of the server, for one request or one answer
			slack  = 8 * time.Second  // for a busy machine
			growth = 128              // MiB
		)
		service := sqliteStore(t).serve(t, noLimit)
		book := newLedger(service.echoTrigger().Token, at(service.base))
		call := func() {
			a, _ := book.call(&service.client, book.token)
			require.Equal(t, http.StatusAccepted, a.status, a.body)
		}
		for range 100 {
			call()
		}
		before, open := service.mebibytes(), service.metric("process_open_fds")

		began := time.Now()
		var crowd sync.WaitGroup
		defer crowd.Wait()
		late := make(chan string, 5*each)
		for name, start := range map[string]string{
			"the head":              "POST " + hookPath + " HTTP/1.1\r\nX-Slow: ",
			"a body of some length": head(book.token, length(1<<20)) + "{",
			"a body in chunks":      head(book.token, chunked) + "fffff\r\n{",
		} {
			for i := range each {
				conn := dial(t, service)
				say(t, conn, start)
				trickles := i%2 == 0 // the others fall silent
				crowd.Go(func() {
					if err := endOf(conn, began.Add(limit+slack), trickles); err != nil {
						late <- name + ": " + err.Error()
					}
				})
			}
		}
		// Those who do not read ask for more than the connection holds.
		for range each / 5 {
			conn := dial(t, service)
			crowd.Go(func() {
				_ = conn.SetWriteDeadline(began.Add(limit)) // the server stops reading as well
				_, _ = io.WriteString(conn, strings.Repeat("GET /openapi.yaml HTTP/1.1\r\nHost: hooktrail\r\n\r\n", 2000))
			})
		}
		var crowded float64
		eventually(t, func() bool { // the server may have some still to accept
			crowded = service.metric("process_open_fds")
			return crowded > open+3*each
		}, "the crowd is not connected")
		most := before
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for deadline := began.Add(2*limit + slack); service.metric("process_open_fds") > open+10; <-pace.C {
			require.True(t, time.Now().Before(deadline), "connections stay open")
			most = max(most, service.mebibytes())
			call()
		}
		t.Logf("all connections were closed %s after they began", time.Since(began))
		crowd.Wait()
		close(late)
		for name := range late {
			t.Error("a connection was not closed in time, of those who are slow with " + name)
		}
		require.Less(t, book.slowest, atOnce, "calls waited for the slow ones")
		book.check(t, service)
		t.Logf("%.0f MiB before, at most %.0f MiB meanwhile, with %.0f open files", before, most, crowded)
		require.Less(t, most, before+growth)
		service.stop()
	})
}

// endOf waits for the server to end a connection, on which it may trickle meanwhile.
func endOf(conn *net.TCPConn, deadline time.Time, trickles bool) error {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if trickles {
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			pace := time.NewTicker(time.Second)
			defer pace.Stop()
			for {
				select {
				case <-ended:
					return
				case <-pace.C:
				}
				if _, err := io.WriteString(conn, " "); err != nil {
					return
				}
			}
		}()
	}
	_, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}
