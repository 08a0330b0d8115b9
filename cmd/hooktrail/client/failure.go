package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	hooktrail "hooktrail/sdk/go"
)

// The exit codes of the client commands.
const (
	exitRefused        = 1 // the server refused it, or an execution failed
	exitUsage          = 2
	exitNotFound       = 3
	exitAuthentication = 4
	exitUnreachable    = 5
	exitInterrupted    = 130
)

// ExitCodes is what --help says about them.
const ExitCodes = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not found,\n" +
	"4 key missing or not allowed, 5 server failed or unreachable."

// ExitCode ends the program with that code; whoever returns it has said why.
type ExitCode int

func (e ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that cannot be followed.
type usageError string

func (e usageError) Error() string { return string(e) }

func usage(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// Explain says what went wrong and what to do next, and gives the exit code. There is nothing
// to say when the text is empty.
func (s *Session) Explain(err error) (text string, code int) {
	var exit ExitCode
	var wrong usageError
	var failed *hooktrail.Error
	switch {
	case errors.As(err, &exit):
		return "", int(exit)
	case errors.As(err, &wrong):
		return wrong.Error(), exitUsage
	case errors.As(err, &failed):
		return s.explain(failed)
	case errors.Is(err, context.Canceled):
		return "interrupted", exitInterrupted
	}
	return strings.TrimPrefix(err.Error(), "hooktrail: "), exitRefused
}

func (s *Session) explain(failed *hooktrail.Error) (text string, code int) {
	server := fmt.Sprintf("%s (%s)", s.url, s.urlFrom)
	switch {
	case errors.Is(failed, hooktrail.ErrAuthentication):
		text = fmt.Sprintf("%s does not take the API key (from %s): %v", server, s.keyFrom, failed)
		if s.keyFrom == "" {
			text = "there is no API key for " + server
			if s.keyWithheld != "" {
				text += ": " + s.keyWithheld
			}
		}
		return text + fmt.Sprintf("\nSet %s, name a file by --api-key-file, or keep the key in a profile:\n  hooktrail profiles set NAME --url %s --api-key-file FILE", keyVariable, s.url), exitAuthentication
	case errors.Is(failed, hooktrail.ErrPermission):
		return fmt.Sprintf("%v\nTo see what the key (from %s) may do: hooktrail whoami", failed, s.keyFrom), exitAuthentication
	case errors.Is(failed, hooktrail.ErrNotFound):
		text = failed.Error()
		if noun, _, _ := strings.Cut(s.command.Command(), " "); noun != "" && noun != "whoami" {
			text += fmt.Sprintf("\nTo see what there is: hooktrail %s list", noun)
		}
		return text, exitNotFound
	case errors.Is(failed, hooktrail.ErrConnection):
		return fmt.Sprintf("%v\nThe URL is %s. Is the server running (hooktrail serve)? Another is named by --url, HOOKTRAIL_URL or a profile.", failed, s.urlFrom), exitUnreachable
	case errors.Is(failed, hooktrail.ErrServer):
		return fmt.Sprintf("%s: %v", server, failed), exitUnreachable
	}
	return failed.Error(), exitRefused
}
