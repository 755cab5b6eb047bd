"""`get_client()` and the test harness against a real server."""
import asyncio
import json
import os
import textwrap
import unittest

from sluice import api
from sluice.api import ApiClient, AsyncApiClient
from sluice.errors import ApiError
from sluice.flow_runners import SubprocessFlowRunner
from sluice.objects import ident, plain
from sluice.schedules import IntervalSchedule
from sluice.states import Completed
from tests.harness import BINARY, OnServer


class Calls(OnServer):
    def setUp(self):
        self.client = ApiClient(self.server.client)

    def deployment(self, name, **fields):
        flow = self.client.create_flow_from_name("greet")
        data = {"encoding": "sluice-command", "blob": json.dumps(["true"])}
        return self.client.create_deployment(flow, name, data, **fields)

    def test_a_deployment_is_found_by_name_and_run_as_object_or_id(self):
        id = self.deployment("by-name", parameters={"name": "Leo"}, tags=["a"], schedule=IntervalSchedule(86400), flow_runner=SubprocessFlowRunner(env={"A": "1"}))
        found = self.client.read_deployment_by_name("greet/by-name")
        self.assertEqual((found.id, found.tags, found.schedule.interval, found.flow_runner.config.env.A), (id, ["a"], 86400.0, "1"))
        for given in (found, id, found["id"]):
            run = self.client.create_flow_run_from_deployment(given, parameters={"name": "Marvin"}, name="chosen")
            self.assertTrue(run.state.is_scheduled())
            self.assertEqual((run.deployment_id, run.parameters.name, run.name), (id, "Marvin", "chosen"))
        with self.assertRaises(ApiError) as caught:
            self.client.read_deployment_by_name("greet/none")
        self.assertEqual(caught.exception.status, 404)
        with self.assertRaisesRegex(ValueError, "FLOW/DEPLOYMENT"):
            self.client.read_deployment_by_name("greet")
        self.client.pause_deployment(id)
        self.assertFalse(self.client.read_deployment(id).is_schedule_active)
        self.client.resume_deployment(found)
        self.assertEqual([item.name for item in self.client.read_deployments(deployment_filter={"id": {"any_": [id]}})], ["by-name"])
        self.client.delete_deployment(id)
        self.assertEqual(self.client.read_deployments(deployment_filter={"id": {"any_": [id]}}), [])

    def test_runs_are_made_selected_counted_moved_and_deleted(self):
        flow = self.client.create_flow_from_name("made")
        self.assertEqual((self.client.read_flow(flow).name, self.client.read_flow_by_name("made").id), ("made", flow))
        runs = [self.client.create_flow_run(flow, {"n": n}, tags=["batch"]) for n in range(3)]
        mine = {"flow_filter": {"name": {"any_": ["made"]}}}
        self.assertEqual(self.client.count_flow_runs(**mine), 3)
        answer = self.client.set_flow_run_state(runs[0], Completed("by hand", data=[1, 2]))
        self.assertEqual((answer.status, answer.state["message"]), ("ACCEPT", "by hand"))
        self.assertEqual(self.client.read_flow_run(runs[0].id).state.result(), [1, 2])
        self.client.cancel_flow_run(runs[1])
        self.assertTrue(self.client.read_flow_run(runs[1]).state.is_cancelled())
        self.client.update_flow_run(runs[2], name="renamed")
        done = self.client.read_flow_runs(**mine, flow_run_filter={"state": {"type": {"any_": ["COMPLETED"]}}}, limit=5)
        self.assertEqual([run.id for run in done], [runs[0].id])
        self.assertEqual([state.name for state in self.client.read_flow_run_states(runs[0])], ["Pending", "Completed"])
        self.client.delete_flow_run(runs[2])
        self.assertEqual(self.client.count_flow_runs(**mine), 2)
        with self.assertRaisesRegex(TypeError, "there is no flows"):
            self.client.read_flow_runs(flows={})

    def test_limits_and_queues(self):
        self.client.create_concurrency_limit("database", 3)
        self.assertEqual(self.client.read_concurrency_limit_by_tag("database").concurrency_limit, 3)
        self.assertIn("database", [limit.tag for limit in self.client.read_concurrency_limits()])
        self.client.delete_concurrency_limit_by_tag("database")
        self.assertNotIn("database", [limit.tag for limit in self.client.read_concurrency_limits()])
        deployment = self.deployment("queued", tags=["nightly"])
        queue = self.client.create_work_queue("nights", tags=["nightly"])
        self.assertEqual(self.client.read_work_queue_by_name("nights").id, queue)
        run = self.client.create_flow_run_from_deployment(deployment)
        self.assertEqual([found.id for found in self.client.get_runs_in_work_queue(queue)], [run.id])
        self.client.update_work_queue(queue, is_paused=True)
        self.assertEqual(self.client.get_runs_in_work_queue(queue), [])
        self.client.delete_work_queue_by_id(queue)
        with self.assertRaises(TypeError):
            self.client.create_work_queue("letters", tags="nightly")

    def test_storages(self):
        self.assertIsNone(self.client.get_default_storage_block())
        spec = next(spec for spec in self.client.read_block_specs("STORAGE") if spec.name == "File Storage")
        block = self.client.create_block("shared", spec, {"base_path": "/tmp"})
        self.client.set_default_storage_block(block)
        self.assertEqual(self.client.get_default_storage_block().id, block)
        self.assertEqual(self.client.read_block(block).data.base_path, "/tmp")
        self.client.clear_default_storage_block()
        self.assertIsNone(self.client.get_default_storage_block())

    def test_the_same_calls_can_be_awaited(self):
        client = AsyncApiClient(self.client)

        async def work():
            flow = await client.create_flow_from_name("awaited")
            await asyncio.gather(*(client.create_flow_run(flow) for _ in range(5)))
            return await client.count_flow_runs(flow_filter={"name": {"any_": ["awaited"]}})

        self.assertEqual(asyncio.run(work()), 5)
        self.assertEqual({name for name in vars(ApiClient) if not name.startswith("_")}, {name for name in vars(AsyncApiClient) if not name.startswith("_")})
        self.assertEqual(client.read_flow_runs.__doc__, api.ApiClient.read_flow_runs.__doc__)

    def test_scripts_get_a_client_either_way(self):
        out = self.run_code(
            "import asyncio\nfrom sluice import get_client\nfrom sluice.client import get_client as again\n"
            "async def ask():\n    async with get_client() as client:\n        return await client.create_flow_from_name('asked')\n"
            "id = asyncio.run(ask())\n"
            "with again() as client:\n    print(client.read_flow(id).name, client.api_healthcheck())\n"
            "print(get_client().read_flow(id).created.year > 2000)\n"
        )
        self.assertEqual(out, "asked None\nTrue\n")

    def test_harness_runs_flows_on_a_server_of_its_own_and_leaves_nothing(self):
        code = textwrap.dedent(
            """
            import glob, os, tempfile
            from sluice import get_client, get_run_logger
            from sluice.testing.utilities import sluice_test_harness
            from sluice.utilities.testing import prefect_test_harness
            @task
            def one():
                get_run_logger().info("counting")
                return 1
            @flow
            def harnessed():
                return one()
            with sluice_test_harness() as server:
                inside = os.environ["SLUICE_HOME"]
                print(harnessed().result().result())
                print(len(get_client().read_flow_runs()))
                with prefect_test_harness() as inner:
                    print(inner.api_url != server.api_url, len(get_client().read_flow_runs()))
                print(len(get_client().read_flow_runs()))
            print(os.path.exists(inside), os.environ["SLUICE_API_URL"] == get_client().api_url)
            @sluice_test_harness()
            def decorated():
                return len(get_client().read_flow_runs())
            print(decorated())
            """
        )
        out = self.run_code(code, SLUICE_BINARY=os.path.abspath(BINARY))
        self.assertEqual(out, "1\n1\nTrue 0\n1\nFalse True\n0\n")
        self.assertEqual(self.server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["harnessed"]}}}), [])
        out, shown = self.run_python(self.write("none.py", "from sluice.testing.utilities import sluice_test_harness as h\nwith h(): pass\n"), status=1, SLUICE_BINARY="/nowhere")
        self.assertIn("SLUICE_BINARY='/nowhere' is not an executable file", shown)


class Objects(unittest.TestCase):
    def test_ids_and_requests(self):
        self.assertEqual(ident("x"), "x")
        self.assertEqual(ident({"id": "y"}), "y")
        for wrong in (None, {}, ""):
            with self.assertRaises(TypeError):
                ident(wrong)
        self.assertEqual(plain({"a": {1}, "b": (IntervalSchedule(60),)}), {"a": [1], "b": [{"interval": 60.0, "timezone": None}]})
