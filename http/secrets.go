package httpapi

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/state"
)

var readSecretKeys = reads(func(x *exchange, view *state.View) error {
	keys, err := x.server.secrets.Keys(x.ctx, view)
	return x.answerRare(keys, err)
})

// resealSecrets makes one bounded step, so that a caller of any patience gets to the end by repeating it.
func resealSecrets(_ *Server, x *exchange) error {
	c, done, err := x.planReseal()
	if err != nil {
		return err
	}
	if c != nil {
		e := x.envelope()
		e.Command = &command.Envelope_ResealSecrets{ResealSecrets: c}
		r, _, err := x.propose(e)
		if err != nil {
			return err
		}
		if err := outcome(r, missing.block, ""); err != nil {
			return err
		}
		done.Resealed = int(r.Count)
		// Those that changed meanwhile are looked at again.
		done.Remaining += len(c.Blocks) + len(c.Webhooks) - done.Resealed
	}
	return x.answerRare(done, nil)
}

func (x *exchange) planReseal() (*command.ResealSecrets, api.Resealed, error) {
	view, err := x.view()
	if err != nil {
		return nil, api.Resealed{}, err
	}
	defer view.Close()
	return x.server.secrets.Reseal(x.ctx, view)
}

// answerRare answers an object that is too rare to write itself.
func (x *exchange) answerRare(v any, err error) error {
	if err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, v); err != nil {
		return err
	}
	return x.send(200)
}
