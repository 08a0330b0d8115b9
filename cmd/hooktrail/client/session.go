// Package client has the commands that speak to a server: over HTTP, by the Go client library,
// as any other client does.
package client

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	hooktrail "hooktrail/sdk/go"
)

// Console is what a command reads and writes.
type Console struct {
	In       io.Reader
	Out, Err io.Writer
}

func isTerminal(stream any) bool {
	file, isFile := stream.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}

// interactive reports whether a person can be asked.
func (c Console) interactive() bool { return isTerminal(c.In) && isTerminal(c.Err) }

// Session is one run of a command.
type Session struct {
	Console
	command *kong.Context
	// Where the server and the key were found, for what is said when they do not do.
	url, urlFrom string
	keyFrom      string
	keyWithheld  string // why the profile's key was not sent
}

// NewSession makes the session of a command that was parsed.
func NewSession(console Console, command *kong.Context) *Session {
	return &Session{Console: console, command: command}
}

// interruptible is a context that ends when the program is told to stop.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// Server says which server a command speaks to, and with which key.
type Server struct {
	URL        string `help:"Server to call." env:"HOOKTRAIL_URL" placeholder:"URL"`
	APIKeyFile string `help:"File with the API key, - for stdin." name:"api-key-file" env:"HOOKTRAIL_API_KEY_FILE" placeholder:"FILE"`
	Profile    string `help:"Profile to use." env:"HOOKTRAIL_PROFILE" placeholder:"NAME"`
}

// keyVariable is no flag: what is on the command line, everybody on the machine can read.
const keyVariable = hooktrail.EnvAPIKey

// connect makes a client of the flags, the environment and the profile, in that order of
// strength.
func (s *Session) connect(server Server) (*hooktrail.Client, error) {
	key, err := s.key(server)
	if err != nil {
		return nil, err
	}
	return s.open(server, hooktrail.Options{APIKey: key}, key == "")
}

// with connects, and does something until it is done or the program is told to stop.
func (s *Session) with(server Server, do func(ctx context.Context, connected *hooktrail.Client) error) error {
	ctx, cancel := interruptible()
	defer cancel()
	connected, err := s.connect(server)
	if err != nil {
		return err
	}
	return do(ctx, connected)
}

// open adds what the options lack; the profile is read only if it is needed.
func (s *Session) open(server Server, options hooktrail.Options, keyWanted bool) (*hooktrail.Client, error) {
	options.BaseURL, options.UserAgent = server.URL, "hooktrail-cli"
	s.urlFrom = "from " + s.source("url", "HOOKTRAIL_URL")
	if options.BaseURL == "" || keyWanted || server.Profile != "" {
		if err := s.addProfile(server, &options); err != nil {
			return nil, err
		}
	}
	if options.BaseURL == "" {
		options.BaseURL, s.urlFrom = hooktrail.DefaultURL, "the default"
	}
	s.url = options.BaseURL
	connected, err := hooktrail.New(options)
	if err != nil {
		return nil, usage("the URL (%s) must be an absolute http or https URL without a password, such as https://hooks.example.com", s.urlFrom)
	}
	return connected, nil
}

// key finds a key that is stronger than the profile's.
func (s *Session) key(server Server) (hooktrail.Secret, error) {
	if server.APIKeyFile != "" {
		s.keyFrom = server.APIKeyFile
		if server.APIKeyFile == "-" {
			s.keyFrom = "standard input"
		}
		return s.readSecret(server.APIKeyFile)
	}
	key := hooktrail.Secret(strings.TrimSpace(os.Getenv(keyVariable)))
	if key != "" {
		s.keyFrom = keyVariable
	}
	return key, nil
}

func (s *Session) addProfile(server Server, options *hooktrail.Options) error {
	stored, err := loadProfiles()
	if err != nil {
		return err
	}
	name := server.Profile
	if name == "" {
		name = stored.Current
	}
	if name == "" {
		return nil
	}
	p, err := stored.find(name)
	if err != nil {
		return err
	}
	from := "profile " + name
	if options.BaseURL == "" && p.URL != "" {
		options.BaseURL, s.urlFrom = p.URL, "from "+from
	}
	switch {
	case options.APIKey != "" || p.APIKey == "":
	case p.URL != "" && strings.TrimRight(p.URL, "/") != strings.TrimRight(options.BaseURL, "/"):
		s.keyWithheld = fmt.Sprintf("the key of profile %s is for %s only and was not sent", name, p.URL)
	default:
		options.APIKey, s.keyFrom = p.APIKey, from
	}
	return nil
}

// source says where a flag's value was found.
func (s *Session) source(flag, variable string) string {
	for _, element := range s.command.Path {
		if element.Flag != nil && element.Flag.Name == flag {
			if element.Resolved {
				return "the settings file"
			}
			return "--" + flag
		}
	}
	return variable
}
