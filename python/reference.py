"""Writes docs/python-sdk-reference.md from the docstrings: `PYTHONPATH=python python3 python/reference.py > docs/python-sdk-reference.md`.

tests/test_reference.py says when the page is stale.
"""
import importlib
import inspect
import re

# What flows use, in the order of the page; the modules beside are the SDK's own affair.
MODULES = (
    ("sluice", ("flow", "task", "unmapped", "tags", "get_run_logger", "get_client")),
    ("sluice.flows", ("Flow",)),
    ("sluice.tasks", ("Task", "task_input_hash")),
    ("sluice.futures", ("TaskFuture", "quote")),
    ("sluice.states", ("State", "Completed", "Failed", "Cancelled", "Pending", "Running", "Scheduled")),
    ("sluice.task_runners", ("ConcurrentTaskRunner", "SequentialTaskRunner", "ParallelTaskRunner")),
    ("sluice.deployments", ("DeploymentSpec",)),
    ("sluice.schedules", ("IntervalSchedule", "CronSchedule", "RRuleSchedule")),
    ("sluice.flow_runners", ("UniversalFlowRunner", "SubprocessFlowRunner", "DockerFlowRunner", "KubernetesFlowRunner")),
    ("sluice.api", ("ApiClient", "AsyncApiClient")),
    ("sluice.objects", ("Record",)),
    ("sluice.testing.utilities", ("sluice_test_harness",)),
    ("sluice.errors", ("SluiceError", "ApiError", "ServerUnavailable", "ConfigurationError", "ParameterError", "MissingResult", "StorageError", "RunStopped", "FlowCancelled")),
)  # fmt: skip


def signature(thing):
    """The signature as it is written, without self and without addresses of objects."""
    try:
        text = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return "(...)"
    text = re.sub(r"\(self(, )?", "(", text)
    text = re.sub(r"<object object at 0x[0-9a-f]+>", "...", text)
    return re.sub(r"'([^']*)'", lambda found: found.group(1) if "\"" not in found.group(1) else found.group(0), text)


def paragraphs(thing, indent=""):
    return "\n".join((indent + line).rstrip() for line in inspect.cleandoc(thing.__doc__ or "").splitlines())


def members(kind):
    """The public methods and properties that a class says something about, in the order of the source."""
    for name, member in vars(kind).items():
        if name.startswith("_") or not getattr(member, "__doc__", None):
            continue
        if isinstance(member, property):
            yield f"`{name}`", member
        elif inspect.isfunction(member) or isinstance(member, classmethod):
            function = member.__func__ if isinstance(member, classmethod) else member
            yield f"`{name}{signature(function).replace('(cls, ', '(')}`", function


def page():
    parts = [
        "# Reference of the Python SDK\n\nMade from the docstrings by `python/reference.py`; do not edit. Flows need nothing beside the standard library.\n"
        "The [tutorials](tutorials/README.md) show how these are used.\n"
    ]
    for module_name, names in MODULES:
        parts.append(f"## {module_name}\n")
        module = importlib.import_module(module_name)
        for name in names:
            thing = getattr(module, name)
            shown = f"{name}{signature(thing)}"
            if inspect.isclass(thing) and issubclass(thing, (BaseException, dict)):
                shown = name
            parts.append(f"### `{shown}`\n\n{paragraphs(thing)}\n")
            if inspect.isclass(thing) and name != "AsyncApiClient":
                parts += [f"- {title}\n\n{paragraphs(member, '  ')}\n" for title, member in members(thing)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


if __name__ == "__main__":
    print(page(), end="")
