//go:build unix && !linux

package pgtest

import "syscall"

// Without the kernel's help a killed test leaves its server running.
func dieWithParent(*syscall.SysProcAttr) {}

// Backends end by themselves, a little later, when they see their postmaster gone.
func childrenOf(int) []int { return nil }

func awaitGone([]int) {}
