// Command goflows holds the flows of the tests of the Go SDK.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/flow"
)

type none = struct{}

// Params are those of talking.
type Params struct {
	Name  string `json:"name" jsonschema:"who to greet"`
	Lines int    `json:"lines,omitempty"`
}

var say = flow.NewTask("say", func(ctx context.Context, text string) (string, error) {
	flow.Log(ctx).Info(text)
	return text, nil
})

var flaky = flow.NewTask("flaky", func(ctx context.Context, _ none) (int, error) {
	info, _ := flow.Current(ctx)
	if info.Attempt < 3 {
		return 0, fmt.Errorf("attempt %d", info.Attempt)
	}
	return info.Attempt, nil
}, flow.Retries(2, flow.Fixed(0)))

var cached = flow.NewTask("cached", func(_ context.Context, x int) (int64, error) { return time.Now().UnixNano(), nil }, flow.CacheByInput(0))

var inner = flow.New("inner", func(ctx context.Context, p Params) (string, error) { return say.Run(ctx, "inner "+p.Name) })

// talking greets, retries, caches and calls another flow.
var talking = flow.New("talking", func(ctx context.Context, p Params) (int, error) {
	for n := range p.Lines {
		if _, err := say.Run(ctx, fmt.Sprintf("Hello %s! %d", p.Name, n)); err != nil {
			return 0, err
		}
		time.Sleep(100 * time.Millisecond) // a leader is to die in the middle
	}
	attempts, err := flaky.Run(ctx, none{})
	if err != nil {
		return 0, err
	}
	mine := int(time.Now().UnixNano()) // runs side by side would each store a result for the same input
	first, err := cached.Run(ctx, mine)
	if err != nil {
		return 0, err
	}
	second, err := cached.Run(ctx, mine)
	if err != nil {
		return 0, err
	}
	if first != second {
		return 0, fmt.Errorf("the cache gave %d and %d", first, second)
	}
	if err := flow.Artifact(ctx, "talk", flow.Table([]Params{p})); err != nil {
		return 0, err
	}
	_, err = inner.Run(ctx, Params{Name: p.Name})
	return attempts, err
}, flow.Version(os.Getenv("GOFLOWS_VERSION")))

// waiting ends when it is told to.
var waiting = flow.New("waiting", func(ctx context.Context, _ none) (none, error) {
	flow.Log(ctx).Info("waiting")
	<-ctx.Done()
	return none{}, ctx.Err()
})

// How is the parameter of ending.
type How struct {
	How string `json:"how"`
}

// ending logs, and ends its process at once in the way it is told.
var ending = flow.New("ending", func(ctx context.Context, p How) (int, error) {
	if _, err := say.Run(ctx, "step"); err != nil {
		return 0, err
	}
	if folder := os.Getenv("E2E_PIDS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, p.How), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			return 0, err
		}
	}
	for n := range 200 {
		flow.Log(ctx).Info(fmt.Sprintf("line %d", n))
	}
	switch p.How {
	case "kill":
		return 0, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "exit":
		os.Exit(4)
	case "fatal":
		log.Fatal("this is fatal")
	case "goroutine":
		go panic("nobody catches this")
	case "panic":
		panic("caught")
	case "goexit":
		runtime.Goexit()
	case "map":
		crowd(map[int]int{})
	case "memory":
		return hungry(ctx)
	case "stack":
		return deeper(ctx, [1024]byte{}), nil
	case "loop", "deaf":
		if p.How == "deaf" {
			signal.Ignore(syscall.SIGTERM)
		}
		for n := 0; ; n++ {
			if n < 0 {
				return n, nil
			}
		}
	}
	<-ctx.Done()
	return 0, ctx.Err()
})

// crowd writes a map from everywhere at once, which the runtime ends the process for.
func crowd(m map[int]int) {
	for range 8 {
		go func() {
			for n := 0; ; n++ {
				m[n%100] = n
			}
		}()
	}
	select {}
}

// deeper calls itself until the stack is used up.
func deeper(ctx context.Context, room [1024]byte) int {
	if ctx.Err() != nil {
		return int(room[0])
	}
	return deeper(ctx, room) + 1
}

var failing = flow.New("failing", func(context.Context, none) (none, error) { return none{}, errors.New("this is why") })

// hungry takes more memory than it may have.
func hungry(ctx context.Context) (int, error) {
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: 1 << 31, Max: 1 << 31}); err != nil {
		return 0, err
	}
	var taken [][]byte
	for ctx.Err() == nil {
		taken = append(taken, make([]byte, 64<<20))
		for i := 0; i < len(taken[len(taken)-1]); i += 4096 {
			taken[len(taken)-1][i] = 1
		}
	}
	return len(taken), ctx.Err()
}

func main() {
	flow.Main(talking, inner, waiting, ending, failing,
		talking.Deployment("t", Params{Name: "Leo", Lines: 12}, flow.DeployTags("go")),
		waiting.Deployment("w", none{}, flow.DeployTags("go")),
		ending.Deployment("e", How{"exit"}, flow.DeployTags("go")),
		failing.Deployment("f", none{}, flow.DeployTags("go")))
}
