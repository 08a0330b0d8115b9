// Package serve wires the service together and runs it. It is the only place, with its
// command beside it, that knows all the parts.
package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/trigger"
)

// Storage is where the data is and what opens it.
type Storage struct {
	DataDir     string `help:"Directory of the embedded store and of generated keys." default:"./hooktrail-data" env:"HOOKTRAIL_DATA_DIR"`
	DatabaseURL string `help:"postgres://… to store in PostgreSQL; empty means the embedded SQLite in the data directory." env:"HOOKTRAIL_DATABASE_URL" placeholder:"URL"`
	MasterKey   string `help:"Base64 of 32 bytes, current[,previous…]. Required with PostgreSQL; with the embedded store one is made in the data directory." env:"HOOKTRAIL_MASTER_KEY" placeholder:"KEY"`
}

// Logging is how the log is written.
type Logging struct {
	LogLevel  string `help:"Least level that is logged: debug, info, warn or error." default:"info" enum:"debug,info,warn,error" env:"HOOKTRAIL_LOG_LEVEL"`
	LogFormat string `help:"text, json, or auto: text on a terminal, else json." default:"auto" enum:"auto,text,json" env:"HOOKTRAIL_LOG_FORMAT"`
}

// Config is all that an operator can decide.
type Config struct {
	Storage
	Logging
	Brokers
	Addr                 string        `help:"Address to listen on." default:":8080" env:"HOOKTRAIL_ADDR"`
	PublicURL            string        `help:"URL under which senders reach this server; shown in triggers. Default: http:// and the address." env:"HOOKTRAIL_PUBLIC_URL" placeholder:"URL"`
	MetricsAddr          string        `help:"Address of a listener of its own for /metrics; empty serves it on the main one." env:"HOOKTRAIL_METRICS_ADDR" placeholder:"HOST:PORT"`
	PprofAddr            string        `help:"Address of a listener for profiles (/debug/pprof); empty is none. Keep it private." env:"HOOKTRAIL_PPROF_ADDR" placeholder:"HOST:PORT"`
	APIKey               string        `help:"Bootstrap API key with scope admin. When empty and there is no key at all, one is made and printed once." env:"HOOKTRAIL_API_KEY" placeholder:"KEY"`
	AuditFile            string        `help:"File to which signed checkpoints of the log are appended, so that they can be kept elsewhere; empty is none." env:"HOOKTRAIL_AUDIT_FILE" placeholder:"FILE"`
	PayloadRetention     time.Duration `help:"Erase inputs and outputs of executions that ended longer ago than this, such as 2160h (90 days); 0 keeps them." default:"0s" env:"HOOKTRAIL_PAYLOAD_RETENTION"`
	RateLimit            int           `help:"Webhook calls per minute and client IP; 0 switches the limit off." default:"30" env:"HOOKTRAIL_RATE_LIMIT"`
	MaxBodyBytes         int           `help:"Most bytes of a webhook call's body, unless the trigger says otherwise." default:"1048576" env:"HOOKTRAIL_MAX_BODY_BYTES"`
	TrustedProxies       []string      `help:"Addresses or CIDR ranges of proxies whose X-Forwarded-For is believed." env:"HOOKTRAIL_TRUSTED_PROXIES" placeholder:"CIDR"`
	AllowPrivateAgents   []string      `help:"Private addresses or CIDR ranges that the runners http, openai and a2a and deliveries to subscriptions may reach." env:"HOOKTRAIL_ALLOW_PRIVATE_AGENTS" placeholder:"CIDR"`
	AllowCommandRunner   bool          `help:"Let agents start programs on this machine." default:"false" env:"HOOKTRAIL_ALLOW_COMMAND_RUNNER"`
	DefaultRunner        string        `help:"Runner of agents that name none: none, echo." default:"none" enum:"none,echo" env:"HOOKTRAIL_DEFAULT_RUNNER"`
	Roles                []string      `help:"What this process does: api, worker." default:"api,worker" env:"HOOKTRAIL_ROLES"`
	WorkerConcurrency    int           `help:"Agents that this process runs at one time." default:"64" env:"HOOKTRAIL_WORKER_CONCURRENCY"`
	QueueLength          int           `help:"Calls that may wait for a commit; more get a 503." default:"4096" env:"HOOKTRAIL_QUEUE_LENGTH"`
	WorkerLease          time.Duration `help:"How long after a worker's last sign of life others take its executions over." default:"15s" env:"HOOKTRAIL_WORKER_LEASE"`
	ShutdownTimeout      time.Duration `help:"How long running agents and requests may go on when the process is told to stop." default:"20s" env:"HOOKTRAIL_SHUTDOWN_TIMEOUT"`
	trustedProxies       []netip.Prefix
	allowedPrivateAgents []netip.Prefix
}

