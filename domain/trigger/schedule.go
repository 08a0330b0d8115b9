package trigger

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

// Schedule makes a trigger fire by itself.
type Schedule struct {
	// Cron has five fields (minute, hour, day of month, month, day of week), or six with seconds
	// first, or is one of @hourly, @daily, @weekly, @monthly, @yearly and @every DURATION.
	Cron string `json:"cron"`
	// TimeZone is a name of the IANA database; "" means UTC. A time that the clocks skip in spring
	// runs as much later as they are put forward. One that comes twice in autumn runs at its first,
	// unless the schedule is for every hour or every few.
	TimeZone string `json:"time_zone,omitempty"`
	// Payload is the agent's input; absent means {}.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Missed says what happens to runs whose time passed by more than a minute while nothing
	// could fire them: one of MissedOnce (the default), MissedSkip and MissedAll.
	Missed string `json:"missed,omitempty"`
}

// What happens to missed runs.
const (
	MissedOnce = "once" // one run for all of them
	MissedSkip = "skip" // none
	MissedAll  = "all"  // each, up to MaxMissed
)

const (
	// MaxMissed is how many missed runs are made up for by MissedAll; the latest.
	MaxMissed = 100
	// maxLate is how late a run may be and not count as missed.
	maxLate     = time.Minute
	maxCron     = 200       // characters
	maxSchedule = 256 << 10 // bytes of payload
)

var cronParser = cron.MustNewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Input is what the agent gets.
func (s Schedule) Input() []byte {
	if len(s.Payload) == 0 {
		return []byte("{}")
	}
	return s.Payload
}

// validate names what is wrong, by path.
func (s Schedule) validate(path string, wrong map[string]string) {
	zone, err := s.zone()
	if err != nil {
		wrong[path+".time_zone"] = fmt.Sprintf("is not a time zone of the IANA database: %.60q", s.TimeZone)
	}
	switch {
	case s.Cron == "":
		wrong[path+".cron"] = "is required"
	case len(s.Cron) > maxCron:
		wrong[path+".cron"] = fmt.Sprintf("is longer than %d characters", maxCron)
	case strings.Contains(s.Cron, "="):
		wrong[path+".cron"] = "must not hold a time zone: that is time_zone"
	default:
		if times, err := cronParser.Parse(s.Cron); err != nil {
			wrong[path+".cron"] = "is not a cron expression of 5 fields (6 with seconds): " + err.Error()
		} else if zone != nil && times.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, zone)).IsZero() { // of the years up to a leap year's next
			wrong[path+".cron"] = "names no time that ever comes"
		}
	}
	switch s.Missed {
	case "", MissedOnce, MissedSkip, MissedAll:
	default:
		wrong[path+".missed"] = "must be once, skip or all"
	}
	if len(s.Payload) > maxSchedule {
		wrong[path+".payload"] = fmt.Sprintf("is larger than %d bytes", maxSchedule)
	} else if len(s.Payload) > 0 {
		if _, err := payload.CheckJSON(s.Payload); err != nil {
			wrong[path+".payload"] = fault.MessageOf(err)
		}
	}
}

func (s Schedule) zone() (*time.Location, error) {
	if s.TimeZone == "" {
		return time.UTC, nil
	}
	if s.TimeZone == "Local" { // of which machine?
		return nil, fmt.Errorf("not a zone by itself")
	}
	return time.LoadLocation(s.TimeZone)
}

// Next gives the first time of the schedule after a time; false when there is none.
func (s Schedule) Next(after time.Time) (time.Time, bool) {
	zone, err := s.zone()
	if err != nil {
		return time.Time{}, false
	}
	times, err := cronParser.Parse(s.Cron)
	if err != nil {
		return time.Time{}, false
	}
	next := times.Next(after.In(zone))
	for !next.IsZero() && !s.hourly() && comesAgain(next) {
		next = times.Next(next)
	}
	return next.UTC(), !next.IsZero()
}

// hourly reports whether the schedule is for hours as they pass, not for one of the clock.
func (s Schedule) hourly() bool {
	fields := strings.Fields(s.Cron)
	if len(fields) < 5 {
		return s.Cron == "@hourly" || strings.HasPrefix(s.Cron, "@every")
	}
	return strings.HasPrefix(fields[len(fields)-4], "*")
}

