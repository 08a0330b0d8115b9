package client

import "encoding/json"

// schedule is the flags that have a trigger fire by itself.
type schedule struct {
	Schedule string `help:"Fire by itself: a cron expression of five fields." placeholder:"CRON"`
	TimeZone string `help:"Time zone of --schedule; default UTC." placeholder:"ZONE"`
}

// Validate is called by the parser.
func (c schedule) Validate() error {
	if c.TimeZone != "" && c.Schedule == "" {
		return usage("--time-zone belongs to --schedule, which is missing")
	}
	return nil
}

// addTo puts the schedule into options; what --options says of it besides, it keeps.
func (c schedule) addTo(options any) (any, error) {
	if c.Schedule == "" {
		return options, nil
	}
	return withOption(options, "schedule", func(given json.RawMessage) (any, error) {
		fields := map[string]json.RawMessage{}
		if given != nil && json.Unmarshal(given, &fields) != nil {
			return nil, usage("--options must have an object as schedule")
		}
		if fields == nil {
			fields = map[string]json.RawMessage{}
		}
		for name, value := range map[string]string{"cron": c.Schedule, "time_zone": c.TimeZone} {
			if value == "" {
				continue
			}
			var err error
			if fields[name], err = json.Marshal(value); err != nil {
				return nil, err
			}
		}
		return fields, nil
	})
}

// withOption gives options, nil or an object as JSON, with one of them changed.
func withOption(options any, name string, change func(given json.RawMessage) (any, error)) (any, error) {
	all := map[string]json.RawMessage{}
	if text, isJSON := options.(json.RawMessage); isJSON {
		if err := json.Unmarshal(text, &all); err != nil || all == nil {
			return nil, usage("--options must be a JSON object")
		}
	}
	value, err := change(all[name])
	if err != nil {
		return nil, err
	}
	all[name], err = json.Marshal(value)
	return all, err
}
