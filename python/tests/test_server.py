"""Flows against the real server: see harness.py."""
import json
import os
import re
import signal
import threading

from sluice.client import state_body
from tests.harness import EXAMPLES, SECONDS, OnServer


class Flows(OnServer):
    def leo(self):
        with open(os.path.join(EXAMPLES, "leo_flow.py"), encoding="utf-8") as file:
            return file.read()

    def deployed_run(self, text, name, parameters):
        """A flow run of a deployment whose code lies in the built-in store, Pending under a lease; its id and token."""
        flow = self.server.client.create_flow(name)
        key = f"test-{name}-{os.urandom(4).hex()}"
        stored = {"encoding": "sluice-flow", "blob": text, "path": f"{name}.py", "flow_name": name, "language": "python"}
        self.server.client.write_kv(key, json.dumps(stored))
        deployment = self.server.ask(
            "/deployments/", {"name": key, "flow_id": flow["id"], "flow_data": {"encoding": "sluice-store", "blob": key}, "parameters": parameters}
        )
        run = self.server.ask(f"/deployments/{deployment['id']}/create_flow_run", {"state": state_body("PENDING")})
        return run["id"], self.server.client.take_lease(run["id"], "test")["token"], deployment["id"]

    def masked(self, text):
        text = re.sub(r"^\d\d:\d\d:\d\d\.\d{3}", "TIME", text, flags=re.M)
        names = re.findall(r"Created flow run '([a-z]+-[a-z]+)'", text)
        for name in names:
            text = text.replace(name, "NAME")
        return text.splitlines()

    def transcript(self, key):
        return [
            "TIME | INFO    | sluice.engine - Created flow run 'NAME' for flow 'leonardo_dicapriflow'",
            "TIME | INFO    | Flow run 'NAME' - Using task runner 'ConcurrentTaskRunner'",
            f"TIME | INFO    | Flow run 'NAME' - Created task run 'log_message-{key}-0' for task 'log_message'",
            f"TIME | INFO    | Task run 'log_message-{key}-0' - Hello Leo!",
            f"TIME | INFO    | Task run 'log_message-{key}-0' - Finished in state Completed(None)",
            "TIME | INFO    | Flow run 'NAME' - Finished in state Completed('All states completed.')",
        ]

    def test_the_tutorials_script_prints_the_tutorials_lines(self):
        text = self.leo().replace("# leonardo_dicapriflow(", "leonardo_dicapriflow(")
        _, shown = self.run_python(self.write("leo_flow.py", text))
        self.assertEqual(self.masked(shown), self.transcript("dd6ef374"))

    def test_a_deployment_is_executed_from_stored_code(self):
        _, _, deployment = self.deployed_run(self.leo(), "leonardo_dicapriflow", {"name": "Leo"})
        _, shown = self.run_python("-m", "sluice.engine", "--deployment", deployment)
        self.assertEqual(self.masked(shown), self.transcript("718c3f46"))

    def test_an_agents_process_reports_states_logs_and_version(self):
        id, token, _ = self.deployed_run(self.leo(), "leonardo_dicapriflow", {"name": "Leo"})
        _, shown = self.run_python("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token, SLUICE_ENGINE_CONSOLE="0")
        self.assertEqual(shown, "")
        run = self.server.client.read_flow_run(id)
        self.assertEqual((run["state_type"], run["state"]["message"], run["run_count"]), ("COMPLETED", "All states completed.", 1))
        self.assertRegex(run["flow_version"], "^[0-9a-f]{32}$")
        self.assertEqual(
            [entry["message"] for entry in self.server.logs(id)],
            ["Using task runner 'ConcurrentTaskRunner'", "Created task run 'log_message-718c3f46-0' for task 'log_message'", "Hello Leo!"],
        )
        tasks = self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [id]}}})
        self.assertEqual([(task["name"], task["state_type"]) for task in tasks], [("log_message-718c3f46-0", "COMPLETED")])

    def test_code_that_calls_its_flow_is_refused_with_the_line(self):
        text = self.leo() + 'leonardo_dicapriflow("Leo")\n'
        id, token, _ = self.deployed_run(text, "leonardo_dicapriflow", {"name": "Leo"})
        self.run_python("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token)
        state = self.server.client.read_flow_run(id)["state"]
        self.assertEqual((state["type"], state["message"]), ("FAILED", "Flow could not be retrieved from deployment."))
        self.assertIn(f"comment out line {len(text.splitlines())}", self.server.logs(id)[0]["message"])

    def test_parameters_that_do_not_fit_fail_the_run_before_it_runs(self):
        text = "from sluice import flow\n@flow\ndef typed(count: int): ...\n"
        for parameters, words in (({"count": "many"}, "'many' is not an integer"), ({}, "missing a required argument: 'count'")):
            id, token, _ = self.deployed_run(text, "typed", parameters)
            self.run_python("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token)
            run = self.server.client.read_flow_run(id)
            self.assertEqual((run["state_type"], run["state"]["message"], run["run_count"]), ("FAILED", "Flow run received invalid parameters.", 0))
            self.assertIn(words, self.server.logs(id)[0]["message"])

    def test_an_exception_fails_the_run_with_its_traceback_in_the_logs(self):
        id, token, _ = self.deployed_run("from sluice import flow\n@flow\ndef boom():\n    raise ValueError('inside')\n", "boom", {})
        self.run_python("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token)
        self.assertEqual(self.server.client.read_flow_run(id)["state"]["message"], "Flow run encountered an exception.")
        message = self.server.logs(id)[-1]["message"]
        self.assertRegex(message, r"(?s)^Encountered exception during execution:\nTraceback.*boom\.py\", line 4, in boom.*ValueError: inside$")
        self.assertNotIn("runs.py", message)

    def test_a_lost_lease_ends_the_process_without_a_report(self):
        id, token, _ = self.deployed_run(self.leo(), "leonardo_dicapriflow", {"name": "Leo"})
        _, shown = self.run_python("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN="another", status=1)
        self.assertIn("The lease on this flow run was lost.", shown)
        self.assertEqual(self.server.client.read_flow_run(id)["state_type"], "PENDING")

    def test_an_unknown_run_is_an_error(self):
        _, shown = self.run_python("-m", "sluice.engine", "11111111-1111-4111-8111-111111111111", status=1)
        self.assertIn("Flow run not found", shown)

    def test_retries_and_cached_results_are_the_servers(self):
        out = self.run_code(
            "import datetime\n"
            "from sluice.tasks import task_input_hash\n"
            "attempts = []\n"
            "@task(retries=2)\n"
            "def flaky():\n"
            "    attempts.append(1)\n"
            "    if len(attempts) < 3: raise ValueError('again')\n"
            "    return len(attempts)\n"
            "@task(cache_key_fn=task_input_hash, cache_expiration=datetime.timedelta(minutes=1))\n"
            "def double(x): return 2 * x\n"
            "@flow\n"
            "def work():\n"
            "    one = double(21); one.wait()\n"
            "    return flaky(), one, double(21)\n"
            "state = work()\n"
            "print(state, [str(s) for s in state.result()], [s.result() for s in state.result()])\n"
        )
        self.assertEqual(out, "Completed('All states completed.') ['Completed(None)', 'Completed(None)', 'Cached(None, type=COMPLETED)'] [3, 42, 42]\n")

    def test_failures_spread_to_those_who_depend_on_them_and_to_no_others(self):
        out = self.run_code(
            "@task\ndef boom(): raise RuntimeError('boom')\n"
            "@task\ndef after(x): return x\n"
            "@flow\ndef work():\n    after(boom()); after([after(1)], wait_for=[after(2)])\n"
            "state = work()\n"
            "print(state, [s.name for s in state.result(raise_on_failure=False)])\n"
            "try: state.result()\nexcept RuntimeError as error: print('raised', error)\n"
        )
        self.assertEqual(out, "Failed('1/5 states failed.') ['Failed', 'NotReady', 'Completed', 'Completed', 'Completed']\nraised boom\n")

    def test_subflows_async_flows_and_runners_work(self):
        out = self.run_code(
            "import asyncio\n"
            "from sluice.task_runners import SequentialTaskRunner\n"
            "@task\ndef same(x): return x\n"
            "@flow\ndef child(n: int): return same(n)\n"
            "@flow(task_runner=SequentialTaskRunner)\ndef parent():\n    inner = child(same('5')); return same(inner)\n"
            "print(parent().result().result().result())\n"
            "@task\nasync def later(x):\n    await asyncio.sleep(0); return x + 1\n"
            "@flow\nasync def together():\n"
            "    futures = await asyncio.gather(*[later(i) for i in range(20)])\n"
            "    return sum(await asyncio.gather(*[f.result() for f in futures]))\n"
            "print(asyncio.run(together()).result())\n"
            "@flow\ndef mixed(): return later(1).result()\n"
            "print(mixed().result())\n"
            "@task\ndef calls(): return child(1)\n"
            "@flow\ndef wrong(): calls()\n"
            "print(wrong().result(raise_on_failure=False)[0].result(raise_on_failure=False))\n"
        )
        self.assertEqual(out.splitlines()[:3], ["5", "210", "2"])
        self.assertIn("Flows cannot be called from within tasks", out.splitlines()[3])

    def test_large_and_unstorable_results(self):
        out = self.run_code(
            "@task\ndef large(): return 'x' * 100_000\n"
            "@task\ndef local(): return lambda: 7\n"
            "@flow\ndef work(): return large(), local()\n"
            "big, fn = work().result()\n"
            "print(big.data['encoding'], len(State.from_api({**dict(type=big.type, name=big.name, data=big.data), 'timestamp': '2026-01-01T00:00:00Z'}).result()), fn.result()())\n"
        )
        self.assertEqual(out, "sluice-store 100000 7\n")

    def test_a_flow_stops_at_its_timeout(self):
        out = self.run_code("import time\n@flow(timeout_seconds=0.2)\ndef slow(): time.sleep(300)\nprint(slow())\n")
        self.assertEqual(out, "TimedOut('Flow run exceeded timeout of 0.2 seconds', type=FAILED)\n")

    SLOW = (
        "from sluice import flow, task, get_run_logger\nimport time\n"
        "@task\ndef nap():\n    print('napping', flush=True); time.sleep(300)\n"
        "@flow\ndef slow():\n    get_run_logger().info('last line before the end'); nap(); time.sleep(300)\n"
        "if __name__ == '__main__': print(slow())\n"
    )

    def sleeping_script(self):
        """A script in the middle of its flow; the process and the run's id."""
        process = self.spawn(self.write("slow.py", self.SLOW))
        self.assertEqual(process.stdout.readline(), "napping\n")
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["slow"]}}, "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
        return process, run["id"]

    def states_of(self, id):
        tasks = self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [id]}}})
        return self.server.client.read_flow_run(id)["state"], [task["state"]["name"] for task in tasks]

    def test_a_terminated_script_reports_itself_and_its_tasks_as_crashed(self):
        process, id = self.sleeping_script()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 143)
        state, tasks = self.states_of(id)
        self.assertEqual((state["type"], state["name"], state["message"], tasks), ("FAILED", "Crashed", "Flow run process was terminated by SIGTERM.", ["Crashed"]))
        self.assertIn("last line before the end", [entry["message"] for entry in self.server.logs(id)])

    def test_an_interrupted_script_reports_itself_as_crashed(self):
        process, id = self.sleeping_script()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
        self.assertEqual(self.states_of(id)[0]["name"], "Crashed")

    def test_a_cancelled_script_stops_at_once(self):
        process, id = self.sleeping_script()
        self.server.ask(f"/flow_runs/{id}/cancel", {})
        out, _ = process.communicate(timeout=SECONDS)
        self.assertEqual(out, "Cancelled('Flow run was cancelled.')\n")
        state, tasks = self.states_of(id)
        self.assertEqual((state["type"], tasks), ("CANCELLED", ["Cancelled"]))

    def test_a_cancelled_agents_process_reports_that_it_was_cancelled(self):
        id, token, _ = self.deployed_run(self.SLOW, "slow", {})
        process = self.spawn("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token)
        self.assertEqual(process.stdout.readline(), "napping\n")
        self.server.ask(f"/flow_runs/{id}/cancel", {})
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 143)
        self.assertEqual(self.states_of(id)[0]["type"], "CANCELLED")


    def test_a_cancelled_async_flow_reports_that_it_was_cancelled(self):
        text = (
            "import asyncio\nfrom sluice import flow\n"
            "@flow\nasync def waiting():\n    print('waiting', flush=True); await asyncio.sleep(300)\n"
            "if __name__ == '__main__': print(asyncio.run(waiting()))\n"
        )
        id, token, _ = self.deployed_run(text, "waiting", {})
        process = self.spawn("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token)
        self.assertEqual(process.stdout.readline(), "waiting\n")
        self.server.ask(f"/flow_runs/{id}/cancel", {})
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        self.assertEqual((process.returncode, self.states_of(id)[0]["type"]), (143, "CANCELLED"))
        process = self.spawn(self.write("waiting.py", text))
        self.assertEqual(process.stdout.readline(), "waiting\n")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 143)
        runs = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["waiting"]}}})
        self.assertEqual(sorted(run["state"]["name"] for run in runs), ["Cancelled", "Crashed"])

    def test_a_flow_that_times_out_again_and_again_does_not_end_the_process(self):
        out = self.run_code(
            "import time\n@flow(timeout_seconds=0.02)\ndef short(n):\n    time.sleep(n / 400)\n"
            "print({short(n).name for n in range(16)} <= {'Completed', 'TimedOut'}, short(10_000).name)\n"
        )
        self.assertEqual(out, "True TimedOut\n")

    def test_other_loggers_can_be_followed(self):
        out = self.run_code(
            "import logging\nfrom sluice import context\n@flow\ndef chatty():\n    logging.getLogger('other.module').info('from %s', 'afar'); print(context.current().id)\nchatty()\n",
            SLUICE_LOGGING_EXTRA_LOGGERS="other",
        )
        self.assertIn(("other.module", "from afar"), [(entry["name"], entry["message"]) for entry in self.server.logs(out.strip())])


