import unittest

from sluice.client import Client, state_body
from sluice.transport import Transport
from tests.faults import DROP, FaultyServer, answer

RUN = "11111111-1111-4111-8111-111111111111"


def stored(type, name=None, id="after"):
    return {"id": id, "type": type, "name": name or type.capitalize(), "timestamp": "2026-01-01T00:00:00+00:00", "state_details": {}}


ABORT = {"state": None, "status": "ABORT", "details": {"type": "abort_details", "reason": "This run has already terminated."}}


class LostAnswers(unittest.TestCase):
    """The answer to a state report is lost; what the run has become decides what happens next."""

    def propose(self, proposed, found, then=None):
        """The answer, and how often the proposal was sent. `found`: the run's state when it is looked up."""
        sent = []

        def handle(request):
            if request.method == "GET":
                return answer(200, {"state": found})
            sent.append(request)
            if len(sent) == 1:
                return DROP
            return answer(200 if then is ABORT else 201, then)

        with FaultyServer(handle) as server:
            client = Client(Transport([server.url], retry_seconds=30))
            try:
                return client.set_task_run_state(RUN, proposed, "lease", before="before"), len(sent)
            finally:
                client.transport.close()

    def test_a_state_that_arrived_is_not_sent_again(self):
        for proposed, found, status in (
            (state_body("RUNNING"), stored("RUNNING"), "ACCEPT"),
            (state_body("RUNNING"), stored("RUNNING", "Retrying"), "ACCEPT"),
            (state_body("RUNNING"), stored("COMPLETED", "Cached"), "REJECT"),
            (state_body("COMPLETED"), stored("COMPLETED"), "ACCEPT"),
            (state_body("FAILED"), stored("FAILED"), "ACCEPT"),
            (state_body("FAILED"), stored("SCHEDULED", "AwaitingRetry"), "REJECT"),
        ):
            with self.subTest(f"{proposed['name']} became {found['name']}"):
                result, sent = self.propose(proposed, found)
                self.assertEqual((result.status, sent), (status, 1))
                self.assertEqual(result.state, found)

    def test_a_state_that_did_not_arrive_is_sent_again(self):
        accepted = {"state": stored("COMPLETED"), "status": "ACCEPT", "details": {}}
        for found in (stored("RUNNING", id="before"), stored("RUNNING", "Cancelling")):
            with self.subTest(found["name"]):
                result, sent = self.propose(state_body("COMPLETED"), found, accepted)
                self.assertEqual((result.status, sent), ("ACCEPT", 2))

    def test_a_run_that_somebody_else_ended_stays_ended(self):
        result, sent = self.propose(state_body("COMPLETED"), stored("FAILED", "Crashed"), ABORT)
        self.assertEqual((result.status, sent), ("ABORT", 2))

    def test_a_copy_that_arrived_after_the_look_counts_as_ours(self):
        looks = []

        def handle(request):
            if request.method == "GET":
                looks.append(request)
                return answer(200, {"state": stored("RUNNING", id="before") if len(looks) == 1 else stored("COMPLETED")})
            return DROP if not looks else answer(200, ABORT)

        with FaultyServer(handle) as server:
            client = Client(Transport([server.url], retry_seconds=30))
            self.addCleanup(client.transport.close)
            result = client.set_flow_run_state(RUN, state_body("COMPLETED"), before="before")
        self.assertEqual((result.status, result.state["id"]), ("ACCEPT", "after"))


class Requests(unittest.TestCase):
    def test_the_lease_goes_with_every_report_and_a_flow_run_has_a_key(self):
        with FaultyServer(lambda request: answer(201, {"id": RUN, "state": None, "status": "ACCEPT"})) as server:
            client = Client(Transport([server.url]))
            self.addCleanup(client.transport.close)
            client.create_flow_run(RUN, "n", {}, state_body("PENDING"))
            client.set_flow_run_state(RUN, state_body("RUNNING"), "token")
            client.set_task_run_state(RUN, state_body("RUNNING"), "token")
        created, *reports = server.requests
        self.assertRegex(created.json()["idempotency_key"], r"^[0-9a-f]{8}-[0-9a-f]{4}-4")
        self.assertEqual([report.headers["x-sluice-lease"] for report in reports], ["token", "token"])

    def test_no_default_storage_is_none(self):
        with FaultyServer(lambda request: b"HTTP/1.1 204 No Content\r\n\r\n") as server:
            client = Client(Transport([server.url]))
            self.addCleanup(client.transport.close)
            self.assertIsNone(client.default_storage_block())
