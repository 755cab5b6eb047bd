"""Reading and writing through storage blocks and the built-in store.

A stored reference is {"encoding": "sluice-store", "blob": KEY} or Orion's
{"encoding": "blockstorage", "blob": '{"data": "\\"KEY\\"", "block_id": "UUID"}'}. What lies there is text.
"""
from __future__ import annotations

import json
import os

from sluice import names, timestamps
from sluice.errors import ApiError, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from sluice.client import Client

_RELAYED = ("Azure Blob Storage", "Google Cloud Storage", "S3 Storage")  # used through an endpoint that has credentials and libraries


def read(reference: Dict[str, str], client: Client) -> str:
    """The text a reference points to."""
    encoding = reference.get("encoding")
    if encoding == "sluice-store":
        try:
            return client.read_kv(reference["blob"])
        except ApiError as error:
            if error.status == 404:
                raise StorageError(f"the built-in store has no entry {reference['blob']!r}") from error
            raise
    if encoding != "blockstorage":
        raise StorageError(f"this SDK cannot read data of encoding {encoding!r}")
    inner = json.loads(reference["blob"])
    key = json.loads(inner["data"])
    if inner.get("block_id") is None:
        return _read_file(key)  # a temporary file of the process that wrote it
    return _read_block(client.read_block(inner["block_id"]), key, client)


def write(block: Dict[str, Any], text: str, client: Client) -> Dict[str, str]:
    """Writes text through a block and gives the reference to it."""
    kind, data, raw = _kind(block), block["data"], text.encode()
    if _relayed(kind):
        from sluice import relay

        key = relay.write(block["id"], raw, client)
    elif kind == "KV Server Storage":
        key = names.uuid4()
        _kv(data, "POST", key, text)
    elif kind in ("File Storage", "Local Storage", "Temporary Local Storage"):
        base = _base_path(kind, data)
        chosen = data.get("key_type") or ("hash" if kind == "File Storage" else "uuid")
        if chosen == "hash":
            key = names.fingerprint(raw)
        elif chosen == "timestamp":
            key = timestamps.now().strftime("%Y%m%dT%H%M%S%f") + "-" + names.uuid4()[:8]
        else:
            key = names.uuid4()
        path = os.path.join(base, key)
        _write_file(path, raw)
        if kind != "File Storage":
            key = path  # Orion's Local Storage keeps whole paths
    else:
        raise unsupported(kind, block)
    return {"encoding": "blockstorage", "blob": json.dumps({"data": json.dumps(key), "block_id": block["id"]})}


def _relayed(kind: str) -> bool:
    from sluice import relay

    return kind in _RELAYED or (kind == "KV Server Storage" and relay.given())  # its address may hold a password


def unsupported(kind: str, block: Dict[str, Any]) -> StorageError:
    """The error for a type of storage that somebody else defined."""
    return StorageError(
        f"storage {block.get('name')!r} is of type {kind!r}, which cannot be used here; `sluice block-spec ls` shows types, `sluice storage create` the ones that can. "
        "Choose another with `sluice storage set-default`, or the built-in store with `sluice storage reset-default`"
    )


def _kind(block: Dict[str, Any]) -> str:
    return str((block.get("block_spec") or {}).get("name") or "")


def _base_path(kind: str, data: Dict[str, Any]) -> str:
    if kind == "File Storage":
        base = str(data.get("base_path") or "")
        if base.startswith("file://"):
            base = base[len("file://") :]
        if "://" in base or not base:
            raise StorageError(f"the Python SDK can use File Storage on a path only, not on {base!r}")
        return os.path.expanduser(base)
    if kind == "Local Storage" and data.get("storage_path"):
        return os.path.expanduser(str(data["storage_path"]))
    if kind == "Local Storage":
        from sluice import config

        return os.path.join(config.home(), "storage")
    import tempfile

    folder = os.path.join(tempfile.gettempdir(), f"sluice-storage-{os.getuid()}")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if os.stat(folder).st_uid != os.getuid():
            # Whoever owns it decides what is unpickled here.
            raise StorageError(f"{folder} belongs to another user; remove it, or set TMPDIR to a directory of your own")
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error}") from error
    return folder


def _read_block(block: Dict[str, Any], key: str, client: Client) -> str:
    kind = _kind(block)
    if _relayed(kind):
        from sluice import relay

        try:
            return relay.read(block["id"], key, client).decode()
        except UnicodeDecodeError as error:
            raise StorageError(f"{key} in storage {block.get('name')!r} is no text: {error}") from error
    if kind == "KV Server Storage":
        value = _kv(block["data"], "GET", key)
        if not isinstance(value, str):
            raise StorageError(f"KV server at {block['data'].get('api_address')} holds no text for key {key!r}")
        return value
    if kind in ("File Storage", "Local Storage", "Temporary Local Storage"):
        return _read_file(os.path.join(_base_path(kind, block["data"]), key))
    raise unsupported(kind, block)


def _read_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error


def _write_file(path: str, data: bytes) -> None:
    # Written beside and renamed, so that a reader never sees half a file.
    beside = f"{path}.{names.uuid4()}.part"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(beside, "wb") as file:
            file.write(data)
        os.replace(beside, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error


def _kv(data: Dict[str, Any], method: str, key: str, body: Any = None) -> Any:
    from sluice.transport import Transport

    address = str(data.get("api_address") or "").rstrip("/")
    transport = Transport([address])
    if transport.addresses[0].url != address:
        transport.addresses[0].path = ""  # only the API's own address is completed
    try:
        return transport.request(method, f"/{key}", body).json()
    except ApiError as error:
        raise StorageError(f"KV server at {data.get('api_address')}: {error}") from error
    finally:
        transport.close()
