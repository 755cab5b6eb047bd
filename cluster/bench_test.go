package cluster

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// parallel runs f b.N times from callers goroutines.
func parallel(b *testing.B, callers int, f func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func BenchmarkPropose(b *testing.B) {
	s := newSingle(b)
	n := s.start(b)
	defer s.stop(b)
	word := make([]byte, 300)
	for i := range word {
		word[i] = 'x'
	}
	parallel(b, 64, func() error {
		_, _, err := n.Propose(context.Background(), [][]byte{word})
		return err
	})
}

func BenchmarkProposeOneCaller(b *testing.B) {
	s := newSingle(b)
	n := s.start(b)
	defer s.stop(b)
	parallel(b, 1, func() error {
		_, _, err := n.Propose(context.Background(), [][]byte{[]byte("x")})
		return err
	})
}

func BenchmarkRead(b *testing.B) {
	s := newSingle(b)
	n := s.start(b)
	defer s.stop(b)
	parallel(b, 64, func() error {
		_, err := n.Read(context.Background())
		return err
	})
}

// BenchmarkForward writes through a follower of three nodes on loopback.
func BenchmarkForward(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(callers, " callers"), func(b *testing.B) {
			f := newTCPFleet(b, 3, 3)
			f.change = func(c *Config) { c.Heartbeat = 0; c.Lease = 0 }
			f.up(f.members...)
			n := f.follower().node
			mustPropose(b, n, "first")
			body := [][]byte{bytes.Repeat([]byte("x"), 300)}
			b.ResetTimer()
			parallel(b, callers, func() error {
				_, _, err := n.Propose(context.Background(), body)
				return err
			})
		})
	}
}

// BenchmarkFollowerRead reads linearizably at a follower of three nodes on loopback.
func BenchmarkFollowerRead(b *testing.B) {
	f := newTCPFleet(b, 3, 3)
	f.up(f.members...)
	n := f.follower().node
	mustPropose(b, n, "first")
	b.ResetTimer()
	parallel(b, 64, func() error {
		_, err := n.Read(context.Background())
		return err
	})
}
