"""Settings: environment first, then the active profile of $SLUICE_HOME/profiles.toml, then defaults."""
from __future__ import annotations

import os

from sluice.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional


def home() -> str:
    """The directory of profiles and data."""
    return os.environ.get("SLUICE_HOME") or os.path.join(os.path.expanduser("~"), ".sluice")


def _unquote(text: str, where: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        import json

        try:
            return str(json.loads(text))
        except ValueError:
            pass
    raise ConfigurationError(f'{where}: expected KEY = "value"')


def read_profile(path: str) -> Dict[str, str]:
    """The settings of the active profile. A missing file has none; a malformed line is an error naming it."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    active, section = "default", ""
    profiles: Dict[str, Dict[str, str]] = {}
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        where = f"{path}:{number}"
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise ConfigurationError(f"{where}: expected [profiles.NAME]")
            section = line[1:-1].strip()
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ConfigurationError(f'{where}: expected KEY = "value"')
        key, value = key.strip().strip('"'), value.strip()
        if value[:1] in "\"'" and value[:1]:
            # Only a comment may follow the closing quote.
            end, quote = 1, value[0]
            while end < len(value) and value[end] != quote:
                end += 2 if quote == '"' and value[end] == "\\" else 1
            rest = value[end + 1 :].strip()
            if rest and not rest.startswith("#"):
                raise ConfigurationError(f'{where}: expected KEY = "value"')
            value = value[: end + 1]
        text = _unquote(value, where)
        if not section and key == "active":
            active = text
        elif section.startswith("profiles."):
            profiles.setdefault(section[len("profiles.") :].strip('"'), {})[key] = text
    return profiles.get(active, {})


_profile: Optional[Dict[str, str]] = None


def get(name: str, default: str = "") -> str:
    """One setting as text. An empty environment variable counts as unset."""
    value = os.environ.get(name)
    if value:
        return value
    global _profile
    if _profile is None:
        _profile = read_profile(os.path.join(home(), "profiles.toml"))
    return _profile.get(name) or default


def api_addresses() -> List[str]:
    """The configured API addresses, in the order in which they are tried; empty when none is configured."""
    return [_with_api_path(part.strip()) for part in get("SLUICE_API_URL").split(",") if part.strip()]


def _with_api_path(address: str) -> str:
    """Completes an address that names only a server: everything of the API is below /api."""
    scheme, separator, rest = address.rstrip("/").partition("://")
    if separator and rest and not any(c in rest for c in "/?#"):
        rest += "/api"
    return scheme + separator + rest


def local_token(address: str) -> str:
    """The admin's token of the server that this user runs at the address right now, as the commands find it; "" if there is none."""
    import json
    from urllib.parse import urlsplit

    name = urlsplit(address).netloc.replace(":", "_").replace("[", "").replace("]", "")
    try:
        with open(os.path.join(home(), "servers", name + ".json"), encoding="utf-8") as file:
            server = json.load(file)
        if not _held(os.path.join(server["data_dir"], "LOCK"), int(server["pid"])):
            return ""  # somebody else may serve there now
        with open(os.path.join(server["data_dir"], "admin-token"), encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _held(path: str, pid: int) -> bool:
    import fcntl

    with open(path, encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip() == str(pid)
    return False


def reset() -> None:
    """Forgets the cached profile (after the environment changed, as tests do)."""
    global _profile
    _profile = None
