"""What flows send, compared with recordings of Orion's client (http/testdata/traces) and, where there is none, with docs/api.md's order."""
import base64
import json
import os
import pickle
import re

from sluice import results
from sluice.client import state_body
from tests.harness import EXAMPLES, SDK, OnServer
from tests.recorder import Recorder

TRACES = os.path.join(SDK, "..", "http", "testdata", "traces")
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

FEATURES = (
    "import datetime, sys\n"
    "from sluice import flow, task, get_run_logger\n"
    "attempts = []\n"
    "@task(retries=2)\ndef flaky():\n    attempts.append(1)\n    if len(attempts) < 3: raise ValueError(f'attempt {len(attempts)}')\n    return len(attempts)\n"
    "@flow(name='retry-flow')\ndef retry_flow(): flaky()\n"
    "@task(cache_key_fn=lambda context, parameters: f\"static-cache-key-{parameters['x']}\", cache_expiration=datetime.timedelta(hours=1))\n"
    "def cached(x): return 2 * x\n"
    "@flow(name='cache-flow')\ndef cache_flow(x): cached(x).wait(); cached(x)\n"
    "@task\ndef boom(): raise RuntimeError('boom')\n"
    "@flow(name='failing-flow')\ndef failing_flow(): boom()\n"
    "@flow(name='raising-flow')\ndef raising_flow(): raise RuntimeError('flow boom')\n"
    "@flow(name='param-flow')\ndef param_flow(name, count=1, opts=None): get_run_logger().info('%s %s %s', name, count, opts)\n"
)


def value_of(document):
    """What a stored result holds, as text; of one that lies elsewhere only that it does."""
    if document is None:
        return None
    if document["encoding"] in ("blockstorage", "sluice-store"):
        return "somewhere"
    if document["encoding"] == "json":
        return repr(json.loads(document["blob"]))
    if document["encoding"] == "cloudpickle":
        return repr(pickle.loads(base64.b64decode(document["blob"])))
    return repr(results.decode(document))


