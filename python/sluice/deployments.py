"""Deployment specifications: `DeploymentSpec(...)` in a Python file registers a deployment to be created.

`python3 -m sluice.deployments --json FILE.py`, or `--json --specs - --base DIR` with a JSON array on standard input,
describes the specifications for the CLI, which creates the deployments.
"""
from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

    from sluice.flows import Flow

_collected: Optional[List[DeploymentSpec]] = None  # specifications of the file that is being read, None when none is


class DeploymentSpec:
    """A deployment to be: a flow and the settings of its runs. Constructing it is enough to register it."""

    def __init__(
        self,
        name: Optional[str] = None,
        flow: Optional[Flow] = None,
        flow_name: Optional[str] = None,
        flow_location: Any = None,
        flow_storage: Any = None,
        parameters: Optional[Mapping[str, Any]] = None,
        schedule: Any = None,
        tags: Optional[Iterable[str]] = None,
        flow_runner: Any = None,
        catchup: Optional[str] = None,
        catchup_limit: Optional[int] = None,
        concurrency_limit: Optional[int] = None,
        on_conflict: Optional[str] = None,
        overlap: Optional[str] = None,
        dst: Optional[Mapping[str, str]] = None,
        on_crash: Any = None,
        queue_timeout_seconds: Any = None,
        run_timeout_seconds: Any = None,
        priority: Optional[int] = None,
        schedules: Optional[Iterable[Any]] = None,
        retention: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.name = name
        self.flow = flow
        self.flow_name = flow_name
        self.flow_location = None if flow_location is None else os.fspath(flow_location)
        self.flow_storage = flow_storage
        self.parameters = parameters
        self.schedule = schedule
        self.tags = tags
        self.flow_runner = flow_runner
        self.catchup = catchup
        self.catchup_limit = catchup_limit
        self.schedules = schedules
        self.retention = retention
        self.policy = {
            "concurrency_limit": concurrency_limit,
            "on_conflict": on_conflict,
            "overlap": overlap,
            "dst": dst,
            "on_crash": on_crash,
            "queue_timeout_seconds": queue_timeout_seconds,
            "run_timeout_seconds": run_timeout_seconds,
            "priority": priority,
        }
        frame: Any = sys._getframe(1)
        while frame is not None and os.path.dirname(os.path.abspath(frame.f_code.co_filename)) == os.path.dirname(os.path.abspath(__file__)):
            frame = frame.f_back  # a subclass or helper of this package
        self.file: Optional[str] = os.path.abspath(frame.f_code.co_filename) if frame is not None else None
        self.line: Optional[int] = frame.f_lineno if frame is not None else None
        if _collected is not None:
            _collected.append(self)

    def __repr__(self) -> str:
        return f"DeploymentSpec(name={self.name!r}, flow_location={self.flow_location!r})"


class SpecError(Exception):
    """A specification that cannot become a deployment."""

    def __init__(self, message: str, file: Optional[str] = None, line: Optional[int] = None) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


def read_file(path: str) -> Tuple[List[DeploymentSpec], Optional[SpecError]]:
    """The specifications that executing a Python file makes, and what stopped it, if anything."""
    global _collected
    from sluice import loading
    from sluice.errors import FlowLoadError

    if not os.path.isfile(path):
        return [], SpecError(f"{path} does not exist", path)
    _collected = []
    try:
        loading.execute(path)
        problem = None
    except FlowLoadError as error:
        problem = SpecError(error.reason, os.path.abspath(path), error.line)
    finally:
        found, _collected = _collected, None
    if not found and problem is None:
        problem = SpecError(f"{os.path.basename(path)} holds no deployment: construct a DeploymentSpec in it", os.path.abspath(path))
    return found, problem


def read_json(items: Any) -> List[DeploymentSpec]:
    """Specifications as JSON objects. `file` and `line` may tell where each was written. Raises SpecError."""
    if not isinstance(items, list):
        raise SpecError("a list of deployment specifications is expected")
    known = ("name", "flow_name", "flow_location", "flow_storage", "parameters", "schedule", "tags", "flow_runner", "catchup", "catchup_limit")
    specs = []
    for item in items:
        if not isinstance(item, dict):
            raise SpecError(f"a deployment specification must have names and values, not be {item!r}")
        # The caller may write an empty text for what is not given.
        spec = DeploymentSpec(**{key: item[key] for key in known if item.get(key) not in (None, "")})
        spec.file, spec.line = item.get("file"), item.get("line")
        unknown = sorted(str(key) for key in set(item) - set(known) - {"file", "line"})
        spec.unknown = unknown  # type: ignore[attr-defined]
        specs.append(spec)
    return specs


class _Loader:
    """Flows by file; each file is executed once."""

    def __init__(self) -> None:
        self._read: Dict[str, Any] = {}

    def flows(self, path: str) -> Tuple[str, List[Any]]:
        from sluice import loading
        from sluice.errors import FlowLoadError

        if path not in self._read:
            try:
                text = loading.read_source(path)
                self._read[path] = text, loading.execute(path, text)
            except FlowLoadError as error:
                self._read[path] = error
        found = self._read[path]
        if isinstance(found, FlowLoadError):
            raise SpecError(found.reason, path, found.line)
        return found  # type: ignore[no-any-return]


def _json_value(value: Any, where: str) -> Any:
    from sluice import parameters

    def check(item: Any, path: str) -> None:
        if isinstance(item, dict):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise SpecError(f"{path}: key {key!r} is not text")
                check(inner, f"{path}.{key}")
        elif isinstance(item, (list, tuple, set, frozenset)):
            for inner in item:
                check(inner, path)
        elif isinstance(item, float) and (item != item or abs(item) == float("inf")):
            raise SpecError(f"{path}: {item!r} cannot be stored as JSON")
        elif parameters.to_json(item) == f"<{type(item).__name__}>" and not isinstance(item, str):
            raise SpecError(f"{path}: a value of type {type(item).__name__} cannot be stored as JSON")

    check(value, where)
    return parameters.to_json(value)


def _tags(value: Any) -> List[str]:
    if value is None:
        return []
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise SpecError(f"tags must be a list of texts, not {value!r}")
    tags = list(value)
    for tag in tags:
        if not isinstance(tag, str):
            raise SpecError(f"tags must be a list of texts; {tag!r} is not text")
    return list(dict.fromkeys(tags))


def _schedules(schedule: Any, several: Any) -> Optional[List[Dict[str, Any]]]:
    """All schedules of a deployment, None when only `schedule` says anything. Raises ValueError."""
    from sluice import schedules

    if several is None:
        return None
    if schedule is not None:
        raise ValueError("both schedule and schedules are given; schedules alone are all that the deployment will have")
    if isinstance(several, (str, dict)) or not hasattr(several, "__iter__"):
        raise ValueError(f"schedules must be a list of schedules, not {several!r}")
    found: List[Dict[str, Any]] = []
    for item in several:
        entry: Dict[str, Any] = {}
        if isinstance(item, dict):
            item = dict(item)
            name, active = item.pop("name", None), item.pop("active", None)
            if name is not None:
                entry["name"] = _text(name, "the name of a schedule")
            if active is not None and not isinstance(active, bool):
                raise ValueError(f"active of a schedule must be True or False, not {active!r}")
            if active is not None:
                entry["active"] = active
        entry["schedule"] = schedules.from_json(item).to_json()
        if entry.get("name") and any(entry["name"] == other.get("name") for other in found):
            raise ValueError(f"two schedules are called {entry['name']!r}")
        found.append(entry)
    return found


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} must be a text, not {value!r}")
    return value


