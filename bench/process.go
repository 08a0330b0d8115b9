package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that this program started.
type process struct {
	cmd  *exec.Cmd
	addr string
}

// launch starts a command and waits until it answers at the path.
func launch(ctx context.Context, addr, path string, environment []string, name string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, addr: addr}
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		response, err := http.Get("http://" + addr + path) //nolint:noctx // bounded by the loop
		if err == nil {
			_ = response.Body.Close()
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	p.stop()
	return nil, fmt.Errorf("%s does not answer at %s", filepath.Base(name), addr)
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

func freeAddr() (string, error) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer probe.Close()
	return probe.Addr().String(), nil
}

// usage is what a process and its children have used so far.
type usage struct {
	cpu time.Duration
	rss float64 // MiB
}

const clockTick = 10 * time.Millisecond // sysconf(_SC_CLK_TCK) is 100 on every Linux that Go runs on

// usageOf adds up a server process and its children, which a database has.
func usageOf(pid int) usage {
	if pid == 0 {
		return usage{}
	}
	var u usage
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, entry := range entries {
		content, err := os.ReadFile(entry)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(content), ") ")
		fields := strings.Fields(rest)
		own, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		parent, _ := strconv.Atoi(fields[1])
		if own != pid && (parent != pid || pid == os.Getpid()) {
			continue // our own children are the servers, which are counted by themselves
		}
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		u.cpu += time.Duration(user+system) * clockTick
		u.rss += residentMiB(own)
	}
	return u
}

// residentMiB is the memory of a process, its share of what it shares counted as such.
func residentMiB(pid int) float64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if rest, found := strings.CutPrefix(line, "Pss:"); found {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

// metric reads one figure of a server's metrics.
func metric(ctx context.Context, addr, name string) float64 {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0
	}
	total := 0.0
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, name+" ") || strings.HasPrefix(line, name+"{") {
			fields := strings.Fields(line)
			value, _ := strconv.ParseFloat(fields[len(fields)-1], 64)
			total += value
		}
	}
	return total
}
