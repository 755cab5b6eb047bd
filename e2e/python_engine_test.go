//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// mixedFlow does some of everything in each of its rounds: mapped tasks, retries, async tasks, a subflow with worker processes. Whatever a
// task does is noted in a file.
const mixedFlow = `import asyncio, sys
from sluice import flow, task
from sluice.task_runners import ParallelTaskRunner


def note(text):
    with open(sys.argv[1] if len(sys.argv) > 1 else "done", "a") as file:
        file.write(text + "\n")


@task
def step(round, n):
    note(f"step-{round}-{n}")
    return n


tries = {}


@task(retries=2, retry_delay_seconds=0.1)
def flaky(round):
    tries[round] = tries.get(round, 0) + 1
    note(f"flaky-{round}-{tries[round]}")
    if tries[round] < 3:
        raise ValueError("not yet")
    return tries[round]


@task
async def later(round, n):
    await asyncio.sleep(0.01)
    note(f"later-{round}-{n}")
    return n


@flow(task_runner=ParallelTaskRunner(max_workers=1))
def child(round):
    return step.map(f"child-{round}", range(3))


@flow
def mixed(rounds: int):
    total = 0
    for round in range(rounds):
        print("round", round, flush=True)
        steps, again, waited = step.map(round, range(10)), flaky(round), later.map(round, range(3))
        total += sum(f.result() for f in steps) + again.result() + sum(f.result() for f in waited)
        total += sum(s.result() for s in child(round).result())
    return total


if __name__ == "__main__":
    state = mixed(%d)
    print(state, state.result())
`

// TestAScriptGoesOnWhileLeadersAreKilled: a flow that no agent runs knows the addresses of all nodes. What its tasks do, they do once.
func TestAScriptGoesOnWhileLeadersAreKilled(t *testing.T) {
	t.Parallel()
	rounds, every := 6, 2
	if long() {
		rounds = 40
	}
	c := startNodes(t, 3, "--insecure")
	conn := c.connect()
	shell := newShell(t)
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(), ",")
	shell.write("mixed.py", fmt.Sprintf(mixedFlow, rounds))
	script := shell.startScript("mixed.py")
	for round := 1; round < rounds; round += every {
		script.waitFor(fmt.Sprintf("(?m)^round %d$", round))
		dead := c.leader()
		dead.kill9()
		dead.restart()
	}
	if code := script.wait(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, script.output())
	}
	if want := fmt.Sprintf("Completed(None) %d\n", rounds*(45+3+3+3)); !strings.HasSuffix(script.stdout.String(), want) {
		t.Errorf("the script printed %q, not %q at its end", script.stdout.String(), want)
	}
	var want []string
	for round := range rounds {
		for n := range 10 {
			want = append(want, fmt.Sprintf("step-%d-%d", round, n))
		}
		for n := range 3 {
			want = append(want, fmt.Sprintf("flaky-%d-%d", round, n+1), fmt.Sprintf("later-%d-%d", round, n), fmt.Sprintf("step-child-%d-%d", round, n))
		}
	}
	done := linesOf(t, filepath.Join(shell.dir, "done"))
	slices.Sort(done)
	slices.Sort(want)
	if !slices.Equal(done, want) {
		t.Errorf("the tasks did\n%s\nand not\n%s", strings.Join(done, "\n"), strings.Join(want, "\n"))
	}
	runs := must[[]api.FlowRun](t)(conn.FilterFlowRuns(t.Context(), api.FilterRequest{}))
	if len(runs) != rounds+1 {
		t.Errorf("%d flow runs, not %d", len(runs), rounds+1)
	}
	for _, run := range runs {
		if run.StateType == nil || *run.StateType != api.Completed || run.RunCount != 1 {
			t.Errorf("flow run %s is %v after %d attempts", run.Name, run.State, run.RunCount)
		}
	}
}
