"""Task runners against a real server: order, threads, worker processes."""
import json
import os
import re
import time

from tests.harness import OnServer


class Runners(OnServer):
    def tasks(self, flow_name):
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": [flow_name]}}})
        found = self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        return run, {re.sub("-[0-9a-f]{8}-", "-", task["name"]): task for task in found}

    def test_tasks_begin_in_the_order_of_their_calls_and_keep_context(self):
        out = self.run_code(
            "import contextvars, threading\n"
            "from sluice.task_runners import ConcurrentTaskRunner, SequentialTaskRunner\n"
            "word = contextvars.ContextVar('word', default='none')\n"
            "begun, names = [], set()\n"
            "@task\ndef step(n): begun.append(n); names.add(threading.current_thread().name); return word.get()\n"
            "@task\ndef meet(): barrier.wait(60)\n"
            "barrier = threading.Barrier(20)\n"
            "@flow\ndef ordered():\n    word.set('kept'); return step.map(range(60))\n"
            "for runner in (ConcurrentTaskRunner, ConcurrentTaskRunner(max_workers=1), SequentialTaskRunner):\n"
            "    begun.clear(); names.clear(); state = ordered.with_options(task_runner=runner)()\n"
            "    print(begun == list(range(60)), {s.result() for s in state.result()}, names)\n"
            "@flow\ndef together(): return [meet() for _ in range(20)]\n"
            "print(together())\n"
            "for wrong in (0, 1.5, True):\n"
            "    try: ConcurrentTaskRunner(max_workers=wrong)\n"
            "    except ValueError as error: print(error)\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "True {'kept'} {'sluice-task'}",
                "True {'kept'} {'sluice-task'}",
                "True {'kept'} {'MainThread'}",
                "Completed('All states completed.')",
                *(f"max_workers must be a whole number of at least 1, not {wrong}" for wrong in (0, 1.5, True)),
            ],
        )

    def test_many_async_tasks_wait_together(self):
        out = self.run_code(
            "import asyncio\n"
            "here, full = 0, None\n"
            "@task\nasync def meet():\n"
            "    global here\n"
            "    here += 1\n"
            "    if here == 300: full.set()\n"
            "    await full.wait()\n"
            "@flow\nasync def crowd():\n    global full; full = asyncio.Event(); await meet.map([]); return await asyncio.gather(*[meet() for _ in range(300)])\n"
            "print(asyncio.run(crowd()))\n",
            SLUICE_LOGGING_LEVEL="WARNING",
        )
        self.assertEqual(out, "Completed('All states completed.')\n")

    PARALLEL = (
        "import asyncio, contextvars, os, signal, sys, threading, time\n"
        "from sluice import flow, task, get_run_logger, unmapped\n"
        "from sluice.context import current_flow_run, current_task_run\n"
        "from sluice.task_runners import DaskTaskRunner, ParallelTaskRunner, RayTaskRunner\n"
        "@task\ndef where(x=0): print('printed', flush=True); return os.getpid()\n"
        "@task\nasync def later(x): await asyncio.sleep(0.01); return x, os.getpid()\n"
        "@task(name='other name')\ndef renamed(x): get_run_logger().warning('line %d', x); return current_task_run().name, current_flow_run().id\n"
        "@task\ndef fails(): raise ValueError('in a worker')\n"
        "@task\ndef generates(): return (n for n in range(3))\n"
        "@task(timeout_seconds=0.5)\ndef endless():\n    while True: pass\n"
        "@task\ndef ends(how):\n"
        "    get_run_logger().info('about to end by %s', how)\n"
        "    {'exit': lambda: os._exit(3), 'kill': lambda: os.kill(os.getpid(), signal.SIGKILL), 'sys.exit': lambda: sys.exit(4)}[how]()\n"
        "@task\ndef nests(): return where()\n"
        "tries = threading.Lock()\n"
        "@task(retries=1)\ndef flaky(path):\n"
        "    try: os.close(os.open(path, os.O_CREAT | os.O_EXCL))\n"
        "    except FileExistsError: return 'again'\n"
        "    raise ValueError('first')\n"
        "taken = where\n"
        "other = task(where.fn, name='taken')\n"
    )

    def test_tasks_run_in_worker_processes(self):
        out, err = self.run_python(
            self.write(
                "parallel.py",
                self.PARALLEL + "@flow(name='parallel', task_runner=DaskTaskRunner(address='x', n_workers=9))\n"
                "def parallel():\n"
                "    @task\n    def local(): return os.getpid()\n"
                "    first = where()\n"
                "    return [first, where(first), later(3), renamed(5), fails(), generates(), ends('exit'), ends('kill'), ends('sys.exit'), nests(), where(),\n"
                "            other(), local(), task(lambda: os.getpid(), name='lambda')(), where(tries), flaky(sys.argv[1]), endless()]\n"
                "if __name__ == '__main__':\n"
                "    state = parallel(); values = [s.result(raise_on_failure=False) for s in state.result(raise_on_failure=False)]\n"
                "    here = os.getpid(); show = lambda value: 'here' if value == here else 'elsewhere' if isinstance(value, int) else value\n"
                "    print(state, [show(v) for v in values[:2]], values[2][0], show(values[2][1]), values[3][0].startswith('other name-'), type(values[3][1]).__name__)\n"
                "    for s in state.result(raise_on_failure=False)[4:10]: print(s, '|', s.result(raise_on_failure=False))\n"
                "    print([show(v) for v in values[10:16]])\n"
                "    print(state.result(raise_on_failure=False)[16])\n",
            ),
            os.path.join(self.server.folder, "flag"),
        )
        self.assertEqual(
            [line for line in out.splitlines() if line != "printed"],
            [
                "Failed('7/17 states failed.') ['elsewhere', 'elsewhere'] 3 elsewhere True str",
                "Failed('Task run encountered an exception.') | in a worker",
                "Failed('Task run encountered an exception.') | the result of task 'generates' (generator) cannot be sent back from its worker process: "
                "cannot pickle 'generator' object. Return data that can be pickled, or run the flow with ConcurrentTaskRunner.",
                "Crashed('The process of the task run ended with exit status 3.', type=FAILED) | The process of the task run ended with exit status 3.",
                "Crashed('The process of the task run was killed by SIGKILL (perhaps for want of memory).', type=FAILED) | "
                "The process of the task run was killed by SIGKILL (perhaps for want of memory).",
                "Crashed('The task run ended its process: SystemExit: 4', type=FAILED) | The task run ended its process: SystemExit: 4",
                "Failed('Task run encountered an exception.') | Tasks cannot be called from within tasks. To call the function itself use `.fn()`.",
                "['elsewhere', 'elsewhere', 'here', 'here', 'here', 'again']",
                "TimedOut('Task run exceeded timeout of 0.5 seconds', type=FAILED)",
            ],
        )
        self.assertEqual(out.count("printed"), 5)
        self.assertEqual(len(re.findall("DaskTaskRunner is an alias of ParallelTaskRunner: tasks run in processes of this machine, and its options \\(address, n_workers\\) are ignored", err)), 1)
        for words in ("Task 'lambda' runs in a thread and not in a worker process: it is a lambda, which has no name to import it by",
                      "Task 'local' runs in a thread and not in a worker process: parallel.<locals>.local is defined inside of another function: move it to",
                      "Task 'where' runs in a thread and not in a worker process: its arguments cannot be pickled (TypeError: cannot pickle '_thread.lock' object)"):  # fmt: skip
            self.assertEqual(err.count(words), 1, words)
        run, tasks = self.tasks("parallel")
        lines = [(line["message"], line["task_run_id"]) for line in self.server.logs(run["id"])]
        self.assertIn(("line 5", tasks["other name-0"]["id"]), lines)
        for number, how in enumerate(("exit", "kill", "sys.exit")):
            self.assertIn((f"about to end by {how}", tasks[f"ends-{number}"]["id"]), lines)
        trace = next(message for message, _ in lines if message.endswith("ValueError: in a worker"))
        self.assertRegex(trace, r'(?s)^Encountered exception during execution:\nTraceback.*parallel\.py", line \d+, in fails')
        self.assertNotIn("workers.py", trace)

    def test_workers_find_the_tasks_of_deployed_code(self):
        text = self.PARALLEL + "@flow(name='deployed-parallel', task_runner=ParallelTaskRunner(max_workers=1))\ndef deployed(): return where() , where()\n"
        flow = self.server.client.create_flow("deployed-parallel")
        data = {"encoding": "sluice-flow", "blob": text, "path": "deployed.py", "flow_name": "deployed-parallel", "language": "python"}
        self.server.client.write_kv("deployed-parallel", json.dumps(data))
        deployment = self.server.ask("/deployments/", {"name": "d", "flow_id": flow["id"], "flow_data": {"encoding": "sluice-store", "blob": "deployed-parallel"}})
        _, err = self.run_python("-m", "sluice.engine", "--deployment", deployment["id"])
        self.assertNotIn("runs in a thread", err)
        run, tasks = self.tasks("deployed-parallel")
        self.assertEqual(run["state_type"], "COMPLETED", err)
        self.assertEqual({task["state"]["data"]["blob"] for task in tasks.values()} & {str(os.getpid())}, set())
        self.assertEqual(len({task["state"]["data"]["blob"] for task in tasks.values()}), 1)  # one worker for both

    def test_a_script_without_a_main_guard_runs_its_tasks_in_threads(self):
        out, err = self.run_python(
            self.write(
                "unguarded.py",
                "import os\nfrom sluice import flow, task\nfrom sluice.task_runners import ParallelTaskRunner\n"
                "@task\ndef where(): return os.getpid()\n"
                "@flow(task_runner=ParallelTaskRunner)\ndef unguarded(): return where()\n"
                "print(unguarded().result().result() == os.getpid())\n",
            )
        )
        self.assertEqual(out, "True\n")
        self.assertIn("is called when its file is imported, which worker processes of ParallelTaskRunner do: put the call under `if __name__", err)
        self.assertEqual(err.count("runs in a thread and not in a worker process: a worker process ended with exit status 1 when it imported the flow's file"), 1)

    def test_workers_end_with_their_flow_whatever_ends_it(self):
        code = (
            self.PARALLEL + "@task\ndef stays():\n    print(os.getpid(), flush=True); time.sleep(600)\n"
            "@flow(name='left-behind', task_runner=ParallelTaskRunner)\ndef left(): stays().wait()\n"
            "if __name__ == '__main__': print(left())\n"
        )
        for how in ("kill", "cancel"):
            process = self.spawn(self.write("left.py", code))
            worker = int(process.stdout.readline())
            if how == "kill":
                process.kill()
            else:
                runs = self.server.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}, "flows": {"name": {"any_": ["left-behind"]}}})
                for run in runs:
                    self.server.ask(f"/flow_runs/{run['id']}/cancel", {})
            out, err = process.communicate(timeout=60)
            if how == "cancel":
                self.assertEqual(out, "Cancelled('Flow run was cancelled.')\n", err)
            self.assertTrue(gone(worker), how)


def gone(pid):
    """Waits until a process has ended. Nobody tells of a process that is not a child: its entry is looked at."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
