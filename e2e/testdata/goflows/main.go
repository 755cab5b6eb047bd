// Command goflows holds the flows of the tests of the Go SDK.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
})

// waiting ends when it is told to.
var waiting = flow.New("waiting", func(ctx context.Context, _ none) (none, error) {
	flow.Log(ctx).Info("waiting")
	<-ctx.Done()
	return none{}, ctx.Err()
})

// ending ends its process without a word.
var ending = flow.New("ending", func(ctx context.Context, _ none) (none, error) {
	flow.Log(ctx).Info("ending")
	os.Exit(7)
	return none{}, nil
})

var failing = flow.New("failing", func(context.Context, none) (none, error) { return none{}, errors.New("this is why") })

// panicking has a goroutine of its own panic, which no engine can catch.
var panicking = flow.New("panicking", func(ctx context.Context, _ none) (none, error) {
	flow.Log(ctx).Info("panicking")
	go panic("nobody catches this")
	<-ctx.Done()
	return none{}, ctx.Err()
})

// hungry takes more memory than it may have.
var hungry = flow.New("hungry", func(ctx context.Context, _ none) (int, error) {
	flow.Log(ctx).Info("hungry")
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
})

// looping looks at nothing.
var looping = flow.New("looping", func(ctx context.Context, _ none) (none, error) {
	flow.Log(ctx).Info("looping")
	for n := 0; ; n++ {
		if n < 0 {
			return none{}, nil
		}
	}
})

func main() {
	flow.Main(talking, inner, waiting, ending, failing, panicking, hungry, looping,
		panicking.Deployment("p", none{}, flow.DeployTags("go")),
		hungry.Deployment("h", none{}, flow.DeployTags("go")),
		looping.Deployment("l", none{}, flow.DeployTags("go")),
		talking.Deployment("t", Params{Name: "Leo", Lines: 12}, flow.DeployTags("go")),
		waiting.Deployment("w", none{}, flow.DeployTags("go")),
		ending.Deployment("e", none{}, flow.DeployTags("go")),
		failing.Deployment("f", none{}, flow.DeployTags("go")))
}
