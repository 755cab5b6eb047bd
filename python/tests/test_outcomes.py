"""How runs end, against a real server: states and results, retries, cached results, time limits, what user code does to its process."""
import json
import re

from tests.harness import OnServer


class States(OnServer):
    def test_states_show_themselves_and_give_their_results(self):
        out = self.run_code(
            "import warnings\n"
            "from sluice.states import Completed, Failed, Pending, Running, Cancelled, Scheduled\n"
            "@task\ndef work(x): return x\n"
            "@flow\ndef returns(value): return value\n"
            "done = work.with_options(name='w')\n"
            "@flow\ndef one(): return done('r')\n"
            "state = one().result(); print(repr(state).replace(state.state_details['task_run_id'], 'T').replace(state.state_details['flow_run_id'], 'F'))\n"
            "for made in (Completed(message='m'), Failed(message='bad'), Cancelled(), Pending(), Running(), Scheduled()):\n"
            "    print(made, made.is_completed(), made.is_failed(), made.is_running(), made.is_pending(), made.is_scheduled(), made.is_cancelled(), made.is_final())\n"
            "print(State('COMPLETED', 'Cached'), [slot for slot in ('type', 'name', 'message', 'timestamp', 'state_details', 'data') if not hasattr(state, slot)])\n"
            "def raised(value):\n"
            "    try: return value.result()\n"
            "    except Exception as error: return type(error).__mro__[0].__name__, isinstance(error, TypeError), str(error)[:60]\n"
            "inner = Failed(data=ValueError('inner'))\n"
            "print(raised(inner), raised(Failed(data=inner)), raised(Failed(data=[Completed(), inner, Failed(data=KeyError('later'))])))\n"
            "print(raised(Failed('words')), raised(Failed(data=3)), raised(Failed(data=[1])))\n"
            "with warnings.catch_warnings(record=True) as caught:\n"
            "    warnings.simplefilter('always'); print(repr(Failed(data=SystemExit(3)).result()), len(caught))\n"
            "print(repr(Failed(data=ValueError('kept')).result(raise_on_failure=False)), Failed('none').result(raise_on_failure=False))\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "Completed(message=None, type=COMPLETED, result='r', flow_run_id=F, task_run_id=T)",
                "Completed('m') True False False False False False True",
                "Failed('bad') False True False False False False True",
                "Cancelled(None) False False False False False True True",
                "Pending(None) False False False True False False False",
                "Running(None) False False True False False False False",
                "Scheduled(None) False False False False True False False",
                "Cached(None, type=COMPLETED) []",
                "('ValueError', False, 'inner') ('ValueError', False, 'inner') ('ValueError', False, 'inner')",
                "('FailedWithoutException', True, \"the run failed without an exception: Failed('words')\") "
                "('FailedWithoutException', True, 'the result of a failed run is neither an exception nor a sta') "
                "('FailedWithoutException', True, 'the result of a failed run is neither an exception nor a sta')",
                "SystemExit(3) 1",
                "ValueError('kept') None",
            ],
        )

    def test_a_flows_state_follows_from_what_it_returns(self):
        out = self.run_code(
            "from sluice.states import Completed, Failed, Cancelled\n"
            "@task\ndef ok(x=1): return x\n"
            "@task\ndef boom(): raise ValueError('boom')\n"
            "@flow\ndef child(): return 7\n"
            "@flow\ndef give(make):\n    return make()\n"
            "give = give.with_options(validate_parameters=False)\n"
            "def show(make):\n    state = give(make); print(state, repr(state.result(raise_on_failure=False))[:70])\n"
            "show(lambda: None)\n"
            "show(lambda: 42)\n"
            "show(lambda: (ok(), None)[1])\n"
            "show(lambda: (ok(), boom(), child(), None)[3])\n"
            "show(lambda: (boom(), 5)[1])\n"
            "show(lambda: Completed(message='mine', data=3))\n"
            "show(lambda: Failed(message='mine'))\n"
            "show(lambda: Cancelled(message='mine'))\n"
            "show(lambda: {'f': ok().wait().result()})\n"
            "show(lambda: [ok().result(), 2])\n"
            "show(lambda: [])\n"
            "show(lambda: 1 / 0)\n"
            "for kind in (list, tuple):\n"
            "    state = give(lambda: kind([ok(1), ok(2)])); print(state, type(state.result()).__name__, [s.result() for s in state.result()])\n"
            "state = give(lambda: {ok(1), ok(2)}); print(state, type(state.result()).__name__)\n"
            "state = give(lambda: [ok(1), ok(boom())]); print(state)\n"
            "state = give(lambda: child()); print(state, state.result().result())\n"
            "state = give(lambda: ok.map([1, 2])); print(state, type(state.result()).__name__)\n"
            "state = give(lambda: ok(5)); print(state, state.result(), state.result().result())\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "Completed(None) None",
                "Completed(None) 42",
                "Completed('All states completed.') " + out.splitlines()[2].partition(" completed.') ")[2],
                "Failed('1/3 states failed.') " + out.splitlines()[3].partition(" failed.') ")[2],
                "Completed(None) 5",
                "Completed('mine') 3",
                "Failed('mine') None",
                "Cancelled('mine') None",
                "Completed(None) {'f': 1}",
                "Completed(None) [1, 2]",
                "Completed(None) []",
                "Failed('Flow run encountered an exception.') ZeroDivisionError('division by zero')",
                "Completed('All states completed.') list [1, 2]",
                "Completed('All states completed.') tuple [1, 2]",
                "Completed('All states completed.') set",
                "Failed('1/2 states are not final.')",
                "Completed('All states completed.') 7",
                "Completed('All states completed.') list",
                "Completed('All states completed.') Completed(None) 5",
            ],
        )

    def test_retries_wait_as_told_and_stop_at_permanent_failures(self):
        out = self.run_code(
            "import time\n"
            "from datetime import timedelta\n"
            "from sluice.errors import PermanentFailure\n"
            "from sluice.tasks import exponential_backoff\n"
            "from sluice import connection\n"
            "calls = {}\n"
            "def note(name): calls.setdefault(name, []).append(time.monotonic()); return len(calls[name])\n"
            "@task(retries=2, retry_delay_seconds=0)\ndef always():\n    note('always'); raise ValueError('no')\n"
            "@task(retries=2, retry_delay_seconds=timedelta(seconds=0.3))\ndef fixed():\n    if note('fixed') < 3: raise ValueError('no')\n    return 'yes'\n"
            "@task(retries=3, retry_delay_seconds=exponential_backoff(0.1, most=0.3))\ndef growing():\n    if note('growing') < 4: raise ValueError('no')\n"
            "@task(retries=1, retry_delay_seconds=[0.2, 0.4], retry_jitter_factor=0.5)\ndef jittered():\n    if note('jittered') < 2: raise ValueError('no')\n"
            "@task(retries=5)\ndef permanent():\n    note('permanent'); raise PermanentFailure('for good')\n"
            "@flow\ndef retrying():\n    return always(), fixed(), growing(), jittered(), permanent()\n"
            "state = retrying(); print(state)\n"
            "for s in state.result(raise_on_failure=False):\n"
            "    run = connection.client().read_task_run(s.state_details['task_run_id'])\n"
            "    times = calls[run['name'].split('-')[0]]\n"
            "    print(run['name'].split('-')[0], s, len(times), run['run_count'], ['yes' if b - a >= least else b - a for a, b, least in zip(times, times[1:], {'fixed': [0.3, 0.3], 'growing': [0.1, 0.2, 0.3], 'jittered': [0.1]}.get(run['name'].split('-')[0], [0, 0]))])\n"
            "print(exponential_backoff(2)(4), exponential_backoff(2, 5)(3))\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "Failed('2/5 states failed.')",
                "always Failed('Task run encountered an exception.') 3 3 ['yes', 'yes']",
                "fixed Completed(None) 3 3 ['yes', 'yes']",
                "growing Completed(None) 4 4 ['yes', 'yes', 'yes']",
                "jittered Completed(None) 2 2 ['yes']",
                "permanent Failed('Task run encountered an exception.') 1 1 []",
                "[2.0, 4.0, 8.0, 16.0] [2.0, 4.0, 5.0]",
            ],
        )

    def test_options_of_tasks_that_make_no_sense_are_refused(self):
        out = self.run_code(
            "def f(): ...\n"
            "for options in ({'retries': -1}, {'retries': 1.5}, {'retry_delay_seconds': -1}, {'retry_delay_seconds': ['x']}, {'retry_jitter_factor': 2}, {'timeout_seconds': 0}):\n"
            "    try: task(**options)(f)\n"
            "    except ValueError as error: print(error)\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "task 'f': retries must be a whole number of at least 0, not -1",
                "task 'f': retries must be a whole number of at least 0, not 1.5",
                "task 'f': retry_delay_seconds must be seconds of at least 0, a list of them, or a function that gives one, not -1",
                "task 'f': retry_delay_seconds must be seconds of at least 0, a list of them, or a function that gives one, not ['x']",
                "task 'f': retry_jitter_factor must be from 0 to 1, not 2",
                "task 'f': timeout_seconds must be above 0, not 0",
            ],
        )

    def test_results_are_cached_by_key_across_flow_runs_until_they_expire(self):
        code = (
            "import datetime, time, sys\n"
            "from sluice.tasks import task_input_hash\n"
            "seen = []\n"
            "@task(cache_key_fn=task_input_hash)\ndef hashed(x, y=None): seen.append(x); return x\n"
            "def sums(context, parameters):\n"
            "    assert context.task_run.id == context.task_run_id and context.task.name == 'summed' and context.flow_run_id == context.task_run.flow_run_id\n"
            "    print(parameters); return sum(parameters['nums'])\n"
            "@task(cache_key_fn=sums)\ndef summed(nums): print('running'); return sum(nums)\n"
            "@task(cache_key_fn=lambda c, p: 'short', cache_expiration=datetime.timedelta(seconds=0.5))\ndef short(): seen.append('short'); return len(seen)\n"
            "@task(cache_key_fn=lambda c, p: 1 / 0, retries=3)\ndef broken(): return 1\n"
            "@flow\ndef caching():\n"
            "    first = hashed(1); first.wait(); lone = hashed(first); lone.wait(); other = hashed(2)\n"
            "    return first, lone, other, hashed(object()), hashed(lambda: 0)\n"
            "print([str(s) for s in caching().result()]); print([str(s) for s in caching().result()], len(seen))\n"
            "@flow\ndef adding(nums): return summed(nums)\n"
            "print(adding([2, 2]).result(), adding([1, 3]).result(), adding([1, 3]).result().result())\n"
            "@flow\ndef shortly(): return short()\n"
            "a, b = shortly().result(), shortly().result(); time.sleep(0.6); c = shortly().result(); print(a, b, c, a.result() == b.result() < c.result())\n"
            "@flow\ndef breaking(): return broken()\n"
            "print(repr(breaking().result(raise_on_failure=False).result(raise_on_failure=False)))\n"
        )
        new, cached = "'Completed(None)'", "'Cached(None, type=COMPLETED)'"
        out = self.run_code(code)
        self.assertEqual(
            out.splitlines(),
            [
                f"[{new}, {cached}, {new}, {new}, {new}]",
                f"[{cached}, {cached}, {cached}, {cached}, {new}] 5",
                "{'nums': [2, 2]}",
                "running",
                "{'nums': [1, 3]}",
                "{'nums': [1, 3]}",
                "Completed(None) Cached(None, type=COMPLETED) 4",
                "Completed(None) Cached(None, type=COMPLETED) Completed(None) True",
                "ZeroDivisionError('division by zero')",
            ],
        )
        again = self.run_code(code)  # another process
        self.assertEqual(again.splitlines()[0], f"[{cached}, {cached}, {cached}, {cached}, {new}]")

    def test_flows_and_tasks_have_time_limits(self):
        out = self.run_code(
            "import asyncio, threading, time\n"
            "from sluice.task_runners import SequentialTaskRunner\n"
            "@task(timeout_seconds=0.2)\ndef endless():\n    while True: pass\n"
            "@task(timeout_seconds=0.2)\nasync def sleepy(): await asyncio.sleep(300)\n"
            "@task(timeout_seconds=60)\ndef quick(x): return x, threading.current_thread().name\n"
            "tries = []\n"
            "@task(timeout_seconds=0.2, retries=1)\ndef second():\n    tries.append(1)\n    if len(tries) == 1: time.sleep(1)\n    return 'again'\n"
            "@flow\ndef limited(): return endless(), sleepy(), quick(1), second()\n"
            "for runner in (None, SequentialTaskRunner):\n"
            "    tries.clear(); state = limited.with_options(task_runner=runner)(); print(state)\n"
            "    for s in state.result(raise_on_failure=False): print(s, repr(s.result(raise_on_failure=False))[:70])\n"
            "@flow(timeout_seconds=0.2)\ndef slow_flow():\n    try: time.sleep(300)\n    except Exception: print('swallowed')\n"
            "@flow(timeout_seconds=0.2)\nasync def slow_async(): await asyncio.sleep(300)\n"
            "@flow\ndef parent(): slow_flow(); return 'went on'\n"
            "print(slow_flow(), asyncio.run(slow_async()), parent().result(), sep='\\n')\n"
        )
        limited = [
            "Failed('2/4 states failed.')",
            "TimedOut('Task run exceeded timeout of 0.2 seconds', type=FAILED) TaskTimedOut('Task run exceeded timeout of 0.2 seconds')",
            "TimedOut('Task run exceeded timeout of 0.2 seconds', type=FAILED) TaskTimedOut('Task run exceeded timeout of 0.2 seconds')",
            "Completed(None) (1, 'sluice-limited')",
            "Completed(None) 'again'",
        ]
        over = "TimedOut('Flow run exceeded timeout of 0.2 seconds', type=FAILED)"
        self.assertEqual(out.splitlines(), [*limited, *limited, over, over, "went on"])

    def test_parameters_are_validated_coerced_and_recorded(self):
        out = self.run_code(
            "import dataclasses, datetime, enum\n"
            "from sluice import connection\n"
            "class Model:\n"
            "    a: int\n    c: str\n"
            "    def __init__(self, a, c): self.a, self.c = a, c\n"
            "    @classmethod\n"
            "    def model_validate(cls, data):\n"
            "        if isinstance(data, cls): return data\n"
            "        if not isinstance(data['c'], str): raise ValueError('c: Input should be a valid string')\n"
            "        return cls(**data)\n"
            "    def model_dump(self): return vars(self)\n"
            "class Connection: ...\n"
            "@flow\ndef validated(x: int, y: str, m: Model = None, when: datetime.date = datetime.date(2026, 1, 2)): return [x, y, m and m.c, str(when)]\n"
            "@flow(validate_parameters=False)\ndef unchecked(x: int, connection=None): return x\n"
            "@flow\ndef plain(*args, **kwargs): return list(args), kwargs\n"
            "print(validated('42', 100, {'a': '1', 'c': 55}, '2026-05-06').result(), unchecked('42', Connection()).result(), plain(1, 2, k=3).result())\n"
            "state = validated('many', 1); print(state); \n"
            "try: state.result()\nexcept TypeError as error: print(error)\n"
            "try: validated(1)\nexcept TypeError as error: print(str(error)[-32:])\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "[42, '100', '55', '2026-05-06'] 42 ([1, 2], {'k': 3})",
                "Failed('Flow run received invalid parameters.')",
                "x: 'many' is not an integer",
                "missing a required argument: 'y'",
            ],
        )
        recorded = {}
        for name in ("validated", "unchecked", "plain"):
            runs = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_DESC"})
            recorded[name] = [run["parameters"] for run in runs]
            if name == "validated":
                self.assertEqual(sorted((run["state_type"], run["run_count"], run["start_time"] is None) for run in runs), [("COMPLETED", 1, False), ("FAILED", 0, True)])
        self.assertIn({"x": 42, "y": "100", "m": {"a": 1, "c": "55"}, "when": "2026-05-06"}, recorded["validated"])
        self.assertEqual(recorded["unchecked"], [{"x": "42", "connection": "<Connection>"}])
        self.assertEqual(recorded["plain"], [{"args": [1, 2], "kwargs": {"k": 3}}])


