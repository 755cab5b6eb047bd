package httpapi

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/state"
)

// reads is a handler with a view as fresh as the request asks for.
func reads(read func(*exchange, *state.View) error) handler {
	return func(_ *Server, x *exchange) error {
		view, err := x.view()
		if err != nil {
			return err
		}
		defer view.Close()
		return read(x, view)
	}
}

// readsOne is a reading handler of the object whose id the path holds.
func readsOne(read func(*exchange, *state.View, api.ID) error) handler {
	return func(_ *Server, x *exchange) error {
		id, err := x.pathID("id")
		if err != nil {
			return err
		}
		view, err := x.view()
		if err != nil {
			return err
		}
		defer view.Close()
		return read(x, view, id)
	}
}