class Masks:
    """Ids by the order in which they appear in requests, and other things that differ from run to run."""

    def __init__(self):
        self.ids = {}

    def text(self, text):
        return UUID.sub(lambda found: self.ids.setdefault(found.group(), f"id-{len(self.ids)}"), text)

    def body(self, value, key=None):
        if isinstance(value, dict):
            if set(value) == {"encoding", "blob"}:
                return value_of(value)
            return {name: self.body(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.body(inner) for inner in value]
        if isinstance(value, str):
            if key == "flow_version":
                return "md5" if re.fullmatch("[0-9a-f]{32}", value) else value
            if key == "name" and re.fullmatch("[a-z]+-[a-z]+", value) and not value.endswith("-flow"):
                return "slug"
            if key == "cache_expiration":
                return "a time"
            return self.text(value)
        return value


def conversation(exchanges):
    """What counts of a recording: requests of the run's own story in order, and what was answered to proposals; then lines."""
    masks, story, lines = Masks(), [], []
    for exchange in exchanges:
        path = exchange["path"]
        if path.endswith("/logs/"):
            for line in exchange["request_json"]:
                message = re.sub(r"(?s)\nTraceback.*\n(?=\w)", "\n", line["message"])
                if "No default storage is configured" not in message:
                    lines.append((line["name"].replace("prefect.", "sluice."), line["level"], message, line["task_run_id"] is not None))
            continue
        # Orion's client asks for the health before each use; ours has leases, and stores results in requests of their own.
        if path.endswith(("/health", "/lease", "/leases/renew")) or "/kv/" in path:
            continue
        body = exchange.get("request_json")
        if isinstance(body, dict) and "idempotency_key" in body:
            body = {**body, "idempotency_key": None}  # ours has one, to be sent twice without harm
        answer = exchange.get("response_json")
        told = None
        if path.endswith("/set_state"):
            told = (answer["status"], answer["state"] and (answer["state"]["type"], answer["state"]["name"]), (answer.get("details") or {}).get("reason"))
        story.append((exchange["method"], masks.text(path), masks.body(body), told))
    return story, lines


def hidden(story):
    """The same without the results of flows: where those lie is the storage's business."""
    for _, path, body, _ in story:
        if path.startswith("/api/flow_runs/") and path.endswith("/set_state") and body["state"]["data"] is not None:
            body["state"]["data"] = "a result"
    return story


class Traces(OnServer):
    maxDiff = None

    def recorded(self, name, client=None):
        with open(os.path.join(TRACES, name), encoding="utf-8") as file:
            found = [json.loads(line) for line in file]
        if client is not None:  # of several processes' requests, those of the flow's
            first = next(entry for entry in found if client(entry))["client"]
            found = [entry for entry in found if entry["client"] == first or entry["path"].endswith("/logs/")]
        return conversation(found)

    def sent(self, *arguments, status=0, **environment):
        """The requests of a flow process, in the form of a recording."""
        with Recorder(self.server.url) as recorder:
            self.run_python(*arguments, status=status, SLUICE_API_URL=recorder.url, **environment)
        return [{"method": e.method, "path": e.path, "request_json": e.body, "response_json": e.answer} for e in recorder.exchanges]

    def same(self, trace, code):
        self.write("features_flow.py", FEATURES)  # the module's name is part of the names of task runs
        story, lines = conversation(self.sent(self.write("features.py", "from features_flow import *\n" + code)))
        expected, expected_lines = self.recorded(trace)
        self.assertEqual(hidden(story), hidden(expected))
        self.assertEqual(lines, expected_lines)

    def test_success(self):
        with open(os.path.join(EXAMPLES, "leo_flow.py"), encoding="utf-8") as file:
            text = file.read().replace("# leonardo_dicapriflow(", "leonardo_dicapriflow(")
        story, lines = conversation(self.sent(self.write("leo_flow.py", text)))
        expected, expected_lines = self.recorded("00-script-run.jsonl")
        self.assertEqual(hidden(story), hidden(expected))
        self.assertEqual(lines, expected_lines)

    def deployed(self, text, name, parameters):
        """A flow run of a deployment, Pending under a lease; its id and token."""
        flow = self.server.client.create_flow(name)
        self.server.client.write_kv(f"code-{name}", json.dumps({"encoding": "sluice-flow", "blob": text, "path": f"{name}.py", "flow_name": name, "language": "python"}))
        body = {"name": name, "flow_id": flow["id"], "flow_data": {"encoding": "sluice-store", "blob": f"code-{name}"}, "parameters": parameters}
        deployment = self.server.ask("/deployments/", body)
        run = self.server.ask(f"/deployments/{deployment['id']}/create_flow_run", {"state": state_body("PENDING")})
        return run["id"], self.server.client.take_lease(run["id"], "test")["token"]

    def test_a_deployments_run(self):
        with open(os.path.join(EXAMPLES, "leo_flow.py"), encoding="utf-8") as file:
            id, token = self.deployed(file.read(), "leonardo_dicapriflow", {"name": "Leo"})
        story, lines = conversation(self.sent("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token))
        expected, expected_lines = self.recorded("09-quick-run-ui.jsonl", lambda entry: entry["method"] == "GET" and "/flow_runs/" in entry["path"])
        # Their code is read through a block, ours from the built-in store.
        shape = [(method, path.rpartition("/")[0] if method == "GET" else re.sub("id-[0-9]+", "ID", path)) for method, path, _, _ in expected if "/blocks/id" not in path]
        self.assertEqual([(method, path.rpartition("/")[0] if method == "GET" else re.sub("id-[0-9]+", "ID", path)) for method, path, _, _ in story], shape)
        self.assertEqual([told for _, _, _, told in story], [told for _, path, _, told in expected if "/blocks/id" not in path])
        self.assertEqual(lines, expected_lines)

    def shape(self, exchanges):
        """Method, kind of object, state proposed or begun with, and what became of it."""
        found = []
        for exchange in exchanges:
            path, body = exchange["path"], exchange["request_json"]
            if path.endswith(("/logs/", "/lease", "/leases/renew")) or "/kv/" in path:
                continue
            state = (body or {}).get("state") if isinstance(body, dict) else None
            kind = path.split("/")[2] + ("/set_state" if path.endswith("set_state") else "")
            answer = exchange["response_json"]
            told = answer["status"] if path.endswith("set_state") else ""
            found.append(" ".join(filter(None, (exchange["method"], kind, state and state["name"], state and state["message"] and f"({state['message']})", told))))
        return found

    BEGIN = ["POST flows", "POST flow_runs Pending", "POST blocks", "POST flow_runs/set_state Running ACCEPT"]

    def test_bad_parameters_of_a_script_and_of_a_deployment(self):
        text = "from sluice import flow\n@flow\ndef typed(n: int): ...\n"
        sent = self.sent(self.write("typed.py", text + "typed('x')\n"))
        self.assertEqual(self.shape(sent), ["POST flows", "POST flow_runs Failed (Flow run received invalid parameters.)"])
        id, token = self.deployed(text, "typed", {"n": "x"})
        sent = self.sent("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token)
        self.assertEqual(
            self.shape(sent),
            ["GET flow_runs", "GET deployments", "GET flows", "PATCH flow_runs", "POST flow_runs/set_state Failed (Flow run received invalid parameters.) ACCEPT"],
        )
        self.assertIs(sent[-1]["request_json"]["force"], False)

    def test_code_that_cannot_be_loaded(self):
        id, token = self.deployed("import no_such_module\n", "unloadable", {})
        sent = self.sent("-m", "sluice.engine", id, SLUICE_LEASE_TOKEN=token)
        self.assertEqual(self.shape(sent)[-1], "POST flow_runs/set_state Failed (Flow could not be retrieved from deployment.) ACCEPT")
        self.assertIs(sent[-1]["request_json"]["force"], True)

    def test_a_subflow(self):
        code = "from sluice import flow, task\n@flow\ndef child(): ...\n@flow\ndef parent(): child()\nparent()\n"
        sent = self.sent(self.write("subflow.py", code))
        self.assertEqual(
            self.shape(sent),
            [
                *self.BEGIN,
                "POST task_runs Pending",
                "POST flows",
                "POST flow_runs Pending",
                "POST flow_runs/set_state Running ACCEPT",
                "POST flow_runs/set_state Completed ACCEPT",
                "POST flow_runs/set_state Completed (All states completed.) ACCEPT",
            ],
        )
        dummy, child = [e for e in sent if e["path"].endswith(("/task_runs/", "/flow_runs/"))][1:]
        self.assertEqual(child["request_json"]["parent_task_run_id"], dummy["response_json"]["id"])
        self.assertEqual((dummy["request_json"]["name"], dummy["request_json"]["task_inputs"]), ("child", {}))

    def test_upstream_that_failed(self):
        code = "from sluice import flow, task\n@task\ndef boom(): raise ValueError\n@task\ndef after(x): ...\n@flow\ndef unready(): after(boom())\nunready()\n"
        shape = self.shape(self.sent(self.write("unready.py", code)))
        self.assertEqual(len([one for one in shape if one.startswith("POST task_runs/set_state NotReady (Upstream task run '")]), 1)
        self.assertEqual(shape[-1], "POST flow_runs/set_state Failed (1/2 states failed.) ACCEPT")

    def test_a_timeout_and_a_crash(self):
        code = "from sluice import flow\nimport time, sys\n@flow(timeout_seconds=0.1)\ndef late(): time.sleep(60)\n@flow\ndef crash(): sys.exit(1)\n"
        shape = self.shape(self.sent(self.write("late.py", code + "late()\n")))
        self.assertEqual(shape, [*self.BEGIN, "POST flow_runs/set_state TimedOut (Flow run exceeded timeout of 0.1 seconds) ACCEPT"])
        sent = self.sent(self.write("crash.py", code + "crash()\n"), status=1)
        self.assertIs([e for e in sent if e["path"].endswith("/set_state")][-1]["request_json"]["force"], True)
        self.assertEqual(self.shape(sent), [*self.BEGIN, "POST flow_runs/set_state Crashed (Flow run process ended: SystemExit: 1) ACCEPT"])

    def test_retries(self):
        self.same("20-retry-flow.jsonl", "retry_flow()\n")

    def test_a_cached_result(self):
        self.same("21-cache-flow-first.jsonl", "cache_flow(21)\n")

    def test_a_failing_task(self):
        self.same("24-failing-task-flow.jsonl", "failing_flow()\n")

    def test_a_raising_flow(self):
        self.same("25-raising-flow.jsonl", "raising_flow()\n")

    def test_parameters(self):
        self.same("26-param-flow.jsonl", "param_flow('Leo', count=7, opts={'a': [1, 2]})\n")
