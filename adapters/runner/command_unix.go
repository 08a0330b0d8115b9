//go:build unix

package runner

import (
	"os/exec"
	"syscall"
)

// inOwnGroup puts the program into a process group of its own, whose members all get SIGTERM
// when its context ends. The function it gives kills what is left of the group.
func inOwnGroup(program *exec.Cmd) (killGroup func()) {
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	program.Cancel = func() error {
		// A group that is gone already is what we want.
		_ = syscall.Kill(-program.Process.Pid, syscall.SIGTERM)
		return nil
	}
	return func() { _ = syscall.Kill(-program.Process.Pid, syscall.SIGKILL) }
}
