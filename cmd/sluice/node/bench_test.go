package node

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/bench"
)

// BenchmarkLives is `sluice bench lives` against nodes of this process, for profiles; its client is in the figures. One operation is a
// whole life of a flow run.
func BenchmarkLives(b *testing.B) {
	for _, size := range []int{1, 3} {
		b.Run(fmt.Sprint("nodes=", size), func(b *testing.B) {
			hosts := startBenchNodes(b, size)
			b.ResetTimer()
			result, err := bench.Lives(b.Context(), bench.LivesConfig{Hosts: hosts, Callers: 64, Duration: 5 * time.Second})
			b.StopTimer()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(result.LivesRate, "lives/s")
			b.ReportMetric(float64(result.Request99.Microseconds())/1000, "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkOneCaller is the same from one caller, who has nobody else's writes to tell a follower what is committed.
func BenchmarkOneCaller(b *testing.B) {
	hosts := startBenchNodes(b, 3)
	b.ResetTimer()
	for _, host := range hosts {
		r, err := bench.Lives(b.Context(), bench.LivesConfig{Hosts: []string{host}, Callers: 1, Duration: 2 * time.Second})
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%s: a request p50 %s, p99 %s", host, r.Request50, r.Request99)
	}
}

func startBenchNodes(b *testing.B, size int) (hosts []string) {
	b.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	var internal []string
	for range size {
		l := listen()
		internal = append(internal, l.Addr().String())
		_ = l.Close()
	}
	var all sync.WaitGroup
	nodes := make([]*Node, size)
	for i, address := range internal {
		listener := listen()
		hosts = append(hosts, listener.Addr().String())
		config := Config{DataDir: b.TempDir(), Listener: listener.(*net.TCPListener), InternalAddr: address, BootstrapExpect: size, Version: "test",
			Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))}
		if size > 1 {
			config.Join = internal
		}
		all.Go(func() {
			n, err := Start(b.Context(), config)
			if err == nil {
				nodes[i], err = n, n.WaitReady(b.Context())
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	b.Cleanup(func() {
		for _, n := range slices.Backward(nodes) {
			if n == nil {
				continue
			}
			all.Go(func() {
				// The last of several finds nobody to hand over to.
				if err := n.Stop(b.Context()); err != nil && !strings.Contains(err.Error(), "context canceled") {
					b.Log(err)
				}
			})
		}
		all.Wait()
	})
	if b.Failed() {
		b.FailNow()
	}
	return hosts
}
