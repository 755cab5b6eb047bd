package cluster

import (
	"sync/atomic"
	"time"
)

// call is one Propose waiting for its outcome.
type call struct {
	commands [][]byte
	size     int
	epoch    uint64 // > 0: only in this epoch, never forwarded, never tried again
	arrived  time.Time
	status   atomic.Int32
	done     chan outcome // capacity 1
}

type outcome struct {
	results [][]byte
	index   uint64
	err     error
}

const (
	callWaiting   int32 = iota // not part of any batch
	callTaken                  // part of a batch that may be applied
	callAbandoned              // the caller has gone
)

// take claims the call for a batch; false when the caller has gone.
func (c *call) take() bool { return c.status.CompareAndSwap(callWaiting, callTaken) }

// release makes the call wait again after its batch was certainly not applied; false when the caller has gone.
func (c *call) release() bool { return c.status.CompareAndSwap(callTaken, callWaiting) }

// abandon is called when the caller goes; true when the call had not been taken.
func (c *call) abandon() bool { return c.status.Swap(callAbandoned) == callWaiting }

func (c *call) abandoned() bool { return c.status.Load() == callAbandoned }
