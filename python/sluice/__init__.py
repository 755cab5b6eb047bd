"""Sluice: flows and tasks in Python, run by a Sluice server.

    from sluice import flow, task, get_run_logger

Needs nothing outside the standard library. Everything that a flow does not need to start is imported when it is used.
"""
from __future__ import annotations

from sluice.context import tags
from sluice.flows import Flow, flow
from sluice.tasks import Task, task, unmapped

__version__ = "0.1.0"

__all__ = ["Flow", "State", "Task", "flow", "get_client", "get_run_logger", "tags", "task", "unmapped"]


def get_run_logger(*_: object) -> RunLogger:
    """The logger of the flow or task run the caller is in. Raises RuntimeError outside of one."""
    from sluice import logs

    return logs.get_run_logger()


def get_client() -> Any:
    """The server's API for programs: `async with get_client() as client`, or `with` for one that blocks."""
    from sluice import api

    return api.get_client()


def __getattr__(name: str) -> object:
    if name == "State":
        from sluice.states import State

        return State
    raise AttributeError(f"module 'sluice' has no attribute {name!r}")


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sluice.logs import RunLogger
    from sluice.states import State
