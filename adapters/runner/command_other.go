//go:build !unix

package runner

import "os/exec"

// inOwnGroup is for systems without process groups: only the program itself is killed when
// its context ends.
func inOwnGroup(*exec.Cmd) (killGroup func()) { return func() {} }
