"""The @flow decorator."""
from __future__ import annotations

from sluice import names, timestamps
from sluice.tasks import _docstring, is_coroutine_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any, Callable, Dict, Optional, Union


class Flow:
    """A function whose calls are flow runs. Calling it runs it and returns the final State."""

    def __init__(
        self,
        fn: Callable[..., Any],
        name: Optional[str] = None,
        version: Optional[str] = None,
        task_runner: Any = None,
        description: Optional[str] = None,
        timeout_seconds: Union[float, timedelta, None] = None,
        validate_parameters: bool = True,
    ) -> None:
        if not callable(fn):
            raise TypeError("'fn' must be callable")
        self.fn = fn
        self.name = name or fn.__name__.replace("_", "-")
        for character in "/%&><":
            if character in self.name:
                raise ValueError(f"flow name {self.name!r} contains {character!r}; none of / % & > < is allowed")
        self._version = version
        self.task_runner = task_runner
        self.description = description or _docstring(fn)
        self.timeout_seconds = float(timestamps.seconds(timeout_seconds)) if timeout_seconds else None
        self.should_validate_parameters = validate_parameters
        self.__name__, self.__qualname__, self.__module__ = fn.__name__, fn.__qualname__, fn.__module__
        self.__doc__ = fn.__doc__
        from sluice import loading

        loading.note(self)

    @property
    def version(self) -> Optional[str]:
        """As given, or the fingerprint of the file that defines the flow; None where there is no file."""
        if self._version is None:
            try:
                with open(self.fn.__code__.co_filename, "rb") as file:
                    self._version = names.fingerprint(file.read())
            except (OSError, AttributeError):
                return None
        return self._version

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return is_coroutine_function(self.fn)

    def make_task_runner(self) -> Any:
        """A new task runner for one flow run."""
        runner = self.task_runner
        if runner is None:
            from sluice.task_runners import ConcurrentTaskRunner

            return ConcurrentTaskRunner()
        return (runner() if isinstance(runner, type) else runner).start()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the flow; the final State, or for an async flow a coroutine that gives it."""
        from sluice import loading

        loading.refuse_call(self)
        from sluice import calls

        return calls.call_flow(self, args, kwargs)

    def with_options(self, **changes: Any) -> Flow:
        """A new flow of the same function with some options replaced."""
        options: Dict[str, Any] = {
            "name": self.name,
            "version": self._version,
            "task_runner": self.task_runner,
            "description": self.description,
            "timeout_seconds": self.timeout_seconds,
            "validate_parameters": self.should_validate_parameters,
        }
        unknown = set(changes) - set(options)
        if unknown:
            raise TypeError(f"with_options() got unknown options: {', '.join(sorted(unknown))}")
        options.update(changes)
        return Flow(self.fn, **options)

    def __repr__(self) -> str:
        return f"Flow({self.name!r})"


def flow(fn: Optional[Callable[..., Any]] = None, **options: Any) -> Any:
    """Makes a function a flow: `@flow`, or `@flow(name=..., version=..., task_runner=..., description=...,
    timeout_seconds=..., validate_parameters=True)`."""
    if fn is None:
        return lambda function: Flow(function, **options)
    return Flow(fn, **options)
