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
_previous: Any = None
_deferring = 0


def in_main_thread() -> bool:
    """Whether the caller runs in the thread that gets signals."""
    return threading.current_thread() is threading.main_thread()


def _handle(number: int, frame: Any) -> None:
    if _deferring or not _runs:
        return
    reason = _runs[-1].stop_reason()
    raise reason if reason is not None else Terminated(signal.Signals(number).name)


class handled:
    """Around the execution of a flow run: SIGTERM raises in it. Does nothing outside of the main thread, or where
    the program has a handler of its own."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __enter__(self) -> None:
        global _installed, _previous
        self._active = in_main_thread()
        if not self._active:
            return
        if not _runs and not _installed and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            _previous = signal.signal(signal.SIGTERM, _handle)
            _installed = True
        _runs.append(self._run)

    def __exit__(self, *_: object) -> None:
        global _installed
        if not self._active:
            return
        _runs.remove(self._run)
        if not _runs and _installed:
            signal.signal(signal.SIGTERM, _previous)
            _installed = False


class deferred:
    """Keeps signals from cutting a final report short; what comes meanwhile is dropped: the run is over."""

    def __enter__(self) -> None:
        global _deferring
        _deferring += 1

    def __exit__(self, *_: object) -> None:
        global _deferring
        _deferring -= 1


def poke() -> None:
    """Makes the main thread look at its run now, even in the middle of a sleep or a system call."""
    if not (_installed and _runs) or in_main_thread() or _deferring:
        return
    if any(run.stop_reason() is not None for run in _runs):
        os.kill(os.getpid(), signal.SIGTERM)
