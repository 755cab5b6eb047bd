"""How an agent is to execute the runs of a deployment: descriptions, carried out by the agent."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional


class FlowRunner:
    """A type and its settings."""

    typename = ""

    def __init__(self, env: Optional[Dict[str, Optional[str]]] = None) -> None:
        for key, value in (env or {}).items():
            if not isinstance(key, str) or not (value is None or isinstance(value, (str, int, float))):
                raise ValueError(f"env: {key!r}: {value!r} is not a name with a text")
        self.env = {key: None if value is None else str(value) for key, value in (env or {}).items()}

    def to_json(self) -> Dict[str, Any]:
        """As the API takes it."""
        return {"type": self.typename, "config": dict(vars(self))}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


class UniversalFlowRunner(FlowRunner):
    """However the agent likes; `env` is added to the environment."""

    typename = "universal"


class SubprocessFlowRunner(FlowRunner):
    """In a process on the agent's machine, optionally with the interpreter of a conda or virtual environment."""

    typename = "subprocess"

    def __init__(
        self,
        env: Optional[Dict[str, Optional[str]]] = None,
        condaenv: Optional[str] = None,
        virtualenv: Optional[str] = None,
        stream_output: bool = True,
    ) -> None:
        super().__init__(env)
        if condaenv is not None and virtualenv is not None:
            raise ValueError("condaenv and virtualenv exclude each other")
        self.stream_output = bool(stream_output)
        self.condaenv = None if condaenv is None else str(condaenv)
        self.virtualenv = None if virtualenv is None else str(virtualenv)


class DockerFlowRunner(FlowRunner):
    """In a container on the agent's machine."""

    typename = "docker"

    def __init__(
        self,
        image: Optional[str] = None,
        env: Optional[Dict[str, Optional[str]]] = None,
        image_pull_policy: Optional[str] = None,
        networks: Optional[List[str]] = None,
        labels: Optional[Dict[str, str]] = None,
        auto_remove: bool = False,
        volumes: Optional[List[str]] = None,
        stream_output: bool = True,
    ) -> None:
        super().__init__(env)
        self.image = image
        self.image_pull_policy = image_pull_policy
        self.networks = list(networks or [])
        self.labels = dict(labels or {})
        self.auto_remove = bool(auto_remove)
        self.volumes = list(volumes or [])
        self.stream_output = bool(stream_output)


class KubernetesFlowRunner(FlowRunner):
    """In a job of a Kubernetes cluster."""

    typename = "kubernetes"

    def __init__(
        self,
        image: Optional[str] = None,
        env: Optional[Dict[str, Optional[str]]] = None,
        namespace: str = "default",
        service_account_name: Optional[str] = None,
        labels: Optional[Dict[str, str]] = None,
        image_pull_policy: Optional[str] = None,
        restart_policy: str = "Never",
        stream_output: bool = True,
    ) -> None:
        super().__init__(env)
        self.image = image
        self.namespace = namespace
        self.service_account_name = service_account_name
        self.labels = dict(labels or {})
        self.image_pull_policy = image_pull_policy
        self.restart_policy = restart_policy
        self.stream_output = bool(stream_output)


_TYPES: Dict[str, Any] = {
    runner.typename: runner for runner in (UniversalFlowRunner, SubprocessFlowRunner, DockerFlowRunner, KubernetesFlowRunner)
}


def from_json(body: Any) -> FlowRunner:
    """The flow runner of a specification: a FlowRunner, its type's name, or {"type", "config" or settings}. Raises ValueError."""
    if isinstance(body, FlowRunner):
        return body
    if isinstance(body, str):
        body = {"type": body}
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise ValueError(f"flow_runner must be a type ({', '.join(_TYPES)}) or have one, not be {body!r}")
    kind = _TYPES.get(body["type"])
    if kind is None:
        raise ValueError(f"flow_runner type {body['type']!r} is none of {', '.join(_TYPES)}")
    settings = {key: value for key, value in body.items() if key not in ("type", "config")}
    settings.update(body.get("config") or {})
    try:
        return kind(**settings)  # type: ignore[no-any-return]
    except TypeError as error:
        raise ValueError(f"flow_runner {body['type']}: {str(error).partition('__init__() ')[2] or error}") from None
