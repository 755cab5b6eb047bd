"""The server that script runs use when none is configured: `sluice server start --ephemeral`."""
from __future__ import annotations

import os

from sluice import config
from sluice.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

_HINT = (
    "Start a server with `sluice server start` and point to it with `sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api`"
    ", or put the `sluice` binary on the PATH (or name it in SLUICE_BINARY) so that one is started for you."
)
START_SECONDS = 30.0


def find_binary() -> str:
    """The path of the sluice binary. Raises ConfigurationError with what to do when there is none."""
    named = config.get("SLUICE_BINARY")
    if named:
        if os.path.isfile(named) and os.access(named, os.X_OK):
            return named
        raise ConfigurationError(f"SLUICE_BINARY={named!r} is not an executable file. {_HINT}")
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", "sluice")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise ConfigurationError(f"no Sluice server is configured and no `sluice` binary was found on the PATH. {_HINT}")


def start(binary: Optional[str] = None) -> str:
    """The API address of the ephemeral server, started if none runs on the same data directory.

    The server outlives this process: it is left to exit by itself some seconds after its last request.
    """
    import json
    import subprocess

    command = [binary or find_binary(), "server", "start", "--ephemeral"]
    # Its log goes to a file of its own: a pipe that nobody reads after our exit would break it.
    folder = config.home()
    try:
        os.makedirs(folder, exist_ok=True)
        log = open(os.path.join(folder, "ephemeral.log"), "ab")  # noqa: SIM115, closed below
    except OSError as error:
        raise ConfigurationError(f"cannot write in {folder}: {error}. Set SLUICE_HOME to a directory that can be written") from error
    with log:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise ConfigurationError(f"cannot start {command[0]}: {error}. {_HINT}") from error
    assert process.stdout is not None
    line, silent = _first_line(process.stdout.fileno())
    process.stdout.close()
    try:
        address = str(json.loads(line)["api_url"])
    except (ValueError, KeyError, TypeError):
        shown, log_path = " ".join(command), os.path.join(folder, "ephemeral.log")
        if silent:
            process.kill()
            process.wait()
            raise ConfigurationError(f"`{shown}` said nothing for {START_SECONDS:.0f} s; see {log_path}. {_HINT}") from None
        try:
            status: object = process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        raise ConfigurationError(f"`{shown}` did not start a server (exit status {status}); see {log_path}. {_HINT}") from None
    # Popen warns about a child that is still running when it is collected; this one is meant to be.
    process.returncode = process.returncode or 0
    return address


def _first_line(descriptor: int) -> Tuple[str, bool]:
    """What is written up to the first line end, and whether nothing more came in time."""
    import select
    import time

    deadline, data = time.monotonic() + START_SECONDS, b""
    while b"\n" not in data:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return "", True
        chunk = os.read(descriptor, 65536)
        if not chunk:
            break
        data += chunk
    return data.partition(b"\n")[0].decode("utf-8", "replace"), False
