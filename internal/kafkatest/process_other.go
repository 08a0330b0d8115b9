//go:build unix && !linux

package kafkatest

import "syscall"

// Without the kernel's help a killed test leaves its broker running.
func dieWithParent(*syscall.SysProcAttr) {}
