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
	times   []time.Duration
}

func (o outcome) perSecond() float64 { return float64(o.done) / o.took.Seconds() }

func (o outcome) quantile(q float64) float64 {
	if len(o.times) == 0 {
		return 0
	}
	return float64(o.times[min(int(q*float64(len(o.times))), len(o.times)-1)]) / float64(time.Millisecond)
}

// run sends until the duration is over. An answer with another status than 503 beside the
// expected one ends it with an error: a fast refusal is no throughput.
func (l load) run(ctx context.Context) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, l.duration+30*time.Second)
	defer cancel()
	var (
		mu     sync.Mutex
		total  outcome
		failed error
		wg     sync.WaitGroup
	)
	began := time.Now()
	until := began.Add(l.duration)
	for i := range l.connections {
		wg.Go(func() {
			one, err := l.connection(ctx, i, until)
			mu.Lock()
			defer mu.Unlock()
			total.done += one.done
			total.refused += one.refused
			total.times = append(total.times, one.times...)
			if err != nil && failed == nil {
				failed = err
			}
		})
	}
	wg.Wait()
	total.took = time.Since(began)
	slices.Sort(total.times)
	return total, failed
}

func (l load) connection(ctx context.Context, number int, until time.Time) (outcome, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return outcome{}, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return outcome{}, err
	}
	reader := bufio.NewReaderSize(conn, 16<<10)
	o := outcome{times: make([]time.Duration, 0, 1<<14)}
	var pace time.Duration
	if l.rate > 0 {
		pace = time.Second * time.Duration(l.connections) / time.Duration(l.rate)
	}
	next := time.Now().Add(pace * time.Duration(number) / time.Duration(max(l.connections, 1)))
	for n := number; ; n += l.connections {
		if pace > 0 {
			wait := time.NewTimer(time.Until(next))
			select {
			case <-ctx.Done():
				return o, nil
			case <-wait.C:
			}
		}
		began := time.Now()
		if pace > 0 {
			began, next = next, next.Add(pace) // a late answer makes the ones behind it late too
		}
		if !began.Before(until) || ctx.Err() != nil {
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
		case len(line) > 16 && bytes.EqualFold(line[:15], []byte("content-length:")):
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
