"""Loading flows from source text without running them."""
from __future__ import annotations

import os
import sys

from sluice.errors import FlowCalledWhileLoading, FlowLoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from sluice.flows import Flow

# Task keys contain the module name, so this one is part of task run names: flows loaded by a deployment
# have always had it.
MODULE = "<run_path>"

_loading: Optional[str] = None  # path of the file that is being executed, None when none is
_found: List[Any] = []


def note(flow: Flow) -> None:
    """Told of every flow that is made."""
    if _loading is not None:
        _found.append(flow)


def refuse_call(flow: Flow) -> None:
    """Raises FlowCalledWhileLoading when a file that is being loaded calls a flow."""
    if _loading is None:
        return
    frame: Any = sys._getframe(1)
    line: Optional[int] = None
    while frame is not None:
        if os.path.abspath(frame.f_code.co_filename) == _loading:
            line = frame.f_lineno
            if frame.f_code.co_name == "<module>":
                break
        frame = frame.f_back
    name = os.path.basename(_loading)
    text = _line(_loading, line)
    shown = f"`{text}` calls" if text else f"{name} calls"
    raise FlowCalledWhileLoading(
        f"{shown} flow {flow.name!r} when the file is loaded. A deployment calls the flow itself: "
        f"comment out {f'line {line}' if line else 'the call'}, or put it under `if __name__ == \"__main__\":`",
        name,
        line,
    )


def _line(path: str, number: Optional[int]) -> str:
    if number is None:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()[number - 1].strip()
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def execute(path: str, text: Optional[str] = None) -> List[Any]:
    """Executes a file of flows and gives the flows it defined, in order. Raises FlowLoadError."""
    global _loading
    path = os.path.abspath(path)
    shown = os.path.basename(path)
    if text is None:
        text = read_source(path)
    try:
        code = compile(text, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = "" if error.lineno else f"{shown}: "
        raise FlowLoadError(f"{where}{type(error).__name__}: {error.msg}", shown, error.lineno) from error
    except ValueError as error:  # null bytes
        raise FlowLoadError(f"{shown}: {error}", shown) from error
    import types

    module = types.ModuleType(MODULE)
    module.__dict__.update(__file__=path, __builtins__=__builtins__)
    sys.modules[MODULE] = module  # pickling and dataclasses look classes up there
    folder = os.path.dirname(path)
    outer, kept = _loading, _found[:]
    _found.clear()
    _loading = path
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        exec(code, module.__dict__)
        own = [flow for flow in _found if flow.fn.__module__ == MODULE]
        return own or list(_found)
    except FlowCalledWhileLoading:
        raise
    except SystemExit as error:
        raise FlowLoadError(f"{shown} ends the process (exit status {error.code}) when it is loaded", shown) from error
    except Exception as error:
        line = line_in(error, path)
        where = "" if line else f"{shown}: "
        raise FlowLoadError(f"{where}{type(error).__name__}: {error}", shown, line) from error
    finally:
        _loading = outer
        _found[:] = kept


def line_in(error: BaseException, path: str) -> Optional[int]:
    """The innermost line of a file in an exception's traceback."""
    line, frames = None, error.__traceback__
    while frames is not None:
        if os.path.abspath(frames.tb_frame.f_code.co_filename) == path:
            line = frames.tb_lineno
        frames = frames.tb_next
    return line


def read_source(path: str) -> str:
    """A Python file's text, decoded as it declares. Raises FlowLoadError."""
    import tokenize

    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FlowLoadError(f"cannot read {path}: {reason}", path) from error


def select(flows: List[Any], name: Optional[str], shown: str) -> Flow:
    """The flow of that name, or the only one. Raises FlowLoadError."""
    latest: Dict[str, Any] = {flow.name: flow for flow in flows}
    listed = ", ".join(repr(known) for known in latest)
    if not latest:
        raise FlowLoadError(f"{shown} defines no flow: decorate a function with @flow", shown)
    if name is not None:
        if name not in latest:
            raise FlowLoadError(f"{shown} defines no flow {name!r}; it defines {listed}", shown)
        return latest[name]  # type: ignore[no-any-return]
    if len(latest) > 1:
        raise FlowLoadError(f"{shown} defines several flows ({listed}): choose one with flow_name", shown)
    return flows[-1]  # type: ignore[no-any-return]


def load(text: str, file_name: str, flow_name: Optional[str]) -> Flow:
    """A flow from stored source text, through a temporary file of the original's name, so that tracebacks show it."""
    import atexit

    from sluice import names

    base = os.environ.get("TMPDIR") or ("/tmp" if os.path.isdir("/tmp") else os.getcwd())
    folder = os.path.join(base, f"sluice-flow-{os.getpid()}-{names.uuid4()[:8]}")
    path = os.path.join(folder, os.path.basename(file_name) or "flow.py")
    try:
        os.mkdir(folder, 0o700)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise FlowLoadError(f"cannot write {path}: {error.strerror}", path) from error

    def remove() -> None:
        for victim, how in ((path, os.remove), (folder, os.rmdir)):
            try:
                how(victim)
            except OSError:
                pass

    atexit.register(remove)
    # The folder of a stored file holds nothing else; modules beside the flow are looked for where the process runs.
    return select(execute(path, text), flow_name, os.path.basename(path))
