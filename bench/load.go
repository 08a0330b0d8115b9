package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// load is a number of connections that send requests one after the other.
type load struct {
	addr        string
	connections int
	duration    time.Duration
	rate        int // requests a second over all connections; 0 is as many as go
	status      int // that every answer must have
	requests    [][]byte
}

type outcome struct {
	done    int
	refused int
	took    time.Duration
	times   []time.Duration // sorted
}

func (o *outcome) add(more outcome) {
	o.done += more.done
	o.refused += more.refused
	o.took += more.took
	o.times = append(o.times, more.times...)
	slices.Sort(o.times)
}

func (o outcome) perSecond() float64 {
	if o.took == 0 {
		return 0
	}
	return float64(o.done) / o.took.Seconds()
}

// quantile gives milliseconds.
func (o outcome) quantile(q float64) float64 {
	if len(o.times) == 0 {
		return 0
	}
	return ms(o.times[min(int(q*float64(len(o.times))), len(o.times)-1)])
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// slack is how long answers may take beyond the time of a load.
const slack = 30 * time.Second

// run sends until the duration is over. An answer with another status than 503 beside the
// expected one ends it with an error: a fast refusal is no throughput.
func (l load) run(ctx context.Context) (outcome, error) {
	connections, err := l.connect(ctx)
	defer func() {
		for _, conn := range connections {
			conn.Close()
		}
	}()
	if err != nil {
		return outcome{}, err
	}
	defer context.AfterFunc(ctx, func() { // an interrupt does not wait for answers
		for _, conn := range connections {
			_ = conn.SetDeadline(time.Now())
		}
	})()
	parts, errs := make([]outcome, l.connections), make([]error, l.connections)
	var wg sync.WaitGroup
	began := time.Now()
	for i, conn := range connections {
		wg.Go(func() { parts[i], errs[i] = l.send(ctx, conn, i, began) })
	}
	wg.Wait()
	total := outcome{took: time.Since(began)}
	for i, part := range parts {
		total.done += part.done
		total.refused += part.refused
		total.times = append(total.times, part.times...)
		if err == nil {
			err = errs[i]
		}
	}
	slices.Sort(total.times)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return total, err
}

// connect opens all connections before the clock runs.
func (l load) connect(ctx context.Context) ([]net.Conn, error) {
	var dialer net.Dialer
	var connections []net.Conn
	for range l.connections {
		conn, err := dialer.DialContext(ctx, "tcp", l.addr)
		if err != nil {
			return connections, err
		}
		connections = append(connections, conn)
		if err := conn.SetDeadline(time.Now().Add(l.duration + slack)); err != nil {
			return connections, err
		}
	}
	return connections, nil
}

func (l load) send(ctx context.Context, conn net.Conn, number int, start time.Time) (outcome, error) {
	reader := bufio.NewReaderSize(conn, 2<<10)
	var o outcome
	var pace time.Duration
	if l.rate > 0 {
		pace = time.Second * time.Duration(l.connections) / time.Duration(l.rate)
	}
	until := start.Add(l.duration)
	next := start.Add(pace * time.Duration(number) / time.Duration(max(l.connections, 1)))
	for n := number; ; n += l.connections {
		began := time.Now()
		if pace > 0 && next.Before(until) {
			wait := time.NewTimer(time.Until(next))
			select {
			case <-ctx.Done():
				return o, ctx.Err()
			case <-wait.C:
			}
		}
		if pace > 0 {
			began, next = next, next.Add(pace) // a late answer makes the ones behind it late too
		}
		if !began.Before(until) {
			return o, nil
		}
		if _, err := conn.Write(l.requests[n%len(l.requests)]); err != nil {
			return o, err
		}
		status, err := readAnswer(reader)
		if err != nil {
			return o, err
		}
		switch status {
		case l.status:
			o.done++
			o.times = append(o.times, time.Since(began))
		case 503:
			o.refused++
		default:
			return o, fmt.Errorf("answered %d instead of %d", status, l.status)
		}
	}
}

// readAnswer reads one HTTP/1.1 answer with a Content-Length.
func readAnswer(reader *bufio.Reader) (int, error) {
	status, length := 0, 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			_, err := reader.Discard(length)
			return status, err
		case status == 0:
			if len(line) < 12 {
				return 0, io.ErrUnexpectedEOF
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		case len(line) > 15 && bytes.EqualFold(line[:15], []byte("content-length:")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[15:]))); err != nil {
				return 0, err
			}
		}
	}
}

// request renders a webhook call.
func request(host, token, signature string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /api/v1/webhook/trigger HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n", host, token)
	if signature != "" {
		fmt.Fprintf(&b, "X-Webhook-Signature: %s\r\n", signature)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(body))
	b.Write(body)
	return b.Bytes()
}
