"""Futures of task runs, and finding and resolving them inside of arguments."""
from __future__ import annotations

import threading

from sluice.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

    from sluice.task_runs import TaskRun


_lock = threading.Lock()  # guards _event and _watchers of all futures: held for a few instructions, and a lock each would cost memory


class TaskFuture:
    """The outcome to be of a task call. Given to another task it stands for the task's result."""

    __slots__ = ("task_run", "_upstream", "_done", "_event", "_watchers", "_state", "_error", "__weakref__")

    def __init__(self, run: TaskRun, upstream: Optional[List[TaskFuture]] = None) -> None:
        self.task_run = run
        self._upstream = upstream  # what it waits for; None when nothing, or once it has ended
        self._done = False
        self._event: Optional[threading.Event] = None
        self._watchers: Optional[List[Callable[[], None]]] = None
        self._state: Optional[State] = None
        self._error: Optional[BaseException] = None

    @property
    def run_id(self) -> str:
        """Id of the task run."""
        return self.task_run.id

    @property
    def name(self) -> str:
        """Name of the task run."""
        return self.task_run.name

    def wait(self, timeout: Optional[float] = None) -> Optional[State]:
        """Waits for the task run to end; its final state, or None when `timeout` seconds passed before."""
        if not self._done:
            self._refuse_deadlock()
            self.task_run.flow_run.wait(self._ended(), timeout)
        return self.final_state()

    def _ended(self) -> threading.Event:
        with _lock:
            if self._event is None:
                self._event = threading.Event()
                if self._done:
                    self._event.set()
            return self._event

    def _refuse_deadlock(self) -> None:
        """Raises when the wait would keep the event loop from running what is waited for."""
        loop = self.task_run.flow_run.loop
        if loop is None or not _runs_here(loop):
            return
        ahead, seen = [self], set()
        while ahead:
            future = ahead.pop()
            if future._done or id(future) in seen:
                continue
            seen.add(id(future))
            if future.task_run.task.is_async and future.task_run.flow_run.loop is loop:
                raise RuntimeError(
                    f"waiting for task run {self.name!r} here would never end: async task {future.task_run.task.name!r} needs the event loop that the "
                    "wait would block. Await its future first (`await future.wait()`), or wait in a thread: `await asyncio.to_thread(future.result)`."
                )
            ahead.extend(future._upstream or ())

    def result(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> Any:
        """Waits for and returns the task's result. Raises its exception if it failed, TimeoutError after `timeout`."""
        return self._result_of(TaskFuture.wait(self, timeout), timeout, raise_on_failure)

    def _result_of(self, state: Optional[State], timeout: Optional[float], raise_on_failure: bool) -> Any:
        if state is None:
            raise TimeoutError(f"task run {self.name!r} did not end within {timeout} s")
        return state.result(raise_on_failure=raise_on_failure)

    def get_state(self) -> State:
        """The state the server has for the task run now."""
        known = self.final_state()
        if known is not None:
            return known
        return State.from_api(self.task_run.flow_run.client.read_task_run(self.run_id)["state"])

    def is_done(self) -> bool:
        """Whether the task run has ended."""
        return self._done

    def waits(self) -> bool:
        """Whether something that the task run depends on has not ended."""
        return any(not future._done for future in self._upstream or ())

    def final_state(self) -> Optional[State]:
        """The final state if there is one yet. Raises what kept the task run from getting one."""
        if self._error is not None:
            raise self._error
        return self._state

    def settle(self, state: Optional[State], error: Optional[BaseException] = None) -> None:
        """Called once, by what executes the task run."""
        self._state, self._error = state, error
        with _lock:
            self._done = True
            event, self._event = self._event, None
            watchers, self._watchers = self._watchers, None
            self._upstream = None
        if event is not None:
            event.set()
        for watcher in watchers or ():
            watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Has `watcher` called when the task run ends, from whatever thread; at once if it has."""
        with _lock:
            if not self._done:
                self._watchers = [*(self._watchers or ()), watcher]
                return
        watcher()

    def __bool__(self) -> bool:
        import warnings

        warnings.warn(
            f"A future is always true. To test the result of task run {self.name!r} use future.result().", stacklevel=2
        )
        return True

    def __hash__(self) -> int:
        return hash(self.run_id)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, TaskFuture) and other.run_id == self.run_id)

    def __reduce__(self) -> Any:
        raise TypeError(f"the future of task run {self.name!r} cannot leave its process: return or pass on its result or state instead")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def _runs_here(loop: Any) -> bool:
    import asyncio

    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def ended(future: TaskFuture, timeout: Optional[float] = None) -> bool:
    """Waits for a future without blocking the event loop; whether it has ended. Raises when its run is stopped."""
    import asyncio

    # No thread waits here: a gather of many futures would use up the executor that their tasks may need.
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(woken.set)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more

    future.watch(wake)
    deadline = None if timeout is None else loop.time() + timeout
    while not future.is_done():
        future.task_run.flow_run.check()
        left = 0.5 if deadline is None else min(0.5, deadline - loop.time())
        if left <= 0:
            return False
        try:
            await asyncio.wait_for(woken.wait(), left)
        except asyncio.TimeoutError:
            pass
    return True


async def all_ended(waited: Iterable[TaskFuture]) -> None:
    """Waits for many futures; also for those that are added meanwhile."""
    for future in waited:
        if not future.is_done():
            await ended(future)


class AsyncTaskFuture(TaskFuture):
    """A TaskFuture whose methods are awaited: that of an async task called in an async flow."""

    __slots__ = ()

    async def wait(self, timeout: Optional[float] = None) -> Optional[State]:  # type: ignore[override]
        await ended(self, timeout)
        return self.final_state()

    async def result(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> Any:
        return self._result_of(await self.wait(timeout), timeout, raise_on_failure)

    async def get_state(self) -> State:  # type: ignore[override]
        import asyncio

        return await asyncio.to_thread(TaskFuture.get_state, self)


class FutureList(list):  # type: ignore[type-arg]
    """The futures of `Task.map`. Those of an async task in an async flow are submitted, in order, when the list is awaited."""

    def __await__(self) -> Any:
        return self._submitted().__await__()

    async def _submitted(self) -> FutureList:
        return FutureList([await item if hasattr(item, "send") else item for item in self])


class Quoted:
    """A value whose futures are left alone, however deep they are."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def unquote(self) -> Any:
        """The value itself."""
        return self.value


def quote(value: Any) -> Quoted:
    """Keeps a large or special argument from being searched for futures. The task gets the value itself."""
    return Quoted(value)


def _replace(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with futures and states inside replaced; containers that hold none are given back as they are."""
    if isinstance(value, (TaskFuture, State)):
        return change(value)
    kind = type(value)
    if kind is Quoted:
        return value.value
    if kind in (list, tuple, set, FutureList):
        items = [_replace(item, change) for item in value]
        if all(new is old for new, old in zip(items, value)):
            return value
        return items if kind is FutureList else kind(items)
    if kind is dict:
        pairs = {key: _replace(item, change) for key, item in value.items()}
        return value if all(pairs[key] is value[key] for key in value) else pairs
    fields = getattr(kind, "__dataclass_fields__", None) or _model_fields(kind)
    if fields:
        changed = {}
        for name in fields:
            old = getattr(value, name, None)
            new = _replace(old, change)
            if new is not old:
                changed[name] = new
        if changed:
            return _copy_with(value, changed)
    return value


def _model_fields(kind: Any) -> Any:
    """The fields of a class of pydantic or one like it, of its version 2 or 1."""
    if hasattr(kind, "model_validate"):
        return getattr(kind, "model_fields", None)
    return getattr(kind, "__fields__", None) if hasattr(kind, "parse_obj") else None


def _copy_with(value: Any, changed: Dict[str, Any]) -> Any:
    for method in ("model_copy", "copy"):
        copy = getattr(value, method, None)
        if copy is not None and _model_fields(type(value)):
            return copy(update=changed)
    import dataclasses

    return dataclasses.replace(value, **changed)


def upstream(value: Any) -> List[Any]:
    """The futures and states inside of an argument."""
    found: List[Any] = []

    def remember(item: Any) -> Any:
        found.append(item)
        return item

    _replace(value, remember)
    return found


def depends_on(arguments: Mapping[str, Any]) -> Dict[str, List[Any]]:
    """What each argument depends on: futures, and ids of task runs whose states were given."""
    found: Dict[str, List[Any]] = {}
    for name, value in arguments.items():
        items = (item if isinstance(item, TaskFuture) else item.state_details.get("task_run_id") for item in upstream(value))
        found[name] = [item for item in items if item is not None]
    return found


def unfinished(inputs: Mapping[str, List[Any]]) -> Optional[List[TaskFuture]]:
    """The futures among what arguments depend on that have not ended."""
    return [item for items in inputs.values() for item in items if isinstance(item, TaskFuture) and not item.is_done()] or None


def recorded(inputs: Mapping[str, List[Any]]) -> Dict[str, List[Dict[str, str]]]:
    """What arguments depend on, as the API records it; waits for the task runs to have ids."""
    result: Dict[str, List[Dict[str, str]]] = {}
    for name, items in inputs.items():
        ids = dict.fromkeys(item.run_id if isinstance(item, TaskFuture) else item for item in items)
        result[name] = [{"input_type": "task_run", "id": id} for id in ids]
    return result


def waited_for(wait_for: Any) -> List[Any]:
    """What `wait_for` was given, as a list. One future or state may be given without a list."""
    if wait_for is None:
        return []
    return [wait_for] if isinstance(wait_for, (TaskFuture, State)) else list(wait_for)


class UpstreamNotCompleted(Exception):
    """An argument depends on a run that did not complete."""


def resolve(value: Any) -> Any:
    """Waits for the futures inside of a value and puts their results in their place. Raises UpstreamNotCompleted."""

    def change(item: Any) -> Any:
        state = TaskFuture.wait(item) if isinstance(item, TaskFuture) else item
        if state is None or not state.is_completed():
            details = {} if isinstance(item, TaskFuture) else item.state_details
            id = item.run_id if isinstance(item, TaskFuture) else details.get("task_run_id")
            kind = "task"
            if id is None and details.get("flow_run_id"):
                kind, id = "flow", details["flow_run_id"]
            raise UpstreamNotCompleted(f"Upstream {kind} run '{id}' did not reach a 'COMPLETED' state.")
        return state.result()

    return _replace(value, change)


def to_states(value: Any) -> Any:
    """Futures (alone or as the items of a list, tuple or set) replaced by their final states, waiting for them."""
    if isinstance(value, TaskFuture):
        return TaskFuture.wait(value)
    if isinstance(value, (list, tuple, set)) and any(isinstance(item, TaskFuture) for item in value):
        kind = list if type(value) is FutureList else type(value)
        return kind(to_states(item) for item in value)
    return value
