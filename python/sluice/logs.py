"""Log lines of runs: to the console at once, to the server in batches by a background thread.

The logger is our own small class and not `logging`, whose import takes 5 to 8 ms of a flow's start. It has the methods
of `logging.Logger` that flows use.
"""
from __future__ import annotations

import atexit
import os
import sys
import threading
import time

from sluice import config, context, log_spool, timestamps, transport
from sluice.errors import ApiError, ConfigurationError, ServerUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from sluice.client import Client

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
_LEVELS = {"DEBUG": DEBUG, "INFO": INFO, "WARNING": WARNING, "ERROR": ERROR, "CRITICAL": CRITICAL}
_LEVEL_NAMES = {value: name for name, value in _LEVELS.items()}

# Bytes are those of the JSON that is sent. The server takes 8 MiB at once.
MESSAGE_LIMIT = 1_000_000  # bytes of one message
BATCH_BYTES = 1_000_000  # of one batch, unless a single line with its other fields is larger
BATCH_LINES = 1000
BATCH_SECONDS = 0.25  # a line is on its way to the server after at most this
BUFFER_BYTES = 256_000_000  # lines beyond are dropped while the server cannot be reached
EXIT_SECONDS = 20.0  # how long a process that ends waits for its last lines to be delivered


def level_number(level: Any) -> int:
    """A level given as number or name."""
    if isinstance(level, int):
        return level
    try:
        return _LEVELS[str(level).upper()]
    except KeyError:
        raise ValueError(f"{level!r} is not a log level; levels are {', '.join(_LEVELS)}") from None


def _threshold() -> int:
    try:
        return level_number(config.get("SLUICE_LOGGING_LEVEL") or INFO)
    except (ValueError, ConfigurationError):  # who connects is told what is wrong with a profile
        return INFO


# False in a process whose output an agent keeps as log lines of the run: these would come twice.
run_lines_on_console = True

_console_lock = threading.Lock()  # keeps lines whole


def console(level: str, name: str, message: str, moment: Optional[float] = None) -> None:
    """One line on standard error: `12:14:30.012 | INFO    | sluice.engine - text`."""
    if _LEVELS.get(level, INFO) < _threshold():
        return
    seconds = time.time() if moment is None else moment
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    line = f"{clock}.{int(seconds * 1000) % 1000:03d} | {level:<7} | {name} - {message}\n"
    try:
        with _console_lock:
            sys.stderr.write(line)
            sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # nobody listens any more: a closed pipe must not fail the run


