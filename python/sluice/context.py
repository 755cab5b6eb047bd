"""What run the caller is in."""
from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, FrozenSet, List, Optional

    from sluice.flow_runs import FlowRun
    from sluice.task_runs import TaskRun

_current: ContextVar[Any] = ContextVar("sluice_run", default=None)
_tags: ContextVar[FrozenSet[str]] = ContextVar("sluice_tags", default=frozenset())


def current() -> Any:
    """The innermost run: a TaskRun, a FlowRun, or None."""
    return _current.get()


def current_flow_run() -> Optional[FlowRun]:
    """The flow run the caller is in, also from within one of its tasks."""
    run = _current.get()
    return run.flow_run if run is not None else None


def current_task_run() -> Optional[TaskRun]:
    """The task run the caller is in."""
    run = _current.get()
    return run if run is not None and run.is_task else None


class entered:
    """`with entered(run):` makes it the current one."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __enter__(self) -> Any:
        self._token = _current.set(self._run)
        return self._run

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class tags:
    """`with tags("a", "b"):` adds tags to the flow and task runs created inside."""

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    def __enter__(self) -> FrozenSet[str]:
        merged = _tags.get() | self._names
        self._token = _tags.set(merged)
        return merged

    def __exit__(self, *_: object) -> None:
        _tags.reset(self._token)


def current_tags() -> List[str]:
    """The tags of the surrounding `tags` blocks, sorted."""
    return sorted(_tags.get())


__all__ = ["current", "current_flow_run", "current_task_run", "current_tags", "entered", "tags"]
