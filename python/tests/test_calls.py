"""Calls of flows and tasks against a real server: names, futures, dependencies, subflows, async code."""
import re

from tests.harness import OnServer


class Calls(OnServer):
    def tasks(self, flow_name):
        """Names, states and inputs of the task runs of the only run of a flow, by name."""
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": [flow_name]}}})
        found = self.server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        return {task["name"]: task for task in found}

    def test_decorators_take_options_or_none(self):
        out = self.run_code(
            "import hashlib\n"
            "@flow\n"
            "def my_favorite_flow():\n"
            "    '''Says\n"
            "       things.'''\n"
            "@flow(name='Named', version='7', description='d', timeout_seconds=3, validate_parameters=False)\n"
            "def other(): ...\n"
            "print(my_favorite_flow.name, repr(my_favorite_flow.description), my_favorite_flow.version == hashlib.md5(open(__file__,'rb').read()).hexdigest())\n"
            "print(other.name, other.version, other.description, other.timeout_seconds, other.should_validate_parameters)\n"
            "changed = other.with_options(name='Changed', timeout_seconds=None)\n"
            "print(changed.name, changed.version, changed.timeout_seconds, changed.fn is other.fn, other.name)\n"
            "@task\n"
            "def plain(x): return x\n"
            "@task(name='Named task', description='d', tags=['b', 'a'], retries=2, retry_delay_seconds=0.5)\n"
            "def dressed(x): return x\n"
            "print(plain.name, plain.tags, plain.fn(3), dressed.name, sorted(dressed.tags), dressed.retries, dressed.retry_delay_seconds)\n"
            "print(dressed.with_options(tags=['c']).tags, dressed.with_options(name='n').description)\n"
            "for make in (lambda: task(lambda wait_for: 0), lambda: task(plain.fn, tags='text'), lambda: plain.with_options(colour=1), lambda: flow(name='a/b')(print)):\n"
            "    try: make()\n"
            "    except (TypeError, ValueError) as error: print(error)\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "my-favorite-flow 'Says\\nthings.' True",
                "Named 7 d 3.0 False",
                "Changed 7 None True Named",
                "plain frozenset() 3 Named task ['a', 'b'] 2 0.5",
                "frozenset({'c'}) d",
                "task '<lambda>': 'wait_for' is a reserved name and cannot be a parameter",
                "task 'plain': tags must be a list of texts, not one text: tags=['text']",
                "with_options() got unknown options: colour",
                "flow name 'a/b' contains '/'; none of / % & > < is allowed",
            ],
        )

    def test_task_runs_are_numbered_per_task_across_flow_runs(self):
        _, shown = self.run_python(
            self.write(
                "numbered.py",
                "from sluice import flow, task\n"
                "@task\ndef hello_task(): ...\n"
                "@flow\ndef numbered(): hello_task(); hello_task()\n"
                "numbered(); numbered()\n",
            )
        )
        self.assertEqual(re.findall(r"Created task run '(.*?)'", shown), [f"hello_task-e97fb216-{n}" for n in range(4)])

    def test_the_console_shows_what_happens_in_order(self):
        _, shown = self.run_python(
            self.write(
                "console.py",
                "from sluice import flow, task, get_run_logger\n"
                "from sluice.task_runners import SequentialTaskRunner\n"
                "tries = []\n"
                "@task(name='one', retries=1)\ndef one():\n    tries.append(1)\n    if len(tries) == 1: raise ValueError('again')\n"
                "@flow(name='console-inner')\ndef inner(): get_run_logger().warning('from %s', 'inside')\n"
                "@flow(name='console', task_runner=SequentialTaskRunner)\ndef outer():\n    one(); inner(); raise KeyError('end')\n"
                "outer()\n",
            )
        )
        shown = re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d{3}", "TIME", shown)
        for name, mask in zip(re.findall(r"[Cc]reated (?:sub)?flow run '(.*?)'", shown), ("OUTER", "INNER")):
            shown = shown.replace(name, mask)
        shown = re.sub(r'(?m)^(Traceback|  | ).*\n', "", shown)
        self.assertEqual(
            shown.replace(re.search("one-[0-9a-f]{8}", shown).group(), "ONE").splitlines(),
            [
                "TIME | INFO    | sluice.engine - Created flow run 'OUTER' for flow 'console'",
                "TIME | INFO    | Flow run 'OUTER' - Using task runner 'SequentialTaskRunner'",
                "TIME | INFO    | Flow run 'OUTER' - Created task run 'ONE-0' for task 'one'",
                "TIME | ERROR   | Task run 'ONE-0' - Encountered exception during execution:",
                "ValueError: again",
                "TIME | INFO    | Task run 'ONE-0' - Received non-final state 'AwaitingRetry' when proposing final state 'Failed' and will attempt to run again...",
                "TIME | INFO    | Task run 'ONE-0' - Finished in state Completed(None)",
                "TIME | INFO    | Flow run 'OUTER' - Created subflow run 'INNER' for flow 'console-inner'",
                "TIME | INFO    | Flow run 'INNER' - Using task runner 'ConcurrentTaskRunner'",
                "TIME | WARNING | Flow run 'INNER' - from inside",
                "TIME | INFO    | Flow run 'INNER' - Finished in state Completed(None)",
                "TIME | ERROR   | Flow run 'OUTER' - Encountered exception during execution:",
                "KeyError: 'end'",
                "TIME | ERROR   | Flow run 'OUTER' - Finished in state Failed('Flow run encountered an exception.')",
            ],
        )
        (outer,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["console"]}}})
        self.assertFalse([entry for entry in self.server.logs(outer["id"]) if "Finished in state" in entry["message"]])

    def test_futures_are_waited_for_asked_and_passed_on(self):
        out = self.run_code(
            "import threading, warnings, pickle\n"
            "go = threading.Event()\n"
            "@task\ndef slow(): go.wait(60); return 5\n"
            "@task\ndef add(x, y=1): return x + y\n"
            "@task\ndef boom(): raise ValueError('boom')\n"
            "@flow\n"
            "def futures():\n"
            "    one = slow(); two = add(one)\n"
            "    print(one.wait(0.05), type(one.run_id) is str, one.task_run.task is slow, one.name.startswith('slow-'))\n"
            "    print(two.get_state(), one.is_done())\n"
            "    try: one.result(0.01)\n"
            "    except TimeoutError as error: print('not within 0.01 s' in str(error) or 'did not end within 0.01 s' in str(error))\n"
            "    go.set()\n"
            "    print(two.result(), two.wait(), one.get_state().is_completed(), one.wait().result())\n"
            "    with warnings.catch_warnings(record=True) as caught:\n"
            "        warnings.simplefilter('always'); print(bool(one), 'A future is always true' in str(caught[0].message))\n"
            "    print(len({one, two, one}), one == one, one != two, hash(one) == hash(one.run_id))\n"
            "    failed = boom()\n"
            "    print(repr(failed.result(raise_on_failure=False)), failed.wait())\n"
            "    try: failed.result()\n"
            "    except ValueError as error: print('raised', error)\n"
            "    try: pickle.dumps(one)\n"
            "    except TypeError as error: print('cannot leave its process' in str(error))\n"
            "    return one\n"
            "state = futures()\n"
            "print(state, state.result(), state.result().result(), type(state.result()).__name__)\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "None True True True",
                "Pending(None) False",
                "True",
                "6 Completed(None) True 5",
                "True True",
                "2 True True True",
                "ValueError('boom') Failed('Task run encountered an exception.')",
                "raised boom",
                "True",
                "Completed('All states completed.') Completed(None) 5 State",
            ],
        )

    def test_map_broadcasts_what_is_no_list_and_checks_lengths(self):
        out = self.run_code(
            "@task\ndef cat(a, b, c='.'): return f'{a}{b}{c}'\n"
            "@task\ndef size(items, n): return len(items) + n\n"
            "@task\ndef total(items): return ''.join(items)\n"
            "@flow\n"
            "def mapped():\n"
            "    some = cat.map([1, 2, 3], 'x', c=('a', 'b', 'c'))\n"
            "    print([f.result() for f in some], isinstance(some, list))\n"
            "    print([f.result() for f in size.map(unmapped([1, 2]), range(3))])\n"
            "    print(total(cat.map(some, 'y', wait_for=some)).result(), cat.map([], 'x'))\n"
            "    print([f.result() for f in cat.submit.__self__.map(iter('ab'), {'k': 1})])\n"
            "    for call in (lambda: cat.map(1, 2), lambda: cat.map([1, 2], b=[1]), lambda: cat.map([1, 2], 'x', nope=1)):\n"
            "        try: call()\n"
            "        except (TypeError, ValueError) as error: print(error)\n"
            "mapped().result()\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "['1xa', '2xb', '3xc'] True",
                "[2, 3, 4]",
                "1xay.2xby.3xcy. []",
                "[\"a{'k': 1}.\", \"b{'k': 1}.\"]",
                "cat.map() got no list to map over",
                "cat.map() needs lists of one length: argument 1 has 2, 'b' has 1. A list that each run is to get as a whole: unmapped(list)",
                "cat(a, b, c='.'): got an unexpected keyword argument 'nope'",
            ],
        )

    def test_arguments_are_resolved_wherever_futures_lie_and_recorded_as_inputs(self):
        out = self.run_code(
            "import dataclasses\n"
            "from sluice.utilities.collections import quote\n"
            "class Model:\n"  # what pydantic's classes look like from here
            "    model_fields = {'value': None}\n"
            "    def __init__(self, value): self.value = value\n"
            "    @classmethod\n"
            "    def model_validate(cls, data): return cls(**data)\n"
            "    def model_copy(self, update): return Model(**{**vars(self), **update})\n"
            "@dataclasses.dataclass\nclass Pair:\n    left: object\n    right: int = 2\n"
            "@task\ndef one(): return 1\n"
            "@task\ndef show(a, b=None, c=None, d=None, e=None): return repr([a, b, c, getattr(d, 'value', d), e])\n"
            "@flow(name='nested')\n"
            "def nested():\n"
            "    f = one()\n"
            "    print(show([f, {'k': (f, 2)}], {f}, Pair(f), Model(f), f.wait()).result())\n"
            "    held = quote([f]); print('TaskFuture' in show(held).result())\n"
            "    show.with_options(name='waits')(3, wait_for=f); show.with_options(name='waits2')(3, wait_for=[f])\n"
            "print(nested())\n"
        )
        self.assertEqual(out.splitlines(), ["[[1, {'k': (1, 2)}], {1}, Pair(left=1, right=2), 1, 1]", "True", "Completed('All states completed.')"])
        tasks = self.tasks("nested")
        (one,) = [task["id"] for name, task in tasks.items() if name.startswith("one-")]
        edge = [{"input_type": "task_run", "id": one}]
        found = {name.split("-")[0] + name[-2:]: task["task_inputs"] for name, task in tasks.items()}
        self.assertEqual(found["show-0"], {key: edge for key in "abcde"})
        self.assertEqual(found["show-1"], {key: [] for key in "abcde"})
        self.assertEqual((found["waits-0"]["wait_for"], found["waits2-0"]["wait_for"]), (edge, edge))

    def test_who_depends_on_a_failure_stays_pending_as_not_ready(self):
        out = self.run_code(
            "@task\ndef boom(): raise RuntimeError('boom')\n"
            "@task\ndef after(x=0): return x\n"
            "@flow\ndef child(x): return x\n"
            "@flow(name='unready')\ndef unready():\n"
            "    failed = boom()\n"
            "    first = after(failed); second = after(first); third = after(wait_for=[failed])\n"
            "    inner = child(failed)\n"
            "    for state in (first.wait(), second.wait(), third.wait(), inner): print(state.name, state.type, state.message.replace(failed.run_id, 'ID').replace(first.run_id, 'FIRST'))\n"
            "state = unready(); print(state, len(state.result(raise_on_failure=False)))\n"
        )
        said = "NotReady PENDING Upstream task run '{}' did not reach a 'COMPLETED' state."
        self.assertEqual(out.splitlines(), [*(said.format(which) for which in ("ID", "FIRST", "ID", "ID")), "Failed('1/5 states failed.') 5"])
        self.assertEqual(sorted(task["state"]["name"] for task in self.tasks("unready").values()), ["Failed"] + 4 * ["NotReady"])

    def test_subflows_block_take_futures_and_are_mirrored_in_their_parent(self):
        out = self.run_code(
            "from sluice.task_runners import SequentialTaskRunner\n"
            "@task\ndef five(): return '5'\n"
            "@flow(name='child', task_runner=SequentialTaskRunner)\n"
            "def child(n: int):\n"
            "    return five.fn() and n\n"
            "@flow(name='failing')\n"
            "def failing(): raise ValueError('inner')\n"
            "@flow(name='parent')\n"
            "def parent():\n"
            "    state = child(five()); print(state, state.result())\n"
            "    print(five().result() + str(child(state).result()))\n"
            "    print(failing())\n"
            "state = parent(); print(state)\n"
            "try: state.result()\n"
            "except ValueError as error: print('raised', error)\n"
            "@flow(name='bad-child')\ndef bad_child(n: int): ...\n"
            "@flow(name='bad-parent')\ndef bad_parent(): bad_child('x')\n"
            "print(bad_parent())\n"
            "@task\ndef nest(): return child(1)\n"
            "@task\ndef nest_task(): return five()\n"
            "@flow\ndef wrong(): return nest(), nest_task()\n"
            "for s in wrong().result(raise_on_failure=False): print(repr(s.result(raise_on_failure=False)))\n"
            "try: five()\n"
            "except RuntimeError as error: print(error)\n"
        )
        self.assertEqual(
            out.splitlines(),
            [
                "Completed(None) 5",
                "55",
                "Failed('Flow run encountered an exception.')",
                "Failed('1/5 states failed.')",
                "raised inner",
                "Failed('1/1 states failed.')",
                "RuntimeError('Flows cannot be called from within tasks. Call the flow from the parent flow instead.')",
                "RuntimeError('Tasks cannot be called from within tasks. To call the function itself use `.fn()`.')",
                "Tasks cannot be called outside of a flow. To call the function itself use `.fn()`.",
            ],
        )
        tasks = self.tasks("parent")
        dummies = {name: task for name, task in tasks.items() if not name.startswith("five-")}
        self.assertEqual({name: task["state"]["name"] for name, task in dummies.items()}, {"child": "Completed", "failing": "Failed"})
        for name, dummy in dummies.items():
            child = self.server.client.read_flow_run(dummy["state"]["state_details"]["child_flow_run_id"])
            self.assertEqual(child["parent_task_run_id"], dummy["id"], name)

    def test_async_flows_and_tasks_are_awaited_and_mix_with_sync_ones(self):
        out = self.run_code(
            "import asyncio, threading\n"
            "@task\nasync def later(x): await asyncio.sleep(0.01); return x + 1\n"
            "@task\ndef now(x): return x * 2\n"
            "@flow\nasync def child(x): return await (await later(x)).result()\n"
            "@flow\ndef sync_child(x): return now(x).result()\n"
            "@flow\n"
            "async def outer():\n"
            "    coroutine = later(1); print(type(coroutine).__name__)\n"
            "    one = await coroutine; print(type(one).__name__, await one.result(), await one.wait(), await one.get_state())\n"
            "    two = now(one); print(type(two).__name__, two.result())\n"
            "    print(await asyncio.gather(*[f.result() for f in await asyncio.gather(*[later(n) for n in range(20)])]))\n"
            "    print([await f.result() for f in await later.map(range(3))], [f.result() for f in now.map([1, 2])])\n"
            "    print((await child(4)).result(), sync_child(2).result(), [s.result() for s in await asyncio.gather(child(1), child(2))])\n"
            "    stuck = now(await later(7))\n"
            "    try: stuck.result()\n"
            "    except RuntimeError as error: print('event loop' in str(error))\n"
            "    print(await asyncio.to_thread(stuck.result))\n"
            "    same = threading.get_ident(); print(await (await where()).result() == same)\n"
            "    return 'end'\n"
            "@task\nasync def where(): return threading.get_ident()\n"
            "print(asyncio.run(outer()))\n"
            "@flow\ndef mixed():\n"
            "    f = later(1); print(type(f).__name__, f.result(), later.map([1, 2])[1].result())\n"
            "    return asyncio.run(child(8)).result()\n"
            "print(mixed().result())\n"
            "@flow\ndef cell(): return later(1).result(), now(2).result()\n"
            "async def notebook(): print('in a loop', cell().result(), (await outer.with_options(name='again')()).result())\n"
            "asyncio.run(notebook())\n"
            "@flow\nasync def failing():\n    await later('x'); raise ValueError('async')\n"
            "state = asyncio.run(failing()); print(state, repr(state.result(raise_on_failure=False)))\n"
        )
        outer = [
            "coroutine",
            "AsyncTaskFuture 2 Completed(None) Completed(None)",
            "TaskFuture 4",
            str(list(range(1, 21))),
            "[1, 2, 3] [2, 4]",
            "5 4 [2, 3]",
            "True",
            "16",
            "True",
        ]
        mixed = ["TaskFuture 2 3"]
        self.assertEqual(
            out.splitlines(),
            [*outer, "Completed(None)", *mixed, "9", *outer, "in a loop (2, 4) end", "Failed('Flow run encountered an exception.') ValueError('async')"],
        )

    def test_a_sequential_runner_keeps_the_order_of_async_tasks_too(self):
        out = self.run_code(
            "import asyncio\n"
            "from sluice.task_runners import SequentialTaskRunner\n"
            "@task\nasync def show(values):\n    for value in values: await asyncio.sleep(0.01); print(value, end=' ')\n"
            "@flow(task_runner=SequentialTaskRunner())\n"
            "async def ordered():\n    await show([1, 2]); await asyncio.gather(show('abc'), show([6, 7]))\n"
            "asyncio.run(ordered())\n"
        )
        self.assertEqual(out.split(), list("12abc67"))

    def test_tags_and_loggers_belong_to_the_run_they_are_used_in(self):
        out = self.run_code(
            "import threading\n"
            "from sluice.context import current_flow_run, current_task_run\n"
            "@task(tags=['own'])\ndef tagged(): get_run_logger().info('in task'); return current_task_run().name, current_flow_run().name\n"
            "@flow(name='tagging')\ndef tagging():\n"
            "    with tags('inner', 'b'):\n        future = tagged()\n"
            "    get_run_logger().info('in flow'); print(future.result()[1] == current_flow_run().name, current_task_run())\n"
            "with tags('a', 'b'): tagging()\n"
            "try: get_run_logger()\nexcept RuntimeError as error: print(error)\n"
        )
        self.assertEqual(out.splitlines(), ["True None", "There is no active flow or task run: get_run_logger() can only be called from within one."])
        (run,) = self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["tagging"]}}})
        (task,) = self.tasks("tagging").values()
        self.assertEqual((sorted(run["tags"]), sorted(task["tags"])), (["a", "b"], ["a", "b", "inner", "own"]))
        lines = {entry["message"]: entry["task_run_id"] for entry in self.server.logs(run["id"])}
        self.assertEqual((lines["in flow"], lines["in task"]), (None, task["id"]))
