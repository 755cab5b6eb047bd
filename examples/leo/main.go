// Command leo is the deployments tutorial's flow in Go: `sluice deployment create ./leo` makes its deployments.
package main

import (
	"context"

	"github.com/sluice-dev/sluice/flow"
)

// Params are the parameters of the flow.
type Params struct {
	Name string `json:"name" jsonschema:"who to greet"`
}

var logMessage = flow.NewTask("log_message", func(ctx context.Context, name string) (struct{}, error) {
	flow.Log(ctx).Info("Hello " + name + "!")
	return struct{}{}, nil
})

var leonardo = flow.New("leonardo_dicapriflow", func(ctx context.Context, p Params) (struct{}, error) {
	return logMessage.Run(ctx, p.Name)
}, flow.Describe("Greets somebody."))

func main() {
	flow.Main(leonardo,
		leonardo.Deployment("leonardo-deployment", Params{Name: "Leo"}, flow.DeployTags("tutorial", "test")),
		leonardo.Deployment("marvin-deployment", Params{Name: "Marvin"}, flow.DeployTags("tutorial", "dev")),
	)
}
