//go:build unix

package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// launch starts the server from a thread that lives until the server has ended: the kernel
// sends the parent-death signal when the starting thread ends, not the process.
func (s *Server) launch(postgres *exec.Cmd) error {
	exited := make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		defer close(exited)
		err := postgres.Start()
		started <- err
		if err == nil {
			_ = postgres.Wait() // a server ends by signal or exit code; whoever ended it knows
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.process, s.exited = postgres.Process, exited
	return nil
}

func (s *Server) running() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// PID is the process id of the server's first process; 0 when it is not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return 0
	}
	return s.process.Pid
}

// Kill9 ends the server and all its backends as a crash would, and returns when they are
// gone. The data stays for a [Server.Restart]. It does nothing when the server is not running.
func (s *Server) Kill9() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return
	}
	// Stopped, the postmaster forks no backend that we would miss.
	_ = s.process.Signal(syscall.SIGSTOP)
	backends := childrenOf(s.process.Pid)
	_ = s.process.Kill()
	for _, pid := range backends {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.exited
	awaitGone(backends)
}

// Suspend stops the server and all its backends where they stand, as a machine that hangs
// would: they go on with [Server.Resume]. It does nothing when the server is not running.
func (s *Server) Suspend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return
	}
	// Stopped, the postmaster forks no backend that we would miss.
	_ = s.process.Signal(syscall.SIGSTOP)
	s.suspended = childrenOf(s.process.Pid)
	for _, pid := range s.suspended {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
}

// Resume lets a suspended server go on.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resume()
}

func (s *Server) resume() {
	if !s.running() {
		return
	}
	for _, pid := range s.suspended {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	s.suspended = nil
	_ = s.process.Signal(syscall.SIGCONT)
}

// Stop ends the server and removes its data. A second call does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		s.resume() // what is stopped does not hear that it should end
		// The immediate shutdown: the data is thrown away.
		_ = s.process.Signal(syscall.SIGQUIT)
		select {
		case <-s.exited:
		case <-time.After(stopPatience):
			_ = s.process.Kill()
			<-s.exited
		}
	}
	if s.dir == "" {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the server's data: %w", err)
	}
	return nil
}
