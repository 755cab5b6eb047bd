package api

// SetState is the body of POST /flow_runs/{id}/set_state and /task_runs/{id}/set_state.
type SetState struct {
	State StateCreate `json:"state"`
	Force bool        `json:"force"`
	// ReplaceTerminal lets a forced state take the place of a final one.
	ReplaceTerminal bool `json:"replace_terminal,omitempty"`
}

// SetStateStatus is the server's decision on a proposed state.
type SetStateStatus string

// The decisions. On Wait and Abort nothing was written; on Reject another state was written.
const (
	Accept SetStateStatus = "ACCEPT"
	Reject SetStateStatus = "REJECT"
	Wait   SetStateStatus = "WAIT"
	Abort  SetStateStatus = "ABORT"
)

// ResultDetails explains a decision. Reason is null for ACCEPT; DelaySeconds counts only for WAIT.
type ResultDetails struct {
	Type         string  `json:"type"`
	DelaySeconds int     `json:"delay_seconds"`
	Reason       *string `json:"reason"`
}

// The values of ResultDetails.Type.
const (
	AcceptDetails = "accept_details"
	RejectDetails = "reject_details"
	WaitDetails   = "wait_details"
	AbortDetails  = "abort_details"
)

// OrchestrationResult is the answer to SetState.
type OrchestrationResult struct {
	State   *State         `json:"state"` // what is the run's state now; null on WAIT and ABORT
	Status  SetStateStatus `json:"status"`
	Details ResultDetails  `json:"details"`
}

// ReasonLeaseLost is the reason of the ABORT that a reporter with an outdated lease token gets.
const ReasonLeaseLost = "The lease on this flow run was lost."

// Reason returns the reason of the decision, "" without one.
func (r *OrchestrationResult) Reason() string {
	if r.Details.Reason == nil {
		return ""
	}
	return *r.Details.Reason
}

// AppendJSON appends the result's JSON to b.
func (r *OrchestrationResult) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendStateField(b, "state", r.State)
	b = appendStringField(b, "status", string(r.Status))
	b = append(appendKey(b, "details"), '{')
	b = appendStringField(b, "type", r.Details.Type)
	if r.Details.Type == WaitDetails {
		b = appendIntField(b, "delay_seconds", r.Details.DelaySeconds)
	}
	if r.Details.Type != AcceptDetails {
		b = appendStringPtrField(b, "reason", r.Details.Reason)
	}
	return append(b, '}', '}')
}

// MarshalJSON encodes the result; each type of details has only its own fields.
func (r OrchestrationResult) MarshalJSON() ([]byte, error) {
	return r.AppendJSON(make([]byte, 0, 768)), nil
}