class LogShipper:
    """Delivers lines in order, exactly once each, without ever making their writer wait.

    Batches carry (producer, sequence): one that was stored but whose answer was lost is not stored twice. A batch is
    tried until it is stored, through outages of any length; lines wait on disk, bounded by dropping new ones, with one
    line that says how many. A batch that is too large for the server or something in front of it is sent in halves;
    other batches that are refused are dropped, and the console tells.
    """

    def __init__(self, client: Client, spool: Optional[log_spool.Spool] = None) -> None:
        self._client = client
        self._changed = threading.Condition()  # guards all below
        self._spool = log_spool.Spool(_place(client)) if spool is None else spool
        self._dropped = 0
        self._sending = False
        self._urgent = False
        self._gave_up = False
        self._closing_at: Optional[float] = None  # after this (monotonic) undelivered lines are given up
        self._thread: Optional[threading.Thread] = None
        # Of a dead process: the batch of which nobody knows whether it was stored.
        self._unanswered = self._spool.unanswered()
        if spool is not None:
            with self._changed:
                self._sending = bool(self._unanswered)
                self._start()

    def add(self, line: Dict[str, Any]) -> None:
        """Queues a line."""
        encoded = transport.encode(line)
        with self._changed:
            if self._spool.waiting_bytes + len(encoded) > BUFFER_BYTES:
                self._dropped += 1
                return
            if self._dropped:
                marker = {**line, "level": WARNING, "message": f"{self._dropped} log lines were dropped: the server could not be reached."}
                self._spool.append(transport.encode(marker))
                self._dropped = 0
            first = not self._spool
            self._spool.append(encoded)
            if self._thread is None and self._closing_at is None:
                self._start()
            elif first or self._spool.waiting_bytes >= BATCH_BYTES:
                self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Waits until every line so far is delivered, at most so long. Answers whether they are."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            while self._spool or self._sending:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None:
                    return False
                self._changed.wait(left)
            return not self._gave_up

    def close(self, seconds: float = EXIT_SECONDS) -> bool:
        """Delivers what is left, gives up after `seconds`, and ends the thread. Answers whether all was delivered."""
        with self._changed:
            self._closing_at = time.monotonic() + seconds
            self._changed.notify_all()
            thread = self._thread
        delivered = self.flush(seconds)
        if thread is not None and delivered:
            thread.join(1.0)
        with self._changed:
            self._spool.close()
        return delivered

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sluice-logs", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._unanswered:
            self._repeat(self._unanswered, self._spool.sequence)
        while True:
            with self._changed:
                self._sending = False
                self._changed.notify_all()
                while not self._spool and self._closing_at is None:
                    self._changed.wait()
                # Company for the first line, unless somebody waits for it.
                until = time.monotonic() + BATCH_SECONDS
                while not self._urgent and self._closing_at is None and self._spool.waiting_bytes < BATCH_BYTES:
                    left = until - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                self._urgent = False
                batch = self._spool.peek(BATCH_LINES, BATCH_BYTES)
                if not batch:
                    return  # closing, and nothing left
                self._sending = True
            if not self._deliver(batch):
                with self._changed:
                    self._spool.give_up()
                    self._gave_up = True
                    self._sending = False
                    self._changed.notify_all()
                return

    def _deliver(self, batch: List[bytes]) -> bool:
        """Sends a batch until it is decided about. Answers False when the time for it is over."""
        parts = [batch]  # the next one last
        announced = None
        while parts:
            part = parts.pop()
            if announced is None:
                with self._changed:
                    announced = self._spool.announce(part)
            try:
                if not self._send(part, announced):
                    return False
            except ApiError as error:
                if error.status == 413 and len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                    continue  # nothing was stored under the number
                console("WARNING", "sluice.logs", f"The server refused {len(part)} log lines, which are lost: {error}")
            announced = None
            with self._changed:
                self._spool.done(part)
        return True

    def _repeat(self, batch: List[bytes], sequence: int) -> None:
        """Sends the last batch of a dead process again: the server knows its number if it has it."""
        try:
            self._send(batch, sequence)  # if its time is over, so is that of the others
        except ApiError:
            pass  # it was refused before, too

    def _send(self, part: List[bytes], sequence: int) -> bool:
        """Sends lines until they are stored. Raises ApiError when they would be refused again."""
        body = b"[" + b",".join(part) + b"]"
        while True:
            with self._changed:
                left = 5.0 if self._closing_at is None else self._closing_at - time.monotonic()
            try:
                self._client.send_logs(body, self._spool.producer, sequence, retry_seconds=max(0.0, min(5.0, left)))
                return True
            except ApiError as error:
                if error.status < 500 and error.status != 429:
                    raise
            except (ServerUnavailable, OSError):
                pass
            with self._changed:
                if self._closing_at is not None and time.monotonic() >= self._closing_at:
                    console("ERROR", "sluice.logs", "Log lines could not be delivered now. They are kept, and delivered when a flow runs here again.")
                    return False
                self._changed.wait(0.5)


def _place(client: Client) -> str:
    """What tells the lines for one server from those for another: its addresses, empty for the server that comes and goes."""
    if client.transport.relocate is not None:
        return ""
    return ",".join(address.url for address in client.transport.addresses)


def _deliver_leftovers(client: Client) -> None:
    """Delivers what processes left that were killed."""
    for spool in log_spool.leftovers(_place(client)):
        LogShipper(client, spool).close(60.0)


def _encoded_size(value: Any) -> int:
    return len(transport.encode(value))