class Ends(OnServer):
    """What user code does to its own process."""

    def ended(self, name):
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": [name]}}})
        return run["state"], [entry["message"] for entry in self.server.logs(run["id"])]

    def test_sys_exit_in_a_flow_is_a_crash_with_its_status(self):
        for name, body in (("exits", "@flow\ndef exits(): sys.exit(7)\nexits()\n"), ("exits-async", "@flow\nasync def exits_async(): sys.exit(7)\nasyncio.run(exits_async())\n")):
            self.run_python(self.write("exits.py", "import sys, asyncio\nfrom sluice import flow\n" + body), status=7)
            state, lines = self.ended(name)
            self.assertEqual((state["name"], state["message"]), ("Crashed", "Flow run process ended: SystemExit: 7"), name)
            self.assertIn("Crash detected! Flow run process ended: SystemExit: 7", lines)

    def test_tasks_of_a_flow_that_is_stopped_await_no_retry(self):
        out = self.run_code(
            "import time\n@task(retries=3)\ndef slow(): time.sleep(300)\n@flow(timeout_seconds=1)\ndef stopped():\n"
            "    f = slow()\n    while not f.get_state().is_running(): time.sleep(0.01)\n    print('running', flush=True); f.wait()\nprint(stopped())\n"
        )
        self.assertEqual(out, "running\nTimedOut('Flow run exceeded timeout of 1.0 seconds', type=FAILED)\n")
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["stopped"]}}})
        (task,) = self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        self.assertEqual((task["state"]["type"], task["state"]["name"]), ("FAILED", "TimedOut"))

    def test_a_flow_that_is_ended_among_thousands_of_calls_says_so(self):
        code = (
            "import time\nfrom sluice import flow, task\n@task\ndef slow(n): time.sleep(300)\n"
            "@flow\ndef thousands():\n    for n in range(5000):\n        slow(n)\n        if n == 20: print('calling', flush=True)\n"
            "thousands()\n"
        )
        process = self.spawn(self.write("thousands.py", code), SLUICE_LOGGING_LEVEL="ERROR")
        self.assertEqual(process.stdout.readline(), "calling\n")
        process.terminate()
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 143, err)
        state, lines = self.ended("thousands")
        self.assertEqual((state["name"], state["message"]), ("Crashed", "Flow run process was terminated by SIGTERM."), err)
        self.assertIn("Crash detected! Flow run process was terminated by SIGTERM.", lines)

    def test_sys_exit_in_a_task_is_a_crash_of_the_task_alone(self):
        out = self.run_code(
            "import sys\n"
            "@task\ndef quits(): sys.exit(3)\n"
            "@task\nasync def quits_async(): sys.exit(4)\n"
            "@flow\ndef quitting(): quits(); quits_async(); return [quits(), quits_async()]\n"
            "state = quitting(); print(state, *state.result(raise_on_failure=False))\n"
        )
        self.assertEqual(out, "Failed('2/2 states failed.') Crashed('Task run ended: SystemExit: 3', type=FAILED) Crashed('Task run ended: SystemExit: 4', type=FAILED)\n")

    def test_what_a_thread_of_the_flow_raises_is_in_the_log(self):
        out = self.run_code(
            "import threading\n"
            "def fails(): raise ValueError('in a thread')\n"
            "@flow\ndef threaded():\n    thread = threading.Thread(target=fails, name='mine'); thread.start(); thread.join()\n"
            "print(threaded())\n"
        )
        self.assertEqual(out, "Completed(None)\n")
        line = next(line for line in self.ended("threaded")[1] if line.startswith("Exception in thread 'mine':"))
        self.assertRegex(line, r"(?s)Traceback.*in fails\n.*ValueError: in a thread$")

    def test_a_cancelled_endless_loop_ends_at_once(self):
        for where, body in (("loop-flow", "    print('in', flush=True)\n    while True: pass\n"), ("loop-task", "    spin().wait()\n")):
            code = (
                "from sluice import flow, task\n@task\ndef spin():\n    print('in', flush=True)\n    while True: pass\n"
                f"@flow(name={where!r})\ndef looping():\n{body}"
                "print(looping())\n"
            )
            process = self.spawn(self.write("looping.py", code))
            self.assertEqual(process.stdout.readline(), "in\n")
            (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": [where]}}})
            self.server.ask(f"/flow_runs/{run['id']}/cancel", {})
            out, err = process.communicate(timeout=60)
            self.assertEqual((process.returncode, out), (0, "Cancelled('Flow run was cancelled.')\n"), err)
            self.assertEqual(self.server.client.read_flow_run(run["id"])["state_type"], "CANCELLED")

    def test_an_async_subflow_of_a_cancelled_flow_is_cancelled_too(self):
        process = self.spawn(self.write("deep.py", (
            "import asyncio\nfrom sluice import flow\n"
            "@flow\nasync def deep(): print('in', flush=True); await asyncio.sleep(300)\n"
            "@flow\nasync def shallow(): await deep()\n"
            "print(asyncio.run(shallow()))\n"
        )))  # fmt: skip
        self.assertEqual(process.stdout.readline(), "in\n")
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["shallow"]}}})
        self.server.ask(f"/flow_runs/{run['id']}/cancel", {})
        out, err = process.communicate(timeout=60)
        self.assertEqual(out, "Cancelled('Flow run was cancelled.')\n", err)
        self.assertEqual((self.ended("shallow")[0]["type"], self.ended("deep")[0]["type"]), ("CANCELLED", "CANCELLED"))


