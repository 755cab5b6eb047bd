"""The @task decorator."""
from __future__ import annotations

import threading

from sluice import names, timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

    from sluice.futures import TaskFuture


class Task:
    """A function whose calls within flows become task runs. Calling it submits a run and returns its future.

    `retry_delay_seconds`: the time before each further attempt; a list has one for each attempt, the last one standing
    for those beyond; a function gets the number of retries and gives such a list, as `exponential_backoff` does.
    `retry_jitter_factor`: by how much of itself each delay may differ, up or down.
    `timeout_seconds`: how long one attempt may take.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: Optional[str] = None,
        description: Optional[str] = None,
        tags: Optional[Iterable[str]] = None,
        cache_key_fn: Optional[Callable[..., Any]] = None,
        cache_expiration: Optional[timedelta] = None,
        retries: int = 0,
        retry_delay_seconds: Union[float, timedelta, Sequence[float], Callable[[int], Sequence[float]]] = 0.0,
        retry_jitter_factor: float = 0.0,
        timeout_seconds: Union[float, timedelta, None] = None,
    ) -> None:
        if not callable(fn):
            raise TypeError("'fn' must be callable")
        self.fn = fn
        self.name = name or getattr(fn, "__name__", type(fn).__name__)
        if "wait_for" in getattr(getattr(fn, "__code__", None), "co_varnames", ())[: _parameter_count(fn)]:
            raise ValueError(f"task {self.name!r}: 'wait_for' is a reserved name and cannot be a parameter")
        self.description = description or _docstring(fn)
        if isinstance(tags, str):
            raise TypeError(f"task {self.name!r}: tags must be a list of texts, not one text: tags=[{tags!r}]")
        self.tags = frozenset(tags or ())
        self.cache_key_fn = cache_key_fn
        self.cache_expiration = cache_expiration
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ValueError(f"task {self.name!r}: retries must be a whole number of at least 0, not {retries!r}")
        self.retries = retries
        self.retry_delay_seconds = retry_delay_seconds
        self._delays = _delays(self.name, retries, retry_delay_seconds)
        if not 0 <= retry_jitter_factor <= 1:
            raise ValueError(f"task {self.name!r}: retry_jitter_factor must be from 0 to 1, not {retry_jitter_factor!r}")
        self.retry_jitter_factor = float(retry_jitter_factor)
        self.timeout_seconds = None if timeout_seconds is None else float(timestamps.seconds(timeout_seconds))
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise ValueError(f"task {self.name!r}: timeout_seconds must be above 0, not {timeout_seconds!r}")
        qualified = getattr(fn, "__qualname__", type(fn).__qualname__)
        self.task_key = names.fingerprint(f"{self.name}{fn.__module__}.{qualified}{sorted(self.tags)}".encode())
        self._lock = threading.Lock()  # guards _calls
        self._calls = 0  # not reset between flow runs: it numbers the task runs of this object
        self.__name__, self.__qualname__, self.__module__ = getattr(fn, "__name__", self.name), qualified, fn.__module__
        self.__doc__ = fn.__doc__

    @property
    def server_delay_seconds(self) -> float:
        """The delay before a retry that the server is told, where it is the same for all; 0 where we wait ourselves."""
        return self._delays[0] if len(self._delays) == 1 and not self.retry_jitter_factor else 0.0

    def own_delay_seconds(self, attempt: int) -> float:
        """How long to wait after an attempt (1 for the first) that is to be repeated, beside what the server says."""
        if self.server_delay_seconds or not self._delays:
            return 0.0
        delay = self._delays[min(attempt, len(self._delays)) - 1]
        if self.retry_jitter_factor and delay:
            delay *= 1 + self.retry_jitter_factor * (2 * names.fraction() - 1)
        return delay

    def __reduce__(self) -> Any:
        """A task is pickled as the place where it is defined."""
        from sluice import workers

        module, name = workers.reference(self)
        return _defined, (module, name)

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return is_coroutine_function(self.fn)

    def next_dynamic_key(self) -> str:
        """Distinguishes the calls of this task."""
        with self._lock:
            key = self._calls
            self._calls += 1
        return str(key)

    def __call__(self, *args: Any, wait_for: Optional[Iterable[Any]] = None, **kwargs: Any) -> Any:
        """Submits a task run. Only within a flow. `wait_for`: futures that must complete first."""
        from sluice import calls

        return calls.call_task(self, args, kwargs, wait_for)

    submit = __call__

    def map(self, *args: Any, wait_for: Optional[Iterable[Any]] = None, **kwargs: Any) -> Any:
        """One task run for each item of the list arguments, which must be of one length; the list of their futures.

        Texts, dicts and other arguments that are no lists go to each run as they are, and so does a list in `unmapped`.
        In an async flow the futures of an async task are awaited: `await work.map(items)`.
        """
        positional = [_items(value) for value in args]
        named = {key: _items(value) for key, value in kwargs.items()}
        lengths = {len(value) for value, mapped in [*positional, *named.values()] if mapped}
        if not lengths:
            raise ValueError(f"{self.name}.map() got no list to map over")
        if len(lengths) > 1:
            shown = [f"argument {place + 1} has {len(value)}" for place, (value, mapped) in enumerate(positional) if mapped]
            shown += [f"{key!r} has {len(value)}" for key, (value, mapped) in named.items() if mapped]
            raise ValueError(f"{self.name}.map() needs lists of one length: {', '.join(shown)}. A list that each run is to get as a whole: unmapped(list)")

        def pick(pair: Any, index: int) -> Any:
            value, mapped = pair
            return value[index] if mapped else value

        from sluice.futures import FutureList

        return FutureList(
            self(*(pick(pair, index) for pair in positional), wait_for=wait_for, **{key: pick(pair, index) for key, pair in named.items()})
            for index in range(lengths.pop())
        )

    def with_options(self, **changes: Any) -> Task:
        """A new task of the same function with some options replaced."""
        options: Dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "tags": self.tags,
            "cache_key_fn": self.cache_key_fn,
            "cache_expiration": self.cache_expiration,
            "retries": self.retries,
            "retry_delay_seconds": self.retry_delay_seconds,
            "retry_jitter_factor": self.retry_jitter_factor,
            "timeout_seconds": self.timeout_seconds,
        }
        unknown = set(changes) - set(options)
        if unknown:
            raise TypeError(f"with_options() got unknown options: {', '.join(sorted(unknown))}")
        options.update(changes)
        return Task(self.fn, **options)

    def __repr__(self) -> str:
        return f"Task({self.name!r})"


class unmapped:
    """Wraps a list that `Task.map` must hand to each task run as it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _items(value: Any) -> Tuple[Any, bool]:
    """The value that `Task.map` got, and whether it is to be mapped over; then it has a length and an index."""
    if isinstance(value, unmapped):
        return value.value, False
    if isinstance(value, (str, bytes, bytearray, dict)) or not hasattr(value, "__iter__"):
        return value, False
    return (value if isinstance(value, (list, tuple, range)) else list(value)), True