class Outages(OnServer):
    def test_a_flow_survives_kills_of_the_server_and_loses_and_doubles_nothing(self):
        steps = 30
        process = self.spawn(
            self.write(
                "steps.py",
                "from sluice import flow, task, get_run_logger\n"
                "@task\ndef step(n):\n    get_run_logger().info('step %d', n); return n\n"
                "@flow\ndef stepwise():\n"
                f"    for n in range({steps}):\n        step(n).wait(); print(n, flush=True)\n"
                "print(stepwise())\n",
            )
        )
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        for line in process.stdout:
            if line.strip() in ("3", "11", "12", "20"):
                self.server.kill()
                self.server.start()
        process.wait(SECONDS)
        drain.join()
        self.assertEqual((process.returncode, line), (0, "Completed('All states completed.')\n"))
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["stepwise"]}}})
        self.assertEqual((run["state_type"], run["run_count"]), ("COMPLETED", 1))
        tasks = self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        self.assertEqual(sorted(int(task["dynamic_key"]) for task in tasks), list(range(steps)))
        self.assertEqual({(task["state_type"], task["run_count"]) for task in tasks}, {("COMPLETED", 1)})
        lines = [entry["message"] for entry in self.server.logs(run["id"]) if entry["message"].startswith("step ")]
        self.assertEqual(lines, [f"step {n}" for n in range(steps)])