class Results(OnServer):
    def stored(self, flow_name):
        """The documents of a flow's task results by task name, those in the built-in store read."""
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": [flow_name]}}})
        found = {}
        for task in self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}}):
            data = task["state"]["data"]
            if data and data["encoding"] == "sluice-store":
                data = {"kept": "in the store", **json.loads(self.server.client.read_kv(data["blob"]))}
            found[task["name"].split("-")[0]] = data
        return found

    def test_json_where_it_gives_the_value_back_pickle_otherwise(self):
        out = self.run_code(
            "import datetime, sys\n"
            "sys.modules['cloudpickle'] = None\n"  # as if it were not installed
            "@task\ndef plain(): return {'a': [1, 2.5, None, True, 'ü']}\n"
            "@task\ndef large(): return ['x' * 10] * 1000\n"
            "@task\ndef odd(): return {1: (2, 3)}\n"
            "@task\ndef infinite(): return float('inf')\n"
            "@task\ndef moment(): return datetime.date(2026, 1, 2)\n"
            "@task\ndef nothing(): ...\n"
            "@task\ndef fn(): return lambda: 7\n"
            "class Own(Exception):\n    def __init__(self, a, b): super().__init__(f'{a}{b}')\n"
            "@task\ndef raises(): raise Own('a', 'b')\n"
            "@flow(name='kinds')\ndef kinds():\n"
            "    made = [f() for f in (plain, large, odd, infinite, moment, nothing, fn, raises)]\n"
            "    return [f.result() for f in made[:6]] + [made[6].result()(), type(made[7].result(raise_on_failure=False)).__name__]\n"
            "print(kinds().result()[2:])\n"
        )
        self.assertEqual(out, "[{1: (2, 3)}, inf, datetime.date(2026, 1, 2), None, 7, 'Own']\n")
        found = self.stored("kinds")
        self.assertEqual(found["plain"], {"encoding": "json", "blob": '{"a": [1, 2.5, null, true, "ü"]}'})
        self.assertEqual((found["large"]["kept"], found["large"]["encoding"], len(json.loads(found["large"]["blob"]))), ("in the store", "json", 1000))
        self.assertEqual([found[name]["encoding"] for name in ("odd", "infinite", "moment", "raises")], 4 * ["pickle"])
        self.assertEqual((found["nothing"], found["fn"]), ({"encoding": "json", "blob": "null"}, None))
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["kinds"]}}})
        self.assertTrue(any(line["message"].startswith("The result cannot be stored and is available to this process only: ") for line in self.server.logs(run["id"])))

    def test_a_flows_stored_states_lead_to_the_results_of_its_tasks(self):
        self.run_code(
            "import sys\nsys.modules['cloudpickle'] = None\n"
            "@task\ndef large(n): return 'x' * n\n@task\ndef fn(): return lambda: 7\n@flow\ndef inner(): return large(5000)\n"
            "@flow(name='refers')\ndef refers(): return [large(3), large(1000), large(9000), inner(), fn()]\nrefers()\n"
        )
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["refers"]}}})
        self.assertLess(len(run["state"]["data"]["blob"]), 4096)
        out = self.run_code(
            "from sluice import connection\n"
            f"found = State.from_api(connection.client().read_flow_run({run['id']!r})['state']).result()\n"
            "print(len(found[0].result()), len(found[1].result()), len(found[2].result()), len(found[3].result().result()), found[4])\n"
        )
        self.assertEqual(out, "3 1000 9000 5000 Completed(None)\n")

    def test_a_result_of_a_class_that_is_not_there_says_so(self):
        self.run_python(self.write("classes.py", "from sluice import flow\nclass Mine: ...\n@flow\ndef makes(): return Mine()\nmakes()\n"))
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["makes"]}}})
        out = self.run_code(
            "import sys\nfrom sluice import connection\n"
            f"state = State.from_api(connection.client().read_flow_run({run['id']!r})['state'])\n"
            "try: state.result()\nexcept Exception as error: print(type(error).__name__, error)\n"
        )
        self.assertRegex(out, "^MissingResult the result was made with something this process does not have .*Mine.*: import it, or define it in a module of its own")
        self.assertIsNone(re.search("Traceback", out))