def _storage(value: Any) -> Optional[str]:
    """The name or id of a registered storage: a text, a UUID, or what a client gives for a block."""
    import uuid

    if value is None:
        return None
    if isinstance(value, dict):
        value = value.get("id")
    elif not isinstance(value, (str, uuid.UUID)):
        value = getattr(value, "id", None)
    if not value or not isinstance(value, (str, uuid.UUID)):
        raise SpecError(
            "flow_storage must be the name or id of a registered storage: `sluice storage create` registers one, `sluice storage ls` shows them"
        )
    return str(value)


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise SpecError(f"{what} must be a text, not {value!r}")
    for character in "/%&><":
        if character in value:
            raise SpecError(f"{what} {value!r} contains {character!r}; none of / % & > < is allowed")
    return value


def _shown(path: str) -> str:
    here = os.getcwd()
    return os.path.relpath(path, here) if path.startswith(here.rstrip(os.sep) + os.sep) else path


def describe(spec: DeploymentSpec, base: str, loader: _Loader) -> Dict[str, Any]:
    """Everything the CLI needs to create the deployment. Raises SpecError."""
    from sluice import flow_runners, loading, parameters, policies, schedules
    from sluice.errors import FlowLoadError

    unknown = getattr(spec, "unknown", None)
    if unknown:
        raise SpecError(f"unknown fields: {', '.join(unknown)}")
    flow_storage = _storage(spec.flow_storage)
    location, flow_name = spec.flow_location, spec.flow_name
    if spec.flow is not None:
        code = getattr(getattr(spec.flow, "fn", None), "__code__", None)
        if code is None:
            raise SpecError(f"flow must be a function decorated with @flow, not {spec.flow!r}")
        location, flow_name = location or code.co_filename, flow_name or spec.flow.name
    if not location:
        raise SpecError("flow_location is missing: the path of the file with the flow")
    path = os.path.abspath(os.path.join(base, os.path.expanduser(location)))
    if not os.path.exists(path):
        raise SpecError(f"flow_location {location!r} does not exist (looked for {path})")
    if os.path.isdir(path):
        raise SpecError(f"flow_location {location!r} is a directory; it must be a Python file ({path})")
    text, flows = loader.flows(path)
    try:
        flow = loading.select(flows, flow_name, os.path.basename(path))
    except FlowLoadError as error:
        raise SpecError(str(error)) from None
    given = _json_value(dict(spec.parameters or {}), "parameters")
    _check_parameters(flow, given)
    try:
        schedule = None if spec.schedule is None else schedules.from_json(spec.schedule).to_json()
        runner = flow_runners.from_json(spec.flow_runner if spec.flow_runner is not None else "universal").to_json()
        several = _schedules(spec.schedule, spec.schedules)
        policy = policies.to_json(spec.policy)
        retention = policies.retention_to_json(spec.retention)
    except (TypeError, ValueError) as error:
        raise SpecError(str(error)) from None
    if spec.catchup not in (None, "skip", "latest", "all"):
        raise SpecError(f"catchup must be skip, latest or all, not {spec.catchup!r}")
    if spec.catchup_limit is not None and (isinstance(spec.catchup_limit, bool) or not isinstance(spec.catchup_limit, int) or spec.catchup_limit < 1):
        raise SpecError(f"catchup_limit must be a whole number above zero, not {spec.catchup_limit!r}")
    return {
        "name": _name(flow.name if spec.name is None else spec.name, "name"),
        "flow_name": flow.name,
        "flow_location": _shown(path),
        "flow_text": text,
        **({} if flow_storage is None else {"flow_storage": flow_storage}),
        "parameters": given,
        "tags": _tags(spec.tags),
        "schedule": schedule,
        **({} if several is None else {"schedules": several}),
        "flow_runner": runner,
        "catchup": spec.catchup or "skip",
        "catchup_limit": spec.catchup_limit,
        "policy": policy,
        "retention": retention,
        # What the flow does not check, the server does not check either.
        "parameter_schema": parameters.schema(flow.fn) if flow.should_validate_parameters else None,
    }


