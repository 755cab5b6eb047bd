package logstore

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// writer runs writes one after the other on its own goroutine, so that the caller can give up on a stuck one.
type writer struct {
	limit    time.Duration
	returned func(after time.Duration, err error) // a write came back after its caller had given up

	ops  chan *op
	quit chan struct{}
	done chan struct{}
	once sync.Once

	mu    sync.Mutex // guards what follows and every op's settled and abandoned
	stuck bool       // an abandoned write is still running
	latch bool       // writes are refused until rearm
}

type op struct {
	run       func() error
	result    chan error // capacity 1
	started   time.Time
	settled   bool
	abandoned bool
}

func newWriter(limit time.Duration, returned func(time.Duration, error)) *writer {
	w := &writer{limit: limit, returned: returned, ops: make(chan *op), quit: make(chan struct{}), done: make(chan struct{})}
	go w.loop()
	return w
}

func (w *writer) loop() {
	defer close(w.done)
	for {
		select {
		case o := <-w.ops:
			err := o.run()
			w.mu.Lock()
			o.settled = true
			abandoned := o.abandoned
			if abandoned {
				w.stuck = false
			}
			w.mu.Unlock()
			o.result <- err
			if abandoned {
				w.returned(time.Since(o.started), err)
			}
		case <-w.quit:
			return
		}
	}
}

// do runs f and waits at most the limit, waiting for earlier writes included. When f is running at the limit the writer
// latches: this and all later calls return ErrLatched.
func (w *writer) do(f func() error) error {
	if w.latched() {
		return ErrLatched
	}
	timer := time.NewTimer(w.limit)
	defer timer.Stop()
	o := &op{run: f, result: make(chan error, 1), started: time.Now()}
	select {
	case w.ops <- o:
	case <-w.done:
		return ErrClosed
	case <-timer.C:
		return fmt.Errorf("%w: an earlier write has not returned within %s", ErrNotStored, w.limit)
	}
	select {
	case err := <-o.result:
		return err
	case <-timer.C:
	}
	w.mu.Lock()
	if o.settled {
		w.mu.Unlock()
		return <-o.result
	}
	o.abandoned, w.stuck, w.latch = true, true, true
	w.mu.Unlock()
	return ErrLatched
}

// wait runs f without a limit, until it returns or interrupt is closed.
func (w *writer) wait(f func() error, interrupt <-chan struct{}) error {
	o := &op{run: f, result: make(chan error, 1), started: time.Now()}
	select {
	case w.ops <- o:
	case <-w.done:
		return ErrClosed
	case <-interrupt:
		return errInterrupted
	}
	select {
	case err := <-o.result:
		return err
	case <-interrupt:
		return errInterrupted
	}
}

var errInterrupted = errors.New("interrupted")

func (w *writer) latched() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latch
}

// rearm accepts writes again unless one is still stuck.
func (w *writer) rearm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stuck {
		return ErrLatched
	}
	w.latch = false
	return nil
}

// close waits for the running write.
func (w *writer) close() {
	w.once.Do(func() { close(w.quit) })
	<-w.done
}
