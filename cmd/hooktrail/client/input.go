package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	hooktrail "hooktrail/sdk/go"
)

// read gives the text of an argument: itself, @FILE, or @- for standard input.
func (s *Session) read(argument string) ([]byte, error) {
	name, isFile := strings.CutPrefix(argument, "@")
	switch {
	case !isFile:
		return []byte(argument), nil
	case name == "-":
		return io.ReadAll(s.In)
	default:
		return os.ReadFile(name)
	}
}

// readJSON reads an argument that has to be JSON; empty gives nil.
func (s *Session) readJSON(flag, argument string) (any, error) {
	if argument == "" {
		return nil, nil
	}
	text, err := s.read(argument)
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, usage("--%s must be JSON, or @FILE with JSON", flag)
	}
	return json.RawMessage(text), nil
}

// readSecret reads a key or secret from a file; - is standard input.
func (s *Session) readSecret(file string) (hooktrail.Secret, error) {
	text, err := s.read("@" + file)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return hooktrail.Secret(secret), nil
}

// ask asks a person for a secret, without showing it.
func (s *Session) ask(question string) (hooktrail.Secret, error) {
	terminal, isFile := s.In.(*os.File)
	if !isFile {
		return "", errors.New("there is no terminal to ask on")
	}
	fmt.Fprint(s.Err, question)
	text, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(s.Err)
	return hooktrail.Secret(strings.TrimSpace(string(text))), err
}

// Confirmation is the flag of commands that ask before they do what cannot be undone.
type Confirmation struct {
	Yes bool `short:"y" help:"Do not ask."`
}

// end ends the thing of an id, once somebody has confirmed it; question and done are formats that take
// the id.
func (s *Session) end(server Server, c Confirmation, question, done, id string, end func(ctx context.Context, connected *hooktrail.Client) error) error {
	return s.with(server, func(ctx context.Context, connected *hooktrail.Client) error {
		if err := s.confirm(c, question, id); err != nil {
			return err
		}
		if err := end(ctx, connected); err != nil {
			return err
		}
		fmt.Fprintf(s.Err, done+"\n", id)
		return nil
	})
}

// confirm asks on a terminal; elsewhere --yes has to have been said.
func (s *Session) confirm(c Confirmation, format string, args ...any) error {
	if c.Yes {
		return nil
	}
	question := fmt.Sprintf(format, args...)
	if !s.interactive() {
		return usage("%s Say --yes where nobody can be asked", question)
	}
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(s.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		fmt.Fprintln(s.Err, "nothing was done")
		return ExitCode(exitRefused)
	}
	return nil
}
