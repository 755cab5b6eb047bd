"""A real server for tests, and scripts that talk to it: the binary named by SLUICE_TEST_BINARY, or bin/sluice of the checkout."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from sluice.client import Client
from sluice.transport import Transport

SDK = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
EXAMPLES = os.path.join(SDK, "..", "examples")
BINARY = os.environ.get("SLUICE_TEST_BINARY") or os.path.join(SDK, "..", "bin", "sluice")
SECONDS = 120


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [made.getsockname()[1] for made in sockets]
    for made in sockets:
        made.close()
    return ports


class Server:
    """One node with a data directory of its own, which survives `kill` and `start`."""

    def __init__(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="sluice-test-"))
        http, internal, gossip = free_ports(3)
        self.url = f"http://127.0.0.1:{http}/api"
        self._command = [os.path.abspath(BINARY), "server", "start", "--insecure", "--auth", "off", "--data-dir", os.path.join(self.folder, "data"),
                         "--http-addr", f"127.0.0.1:{http}", "--internal-addr", f"127.0.0.1:{internal}", "--gossip-addr", f"127.0.0.1:{gossip}"]  # fmt: skip
        self._process = None
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")},
            "SLUICE_HOME": self.folder, "SLUICE_API_URL": self.url, "PYTHONPATH": SDK, "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self.client = Client(Transport([self.url], retry_seconds=SECONDS))
        self.start()

    def start(self):
        with open(os.path.join(self.folder, "server.log"), "ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment)
        self.client._get("/health")

    def kill(self):
        self._process.kill()
        self._process.wait()

    def close(self):
        self.kill()
        self.client.transport.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, path, body):
        return self.client._post(path, body)

    def logs(self, id):
        return self.ask("/logs/filter", {"logs": {"flow_run_id": {"any_": [id]}}})


@unittest.skipUnless(os.access(BINARY, os.X_OK), "no sluice binary: build it, or name one in SLUICE_TEST_BINARY")
class OnServer(unittest.TestCase):
    """Each class has a server of its own."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def write(self, name, text):
        path = os.path.join(self.server.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def spawn(self, *arguments, feed=False, **environment):
        """A script that runs; with `feed` its input is a pipe."""
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE if feed else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.server.folder, env={**self.server.environment, **environment},
            # Where the tests themselves run in the background, children would inherit an ignored SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        self.addCleanup(lambda: (process.poll() is None and process.kill(), process.wait(), process.stdout.close(), process.stderr.close(), process.stdin and process.stdin.close()))
        return process

    def run_python(self, *arguments, status=0, **environment):
        process = self.spawn(*arguments, **environment)
        out, err = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, status, err)
        return out, err

    def run_code(self, code, **options):
        """Runs a script; what it printed."""
        return self.run_python(self.write("script.py", "from sluice import *\n" + code), **options)[0]