def _check_parameters(flow: Any, given: Mapping[str, Any]) -> None:
    from sluice import parameters

    schema = parameters.schema(flow.fn)["properties"]
    names = set(schema)
    open_ended = parameters._variadics(flow.fn)[1] is not None
    unknown = sorted(set(given) - names)
    if unknown and not open_ended:
        takes = f"it has {', '.join(schema)}" if schema else "it has none"
        raise SpecError(f"{', '.join(map(repr, unknown))}: not a parameter of flow {flow.name!r}; {takes}")
    if flow.should_validate_parameters:
        hints = parameters.annotations(flow.fn)
        for name, value in given.items():
            if hints.get(name) is None or name in parameters._variadics(flow.fn):
                continue
            try:
                parameters.coerce(value, hints[name])
            except Exception as error:
                raise SpecError(f"parameter {name!r} of flow {flow.name!r}: {error}") from None


def describe_all(specs: List[DeploymentSpec], base: Optional[str]) -> List[Dict[str, Any]]:
    """Each specification described, or with its error. Of several with one flow and name the last counts."""
    loader, described = _Loader(), []
    for spec in specs:
        folder = base or (os.path.dirname(spec.file) if spec.file else os.getcwd())
        entry: Dict[str, Any] = {
            "name": spec.name,
            "flow_name": spec.flow_name,
            "flow_location": spec.flow_location,
            "flow_text": None,
            "parameters": {},
            "tags": [],
            "schedule": None,
            "flow_runner": None,
            "catchup": None,
            "catchup_limit": None,
            "policy": None,
            "parameter_schema": None,
            "error": None,
        }
        try:
            entry.update(describe(spec, folder, loader))
        except SpecError as error:
            entry["error"] = {"message": str(error), "file": error.file or spec.file, "line": error.line if error.file else spec.line}
        entry["file"], entry["line"] = spec.file, spec.line
        described.append(entry)
    last = {(entry["flow_name"], entry["name"]): index for index, entry in enumerate(described) if entry["error"] is None}
    return [entry for index, entry in enumerate(described) if entry["error"] or last[entry["flow_name"], entry["name"]] == index]