// Validate checks the settings that a type alone does not; the message names each by the
// variable that sets it.
func (c *Config) Validate() error {
	var problems []error
	bad := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s %s", name, fmt.Sprintf(format, args...)))
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		bad("HOOKTRAIL_ADDR", "must be host:port or :port")
	}
	for name, addr := range map[string]string{"HOOKTRAIL_METRICS_ADDR": c.MetricsAddr, "HOOKTRAIL_PPROF_ADDR": c.PprofAddr} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
			bad(name, "must be host:port or :port")
		}
	}
	if c.PublicURL != "" {
		if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad("HOOKTRAIL_PUBLIC_URL", "must be an absolute http or https URL")
		}
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	if c.PayloadRetention != 0 && c.PayloadRetention < time.Second {
		bad("HOOKTRAIL_PAYLOAD_RETENTION", "must be 1s or more, or 0 to keep everything")
	}
	if c.RateLimit < 0 || c.RateLimit > 10_000_000 {
		bad("HOOKTRAIL_RATE_LIMIT", "must be from 0 (off) to 10000000 calls per minute")
	}
	if c.MaxBodyBytes < 1 || c.MaxBodyBytes > trigger.MaxBodyBytes {
		bad("HOOKTRAIL_MAX_BODY_BYTES", "must be from 1 to %d", trigger.MaxBodyBytes)
	}
	if c.WorkerConcurrency < 1 || c.WorkerConcurrency > 10_000 {
		bad("HOOKTRAIL_WORKER_CONCURRENCY", "must be from 1 to 10000")
	}
	if c.QueueLength < 1 || c.QueueLength > 1_000_000 {
		bad("HOOKTRAIL_QUEUE_LENGTH", "must be from 1 to 1000000")
	}
	if c.WorkerLease < time.Second || c.WorkerLease > time.Hour {
		bad("HOOKTRAIL_WORKER_LEASE", "must be from 1s to 1h")
	}
	if c.ShutdownTimeout < 0 || c.ShutdownTimeout > time.Hour {
		bad("HOOKTRAIL_SHUTDOWN_TIMEOUT", "must be from 0s to 1h")
	}
	if len(c.Roles) == 0 {
		bad("HOOKTRAIL_ROLES", "must name api, worker or both")
	}
	for _, role := range c.Roles {
		if role != RoleAPI && role != RoleWorker {
			bad("HOOKTRAIL_ROLES", "has %q; the roles are api and worker", role)
		}
	}
	var err error
	if c.trustedProxies, err = prefixes(c.TrustedProxies); err != nil {
		bad("HOOKTRAIL_TRUSTED_PROXIES", "%s", err)
	}
	if c.allowedPrivateAgents, err = prefixes(c.AllowPrivateAgents); err != nil {
		bad("HOOKTRAIL_ALLOW_PRIVATE_AGENTS", "%s", err)
	}
	if c.DefaultRunner == "" {
		c.DefaultRunner = agent.RunnerNone
	}
	problems = append(problems, c.Storage.Validate(), c.Brokers.Validate())
	return errors.Join(problems...)
}

// Validate checks where the data is.
func (s *Storage) Validate() error {
	if s.DatabaseURL == "" {
		if s.DataDir == "" {
			return errors.New("HOOKTRAIL_DATA_DIR must not be empty")
		}
		return nil
	}
	if !strings.HasPrefix(s.DatabaseURL, "postgres://") && !strings.HasPrefix(s.DatabaseURL, "postgresql://") {
		return errors.New("HOOKTRAIL_DATABASE_URL must begin with postgres://")
	}
	if s.MasterKey == "" {
		return errors.New("HOOKTRAIL_MASTER_KEY is required with PostgreSQL: base64 of 32 random bytes, for example from: openssl rand -base64 32")
	}
	return nil
}

// The roles of a process.
const (
	RoleAPI    = "api"
	RoleWorker = "worker"
)

func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }

func prefixes(entries []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, entry := range entries {
		if entry == "" {
			continue
		}
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			list = append(list, prefix.Masked())
			continue
		}
		address, err := netip.ParseAddr(entry)
		if err != nil {
			return nil, fmt.Errorf("has %q, which is neither an address nor a CIDR range", entry)
		}
		list = append(list, netip.PrefixFrom(address, address.BitLen()))
	}
	return list, nil
}

// publicURL is the configured URL, or one made from the address that is listened on.
func (c *Config) publicURL() string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func (s *Storage) storePath() string     { return filepath.Join(s.DataDir, "hooktrail.db") }
func (s *Storage) masterKeyPath() string { return filepath.Join(s.DataDir, "master.key") }
func (s *Storage) lockPath() string      { return filepath.Join(s.DataDir, "serve.lock") }

func (l Logging) level() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.LogLevel)); err != nil {
		return slog.LevelInfo
	}
	return level
}

func (l Logging) format(out *os.File) string {
	if l.LogFormat != "auto" && l.LogFormat != "" {
		return l.LogFormat
	}
	if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return "text"
	}
	return "json"
}
