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

const clockTick = 10 * time.Millisecond // sysconf(_SC_CLK_TCK) is 100 on every Linux that Go runs on

// family calls each for a server process and its children, which a database has, with what
// proc(5) tells of it behind the name.
func family(pid int, each func(pid int, fields []string)) {
	if pid == 0 {
		return
	}
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, entry := range entries {
		content, err := os.ReadFile(entry)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(content), ") ")
		fields := strings.Fields(rest)
		own, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		// Our own children are the servers, which are counted by themselves.
		if len(fields) >= 15 && (own == pid || fields[1] == strconv.Itoa(pid) && pid != os.Getpid()) {
			each(own, fields)
		}
	}
}

// processorTime is what a server process and its children have used so far, those included
// that have ended.
func processorTime(pid int) time.Duration {
	var ticks int64
	family(pid, func(own int, fields []string) {
		last := 13 // user, system
		if own == pid && pid != os.Getpid() {
			last = 15 // and both of children that have ended
		}
		for _, field := range fields[11:last] {
			n, _ := strconv.ParseInt(field, 10, 64)
			ticks += n
		}
	})
	return time.Duration(ticks) * clockTick
}

// familyMiB is the memory of a server process and its children.
func familyMiB(pid int) float64 {
	total := 0.0
	family(pid, func(own int, _ []string) { total += proportionalMiB(own) })
	return total
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