def main(arguments: List[str]) -> int:
    """The command line; answers the exit status."""
    import json

    rest = [word for word in arguments if word != "--json"]
    base = source = path = None
    while rest:
        word = rest.pop(0)
        if word in ("--base", "--specs") and rest:
            value = rest.pop(0)
            base, source = (value, source) if word == "--base" else (base, value)
        elif not word.startswith("-") and path is None:
            path = word
        else:
            print(f"unexpected argument: {word}", file=sys.stderr)
            return 2
    if (path is None) == (source is None) or source not in (None, "-"):
        print("usage: python3 -m sluice.deployments --json FILE.py | --json --specs - --base DIR", file=sys.stderr)
        return 2
    text = sys.stdin.read() if source else ""
    # What user code prints must not get between the caller and the answer: descriptor 1 is standard error meanwhile.
    sys.stdout.flush()
    answer = os.dup(1)
    os.dup2(2, 1)
    problem: Optional[SpecError] = None
    described: List[Dict[str, Any]] = []
    try:
        if path is not None:
            specs, problem = read_file(path)
        else:
            specs = read_json(json.loads(text))
            base = os.path.abspath(base or os.getcwd())
        described = describe_all(specs, base)
    except SpecError as error:
        problem = error
    except ValueError as error:
        problem = SpecError(f"the specifications are not JSON: {error}")
    sys.stdout.flush()
    report = None if problem is None else {"message": str(problem), "file": problem.file, "line": problem.line}
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        json.dump({"specs": described, "error": report}, file)
        file.write("\n")
    return 0


if __name__ == "__main__":
    # The specification files import this module by name: they must fill that one's registry, not __main__'s.
    from sluice.deployments import main as run

    sys.exit(run(sys.argv[1:]))
