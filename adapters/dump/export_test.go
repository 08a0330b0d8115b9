package dump

// Tables gives the columns of the tables that are moved, and the names of the others.
func Tables() (moved map[string][]string, others []string) {
	moved = map[string][]string{}
	for _, t := range append(append([]table{}, beforeEvents...), afterEvents...) {
		moved[t.name] = t.names()
	}
	moved["events"] = []string{
		"position", "event_id", "workspace_id", "stream", "version", "fact", "type", "schema_version", "recorded_at", "actor", "metadata", "data", "payload",
	}
	return moved, append(append([]string{}, madeAnew...), leftBehind...)
}
