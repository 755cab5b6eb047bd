import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

from sluice import log_spool, logs
from sluice.client import Client
from sluice.log_spool import HEADER, Spool
from sluice.transport import Transport
from tests.faults import DROP, FaultyServer, answer, script
from tests.harness import SDK

WRITER = """
import os, signal, sys, time
from sluice import logs
from sluice.client import Client
from sluice.transport import Transport
shipper = logs.LogShipper(Client(Transport([sys.argv[1]])))
for number in range(int(sys.argv[2])):
    shipper.add({"message": str(number), "level": 20})
print("written", flush=True)
if sys.argv[3] == "send":
    shipper.flush(60)
print("sent", flush=True)
time.sleep(300)
"""


class Waiting(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        before = os.environ.get("SLUICE_LOG_SPOOL")
        os.environ["SLUICE_LOG_SPOOL"] = self.folder
        self.addCleanup(lambda: os.environ.pop("SLUICE_LOG_SPOOL") if before is None else os.environ.update(SLUICE_LOG_SPOOL=before))

    def server(self, handler):
        server = FaultyServer(handler)
        self.addCleanup(server.close)
        client = Client(Transport([server.url], retry_seconds=5))
        self.addCleanup(client.transport.close)
        return server, client

    def messages(self, server):
        return [entry["message"] for request in server.requests for entry in request.json()]

    def test_lines_come_back_in_order_and_their_file_goes(self):
        spool = Spool()
        for number in range(1000):
            spool.append(b"%d" % number)
        self.assertEqual(len(os.listdir(self.folder)), 1)
        found = []
        while spool:
            batch = spool.peek(70, 120)
            self.assertLessEqual(sum(len(line) + 1 for line in batch), 120)
            spool.announce(batch)
            spool.done(batch)
            found += batch
        self.assertEqual(found, [b"%d" % number for number in range(1000)])
        self.assertEqual((spool.waiting_bytes, spool.peek(5, 100)), (0, []))
        spool.close()
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_line_beyond_the_limit_comes_alone(self):
        spool = Spool()
        for line in (b"x" * 10_000, b"y"):
            spool.append(line)
        self.assertEqual(spool.peek(10, 100), [b"x" * 10_000])

    def test_a_long_file_starts_again_once_it_was_delivered(self):
        spool = Spool()
        for round in range(3):
            for _ in range(50):
                spool.append(b"z" * 100_000)
            while spool:
                batch = spool.peek(1000, 1_000_000)
                spool.announce(batch)
                spool.done(batch)
        (name,) = os.listdir(self.folder)
        self.assertEqual(os.path.getsize(os.path.join(self.folder, name)), HEADER)

    def test_memory_serves_where_no_file_can_be_made(self):
        os.environ["SLUICE_LOG_SPOOL"] = os.path.join(self.folder, "file", "below")
        with open(os.path.join(self.folder, "file"), "w", encoding="utf-8"):
            pass
        server, client = self.server(script(answer(201)))
        shipper = logs.LogShipper(client)
        for number in range(2500):
            shipper.add({"message": str(number)})
        self.assertTrue(shipper.close(30))
        self.assertEqual(self.messages(server), [str(number) for number in range(2500)])

    def test_lines_are_kept_when_the_time_for_them_is_over_and_delivered_later(self):
        server, client = self.server(script(answer(503, {"kind": "unavailable"}, "Retry-After: 0\r\n")))
        shipper = logs.LogShipper(client)
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            shipper.add({"message": "late"})
            thread = shipper._thread
            self.assertFalse(shipper.close(0.05))
            thread.join()
        self.assertIn("They are kept", shown.getvalue())
        server._handler = script(answer(201))
        first = len(server.requests)
        logs._deliver_leftovers(client)
        self.assertEqual([request.json() for request in server.requests[first:]], [[{"message": "late"}]])
        self.assertEqual(os.listdir(self.folder), [])

    def writer(self, url, count, how):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(count), how], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": SDK},
        )  # fmt: skip
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        self.assertEqual(process.stdout.readline(), "written\n")
        return process

    def test_what_a_killed_process_left_is_delivered_once_under_its_numbers(self):
        server, client = self.server(script(DROP))
        process = self.writer(server.url, 3000, "keep")
        self.assertEqual(list(log_spool.leftovers(server.url)), [])  # it lives
        while not server.requests:  # the first batch is under way; no event tells
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        (name,) = os.listdir(self.folder)
        with open(os.path.join(self.folder, name), "ab") as file:
            file.write(b'{"message": "half a li')
        self.assertEqual(list(log_spool.leftovers("http://elsewhere/api")), [])
        tried = len(server.requests)
        server._handler = script(answer(201))
        logs._deliver_leftovers(client)
        delivered = server.requests[tried:]
        self.assertEqual(delivered[0].body, server.requests[0].body)
        self.assertEqual([entry["message"] for request in delivered for entry in request.json()], [str(number) for number in range(3000)])
        self.assertEqual([request.headers["x-sluice-log-sequence"] for request in delivered], [str(number + 1) for number in range(len(delivered))])
        self.assertEqual({request.headers["x-sluice-log-producer"] for request in delivered}, {server.requests[0].headers["x-sluice-log-producer"]})
        self.assertEqual(os.listdir(self.folder), [])

    def test_damaged_files_are_left_alone(self):
        for number, content in enumerate((b"", b"x" * 300, json.dumps({"producer": 1}).encode().ljust(HEADER) + b"y\n")):
            with open(os.path.join(self.folder, f"{number}.lines"), "wb") as file:
                file.write(content)
        self.assertEqual(list(log_spool.leftovers("")), [])
