package evaluator

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
)

// The bounds of one evaluation.
const (
	// MaxCPU is the processor time that an evaluation may take. Time in which the machine was busy
	// with something else does not count.
	MaxCPU = 100 * time.Millisecond
	// maxWall ends an evaluation also when its process is hardly ever given a processor.
	maxWall = 2 * time.Second
	// maxHeap is the memory in use, in bytes, at which an evaluation is stopped, and maxMemory what
	// the operating system gives the process at all.
	maxHeap   = 192 << 20
	maxMemory = 512 << 20
	watch     = 2 * time.Millisecond // how often an evaluation is looked at

	keptPrograms = 1000
)

// Command is the only argument of a process that serves evaluations.
const Command = "evaluate"

// Serve answers questions until the end of in. It belongs into a process of its own: an
// evaluation that has reached a bound ends with the process. The result is an exit code.
func Serve(in io.Reader, out io.Writer) int {
	// A terminal and a service manager tell the whole group to end. The server goes on with what is
	// under way, and closes in when it has ended.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	limitMemory(maxMemory)
	debug.SetMemoryLimit(maxHeap)
	programs, err := lru.New[string, *expression.Program](keptPrograms)
	if err != nil {
		return 1
	}
	type asked struct {
		question
		payload []byte
	}
	questions := make(chan asked)
	ended := make(chan struct{})
	go func() {
		defer close(ended) // who asks is gone: nobody waits for what is under way
		for reader := bufio.NewReader(in); ; {
			var q asked
			var err error
			if q.payload, err = readFrames(reader, &q.question); err != nil {
				return
			}
			questions <- q
		}
	}()
	for {
		select {
		case <-ended:
			return 0
		case q := <-questions:
			var answer reply
			var input []byte
			program, err := compiled(programs, q.Source)
			if err != nil {
				answer, _ = replyOf(expression.Result{}, err)
			} else {
				message := expression.Message{Payload: q.payload, Seen: q.Seen}
				answer, input = guarded(func(ctx context.Context) (expression.Result, error) { return program.Run(ctx, message) }, ended)
			}
			if writeFrames(out, answer, input) != nil || answer.Ends {
				return 1
			}
		}
	}
}

func compiled(programs *lru.Cache[string, *expression.Program], source expression.Source) (*expression.Program, error) {
	key := fmt.Sprintf("%q", source.Filter)
	if m := source.Mapping; m != nil {
		key += fmt.Sprintf(" %q %q %q %q", m.JQ, m.CEL, m.Template, m.Preset)
	}
	if program, known := programs.Get(key); known {
		return program, nil
	}
	program, err := expression.Compile(source)
	if err == nil {
		programs.Add(key, program)
	}
	return program, err
}

// guarded evaluates within the bounds.
func guarded(evaluate func(context.Context) (expression.Result, error), ended <-chan struct{}) (reply, []byte) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type outcome struct {
		reply reply
		input []byte
	}
	done := make(chan outcome, 1)
	if heap() > maxHeap/4 {
		runtime.GC() // what earlier ones have left is not this one's
	}
	started, used := time.Now(), cpuTime()
	go func() {
		defer func() {
			if recover() != nil { // of an engine, whose reason may quote the payload
				failed, _ := replyOf(expression.Result{}, Stopped("the engine cannot go on"))
				done <- outcome{reply: failed}
			}
		}()
		r, input := replyOf(evaluate(ctx))
		done <- outcome{r, input}
	}()
	look := time.NewTicker(watch)
	defer look.Stop()
	for {
		select {
		case o := <-done:
			return o.reply, o.input
		case <-ended:
			return reply{Ends: true}, nil
		case <-look.C:
		}
		var why string
		switch {
		case cpuTime()-used > MaxCPU:
			why = fmt.Sprintf("it takes more than %d ms of processor time", MaxCPU.Milliseconds())
		case time.Since(started) > maxWall:
			why = fmt.Sprintf("it takes longer than %s", maxWall)
		case heap() > maxHeap:
			why = fmt.Sprintf("it needs more than %d MiB of memory", maxHeap>>20)
		default:
			continue
		}
		// The process ends with it: not every step looks at the context, and what it took of memory
		// must not be missing to the next one.
		stopped, _ := replyOf(expression.Result{}, Stopped(why))
		stopped.Ends = true
		return stopped, nil
	}
}

// Stopped is the fault of an evaluation that has reached one of its bounds.
func Stopped(why string) error {
	return fault.New(fault.ExpressionFailed, "the evaluation of the trigger's filter or mapping was stopped: %s", why)
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
