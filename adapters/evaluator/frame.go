package evaluator

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// question is what a process is asked. Behind it comes the payload, as it is.
type question struct {
	Source expression.Source `json:"source"`
	Seen   trigger.Seen      `json:"seen"`
}

// reply is what it answers. Behind it comes the input that a mapping made.
type reply struct {
	Filtered bool        `json:"filtered,omitempty"`
	Mapped   bool        `json:"mapped,omitempty"`
	Fault    *faultReply `json:"fault,omitempty"`
	Failed   string      `json:"failed,omitempty"` // what is nobody's fault but ours
	// Ends says that the process ends with this reply, because the evaluation has reached a bound.
	Ends bool `json:"ends,omitempty"`
}

type faultReply struct {
	Code    fault.Code        `json:"code"`
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
}

func replyOf(result expression.Result, err error) (reply, []byte) {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return reply{Fault: &faultReply{Code: f.Code, Message: f.Message, Details: f.Details}}, nil
	case err != nil:
		return reply{Failed: err.Error()}, nil
	}
	return reply{Filtered: result.Filtered, Mapped: result.Input != nil}, result.Input
}

func (r reply) result(input []byte) (expression.Result, error) {
	switch {
	case r.Fault != nil:
		f := fault.New(r.Fault.Code, "%s", r.Fault.Message)
		f.Details = r.Fault.Details
		return expression.Result{}, f
	case r.Failed != "":
		return expression.Result{}, errors.New("evaluate an expression: " + r.Failed)
	case r.Mapped:
		return expression.Result{Input: input}, nil
	}
	return expression.Result{Filtered: r.Filtered}, nil
}

// maxFrame bounds what is read on the word of the other side. A payload has 4 MiB at most.
const maxFrame = 64 << 20

// writeFrames sends a value as JSON and bytes, each behind its length.
func writeFrames(to io.Writer, value any, data []byte) error {
	head, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	w := bufio.NewWriterSize(to, len(head)+len(data)+2*lengthBytes)
	for _, part := range [][]byte{head, data} {
		var length [lengthBytes]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(part)))
		_, _ = w.Write(length[:]) // an error is kept until Flush
		_, _ = w.Write(part)
	}
	return w.Flush()
}

const lengthBytes = 4

func readFrames(from io.Reader, value any) ([]byte, error) {
	read := func() ([]byte, error) {
		var length [lengthBytes]byte
		if _, err := io.ReadFull(from, length[:]); err != nil {
			return nil, err
		}
		size := binary.BigEndian.Uint32(length[:])
		if size > maxFrame {
			return nil, fmt.Errorf("a frame of %d bytes", size)
		}
		part := make([]byte, size)
		_, err := io.ReadFull(from, part)
		return part, err
	}
	head, err := read()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(head, value); err != nil {
		return nil, fmt.Errorf("decode a frame: %w", err)
	}
	return read()
}
