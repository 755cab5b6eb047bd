package api

// Log is one log line of a run. Level is Python's number (10 debug, 20 info, 30 warning, 40 error, 50 critical).
type Log struct {
	ID        ID     `json:"id"`
	Created   Time   `json:"created"`
	Updated   Time   `json:"updated"`
	Name      string `json:"name"`
	Level     int    `json:"level"`
	Message   string `json:"message"`
	Timestamp Time   `json:"timestamp"`
	FlowRunID ID     `json:"flow_run_id"`
	TaskRunID *ID    `json:"task_run_id"`
}

// LogCreate is one element of the body of POST /logs/.
type LogCreate struct {
	Name      string `json:"name"`
	Level     int    `json:"level"`
	Message   string `json:"message"`
	Timestamp Time   `json:"timestamp"`
	FlowRunID ID     `json:"flow_run_id"`
	TaskRunID *ID    `json:"task_run_id"`
}

// LevelName returns Python's name of a log level; levels in between take the lower name.
func LevelName(level int) string {
	switch {
	case level >= 50:
		return "CRITICAL"
	case level >= 40:
		return "ERROR"
	case level >= 30:
		return "WARNING"
	case level >= 20:
		return "INFO"
	}
	return "DEBUG"
}

// AppendJSON appends the log's JSON to b.
func (l *Log) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDField(b, "id", l.ID)
	b = appendTimeField(b, "created", l.Created)
	b = appendTimeField(b, "updated", l.Updated)
	b = appendStringField(b, "name", l.Name)
	b = appendIntField(b, "level", l.Level)
	b = appendStringField(b, "message", l.Message)
	b = appendTimeField(b, "timestamp", l.Timestamp)
	b = appendIDField(b, "flow_run_id", l.FlowRunID)
	b = appendIDPtrField(b, "task_run_id", l.TaskRunID)
	return append(b, '}')
}

// MarshalJSON encodes the log.
func (l Log) MarshalJSON() ([]byte, error) { return l.AppendJSON(make([]byte, 0, 512)), nil }

// LogPage is the answer of GET /flow_runs/{id}/logs.
type LogPage struct {
	Logs       []Log   `json:"logs"`
	NextCursor *string `json:"next_cursor"` // where the list goes on; null at its end
	End        *string `json:"end"`         // behind the last line looked at: leads to lines that come later; null without any
}
