package trigger_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return parsed
}

// TestScheduleTimes follows schedules through the nights in which the clocks are changed.
func TestScheduleTimes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"every working day":             {"30 9 * * 1-5", "", "2026-11-27T09:30:00Z", []string{"2026-11-30T09:30:00Z", "2026-12-01T09:30:00Z"}},
		"seconds":                       {"*/20 * * * * *", "", "2026-01-01T00:00:30Z", []string{"2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"}},
		"a word":                        {"@daily", "Asia/Tokyo", "2026-01-01T00:00:00Z", []string{"2026-01-01T15:00:00Z"}},
		"an interval":                   {"@every 90s", "", "2026-01-01T00:00:00Z", []string{"2026-01-01T00:01:30Z", "2026-01-01T00:03:00Z"}},
		"half an hour off":              {"0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", []string{"2026-01-01T03:30:00Z"}},
		"summer time keeps the hour":    {"0 9 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", []string{"2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"}},
		"an hour that is skipped":       {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}},
		"an hour that comes twice":      {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"every hour in the short night": {"0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		"every hour in the long night":  {"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		"half an hour that comes twice": {"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", []string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
		"a leap day":                    {"0 0 29 2 *", "", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := trigger.Schedule{Cron: c.cron, TimeZone: c.zone}
			next := at(t, c.after)
			for _, want := range c.want {
				var found bool
				next, found = s.Next(next)
				require.True(t, found)
				require.Equal(t, want, next.Format(time.RFC3339))
			}
		})
	}
}

func TestScheduleIsChecked(t *testing.T) {
	t.Parallel()
	for options, field := range map[string]string{
		`{"schedule": {"cron": "61 * * * *"}}`:                                "options.schedule.cron",
		`{"schedule": {"cron": "* * * *"}}`:                                   "options.schedule.cron",
		`{"schedule": {"cron": ""}}`:                                          "options.schedule.cron",
		`{"schedule": {"cron": "0 0 30 2 *"}}`:                                "options.schedule.cron",
		`{"schedule": {"cron": "TZ=Europe/Berlin 0 0 * * *"}}`:                "options.schedule.cron",
		`{"schedule": {"cron": "0 0 * * *", "time_zone": "Europe/Atlantis"}}`: "options.schedule.time_zone",
		`{"schedule": {"cron": "0 0 * * *", "time_zone": "Local"}}`:           "options.schedule.time_zone",
		`{"schedule": {"cron": "0 0 * * *", "missed": "maybe"}}`:              "options.schedule.missed",
		`{"schedule": {"cron": "0 0 * * *", "payload": {"a": 1, "a": 2}}}`:    "options.schedule.payload",
		`{"schedule": {"cron": "0 0 * * *", "timezone": "UTC"}}`:              "options.schedule",
		`{"schedule": "0 0 * * *"}`:                                           "options.schedule",
	} {
		_, err := trigger.Options{}.Merge(json.RawMessage(options))
		var refused *fault.Error
		require.ErrorAs(t, err, &refused, options)
		require.Contains(t, refused.Details, field, options)
	}
	set, err := trigger.Options{}.Merge(json.RawMessage(`{"schedule": {"cron": "0 0 * * *"}}`))
	require.NoError(t, err)
	require.JSONEq(t, `{}`, string(set.Schedule.Input()))
	none, err := set.Merge(json.RawMessage(`{"schedule": null}`))
	require.NoError(t, err)
	require.Nil(t, none.Schedule)
}

