package api

import "fmt"

// StateType is one of Orion's six; finer states are names.
type StateType string

// The state types.
const (
	Scheduled StateType = "SCHEDULED"
	Pending   StateType = "PENDING"
	Running   StateType = "RUNNING"
	Completed StateType = "COMPLETED"
	Failed    StateType = "FAILED"
	Cancelled StateType = "CANCELLED"
)

// StateTypes lists all state types in their usual order.
var StateTypes = []StateType{Scheduled, Pending, Running, Completed, Failed, Cancelled}

// Names of states that are not the default name of their type.
const (
	NameLate          = "Late"          // SCHEDULED
	NameAwaitingRetry = "AwaitingRetry" // SCHEDULED
	NameNotReady      = "NotReady"      // PENDING
	NameRetrying      = "Retrying"      // RUNNING
	NameRerunning     = "Rerunning"     // RUNNING
	NameCancelling    = "Cancelling"    // RUNNING
	NameCached        = "Cached"        // COMPLETED
	NameCrashed       = "Crashed"       // FAILED
	NameTimedOut      = "TimedOut"      // FAILED
)

// Valid reports whether t is one of the six.
func (t StateType) Valid() bool { return t.DefaultName() != "" }

// Terminal reports whether a run in this state type has ended.
func (t StateType) Terminal() bool { return t == Completed || t == Failed || t == Cancelled }

// DefaultName returns the name of a state that was given none, "" for an unknown type.
func (t StateType) DefaultName() string {
	switch t {
	case Scheduled:
		return "Scheduled"
	case Pending:
		return "Pending"
	case Running:
		return "Running"
	case Completed:
		return "Completed"
	case Failed:
		return "Failed"
	case Cancelled:
		return "Cancelled"
	}
	return ""
}

// DataDocument is data that is opaque to the server.
type DataDocument struct {
	Encoding string `json:"encoding"`
	Blob     string `json:"blob"`
}

// Encodings of data documents; the contract is in docs/native-api.md.
const (
	EncodingStore        = "sluice-store"   // blob is a key of the built-in store
	EncodingCommand      = "sluice-command" // blob is a JSON list: a plain command
	EncodingFlow         = "sluice-flow"    // blob is source text
	EncodingProgram      = "sluice-program" // blob is a Program as JSON
	EncodingBlockStorage = "blockstorage"   // blob names a storage block and data in it
	EncodingJSON         = "json"
	EncodingPickle       = "pickle" // base64
)

// StateDetails says what a state belongs to and when it takes effect.
type StateDetails struct {
	FlowRunID       *ID        `json:"flow_run_id"`
	TaskRunID       *ID        `json:"task_run_id"`
	ChildFlowRunID  *ID        `json:"child_flow_run_id"`
	ScheduledTime   *ZonedTime `json:"scheduled_time"` // answers keep the offset it came with, as Orion's do
	CacheKey        *string    `json:"cache_key"`
	CacheExpiration *Time      `json:"cache_expiration"`
}

// State is one state of a flow run or task run. It never changes once written.
type State struct {
	ID           ID            `json:"id"`
	Type         StateType     `json:"type"`
	Name         string        `json:"name"`
	Timestamp    Time          `json:"timestamp"`
	Message      *string       `json:"message"`
	Data         *DataDocument `json:"data"`
	StateDetails StateDetails  `json:"state_details"`
	*StateNative
}

// StateNative holds what Sluice adds to a State.
type StateNative struct {
	Actor *string `json:"actor"` // who wrote it
}

// StateCreate is a proposed state. The server sets id and timestamp.
type StateCreate struct {
	Type         StateType     `json:"type"`
	Name         *string       `json:"name,omitempty"`
	Message      *string       `json:"message,omitempty"`
	Data         *DataDocument `json:"data,omitempty"`
	StateDetails *StateDetails `json:"state_details,omitempty"`
}

// NewState returns a proposal of type t with its default name and, if not empty, a message.
func NewState(t StateType, message string) StateCreate {
	state := StateCreate{Type: t}
	if message != "" {
		state.Message = &message
	}
	return state
}

// Named returns the proposal under another name.
func (s StateCreate) Named(name string) StateCreate {
	s.Name = &name
	return s
}

// String returns the state as people read it: Completed('All states completed.').
func (s *State) String() string {
	if s == nil {
		return "None"
	}
	if s.Message == nil {
		return s.Name + "(None)"
	}
	return fmt.Sprintf("%s('%s')", s.Name, *s.Message)
}

// AppendJSON appends the state's JSON to b.
func (s *State) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDField(b, "id", s.ID)
	b = appendStringField(b, "type", string(s.Type))
	b = appendStringField(b, "name", s.Name)
	b = appendTimeField(b, "timestamp", s.Timestamp)
	b = appendStringPtrField(b, "message", s.Message)
	b = appendKey(b, "data")
	b = s.Data.appendJSON(b)
	b = appendKey(b, "state_details")
	b = s.StateDetails.appendJSON(b)
	if s.StateNative != nil {
		b = appendStringPtrField(b, "actor", s.Actor)
	}
	return append(b, '}')
}

// MarshalJSON encodes the state.
func (s State) MarshalJSON() ([]byte, error) { return s.AppendJSON(make([]byte, 0, 512)), nil }

func (d *DataDocument) appendJSON(b []byte) []byte {
	if d == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	b = appendStringField(b, "encoding", d.Encoding)
	b = appendStringField(b, "blob", d.Blob)
	return append(b, '}')
}

func (d *StateDetails) appendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDPtrField(b, "flow_run_id", d.FlowRunID)
	b = appendIDPtrField(b, "task_run_id", d.TaskRunID)
	b = appendIDPtrField(b, "child_flow_run_id", d.ChildFlowRunID)
	b = appendZonedPtrField(b, "scheduled_time", d.ScheduledTime)
	b = appendStringPtrField(b, "cache_key", d.CacheKey)
	b = appendTimePtrField(b, "cache_expiration", d.CacheExpiration)
	return append(b, '}')
}

// appendStateField writes a state or null.
func appendStateField(b []byte, key string, s *State) []byte {
	b = appendKey(b, key)
	if s == nil {
		return append(b, "null"...)
	}
	return s.AppendJSON(b)
}
