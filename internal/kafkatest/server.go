//go:build unix

package kafkatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Server is a Kafka broker, its own controller, on 127.0.0.1. A new topic has three partitions and
// must be made before it is used.
type Server struct {
	classpath, dir string
	address        string
	controller     string

	process *os.Process
	exited  chan struct{} // closed when process has ended
	said    *bytes.Buffer // to be read when it has ended
}

// Start makes a directory and starts a broker on it, which takes a few seconds. It ends with
// [Server.Stop], on Linux at the latest with this process.
func Start(ctx context.Context) (*Server, error) {
	classpath, err := Classpath()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hooktrail-kafka-")
	if err != nil {
		return nil, fmt.Errorf("make the broker's directory: %w", err)
	}
	s := &Server{classpath: classpath, dir: dir}
	if err := s.format(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.Restart(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Address is host:port, the same after a restart.
func (s *Server) Address() string { return s.address }

func (s *Server) format(ctx context.Context) error {
	var addresses [2]string
	for i := range addresses {
		free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = free.Close() }()
		addresses[i] = free.Addr().String()
	}
	s.address, s.controller = addresses[0], addresses[1]
	settings := strings.Join([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + s.controller,
		"listeners=PLAINTEXT://" + s.address + ",CONTROLLER://" + s.controller, "advertised.listeners=PLAINTEXT://" + s.address,
		"controller.listener.names=CONTROLLER", "log.dirs=" + filepath.Join(s.dir, "data"),
		"num.partitions=3", "auto.create.topics.enable=false", "offsets.topic.replication.factor=1",
		// A broker that was killed may come back when it counts as gone.
		"broker.session.timeout.ms=1000", "broker.heartbeat.interval.ms=200",
	}, "\n")
	if err := os.WriteFile(s.settings(), []byte(settings), 0o600); err != nil {
		return fmt.Errorf("write the broker's settings: %w", err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	id[0] &= 0x7f        // an id that begins with a dash looks like an option
	format := s.java(ctx, "kafka.tools.StorageTool", "format", "--cluster-id", base64.RawURLEncoding.EncodeToString(id), "--config", s.settings())
	if output, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format the broker's directory: %w\n%s", err, output)
	}
	return nil
}

func (s *Server) settings() string { return filepath.Join(s.dir, "server.properties") }

func (s *Server) java(ctx context.Context, arguments ...string) *exec.Cmd {
	quick := []string{"-cp", s.classpath, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
	return exec.CommandContext(ctx, "java", append(quick, arguments...)...)
}

// Restart starts a broker that was killed, on its data and address. ctx bounds the start alone.
func (s *Server) Restart(ctx context.Context) error {
	kafka := s.java(context.WithoutCancel(ctx), "kafka.Kafka", s.settings())
	s.said, s.exited = &bytes.Buffer{}, make(chan struct{})
	kafka.Stdout, kafka.Stderr, kafka.WaitDelay = s.said, s.said, time.Second
	kafka.SysProcAttr = &syscall.SysProcAttr{}
	dieWithParent(kafka.SysProcAttr)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the kernel sends the parent-death signal when the starting thread ends
		defer close(s.exited)
		err := kafka.Start()
		started <- err
		if err == nil {
			_ = kafka.Wait() // whoever ended it knows
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	s.process = kafka.Process
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the broker ended while it started:\n%s", s.said)
		case <-ctx.Done():
			return fmt.Errorf("the broker does not listen on %s: %w", s.address, ctx.Err())
		case <-poll.C:
		}
	}
}

// Kill9 ends the broker as a crash would, and returns when it is gone. Its data stays for a
// [Server.Restart].
func (s *Server) Kill9() {
	if s.process == nil {
		return
	}
	_ = s.process.Kill()
	<-s.exited
	s.process = nil
}

// Stop ends the broker and removes its data.
func (s *Server) Stop() error {
	s.Kill9()
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the broker's directory: %w", err)
	}
	return nil
}
