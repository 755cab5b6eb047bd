"""Flows through a server that is gone for a while: 3 s here, two minutes and a half with SLUICE_E2E_LONG."""
import os
import re
import time

from tests.harness import OnServer

SECONDS_GONE = 150 if os.environ.get("SLUICE_E2E_LONG") else 3

CODE = (
    "import asyncio, sys, time\n"
    "from sluice import flow, task, get_run_logger\n"
    "from sluice.task_runners import ParallelTaskRunner\n"
    "@task\ndef step(n): get_run_logger().info('step %d', n); return n\n"
    "@task(retries=1)\ndef flaky(path):\n"
    "    with open(path, 'a+') as file: file.write('x'); file.flush(); file.seek(0); seen = len(file.read())\n"
    "    if seen == 1: raise ValueError('first')\n"
    "    return seen\n"
    "@task\ndef holds(): print('holding', flush=True); sys.stdin.readline(); return 'held'\n"
    "@task\nasync def later(n): await asyncio.sleep(0.01); return n\n"
    "@flow(task_runner=ParallelTaskRunner(max_workers=2))\ndef child(n): return step.map(range(n))\n"
    "@flow\nasync def waits(n): return await later.map(range(n))\n"
    "@flow\ndef outage():\n"
    "    held = holds()\n"  # the server goes while it waits
    "    steps = step.map(range(40)); print('called', flush=True)\n"
    "    total = sum(f.result() for f in steps)\n"
    "    again = flaky(sys.argv[1]).result()\n"
    "    inner = sum(s.result() for s in child(4).result())\n"
    "    waited = sum(s.result() for s in asyncio.run(waits(4)).result())\n"
    "    return [total, again, inner, waited, held.result()]\n"
    "if __name__ == '__main__':\n    state = outage(); print(state, state.result())\n"
)


class Outages(OnServer):
    def test_a_flow_waits_for_the_server_and_does_everything_once(self):
        process = self.spawn(self.write("outage.py", CODE), os.path.join(self.server.folder, "seen"), feed=True)
        self.assertEqual({process.stdout.readline() for _ in range(2)}, {"holding\n", "called\n"})
        self.server.kill()
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(SECONDS_GONE)  # the outage itself: nothing is waited for
        self.server.start()
        out, err = process.communicate(timeout=400)
        self.assertEqual((process.returncode, out), (0, "Completed(None) [780, 2, 6, 6, 'held']\n"), err)
        self.assertIn("does not answer", err)
        runs = {}
        for name in ("outage", "child", "waits"):
            (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": [name]}}})
            self.assertEqual((run["state_type"], run["run_count"]), ("COMPLETED", 1), name)
            runs[name] = self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        counted = [(re.sub("-[0-9a-f]{8}-.*", "", task["name"]), task["state_type"], task["run_count"]) for task in runs["outage"]]
        once = [("holds", "COMPLETED", 1), *40 * [("step", "COMPLETED", 1)], ("child", "COMPLETED", 1), ("waits", "COMPLETED", 1)]
        self.assertEqual(sorted(counted), sorted([*once, ("flaky", "COMPLETED", 2)]))
        self.assertEqual({(task["state_type"], task["run_count"]) for task in runs["child"] + runs["waits"]}, {("COMPLETED", 1)})
