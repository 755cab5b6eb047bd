"""Log lines that wait for their delivery, on disk, so that those of a killed process can still be delivered by another.

A file holds the lines of one producer: a header of fixed size, then one line of JSON each. The header says which bytes were
sent last and under which number: a batch whose answer was lost is sent again exactly, which the server recognises. The file
is locked as long as its process lives, and removed when all was delivered. Nothing is synced: a process that is killed loses
nothing, a machine that loses its power may lose the last lines.
"""
from __future__ import annotations

import json
import os

from sluice import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional

HEADER = 256  # bytes
SUFFIX = ".lines"
REUSE_BYTES = 4 << 20  # a file that has been delivered whole and is longer starts again


def folder() -> str:
    """Where this process keeps its lines: where its agent says, else with the files of the user."""
    told = os.environ.get("SLUICE_LOG_SPOOL")
    if told:
        return told
    from sluice import config

    return os.path.join(config.home(), "spool")


class Spool:
    """Lines in the order of their delivery. Where no file can be made, or the disk is full, they wait in memory.

    Used by one thread at a time.
    """

    def __init__(self, api: str = "") -> None:
        self.producer = names.uuid4()
        self.sequence = 0  # of the last batch that was announced
        self.waiting_bytes = 0
        self._api = api
        self._file: Optional[int] = None
        self._path = ""
        self._start = self._end = HEADER  # what was announced last
        self._read = self._written = HEADER
        self._memory: List[bytes] = []  # behind what is in the file
        self._from_memory = 0  # how many of them the last batch has
        self._tried = False

    @classmethod
    def adopt(cls, path: str, api: str) -> Optional[Spool]:
        """The lines a process left that is no more; None while it lives, and for lines that are for another server."""
        import fcntl

        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            header = json.loads(os.pread(descriptor, HEADER, 0))
            if header["api"] not in (api, names.fingerprint(api.encode())) or not os.path.exists(path):
                os.close(descriptor)
                return None
            spool = cls(api)
            spool.producer, spool.sequence = str(header["producer"]), int(header["sequence"])
            spool._start, spool._end = int(header["start"]), int(header["end"])
            spool._written = _whole(descriptor, os.fstat(descriptor).st_size)
        except (OSError, ValueError, KeyError, TypeError):
            os.close(descriptor)
            return None
        spool._file, spool._path, spool._tried = descriptor, path, True
        spool._read = min(spool._end, spool._written)
        spool.waiting_bytes = spool._written - spool._read
        return spool

    def unanswered(self) -> List[bytes]:
        """Of an adopted file: the batch that was sent last, of which nobody knows whether it was stored."""
        if self._file is None or self._end <= self._start:
            return []
        return os.pread(self._file, self._end - self._start, self._start).splitlines()

    def append(self, line: bytes) -> None:
        """Adds a line, which must not contain a line end."""
        self.waiting_bytes += len(line) + 1
        if not self._tried:
            self._tried = True
            self._open()
        if self._file is None or self._memory:
            self._memory.append(line)
            return
        try:
            if os.pwrite(self._file, line + b"\n", self._written) != len(line) + 1:
                raise OSError("the disk is full")
            self._written += len(line) + 1
        except OSError:
            try:
                os.ftruncate(self._file, self._written)
            except OSError:
                pass
            self._memory.append(line)

    def peek(self, most_lines: int, most_bytes: int) -> List[bytes]:
        """The next lines to deliver, within the limits unless the first alone is beyond them."""
        self._from_memory = 0
        if self._file is not None and self._read < self._written:
            size = 2 * most_bytes
            while True:
                data = os.pread(self._file, min(size, self._written - self._read), self._read)
                if b"\n" in data or len(data) < size:
                    break
                size *= 2
            found = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        else:
            found = self._memory[:most_lines]
        batch, total = [], 0
        for line in found[:most_lines]:
            if batch and total + len(line) + 1 > most_bytes:
                break
            batch.append(line)
            total += len(line) + 1
        if self._file is None or self._read >= self._written:
            self._from_memory = len(batch)
        return batch

    def announce(self, lines: List[bytes]) -> int:
        """Notes that the next lines of those peeked at are about to be sent; the number to send them under."""
        self.sequence += 1
        if not self._from_memory:
            self._start = self._read
            self._end = self._start + sum(len(line) + 1 for line in lines)
            self._note()
        return self.sequence

    def done(self, lines: List[bytes]) -> None:
        """The announced lines were stored, or are given up."""
        size = sum(len(line) + 1 for line in lines)
        self.waiting_bytes -= size
        if self._from_memory:
            del self._memory[: len(lines)]
            self._from_memory -= len(lines)
            return
        self._read += size
        if self._read >= self._written > REUSE_BYTES and self._file is not None:
            try:
                os.ftruncate(self._file, HEADER)
            except OSError:
                return
            self._start = self._end = self._read = self._written = HEADER
            self._note()

    def __bool__(self) -> bool:
        return self._read < self._written or bool(self._memory)

    def give_up(self) -> None:
        """Forgets lines in memory; those on disk stay for another process."""
        self._memory.clear()
        self.close()
        self._read = self._written
        self.waiting_bytes = 0

    def close(self) -> None:
        """Ends the use of the file, and removes it when all of it was delivered."""
        if self._file is None:
            return
        try:
            if self._read >= self._written:
                os.unlink(self._path)
            os.close(self._file)
        except OSError:
            pass
        self._file = None

    def _open(self) -> None:
        try:
            import fcntl

            place = folder()
            os.makedirs(place, mode=0o700, exist_ok=True)
            run = os.environ.get("SLUICE_FLOW_RUN_ID") or "script"
            path = os.path.join(place, f"{run}-{os.getpid()}-{self.producer[:8]}{SUFFIX}")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except (OSError, ImportError):
            return  # memory serves
        self._file, self._path = descriptor, path
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._note()
        except OSError:
            self.close()

    def _note(self) -> None:
        if self._file is None:
            return
        header: Dict[str, Any] = {
            "sluice_lines": 1, "producer": self.producer, "api": self._api, "sequence": self.sequence, "start": self._start, "end": self._end,
        }  # fmt: skip
        text = json.dumps(header, separators=(",", ":")).encode()
        if len(text) >= HEADER:
            header["api"] = names.fingerprint(self._api.encode())
            text = json.dumps(header, separators=(",", ":")).encode()
        os.pwrite(self._file, text.ljust(HEADER - 1) + b"\n", 0)


def _whole(descriptor: int, size: int) -> int:
    """Where the last whole line ends: the process may have died while it wrote one."""
    step, end = 1 << 16, size
    while end > HEADER:
        start = max(HEADER, end - step)
        at = os.pread(descriptor, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return HEADER


def leftovers(api: str) -> Iterator[Spool]:
    """What dead processes left for the server of that address in this process's folder."""
    place = folder()
    try:
        found = sorted(name for name in os.listdir(place) if name.endswith(SUFFIX))
    except OSError:
        return
    for name in found:
        spool = Spool.adopt(os.path.join(place, name), api)
        if spool is not None:
            yield spool