// comesAgain reports whether the clocks showed that time before, and were then put back.
func comesAgain(at time.Time) bool {
	_, offset := at.Zone()
	// Clocks are put back by an hour at most: three hours before they were not yet.
	_, before := at.Add(-3 * time.Hour).Zone()
	back := time.Duration(before-offset) * time.Second
	if back <= 0 {
		return false
	}
	_, then := at.Add(-back).Zone()
	return then == before
}

// Upcoming gives up to n times of the schedule from the next one on.
func (s Schedule) Upcoming(next time.Time, n int) []time.Time {
	list := []time.Time{next}
	for len(list) < n {
		after, found := s.Next(list[len(list)-1])
		if !found {
			break
		}
		list = append(list, after)
	}
	return list
}

// Scheduled reports whether the trigger fires by itself, and how.
func (t Trigger) Scheduled() (Schedule, bool) {
	if t.Deleted || !t.Active || t.Options.Schedule == nil {
		return Schedule{}, false
	}
	return *t.Options.Schedule, true
}

// ScheduleMissed says that runs of a schedule were not made.
type ScheduleMissed struct {
	eventlog.Base
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Count is how many, up to MaxCounted.
	Count  int    `json:"count"`
	Reason string `json:"reason"`
	// NextRunAt is when the schedule goes on; absent when it does not.
	NextRunAt *time.Time `json:"next_run_at,omitempty"`
}

// MaxCounted bounds the count of missed runs: there are at least as many.
const MaxCounted = 10_000

// Firing is what is due of a schedule.
type Firing struct {
	Runs   []time.Time // to be made now, in order
	Missed *ScheduleMissed
	Next   *time.Time // nil when the schedule has ended
}

// Fire decides what becomes of the times from due, the next one that was not seen to, up to now.
// refused is why nothing may run, "" when it may.
func (t Trigger) Fire(due, now time.Time, refused string) Firing {
	s := *t.Options.Schedule
	ticks, count := s.between(due, now)
	f := Firing{Runs: ticks}
	last := ticks[len(ticks)-1]
	if next, found := s.Next(last); found && (t.Options.ExpiresAt == nil || next.Before(*t.Options.ExpiresAt)) {
		f.Next = &next
	}
	reason := "their time passed while nothing could run them"
	timely := now.Sub(last) <= maxLate
	switch {
	case refused != "":
		f.Runs, reason = nil, refused
	case count == 1 && timely:
	case s.Missed == MissedAll:
	case s.Missed == MissedSkip && !timely:
		f.Runs = nil
	default: // the last of them stands for all
		f.Runs = ticks[len(ticks)-1:]
	}
	if left := count - len(f.Runs); left > 0 {
		until := last
		if len(f.Runs) > 0 {
			until = before(due, f.Runs[0], ticks)
		}
		f.Missed = &ScheduleMissed{From: due, Until: until, Count: left, Reason: reason, NextRunAt: f.Next}
	}
	return f
}

// between gives the last MaxMissed times from due to now, at least due itself, and their number.
func (s Schedule) between(due, now time.Time) ([]time.Time, int) {
	ticks, count := []time.Time{due}, 1
	for count < MaxCounted {
		next, found := s.Next(ticks[len(ticks)-1])
		if !found || next.After(now) {
			return ticks, count
		}
		count++
		if ticks = append(ticks, next); len(ticks) > MaxMissed {
			ticks = ticks[1:]
		}
	}
	// So many that they are not gone through: those of the shortest time up to now that has any.
	for span := time.Minute; ; span *= 10 {
		from := now.Add(-span)
		if !from.After(due) {
			return ticks, count
		}
		recent := []time.Time{}
		for at := from; ; {
			next, found := s.Next(at)
			if !found || next.After(now) {
				break
			}
			if recent = append(recent, next); len(recent) > MaxMissed {
				recent = recent[1:]
			}
			at = next
		}
		if len(recent) > 0 {
			return recent, count
		}
	}
}

// before gives the last time of the schedule before a run; due when it is not known.
func before(due, run time.Time, ticks []time.Time) time.Time {
	last := due
	for _, at := range ticks {
		if at.Before(run) {
			last = at
		}
	}
	return last
}