def _fitted(text: str) -> str:
    """The text, cut where its JSON gets longer than the limit."""
    if len(text) <= MESSAGE_LIMIT // 6:  # no character takes more than 6 bytes
        return text
    # JSON has no lone surrogates, which undecodable file names bring.
    start = text[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()
    if len(text) <= MESSAGE_LIMIT and _encoded_size(start) <= MESSAGE_LIMIT:
        return text
    fits, beyond = 0, len(start) + 1
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if _encoded_size(start[:middle]) <= MESSAGE_LIMIT:
            fits = middle
        else:
            beyond = middle
    return start[:fits] + " [cut: longer than 1 MB]"


_shippers_lock = threading.Lock()  # guards _shippers
_shippers: Dict[int, LogShipper] = {}


def shipper(client: Client) -> LogShipper:
    """The shipper of this process for a client; delivers what is left when the interpreter exits."""
    with _shippers_lock:
        found = _shippers.get(id(client))
        if found is None:
            found = _shippers[id(client)] = LogShipper(client)
            # Daemon threads still run while atexit callbacks do.
            atexit.register(found.close)
            if not os.environ.get("SLUICE_LOG_SPOOL"):  # an agent delivers what its processes leave
                threading.Thread(target=_deliver_leftovers, args=(client,), name="sluice-leftover-logs", daemon=True).start()
        return found


def deliver_all(seconds: float = EXIT_SECONDS) -> bool:
    """Delivers the lines of every shipper of this process and forgets them. Answers whether all were delivered."""
    with _shippers_lock:
        found = list(_shippers.values())
        _shippers.clear()
    delivered = True
    for one in found:
        atexit.unregister(one.close)
        delivered = one.close(seconds) and delivered
    return delivered


class RunLogger:
    """Logger of one flow or task run, with the usual methods of `logging.Logger`."""

    def __init__(self, name: str, title: str, to: Optional[LogShipper], flow_run_id: str, task_run_id: Optional[str] = None) -> None:
        self.name = name
        self._title = title
        self._to = to
        self._flow_run_id = flow_run_id
        self._task_run_id = task_run_id
        self._level: Optional[int] = None

    def setLevel(self, level: Any) -> None:
        """Lines below this level are dropped."""
        self._level = level_number(level)

    def getEffectiveLevel(self) -> int:
        return _threshold() if self._level is None else self._level

    def isEnabledFor(self, level: int) -> bool:
        """Whether a line of this level would be written."""
        return level >= self.getEffectiveLevel()

    def debug(self, message: object, *args: object, **options: Any) -> None:
        """A line for who looks for a mistake."""
        self.log(DEBUG, message, *args, **options)

    def info(self, message: object, *args: object, **options: Any) -> None:
        """A line that says what happens."""
        self.log(INFO, message, *args, **options)

    def warning(self, message: object, *args: object, **options: Any) -> None:
        """A line about what may be wrong."""
        self.log(WARNING, message, *args, **options)

    warn = warning

    def error(self, message: object, *args: object, **options: Any) -> None:
        """A line about what went wrong."""
        self.log(ERROR, message, *args, **options)

    def critical(self, message: object, *args: object, **options: Any) -> None:
        """A line about what ends the program."""
        self.log(CRITICAL, message, *args, **options)

    fatal = critical

    def exception(self, message: object, *args: object, **options: Any) -> None:
        """An error line with the traceback of the exception that is being handled."""
        options.setdefault("exc_info", True)
        self.log(ERROR, message, *args, **options)

    def log(
        self,
        level: int,
        message: object,
        *args: object,
        exc_info: Any = None,
        to_server: bool = True,
        always_show: bool = False,
        name: Optional[str] = None,
        **_: Any,
    ) -> None:
        """One line. `args` are put in with `%` as in `logging`. `to_server` false keeps it on the console;
        `always_show` is for what only the console can tell, because the server cannot be told."""
        if not self.isEnabledFor(level):
            return
        text = str(message)
        if args:
            try:
                text = text % (args[0] if len(args) == 1 and isinstance(args[0], dict) and args[0] else args)
            except Exception as error:  # a wrong format must not fail the run, as in `logging`
                text = f"{text} {args!r} (malformed log message: {error})"
        if exc_info:
            text = (text + "\n" if text else "") + _traceback(exc_info)
        text = _fitted(text)
        moment = timestamps.now()
        if run_lines_on_console or always_show:
            console(_LEVEL_NAMES.get(level, f"Level {level}"), self._title, text, moment.timestamp())
        if to_server and self._to is not None:
            self._to.add(
                {
                    "name": name or self.name,
                    "level": level,
                    # JSON has no lone surrogates, which undecodable file names bring.
                    "message": text.encode("utf-8", "replace").decode(),
                    "timestamp": timestamps.to_text(moment),
                    "flow_run_id": self._flow_run_id,
                    "task_run_id": self._task_run_id,
                }
            )


def _traceback(exc_info: Any) -> str:
    import traceback

    if isinstance(exc_info, BaseException):
        error: Optional[BaseException] = exc_info
    elif isinstance(exc_info, tuple):
        error = exc_info[1]
    else:
        error = sys.exc_info()[1]
    if error is None:
        return "NoneType: None"
    return "".join(traceback.format_exception(type(error), error, user_frames(error))).rstrip("\n")


def user_frames(error: BaseException) -> Any:
    """The traceback without the SDK's own frames at its top: what is left is the user's code."""
    package = os.path.dirname(os.path.abspath(__file__)) + os.sep
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(package):
        frames = frames.tb_next
    return frames if frames is not None else error.__traceback__


def get_run_logger() -> RunLogger:
    """The logger of the task run or flow run the caller is in. Raises RuntimeError outside of both."""
    run = context.current()
    if run is None:
        raise RuntimeError("There is no active flow or task run: get_run_logger() can only be called from within one.")
    logger: RunLogger = run.logger
    return logger


_following = False


def follow_extra_loggers() -> None:
    """Sends what the loggers named in SLUICE_LOGGING_EXTRA_LOGGERS (separated by commas) get within a run with it."""
    global _following
    wanted = [name.strip() for name in os.environ.get("SLUICE_LOGGING_EXTRA_LOGGERS", "").split(",") if name.strip()]
    if _following or not wanted:
        return
    _following = True
    import logging

    class Follower(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            run = context.current()
            if run is not None:
                run.logger.log(record.levelno, self.format(record), name=record.name)

    follower = Follower()
    for name in wanted:
        logger = logging.getLogger(name)
        logger.addHandler(follower)
        if logger.level == logging.NOTSET:
            logger.setLevel(_threshold())
