package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

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
		if len(fields) < 15 {
			continue
		}
		own, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		parent, _ := strconv.Atoi(fields[1])
		if own != pid && (parent != pid || pid == os.Getpid()) {
			continue // our own children are the servers, which are counted by themselves
		}
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		u.cpu += time.Duration(user+system) * clockTick
		if own == pid && pid != os.Getpid() { // what children that have ended had used
			user, _ := strconv.ParseInt(fields[13], 10, 64)
			system, _ := strconv.ParseInt(fields[14], 10, 64)
			u.cpu += time.Duration(user+system) * clockTick
		}
		u.rss += proportionalMiB(own)
	}
	return u
}

// proportionalMiB is the memory of a process, its share of what it shares counted as such:
// the processes of a database share most of theirs.
func proportionalMiB(pid int) float64 { return kibOf(pid, "smaps_rollup", "Pss:") / 1024 }

// residentMiB is the memory of a process.
func residentMiB(pid int) float64 { return kibOf(pid, "status", "VmRSS:") / 1024 }

func kibOf(pid int, file, field string) float64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if rest, found := strings.CutPrefix(line, field); found {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib
		}
	}
	return 0
}

// watchMemory looks at the memory of a process until stop is called, which gives the most.
func watchMemory(pid int) (stop func() float64) {
	done, most := make(chan struct{}), 0.0
	var watch sync.WaitGroup
	watch.Go(func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			most = max(most, residentMiB(pid))
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	return func() float64 {
		close(done)
		watch.Wait()
		return most
	}
}

// metric reads one figure of a server's metrics.
func metric(ctx context.Context, addr, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET /metrics: %s", response.Status)
	}
	total := 0.0
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, name+" ") || strings.HasPrefix(line, name+"{") {
			fields := strings.Fields(line)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				return 0, fmt.Errorf("metric %s: %w", name, err)
			}
			total += value
		}
	}
	return total, nil
}
