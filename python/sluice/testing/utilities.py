"""A server for tests of flows, which leaves nothing behind."""
from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

# What would lead flows to another server than the test's own, or have them report as a run of an agent.
_HIDDEN = ("SLUICE_API_URL", "SLUICE_API_KEY", "SLUICE_PROFILE", "SLUICE_LEASE_TOKEN", "SLUICE_FLOW_RUN_ID", "PREFECT_API_URL")


class sluice_test_harness:
    """Flows called within it run on a server of their own, with nothing stored, that ends with the block.

        with sluice_test_harness():
            assert my_flow().is_completed()

    Works as a decorator, too, and around a whole test session: a server takes about a second to start. Harnesses nest.
    Settings and profiles of the user are not seen inside. Needs the `sluice` binary, on the PATH or named by SLUICE_BINARY.
    """

    def __enter__(self) -> sluice_test_harness:
        import tempfile

        from sluice import connection, ephemeral

        binary = ephemeral.find_binary()  # while the user's settings can be seen
        self._folder = os.path.realpath(tempfile.mkdtemp(prefix="sluice-harness-"))
        self._before: Dict[str, Optional[str]] = {name: os.environ.get(name) for name in (*_HIDDEN, "SLUICE_HOME", "SLUICE_BINARY")}
        for name in _HIDDEN:
            os.environ.pop(name, None)
        os.environ.update(SLUICE_HOME=self._folder, SLUICE_BINARY=binary)
        connection.reset()
        try:
            self.api_url = connection.client().transport.address
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        import shutil

        from sluice import connection, logs

        logs.deliver_all()
        client = connection.known()
        if client is not None:
            client.transport.retire()  # else a renewal that waits at the server would start another one
        self._end_server()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        connection.reset()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __call__(self, function: Any) -> Any:
        import functools

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            with type(self)():
                return function(*args, **named)

        return call

    def _end_server(self) -> None:
        import glob
        import json
        import signal
        import time

        for path in glob.glob(os.path.join(self._folder, "servers", "*.json")):
            try:
                with open(path, encoding="utf-8") as file:
                    pid = int(json.load(file)["pid"])
                os.kill(pid, signal.SIGKILL)  # nothing of it is wanted any more
            except (OSError, ValueError, KeyError, TypeError):
                continue
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:  # a process of another parent cannot be waited for
                try:
                    if os.waitpid(pid, os.WNOHANG)[0] == pid:
                        break
                except ChildProcessError:
                    try:
                        os.kill(pid, 0)
                    except OSError:
                        break
                time.sleep(0.01)


prefect_test_harness = sluice_test_harness  # so that tests written for Prefect change their import line only
