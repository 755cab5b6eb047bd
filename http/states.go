package httpapi

import (
	"strconv"
	"strings"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// String is the token as clients hold it.
func (t Token) String() string {
	return strconv.FormatUint(t.Index, 36) + "-" + strconv.FormatUint(uint64(t.Ordinal), 36)
}

// ParseToken reads what String wrote. A text that is no token is the token of no lease.
func ParseToken(s string) Token {
	index, ordinal, _ := strings.Cut(s, "-")
	i, err1 := strconv.ParseUint(index, 36, 64)
	o, err2 := strconv.ParseUint(ordinal, 36, 32)
	if err1 != nil || err2 != nil {
		return Token{}
	}
	return Token{Index: i, Ordinal: uint32(o)}
}

// setState decodes a proposal for the run that the path names, with the lease it is made under.
func (x *exchange) setState() (*command.SetState, error) {
	id, err := x.pathID("id")
	if err != nil {
		return nil, err
	}
	c := &command.SetState{}
	if err := decode(x, setStateSpec, c); err != nil {
		return nil, err
	}
	c.Id = id[:]
	if x.lease != "" {
		t := ParseToken(x.lease)
		c.HasToken, c.TokenIndex, c.TokenOrdinal = true, t.Index, t.Ordinal
	}
	return c, nil
}

func (x *exchange) proposeState(e *command.Envelope, notFoundText string) (*command.Result, uint64, error) {
	r, index, err := x.propose(e)
	if err != nil {
		return nil, 0, err
	}
	if err := outcome(r, notFoundText, ""); err != nil {
		return nil, 0, err
	}
	if r.State == nil {
		r.State = &command.StateResult{Status: command.StateResult_ABORT}
	}
	return r, index, nil
}

// wrote reports whether the decision wrote a state.
func wrote(r *command.StateResult) bool {
	return r.Status == command.StateResult_ACCEPT || r.Status == command.StateResult_REJECT
}

// answerDecision answers set_state; s is the state that was written, nil on WAIT and ABORT.
func (x *exchange) answerDecision(r *command.StateResult, s *row.State) error {
	answer := api.OrchestrationResult{State: stateObject(s, x.strict)}
	switch r.Status {
	case command.StateResult_ACCEPT:
		answer.Status, answer.Details.Type = api.Accept, api.AcceptDetails
	case command.StateResult_REJECT:
		answer.Status, answer.Details.Type = api.Reject, api.RejectDetails
	case command.StateResult_WAIT:
		answer.Status, answer.Details.Type = api.Wait, api.WaitDetails
		answer.Details.DelaySeconds = int(r.DelaySeconds)
	default:
		answer.Status, answer.Details.Type = api.Abort, api.AbortDetails
	}
	if r.Reason != "" {
		answer.Details.Reason = &r.Reason
	}
	status := 200
	if wrote(r) {
		status = 201
	}
	return x.object(status, &answer)
}

func (x *exchange) answerState(s *row.State, err error) error {
	switch {
	case err != nil:
		return err
	case s == nil:
		return notFound(missing.runState)
	}
	return x.object(200, stateObject(s, x.strict))
}

func (x *exchange) answerStates(states []*row.State, err error) error {
	if err != nil {
		return err
	}
	return list(x, states, func(b []byte, s *row.State) ([]byte, error) {
		return stateObject(s, x.strict).AppendJSON(b), nil
	})
}

// list answers rows as a JSON list.
func list[R any](x *exchange, rows []R, appendRow func([]byte, R) ([]byte, error)) error {
	x.out = append(x.out, '[')
	for i, r := range rows {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		out, err := appendRow(x.out, r)
		if err != nil {
			return err
		}
		x.out = out
	}
	x.out = append(x.out, ']')
	return x.send(200)
}
