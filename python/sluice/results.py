"""Results of runs as stored documents {"encoding", "blob"}.

Values that JSON gives back unchanged are stored as JSON, so that other languages and the UI can read them; others as
pickle in base64. Small ones lie in the state itself, larger ones in the server's built-in store. Where a default
storage is configured every result but None (which holds nothing) goes there.
"""
from __future__ import annotations

import json

from sluice import names
from sluice.errors import MissingResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from sluice.client import Client

INLINE_LIMIT = 4096  # bytes of the blob


def _survives_json(value: Any, depth: int = 0) -> bool:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return kind is not int or -(2**53) <= value <= 2**53
    if kind is float:
        return value == value and abs(value) != float("inf")
    if depth > 50:
        return False
    if kind is list:
        return all(_survives_json(item, depth + 1) for item in value)
    if kind is dict:
        return all(type(key) is str and _survives_json(item, depth + 1) for key, item in value.items())
    return False


def encode(value: Any) -> Dict[str, str]:
    """The self-contained document of a value. Raises what pickle raises when it cannot be pickled."""
    if isinstance(value, BaseException):
        return encode_exception(value)
    if _survives_json(value):
        try:
            text = json.dumps(value, ensure_ascii=False)
            text.encode()
            return {"encoding": "json", "blob": text}
        except UnicodeEncodeError:  # a lone surrogate
            pass
    import base64

    return {"encoding": "pickle", "blob": base64.b64encode(pickle(value)).decode()}


def encode_exception(error: BaseException) -> Dict[str, str]:
    """The document of an exception; of a stand-in for one that cannot be pickled."""
    import base64

    return {"encoding": "pickle", "blob": base64.b64encode(pickle_exception(error)).decode()}


def stand_in(error: BaseException) -> Exception:
    """What says the same as an exception that cannot be pickled."""
    return RuntimeError(f"{type(error).__qualname__}: {error}")


def pickle_exception(error: BaseException) -> bytes:
    """An exception, or its stand-in. An exception may pickle and yet not come back, if its __init__ takes other arguments."""
    try:
        data = pickle(error)
        if isinstance(unpickle(data), BaseException):
            return data
    except Exception:
        pass
    return pickle(stand_in(error))


def unpickle(data: bytes) -> Any:
    """The value of `pickle`."""
    import pickle as standard

    return standard.loads(data)


def pickle(value: Any) -> bytes:
    """A value in pickle, by cloudpickle where that is installed and needed. Raises what pickle raises."""
    import pickle as standard

    try:
        return standard.dumps(value, protocol=4)
    except Exception:
        # cloudpickle, where the user has it, can also do lambdas and classes of the flow's own file.
        try:
            import cloudpickle  # type: ignore[import-not-found]
        except ImportError:
            pass
        else:
            return bytes(cloudpickle.dumps(value, protocol=4))
        raise


def decode(document: Dict[str, str]) -> Any:
    """The value of a self-contained document."""
    encoding, blob = document.get("encoding"), document.get("blob", "")
    if encoding == "json":
        return json.loads(blob)
    if encoding in ("pickle", "cloudpickle"):
        import base64

        try:
            return unpickle(base64.b64decode(blob))
        except Exception as error:
            raise MissingResult(
                f"the result was made with something this process does not have ({type(error).__name__}: {error}): import it, or define it in a module of its own"
            ) from error
    raise MissingResult(f"this SDK cannot read results of encoding {encoding!r}")


def store(value: Any, client: Client, block: Optional[Dict[str, Any]]) -> Dict[str, str]:
    """Writes a value where it belongs and gives the document for the state."""
    document = encode(value)
    if value is None:
        return document
    if block is not None:
        from sluice import storage

        return storage.write(block, json.dumps(document), client)
    if len(document["blob"].encode()) <= INLINE_LIMIT:
        return document
    key = "result-" + names.uuid4()
    client.write_kv(key, json.dumps(document))
    return {"encoding": "sluice-store", "blob": key}


def load(document: Dict[str, str], client: Optional[Client] = None) -> Any:
    """Reads a result, fetching it where it is stored."""
    if document.get("encoding") == "sluice-state":  # it lies with the run whose it is: see states.to_store
        if client is None:
            from sluice import connection

            client = connection.client()
        kind, _, id = document["blob"].partition(" ")
        body = client.read_task_run(id) if kind == "task_run" else client.read_flow_run(id)
        data = (body.get("state") or {}).get("data")
        if data is None:
            raise MissingResult(f"{kind.replace('_', ' ')} {id} has no result any more")
        return load(data, client)
    if document.get("encoding") in ("sluice-store", "blockstorage"):
        from sluice import storage

        if client is None:
            from sluice import connection

            client = connection.client()
        document = json.loads(storage.read(document, client))
    return decode(document)