def _delays(name: str, retries: int, given: Any) -> List[float]:
    """The delays before the retries: a single one stands for all."""
    if callable(given):
        given = given(retries)
    try:
        found = [float(timestamps.seconds(item)) for item in given] if isinstance(given, (list, tuple)) else [float(timestamps.seconds(given))]
    except (TypeError, ValueError):
        found = [-1.0]
    if not all(0 <= delay < float("inf") for delay in found):
        raise ValueError(f"task {name!r}: retry_delay_seconds must be seconds of at least 0, a list of them, or a function that gives one, not {given!r}")
    return found


def exponential_backoff(backoff_factor: float = 1.0, most: float = 3600.0) -> Callable[[int], List[float]]:
    """For `retry_delay_seconds`: delays of `backoff_factor` seconds, then twice, four times as long, and so on, up to `most`."""

    def delays(retries: int) -> List[float]:
        return [float(min(backoff_factor * 2.0 ** min(number, 64), most)) for number in range(retries)]

    return delays


def _defined(module: str, name: str) -> Any:
    """What a pickled task stands for."""
    import importlib

    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def is_coroutine_function(fn: Any) -> bool:
    """As inspect's, without importing it."""
    fn = getattr(fn, "__wrapped__", fn)
    return bool(getattr(getattr(fn, "__code__", None), "co_flags", 0) & 0x80)


def _parameter_count(fn: Any) -> int:
    code = getattr(fn, "__code__", None)
    return code.co_argcount + code.co_kwonlyargcount if code is not None else 0


def _docstring(fn: Any) -> Optional[str]:
    text = getattr(fn, "__doc__", None)
    if not text:
        return None
    if "\n" in text:
        import inspect

        return inspect.cleandoc(text)
    return str(text.strip())


def task(fn: Optional[Callable[..., Any]] = None, **options: Any) -> Any:
    """Makes a function a task: `@task`, or `@task(name=..., description=..., tags=[...], cache_key_fn=...,
    cache_expiration=timedelta(...), retries=2, retry_delay_seconds=1, retry_jitter_factor=0.1, timeout_seconds=60)`."""
    if fn is None:
        return lambda function: Task(function, **options)
    return Task(fn, **options)


def task_input_hash(context: Any, arguments: Dict[str, Any]) -> Optional[str]:
    """A `cache_key_fn`: the same for calls of the same task code with equal arguments. None (no caching) for
    arguments that can neither be written as JSON nor pickled."""
    import json

    task = context.task
    code: bytes = getattr(getattr(task.fn, "__code__", None), "co_code", b"")
    try:
        text = json.dumps(arguments, sort_keys=True).encode()
    except (TypeError, ValueError):
        import pickle

        try:
            text = pickle.dumps(arguments)
        except Exception:
            return None
    return names.fingerprint(task.task_key.encode() + code + text)
