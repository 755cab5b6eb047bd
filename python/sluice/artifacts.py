"""Tables, texts in Markdown and links that a flow run shows to people.

Artifacts of several runs with one key are versions of one thing. They live as long as their runs.

    from sluice.artifacts import create_markdown, create_table

    create_table("pages", [{"url": "x", "bytes": 3}])
    create_markdown("report", "# 3 pages", description="what was fetched")
"""
from __future__ import annotations

from sluice import context, names
from sluice.errors import SluiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

LIMIT = 256 << 10  # bytes of the data as JSON


def create_table(key: str, table: Iterable[Mapping[str, Any]], description: str = "") -> str:
    """Shows rows, each a mapping of columns to values. Answers the artifact's id."""
    return _create(key, "table", [dict(row) for row in table], description)


def create_markdown(key: str, markdown: str, description: str = "") -> str:
    """Shows a text in Markdown. Answers the artifact's id."""
    return _create(key, "markdown", str(markdown), description)


def create_link(key: str, url: str, text: str = "", description: str = "") -> str:
    """Shows a link to an http or https address. Answers the artifact's id."""
    return _create(key, "link", {"url": url, "text": text or url}, description)


def _create(key: str, kind: str, data: Any, description: str) -> str:
    import json

    from sluice import connection
    from sluice.parameters import to_json

    flow_run, task_run = context.current_flow_run(), context.current_task_run()
    if flow_run is None:
        raise SluiceError(f"artifact {key!r}: there is no flow run here; artifacts are shown by flows and tasks")
    plain = to_json(data)
    size = len(json.dumps(plain, separators=(",", ":")).encode())
    if size > LIMIT:
        raise ValueError(f"artifact {key!r} has {size} bytes, the limit is {LIMIT}: put large data into a storage and show a link")
    body = {"key": key, "type": kind, "description": description, "data": plain, "flow_run_id": flow_run.id, "task_run_id": task_run.id if task_run else None}
    # The request may be sent more than once: the key makes that harmless.
    return str(connection.client()._post("/artifacts/", body, {"Idempotency-Key": names.uuid4()})["id"])


__all__ = ["LIMIT", "create_link", "create_markdown", "create_table"]
