package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// dieWithParent asks the kernel to end the server when the thread that starts it ends, so
// that a killed test leaves no server behind.
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGQUIT }

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, entry := range entries {
		candidate, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if _, parent, ok := processState(candidate); ok && parent == pid {
			children = append(children, candidate)
		}
	}
	return children
}

// awaitGone waits for killed processes that are not our children. A zombie counts as gone:
// it waits for its new parent, has no memory, and may stay for ever where nobody reaps.
func awaitGone(pids []int) {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for _, pid := range pids {
		for state, _, ok := processState(pid); ok && state != 'Z' && state != 'X'; state, _, ok = processState(pid) {
			<-poll.C
		}
	}
}

// processState reads "pid (name) state parent …", where the name may hold anything; see proc(5).
func processState(pid int) (state byte, parent int, ok bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	nameEnd := bytes.LastIndexByte(content, ')')
	if nameEnd < 0 {
		return 0, 0, false
	}
	if _, err := fmt.Sscanf(string(content[nameEnd+1:]), " %c %d", &state, &parent); err != nil {
		return 0, 0, false
	}
	return state, parent, true
}
