// Package flow is the Go SDK of Sluice: flows and tasks as typed values around ordinary functions.
//
//	var greet = flow.NewTask("greet", func(ctx context.Context, name string) (string, error) {
//		flow.Log(ctx).Info("greeting", "name", name)
//		return "Hello " + name + "!", nil
//	}, flow.Retries(3, flow.Exponential(time.Second, time.Minute)))
//
//	var hello = flow.New("hello", func(ctx context.Context, p Params) (string, error) {
//		return greet.Run(ctx, p.Name)
//	})
//
//	func main() { flow.Main(hello, hello.Deployment("daily", Params{Name: "Leo"}, flow.Cron("0 9 * * *", "Europe/Paris"))) }
//
// A flow is code that runs from its top to its end: there is no replay, so goroutines, time and random numbers are what they always
// are. What is recorded is which flow runs and task runs there were, in which states, with what results and log lines.
//
// Run of a flow makes a flow run, and within another flow a subflow run; Run, Go and Map of a task make task runs. Outside of a flow
// run they only call the function, so that a unit test needs nothing. Package flowtest records runs in memory.
package flow
