"""Every exception the SDK raises on its own account.

Two families: `SluiceError` for what a caller can handle, and `RunStopped` for what must end the run even if
user code has an `except Exception` around it; the latter therefore derives from BaseException.
"""
from __future__ import annotations


class SluiceError(Exception):
    """Base of the errors a caller may handle."""


class ConfigurationError(SluiceError):
    """A setting, profile or binary is missing or malformed; the message says which and what to do."""


class ApiError(SluiceError):
    """The server answered a request with an error. `kind` is the server's word for it ("not_found", ...)."""

    def __init__(self, status: int, detail: str, kind: str = "", hint: str = "", request_id: str = "") -> None:
        text = detail
        if hint:
            text += f" ({hint})"
        if request_id:
            text += f" [request {request_id}]"
        super().__init__(text)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.hint = hint
        self.request_id = request_id


class ServerUnavailable(SluiceError):
    """No configured address answered within the time allowed for retries."""


class ParameterError(SluiceError, TypeError):
    """The arguments of a flow call do not fit its signature or its annotations."""


class FlowLoadError(SluiceError):
    """Flow code could not be read, executed, or holds no suitable flow. `reason` is the message without the place."""

    def __init__(self, reason: str, file: str | None = None, line: int | None = None) -> None:
        place = "" if line is None or file is None else f"{file}, line {line}: "
        super().__init__(place + reason)
        self.reason = reason
        self.file = file
        self.line = line


class FlowCalledWhileLoading(FlowLoadError):
    """The file calls one of its flows at module level, which would run the flow each time it is loaded."""


class StorageError(SluiceError):
    """A block of storage is of a type this SDK cannot use, or reading or writing it failed."""


class MissingResult(SluiceError):
    """A state holds no result, or one that this process cannot read."""


class FailedWithoutException(MissingResult, TypeError):
    """A failed state's result was asked for, and there is nothing in it that could be raised."""


class PermanentFailure(SluiceError):
    """Raised by a task that need not be tried again: it fails whatever retries it has left."""


class TaskTimedOut(SluiceError, TimeoutError):
    """A task ran longer than its `timeout_seconds`."""


class RunStopped(BaseException):
    """The run must end now. Not an Exception, so that flow code cannot swallow it by accident."""


class FlowCancelled(RunStopped):
    """Somebody cancelled the flow run."""


class LeaseLost(RunStopped):
    """Another process may own the flow run now: this one must report nothing more."""


class Terminated(RunStopped):
    """The process was told to end by a signal."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(f"terminated by {signal_name}")
        self.signal_name = signal_name


class RunAborted(RunStopped):
    """The server refused to let the run go on; the message is the server's reason."""
