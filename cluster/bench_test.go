package cluster

import (
	"context"
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
