//go:build unix

package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	superuser    = "postgres"
	socketPort   = 5432
	stopPatience = 10 * time.Second
	// A unix socket's path holds at most 107 bytes on Linux, 103 on macOS.
	maxSocketPath = 103
	portAttempts  = 3
)

// Options say how a server differs from the fastest one.
type Options struct {
	// Durable makes a commit wait for the disk. Without it the last commits before a
	// [Server.Kill9] may be lost, which is right for every test that does not test that.
	Durable bool
	// TCP lets the server listen on a free port of 127.0.0.1, asking for a password; without
	// it there is a unix socket in a directory that only this user can enter.
	TCP bool
	// Dir is the directory in which the server makes its own, which its account must be able to
	// reach; without it the one for temporary files. Its name must be short.
	Dir string
}

// Server is a running PostgreSQL on a data directory of its own.
type Server struct {
	binDir   string
	dir      string
	options  Options
	password string
	port     int
	account  *syscall.Credential // nil: run as ourselves

	mu      sync.Mutex
	process *os.Process   // nil: not running
	exited  chan struct{} // closed when process has ended
	// suspended are the backends that Suspend has stopped.
	suspended []int
}

// Start makes a data directory and starts a server on it, which takes about a second. It ends
// with [Server.Stop], at the latest with this process. ctx bounds the start alone.
func Start(ctx context.Context, options Options) (*Server, error) {
	binDir, err := BinDir()
	if err != nil {
		return nil, err
	}
	server := &Server{binDir: binDir, options: options, password: rand.Text(), port: socketPort}
	if err := server.create(ctx); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	for attempt := 1; ; attempt++ {
		err := server.choosePort()
		if err == nil {
			err = server.Restart(ctx)
		}
		if err == nil {
			return server, nil
		}
		// Between our finding the port free and the server's binding it another may take it.
		if !options.TCP || attempt == portAttempts || server.PID() != 0 {
			return nil, errors.Join(err, server.Stop())
		}
	}
}

// create makes the directory, owned by the account that the server will run as, and the
// data directory in it.
func (s *Server) create(ctx context.Context) error {
	var err error
	if s.dir, err = makeShortDir(s.options.Dir); err != nil {
		return err
	}
	if os.Geteuid() == 0 { // the server refuses to run as root
		if s.account, err = unprivileged(); err != nil {
			return err
		}
		if err := os.Chown(s.dir, int(s.account.Uid), int(s.account.Gid)); err != nil {
			return fmt.Errorf("give the server its directory: %w", err)
		}
	}
	passwordFile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(s.password), 0o644); err != nil {
		return fmt.Errorf("write the server's password: %w", err)
	}
	initdb := s.command(exec.CommandContext(ctx, filepath.Join(s.binDir, "initdb"),
		"--pgdata", s.dataDir(), "--username", superuser, "--pwfile", passwordFile,
		"--auth-local", "trust", "--auth-host", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"))
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return nil
}

func makeShortDir(parent string) (string, error) {
	named := parent != ""
	if !named {
		parent = os.TempDir()
	}
	if !named && len(parent)+len("/hooktrail-pg-1234567890/.s.PGSQL.65535") > maxSocketPath {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "hooktrail-pg-")
	if err != nil {
		return "", fmt.Errorf("make the server's directory: %w", err)
	}
	return dir, nil
}

func unprivileged() (*syscall.Credential, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and there is neither an account postgres nor nobody: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user id of %s: %w", account.Username, err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("group id of %s: %w", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (s *Server) choosePort() error {
	if !s.options.TCP {
		return nil
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	return listener.Close()
}

// Restart starts the server again on the data it has, after a [Server.Kill9], at the same
// address. It returns when the server takes connections. A running server is an error.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		return fmt.Errorf("PostgreSQL %d is still running", s.process.Pid)
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	postgres := s.command(exec.Command(filepath.Join(s.binDir, "postgres"), s.arguments()...))
	postgres.Stdout, postgres.Stderr = log, log
	dieWithParent(postgres.SysProcAttr)
	if err := s.launch(postgres); err != nil {
		return err
	}
	return s.awaitReady(ctx)
}

func (s *Server) arguments() []string {
	settings := []string{
		"unix_socket_directories=" + s.dir,
		"port=" + strconv.Itoa(s.port),
		"listen_addresses=",
		"max_connections=100",
		"timezone=UTC",
	}
	if s.options.TCP {
		settings = append(settings, "listen_addresses=127.0.0.1")
	}
	if !s.options.Durable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=64MB")
	}
	arguments := []string{"-D", s.dataDir()}
	for _, setting := range settings {
		arguments = append(arguments, "-c", setting)
	}
	return arguments
}

// command gives cmd the server's account and an environment in which no PG* variable
// of ours changes what the server does.
func (s *Server) command(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C"}
	if path := os.Getenv("LD_LIBRARY_PATH"); path != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+path)
	}
	return cmd
}

func (s *Server) awaitReady(ctx context.Context) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !s.ready() {
		select {
		case <-s.exited:
			return fmt.Errorf("PostgreSQL ended before it was ready; its log:\n%s", s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL is not ready: %w; its log:\n%s", context.Cause(ctx), s.logTail())
		case <-poll.C:
		}
	}
	return nil
}

// ready reads postmaster.pid: its first line is the process, its eighth the status. The
// process is compared because a killed server leaves its file, "ready", behind.
func (s *Server) ready() bool {
	content, err := os.ReadFile(filepath.Join(s.dataDir(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	return len(lines) >= 8 && lines[0] == strconv.Itoa(s.process.Pid) && strings.TrimSpace(lines[7]) == "ready"
}

func (s *Server) logTail() string {
	const most = 4096
	content, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-most):])
}

// DSN gives the address of a database as a URL that pgx and lib/pq both take.
func (s *Server) DSN(database string) string {
	address := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database}
	query := url.Values{"sslmode": {"disable"}}
	if s.options.TCP {
		address.User = url.UserPassword(superuser, s.password)
		address.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
	} else {
		query.Set("host", s.dir)
		query.Set("port", strconv.Itoa(s.port))
	}
	address.RawQuery = query.Encode()
	return address.String()
}

// LogFile names the file that holds what the server writes; [Server.Stop] removes it.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "log") }

func (s *Server) dataDir() string { return filepath.Join(s.dir, "data") }
