// Command traceflows holds Go's twins of the flows whose requests were recorded of Orion's client, and of those that have no recording.
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

var flaky = flow.NewTask("flaky", func(ctx context.Context, _ none) (int, error) {
	if info, _ := flow.Current(ctx); info.Attempt < 3 {
		return 0, fmt.Errorf("attempt %d", info.Attempt)
	}
	return 3, nil
}, flow.Retries(2, flow.Fixed(0)))

var retry = flow.New("retry-flow", func(ctx context.Context, _ none) (none, error) {
	_, err := flaky.Run(ctx, none{})
	return none{}, err
})

// X is the parameter of cache-flow.
type X struct {
	X int `json:"x"`
}

var cached = flow.NewTask("cached", func(_ context.Context, x int) (int, error) { return 2 * x, nil },
	flow.Cache(func(x int) string { return fmt.Sprintf("static-cache-key-%d", x) }, time.Hour))

var cache = flow.New("cache-flow", func(ctx context.Context, p X) (none, error) {
	for range 2 {
		if _, err := cached.Run(ctx, p.X); err != nil {
			return none{}, err
		}
	}
	return none{}, nil
})

var boom = flow.NewTask("boom", func(context.Context, none) (none, error) { return none{}, errors.New("boom") })

var failing = flow.New("failing-flow", func(ctx context.Context, _ none) (none, error) {
	boom.Go(ctx, none{})
	return none{}, nil
})

var raising = flow.New("raising-flow", func(context.Context, none) (none, error) { return none{}, errors.New("flow boom") })

// Params are those of param-flow.
type Params struct {
	Name  string           `json:"name"`
	Count int              `json:"count"`
	Opts  map[string][]int `json:"opts"`
}

var param = flow.New("param-flow", func(ctx context.Context, p Params) (none, error) {
	flow.Log(ctx).Info(fmt.Sprintf("%s %d {'a': [%d, %d]}", p.Name, p.Count, p.Opts["a"][0], p.Opts["a"][1]))
	return none{}, nil
})

var logMessage = flow.NewTask("log_message", func(ctx context.Context, name string) (none, error) {
	flow.Log(ctx).Info("Hello " + name + "!")
	return none{}, nil
})

// Leo are the parameters of the tutorial's flow.
type Leo struct {
	Name string `json:"name"`
}

var leonardo = flow.New("leonardo_dicapriflow", func(ctx context.Context, p Leo) (none, error) {
	return logMessage.Run(ctx, p.Name)
})

var child = flow.New("child", func(context.Context, none) (none, error) { return none{}, nil })

var parent = flow.New("parent", func(ctx context.Context, _ none) (none, error) { return child.Run(ctx, none{}) })

var after = flow.NewTask("after", func(context.Context, none) (none, error) { return none{}, nil })

var unready = flow.New("unready", func(ctx context.Context, _ none) (none, error) {
	after.Go(ctx, none{}, flow.After(boom.Go(ctx, none{})))
	return none{}, nil
})

var late = flow.New("late", func(ctx context.Context, _ none) (none, error) {
	<-ctx.Done()
	return none{}, ctx.Err()
}, flow.Timeout(100*time.Millisecond))

var crash = flow.New("crash", func(ctx context.Context, _ none) (none, error) {
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		return none{}, err
	}
	<-ctx.Done()
	return none{}, ctx.Err()
})

func main() {
	flow.Main(retry, cache, failing, raising, param, leonardo, parent, child, unready, late, crash,
		leonardo.Deployment("leonardo-deployment", Leo{"Leo"}), param.Deployment("p", Params{Name: "Leo"}))
}