// TestMissedRuns are what each policy makes of times that passed.
func TestMissedRuns(t *testing.T) {
	t.Parallel()
	start := at(t, "2026-01-01T00:00:00Z")
	for name, c := range map[string]struct {
		missed  string
		late    time.Duration // of now, behind the first time that is due
		refused string
		runs    []time.Duration // after the first
		counted int
	}{
		"in time":                          {"", 0, "", []time.Duration{0}, 0},
		"a little late":                    {"skip", time.Minute, "", []time.Duration{0}, 0},
		"late: one run":                    {"", 5 * time.Minute, "", []time.Duration{0}, 0},
		"late: none":                       {"skip", 5 * time.Minute, "", nil, 1},
		"several: one run":                 {"once", 195 * time.Minute, "", []time.Duration{3 * time.Hour}, 3},
		"several: the timely one":          {"skip", 3 * time.Hour, "", []time.Duration{3 * time.Hour}, 3},
		"several: none":                    {"skip", 195 * time.Minute, "", nil, 4},
		"several: all":                     {"all", 195 * time.Minute, "", []time.Duration{0, time.Hour, 2 * time.Hour, 3 * time.Hour}, 0},
		"refused":                          {"all", 61 * time.Minute, "the agent is archived", nil, 2},
		"a year: one run":                  {"once", 365 * 24 * time.Hour, "", []time.Duration{365 * 24 * time.Hour}, 365 * 24},
		"longer than is counted: one run":  {"once", 20_000*time.Hour + time.Minute, "", []time.Duration{20_000 * time.Hour}, trigger.MaxCounted - 1},
		"longer than is counted: the last": {"skip", 20_000 * time.Hour, "", []time.Duration{20_000 * time.Hour}, trigger.MaxCounted - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hourly := trigger.Trigger{Options: trigger.Options{Schedule: &trigger.Schedule{Cron: "0 * * * *", Missed: c.missed}}}
			now := start.Add(c.late)
			f := hourly.Fire(start, now, c.refused)
			var runs []time.Duration
			for _, run := range f.Runs {
				runs = append(runs, run.Sub(start))
			}
			require.Equal(t, c.runs, runs)
			require.Equal(t, now.Truncate(time.Hour).Add(time.Hour), *f.Next)
			if c.counted == 0 {
				require.Nil(t, f.Missed)
				return
			}
			require.Equal(t, c.counted, f.Missed.Count)
			require.Equal(t, start, f.Missed.From)
			require.NotEmpty(t, f.Missed.Reason)
			require.Equal(t, f.Next, f.Missed.NextRunAt)
		})
	}
	hourly := trigger.Trigger{Options: trigger.Options{Schedule: &trigger.Schedule{Cron: "0 * * * *", Missed: "all"}}}
	f := hourly.Fire(start, start.Add(500*time.Hour), "")
	require.Len(t, f.Runs, trigger.MaxMissed)
	require.Equal(t, start.Add(500*time.Hour), f.Runs[trigger.MaxMissed-1])
	require.Equal(t, 501-trigger.MaxMissed, f.Missed.Count)

	expiry := start.Add(90 * time.Minute)
	hourly.Options.ExpiresAt = &expiry
	require.NotNil(t, hourly.Fire(start, start, "").Next)
	require.Nil(t, hourly.Fire(start.Add(time.Hour), start.Add(time.Hour), "").Next, "nothing fires behind the trigger's end")
}

// TestEveryTimeIsSeenTo fires at random moments: each time of the schedule is run or missed, in order.
func TestEveryTimeIsSeenTo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := trigger.Schedule{
			Cron:     rapid.SampledFrom([]string{"0 * * * *", "*/7 * * * *", "30 2 * * *", "*/13 * * * * *", "@every 61s"}).Draw(t, "cron"),
			TimeZone: rapid.SampledFrom([]string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}).Draw(t, "zone"),
			Missed:   rapid.SampledFrom([]string{"once", "skip", "all"}).Draw(t, "missed"),
		}
		scheduled := trigger.Trigger{Options: trigger.Options{Schedule: &s}}
		begin := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(20, 28).Draw(t, "day"), 22, 0, 0, 0, time.UTC)
		due, found := s.Next(begin)
		require.True(t, found)
		now, times, expected := due, 0, 0
		for range 5 {
			now = now.Add(time.Duration(rapid.IntRange(0, 2_000_000).Draw(t, "pause")) * time.Millisecond)
			if now.Before(due) {
				continue
			}
			f := scheduled.Fire(due, now, "")
			for next := due; !next.After(now); expected++ {
				next, _ = s.Next(next)
			}
			times += len(f.Runs)
			if f.Missed != nil {
				times += f.Missed.Count
			}
			require.Equal(t, expected, times)
			require.True(t, f.Next.After(now))
			for i := 1; i < len(f.Runs); i++ {
				require.True(t, f.Runs[i].After(f.Runs[i-1]))
			}
			due = *f.Next
		}
	})
}
