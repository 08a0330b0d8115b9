package e2e_test

import "syscall"

// dieWithParent asks the kernel to end a process when the thread that started it ends, so
// that killed tests leave nothing behind.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
