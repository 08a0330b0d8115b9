package hooktrail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// silence is how long a stream may give nothing. The server shows every 15 s that it is there.
const silence = 30 * time.Second

var (
	// errNoStream: the server, or a proxy before it, does not give the log as a stream.
	errNoStream = errors.New("the log is not given as a stream")
	errSilent   = errors.New("nothing has come for 30 s")
)

// stream is the log as Server-Sent Events (WHATWG HTML, section 9.2), for as long as it lasts.
type stream struct {
	body  io.ReadCloser
	lines *bufio.Scanner
	leave context.CancelCauseFunc
	sent  *http.Request
	begun bool // something has come
}

// message is an event, or with no data the position up to which the log was read.
type message struct {
	position int64
	data     []byte
}

// listen opens a stream. resumed says that it goes on where another broke.
func (c *Client) listen(ctx context.Context, query url.Values, position int64, resumed bool) (*stream, error) {
	if c.key == "" {
		return nil, &Error{Code: codeUnauthorized, Message: "there is no API key: set Options.APIKey or " + EnvAPIKey}
	}
	query.Set("after", strconv.FormatInt(position, 10))
	patient, leave := context.WithCancelCause(ctx)
	sent, err := http.NewRequestWithContext(patient, http.MethodGet, c.base+"/api/v1"+eventsPath+"/stream?"+query.Encode(), http.NoBody)
	if err != nil {
		leave(nil)
		return nil, errors.New("hooktrail: the URL of the request cannot be read")
	}
	sent.Header.Set("X-API-Key", string(c.key))
	sent.Header.Set("Accept", "text/event-stream, application/json")
	sent.Header.Set("Accept-Encoding", "identity") // what compresses holds back
	sent.Header.Set("User-Agent", c.userAgent)
	if resumed {
		sent.Header.Set("Last-Event-ID", strconv.FormatInt(position, 10))
	}
	endless := *c.http
	endless.Timeout = 0
	patience := time.AfterFunc(silence, func() { leave(errSilent) })
	response, err := endless.Do(sent) //nolint:bodyclose // close does
	patience.Stop()
	s := &stream{leave: leave, sent: sent}
	if err != nil {
		leave(nil)
		return nil, s.broken(ctx, err)
	}
	s.body = response.Body
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); response.StatusCode == http.StatusOK && kind == "text/event-stream" {
		s.lines = bufio.NewScanner(s)
		s.lines.Buffer(nil, maxAnswer)
		s.lines.Split(splitLines())
		return s, nil
	}
	defer s.close()
	switch response.StatusCode {
	case http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed:
		return nil, errNoStream
	}
	patience = time.AfterFunc(c.timeout, func() { leave(errSilent) })
	defer patience.Stop()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, s.broken(ctx, err)
	}
	return nil, errorOf(&Answer{Status: response.StatusCode, Header: response.Header, RequestID: response.Header.Get("X-Request-Id"), Body: body})
}

// close ends the stream; the server need not be told.
func (s *stream) close() {
	s.leave(nil)
	_ = s.body.Close()
}

// Read gives what comes within the silence that is allowed. The time in which nobody reads
// does not count.
func (s *stream) Read(into []byte) (int, error) {
	patience := time.AfterFunc(silence, func() { s.leave(errSilent) })
	defer patience.Stop()
	n, err := s.body.Read(into)
	s.begun = s.begun || n > 0
	return n, err
}

// next waits for the next message. One that the end of the stream cuts off counts for nothing.
func (s *stream) next(ctx context.Context) (message, error) {
	var m message
	numbered := false
	for s.lines.Scan() {
		line := s.lines.Bytes()
		if len(line) == 0 {
			if numbered {
				return m, nil
			}
			m = message{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			position, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil {
				return m, s.strange(err)
			}
			m.position, numbered = position, true
		case "data":
			if m.data != nil {
				m.data = append(m.data, '\n')
			}
			m.data = append(m.data, value...)
		}
	}
	err := s.lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return m, s.broken(ctx, err)
}

func (s *stream) strange(err error) error {
	return &Error{Status: http.StatusOK, Code: codeUnexpected, cause: err, Message: "the stream of events is not one of a Hooktrail server; check the URL, and proxies on the way"}
}

// broken is the error of a stream that gave no more. It wraps errNoStream for one that gave
// nothing at all: then something on the way holds back what is to be seen at once.
func (s *stream) broken(ctx context.Context, err error) error {
	switch silent := context.Cause(s.sent.Context()) == errSilent; { //nolint:errorlint // it is that very error
	case ctx.Err() != nil:
		return givenUp(ctx, "following the log")
	case silent && !s.begun:
		return errNoStream
	case silent:
		err = errSilent
	}
	return unanswered(ctx, s.sent, err)
}

// event reads an event of a stream.
func (s *stream) event(m message) (Event, error) {
	var e Event
	if err := json.Unmarshal(m.data, &e); err != nil {
		return e, s.strange(err)
	}
	return e, nil
}

// splitLines makes a scanner's function for lines that end in CR, LF or both, of which a CR ends
// its line though it is not yet known whether an LF follows.
func splitLines() bufio.SplitFunc {
	afterCR := false
	return func(data []byte, atEOF bool) (advance int, token []byte, err error) {
		skipped := 0
		if afterCR && len(data) > 0 {
			afterCR = false
			if data[0] == '\n' {
				skipped = 1
			}
		}
		if end := bytes.IndexAny(data[skipped:], "\r\n"); end >= 0 {
			end += skipped
			afterCR = data[end] == '\r'
			return end + 1, data[skipped:end:end], nil
		}
		if atEOF {
			return len(data), nil, nil // a line without an end is part of nothing
		}
		return skipped, nil, nil
	}
}
