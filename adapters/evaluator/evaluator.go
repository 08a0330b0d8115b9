// Package evaluator evaluates filters and mappings in processes of its own. The libraries cannot
// bound every step of an expression: a single one may take any time and memory. A process can be
// ended, has no secrets in its memory or environment, and leaves the others what they need.
package evaluator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
)

// Config says how evaluations are run.
type Config struct {
	// Processes is how many evaluations run at a time (default: half the processors, 1 at least
	// and 8 at most), and Waiting how many may wait for their turn (default 256).
	Processes int
	Waiting   int
	// Program is what is started, with the argument Command (default: this program).
	Program string
	Logger  *slog.Logger
}

// Pool is the processes. They are started when they are first needed.
type Pool struct {
	config  Config
	free    chan *process // nil for one that is to be started
	waiting atomic.Int64
	closed  sync.Once
	ended   chan struct{}
}

// New makes a pool. Close ends it.
func New(config Config, processors int) (*Pool, error) {
	if config.Processes == 0 {
		config.Processes = min(max(processors/2, 1), 8) //nolint:mnd // as the comment of Config says
	}
	if config.Waiting == 0 {
		config.Waiting = 256
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Program == "" {
		var err error
		if config.Program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find this program, which evaluates expressions in processes of its own: %w", err)
		}
	}
	p := &Pool{config: config, free: make(chan *process, config.Processes), ended: make(chan struct{})}
	for range config.Processes {
		p.free <- nil
	}
	return p, nil
}

// Close ends the processes, after the evaluations that are under way.
func (p *Pool) Close() {
	p.closed.Do(func() {
		close(p.ended)
		for range p.config.Processes {
			if one := <-p.free; one != nil {
				one.end()
			}
		}
	})
}

// Evaluate evaluates a source on a message. Faults: those of the source and of expression.Run;
// ExpressionFailed also when the evaluation has reached a bound; Overloaded when too many wait.
func (p *Pool) Evaluate(ctx context.Context, source expression.Source, m expression.Message) (expression.Result, error) {
	if len(m.Payload) > expression.MaxPayload {
		return (&expression.Program{}).Run(ctx, m) // which says so
	}
	one, err := p.take(ctx)
	if err != nil {
		return expression.Result{}, err
	}
	for attempt := 1; ; attempt++ {
		used := one != nil
		if !used {
			if one, err = start(p.config.Program); err != nil {
				p.free <- nil
				return expression.Result{}, err
			}
		}
		var r reply
		var input []byte
		var delivered bool
		r, input, delivered, err = one.ask(question{Source: source, Seen: m.Seen}, m.Payload)
		if err != nil || r.Ends {
			one.end()
			one = nil
		}
		if err != nil && (used || !delivered) && attempt == 1 {
			continue // it may have ended for what came before, or been ended by somebody
		}
		p.free <- one
		if err != nil {
			p.config.Logger.Warn("a process that evaluates expressions has ended", "error", err)
			return expression.Result{}, Stopped("it needs too much memory or time")
		}
		return r.result(input)
	}
}

func (p *Pool) take(ctx context.Context) (*process, error) {
	if p.waiting.Add(1) > int64(p.config.Waiting+p.config.Processes) {
		p.waiting.Add(-1)
		return nil, fault.New(fault.Overloaded, "too many calls wait for the evaluation of filters and mappings").Retry(time.Second)
	}
	defer p.waiting.Add(-1)
	select {
	case <-p.ended:
		return nil, fault.New(fault.Unavailable, "the server is stopping")
	default:
	}
	select {
	case one := <-p.free:
		return one, nil
	case <-p.ended:
		return nil, fault.New(fault.Unavailable, "the server is stopping")
	case <-ctx.Done():
		return nil, fault.New(fault.Overloaded, "the evaluation of filters and mappings has not had its turn in time").Retry(time.Second)
	}
}

// process is one that has been started.
type process struct {
	command *exec.Cmd
	in, out *os.File
}

func start(program string) (*process, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), childIn.Close(), in.Close())
	}
	command := exec.CommandContext(context.Background(), program, Command) // it outlives the call that needs it first
	// Nothing of our own environment: it has secrets. One processor: the garbage collector, too,
	// must leave the others to those who answer calls.
	command.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	command.Stdin, command.Stdout, command.Stderr = childIn, childOut, io.Discard
	err = command.Start()
	err = errors.Join(err, childIn.Close(), childOut.Close())
	if err != nil {
		return nil, fmt.Errorf("start a process that evaluates expressions: %w", errors.Join(err, in.Close(), out.Close()))
	}
	return &process{command, in, out}, nil
}

// answerTime bounds how long a process may take to answer; it keeps bounds of its own before.
const answerTime = 10 * time.Second

// ask sends a question and reads the reply. delivered says that the process was there to take it.
func (p *process) ask(q question, payload []byte) (r reply, input []byte, delivered bool, err error) {
	until := time.Now().Add(answerTime)
	_ = p.in.SetDeadline(until)  // pipes have deadlines wherever we run
	_ = p.out.SetDeadline(until) // likewise
	if err := writeFrames(p.in, q, payload); err != nil {
		return r, nil, false, fmt.Errorf("ask: %w", err)
	}
	if input, err = readFrames(p.out, &r); err != nil {
		return r, nil, true, fmt.Errorf("read the reply: %w", err)
	}
	return r, input, true, nil
}

func (p *process) end() {
	_ = p.in.Close() // at which it ends by itself
	_ = p.out.Close()
	_ = p.command.Process.Kill() // whatever keeps it
	_ = p.command.Wait()         // that it was killed is no news
}
