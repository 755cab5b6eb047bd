"""Signals while a flow runs: SIGTERM, and waking the main thread when its run is stopped by another thread."""
from __future__ import annotations

import os
import signal
import threading

from sluice.errors import Terminated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List

TERMINATED_STATUS = 128 + signal.SIGTERM  # what a shell says of a process that SIGTERM ended

_runs: List[Any] = []  # flow runs that the main thread executes, outermost first
_installed = False
_deferring = 0
_poked = False  # the next SIGTERM is our own
_late = False  # a SIGTERM came while signals were deferred


def in_main_thread() -> bool:
    """Whether the caller runs in the thread that gets signals."""
    return threading.current_thread() is threading.main_thread()


def _handle(number: int, frame: Any) -> None:
    global _poked, _late
    ours, _poked = _poked, False
    if _deferring:
        _late = _late or not ours
        return
    if not _runs:
        if not ours:
            # As without us. The handler is never taken away: a poke that is under way would then end the process.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    run = _runs[-1]
    reason = run.stop_reason()
    if reason is None:
        if ours:
            return  # the run that was to be stopped has ended meanwhile
        reason = Terminated(signal.Signals(number).name)
    if run.flow.is_async:
        run.stop(reason)  # raising here would tear down the event loop; the run looks at it several times a second
    else:
        raise reason


class handled:
    """Around the execution of a flow run: SIGTERM raises in it. Does nothing outside of the main thread, or where
    the program has a handler of its own."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __enter__(self) -> None:
        global _installed
        self._active = in_main_thread()
        if not self._active:
            return
        if not _installed and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _handle)
            _installed = True
        _runs.append(self._run)

    def __exit__(self, *_: object) -> None:
        if self._active:
            _runs.remove(self._run)


class deferred:
    """Keeps signals from cutting a final report short. A SIGTERM that came meanwhile acts at the end."""

    def __enter__(self) -> None:
        global _deferring
        _deferring += 1

    def __exit__(self, *_: object) -> None:
        global _deferring, _late
        _deferring -= 1
        if _late and not _deferring and in_main_thread():
            _late = False
            _handle(signal.SIGTERM, None)


def poke() -> None:
    """Makes the main thread look at its run now, even in the middle of a sleep or a system call."""
    global _poked
    runs = list(_runs)
    if not _installed or not runs or in_main_thread() or _deferring or runs[-1].flow.is_async:
        return
    if runs[-1].stop_reason() is not None:
        _poked = True
        os.kill(os.getpid(), signal.SIGTERM)
