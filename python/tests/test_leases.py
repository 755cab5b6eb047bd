import threading
import unittest

from sluice.client import Client
from sluice.errors import FlowCancelled, LeaseLost
from sluice.leases import LeaseKeeper, owner
from sluice.transport import Transport
from tests.faults import DROP, FaultyServer, answer, script

RUN = "11111111-1111-4111-8111-111111111111"
GRANTED = answer(201, {"token": "t-1", "ttl_seconds": 12, "renew_seconds": 0.05})
KEPT = answer(200, {"lost": [], "cancelling": []})


class Renewal(unittest.TestCase):
    def keeper(self, *steps):
        server = FaultyServer(script(GRANTED, *steps))
        self.addCleanup(server.close)
        client = Client(Transport([server.url], retry_seconds=5))
        self.addCleanup(client.transport.close)
        keeper = LeaseKeeper(client)
        self.addCleanup(keeper.give_up, RUN)
        ended, reasons = threading.Event(), []

        def on_end(reason):
            reasons.append(reason)
            ended.set()

        self.assertEqual(keeper.take(RUN, on_end), "t-1")
        return server, ended, reasons

    def test_a_lease_is_renewed_through_failures_until_it_is_lost(self):
        server, ended, reasons = self.keeper(
            KEPT, DROP, answer(500), answer(503), KEPT, answer(200, {"lost": [{"flow_run_id": RUN, "reason": "expired"}], "cancelling": []})
        )
        self.assertTrue(ended.wait(30))
        self.assertIsInstance(reasons[0], LeaseLost)
        self.assertEqual(str(reasons[0]), "expired")
        renewals = [request for request in server.requests if request.path == "/api/leases/renew"]
        self.assertGreaterEqual(len(renewals), 6)
        self.assertEqual(renewals[0].json(), {"leases": [{"flow_run_id": RUN, "token": "t-1"}], "wait_seconds": 0.05})

    def test_a_cancelled_run_is_told_and_its_lease_kept(self):
        server, ended, reasons = self.keeper(answer(200, {"lost": [], "cancelling": [RUN]}), KEPT)
        self.assertTrue(ended.wait(30))
        self.assertIsInstance(reasons[0], FlowCancelled)
        server.wait_for(4)  # it is still renewed: the run has yet to report
        self.assertEqual(server.requests[-1].json()["leases"], [{"flow_run_id": RUN, "token": "t-1", "cancelling": True}])
        self.assertEqual(len(reasons), 1)

    def test_the_owner_names_program_host_and_process(self):
        self.assertRegex(owner(), r"^python .+ on .+ \(pid \d+\)$")
