package fsm

import (
	"fmt"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

type tokenSet struct {
	change uint64
	state.Tokens
}

// Tokens returns the tokens that this node has applied. They are kept in memory: every request asks for them.
func (f *FSM) Tokens() (*state.Tokens, error) {
	// In this order: what changes while the view is read makes the set outdated, never falsely new.
	change := f.tokenChanges.Load()
	if known := f.tokens.Load(); known != nil && known.change == change {
		return &known.Tokens, nil
	}
	view, err := f.View()
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	defer view.Close()
	set := &tokenSet{change: change, Tokens: state.Tokens{ByHash: map[[32]byte]*row.Token{}, ByID: map[api.ID]*row.Token{}}}
	err = view.EachToken(func(t *row.Token) (bool, error) {
		set.ByID[id16(t.Id)] = t
		if len(t.Hash) == 32 {
			set.ByHash[[32]byte(t.Hash)] = t
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	f.tokens.Store(set)
	return &set.Tokens, nil
}
