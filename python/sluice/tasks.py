"""The @task decorator."""
from __future__ import annotations

import threading

from sluice import names, timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any, Callable, Dict, Iterable, Optional, Union

    from sluice.futures import TaskFuture


class Task:
    """A function whose calls within flows become task runs. Calling it submits a run and returns its future."""

    def __init__(
        self,
        fn: Callable[..., Any],
        name: Optional[str] = None,
        description: Optional[str] = None,
        tags: Optional[Iterable[str]] = None,
        cache_key_fn: Optional[Callable[..., Any]] = None,
        cache_expiration: Optional[timedelta] = None,
        retries: int = 0,
        retry_delay_seconds: Union[float, int] = 0.0,
    ) -> None:
        if not callable(fn):
            raise TypeError("'fn' must be callable")
        if "wait_for" in getattr(getattr(fn, "__code__", None), "co_varnames", ())[: _parameter_count(fn)]:
            raise ValueError(f"task {name or fn.__name__!r}: 'wait_for' is a reserved name and cannot be a parameter")
        self.fn = fn
        self.name = name or fn.__name__
        self.description = description or _docstring(fn)
        self.tags = frozenset(tags or ())
        self.cache_key_fn = cache_key_fn
        self.cache_expiration = cache_expiration
        self.retries = retries
        self.retry_delay_seconds = timestamps.seconds(retry_delay_seconds)
        self.task_key = names.fingerprint(f"{self.name}{fn.__module__}.{fn.__qualname__}{sorted(self.tags)}".encode())
        self._lock = threading.Lock()  # guards _calls
        self._calls = 0  # not reset between flow runs: it numbers the task runs of this object
        self.__name__, self.__qualname__, self.__module__ = fn.__name__, fn.__qualname__, fn.__module__
        self.__doc__ = fn.__doc__

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
        from sluice import runs

        return runs.call_task(self, args, kwargs, wait_for)

    submit = __call__

    def map(self, *args: Any, wait_for: Optional[Iterable[Any]] = None, **kwargs: Any) -> Any:
        """One task run per item of the list arguments, which must be of one length; other arguments go to each."""

        def items(value: Any) -> Optional[list[Any]]:
            if isinstance(value, unmapped) or isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
                return None
            return list(value)

        positional = [(value, items(value)) for value in args]
        named = {key: (value, items(value)) for key, value in kwargs.items()}
        lengths = {len(found) for _, found in [*positional, *named.values()] if found is not None}
        if len(lengths) != 1:
            raise ValueError(
                f"{self.name}.map() needs lists of one length, got lengths {sorted(lengths)}" if lengths else f"{self.name}.map() got no list to map over"
            )

        def pick(pair: Any, index: int) -> Any:
            value, found = pair
            if found is not None:
                return found[index]
            return value.value if isinstance(value, unmapped) else value

        return [
            self(*(pick(pair, index) for pair in positional), wait_for=wait_for, **{key: pick(pair, index) for key, pair in named.items()})
            for index in range(lengths.pop())
        ]

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
    cache_expiration=timedelta(...), retries=2, retry_delay_seconds=1)`."""
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
