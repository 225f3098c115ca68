"""Log lines: for people or for collectors; every known secret and URL password struck out, repeats damped.

For people a line is `message key=value`. As key=value (logfmt) or JSON it has `time`, `level`, `logger`, `message`, the
`camera` or `sink` whose thread it is of, and the fields that stand behind the message.

The set of secrets is written at start-up and read by every thread that logs; it only grows.
"""

import json
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Final, Protocol

from agent import disguise


class Format(str, Enum):
    """What a log line looks like."""

    TEXT = "text"
    KEYVALUE = "keyvalue"
    JSON = "json"


_SYSLOG_LEVELS = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_HIDDEN: set[str] = set()
_SHORT: Final = 4
"""A secret of fewer letters is struck out as a word only: it stands inside other words by chance."""
_KINDS: Final = 100
_LONGEST_S: Final = 600.0
"""Between two lines about the same trouble, a camera that is gone for days, say."""
_OF_CAMERA = re.compile(r"(?:capture|emit)-(?P<camera>.+)")
_OF_SINK = re.compile(r"(?:sink|outbox|verify)-(?P<sink>.+)")
"""Names of threads."""
_OWN: Final = frozenset({"time", "level", "logger", "message", "camera", "sink", "exception"})
"""What a line has of its own; a field of such a name has a _ behind it."""
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)[^/\s@]*:[^\s\"'<>]*@")
_URL_KEY = re.compile(
    r"(?P<name>\b(?:[a-z]+_)?(?:api_?key|key|token|password|passwd|pass|pwd|secret)=)[^&\s\"']+", re.IGNORECASE
)


def hide(secret: str) -> None:
    """From now on `secret` appears in no log line, in none of the forms that `disguise` knows."""
    if secret:
        _HIDDEN.update(disguise.forms(secret))


def is_secret(text: str) -> bool:
    """Whether `text` is a known secret, and nothing else."""
    return text.strip() in _HIDDEN


def redact(text: str) -> str:
    """`text` without known secrets, passwords in URLs and key parameters."""
    for secret in sorted(_HIDDEN, key=len, reverse=True):
        text = _without(text, secret)
    return _URL_KEY.sub(r"\g<name>***", _URL_PASSWORD.sub(r"\g<scheme>***@", text))


def _without(text: str, secret: str) -> str:
    if len(secret) >= _SHORT:
        return text.replace(secret, "***")
    return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)


class SupportsWrite(Protocol):
    """What a log handler needs of a stream."""

    def write(self, text: str, /) -> object:
        """Take `text`."""

    def flush(self) -> object:
        """Let it out."""


class RedactingFormatter(logging.Formatter):
    """The one place every line for people passes, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, redacted."""
        return redact(super().format(record))


class RecordFormatter(logging.Formatter):
    """The one place every line for collectors passes. Each is a single line, whatever is in it."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """The line; each value is redacted before it is encoded, so that no quote is lost with a secret."""
        found = {name: _plain(value) for name, value in self._values(record)}
        return json.dumps(found, ensure_ascii=False) if self._form is Format.JSON else fields(**found)

    def _values(self, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
        yield "time", _rfc3339(record.created)
        yield "level", record.levelname.lower()
        yield "logger", record.name
        where = _OF_CAMERA.match(record.threadName or "") or _OF_SINK.match(record.threadName or "")
        yield from () if where is None else where.groupdict().items()
        tails = [value for value in record.args or () if isinstance(value, Fields)]
        message = record.getMessage()
        for tail in tails:
            message = message.replace(tail, "").rstrip()
        yield "message", message
        for tail in tails:
            yield from ((name if name not in _OWN else f"{name}_", value) for name, value in tail.values.items())
        if record.exc_info:
            yield "exception", self.formatException(record.exc_info)


class JournalFormatter(logging.Formatter):
    """Begins every line with its level as `<N>`, which the journal takes off and files (sd-daemon(3))."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The lines, each with its level."""
        level = next(number for least, number in _SYSLOG_LEVELS if record.levelno >= least)
        return "\n".join(f"<{level}>{line}" for line in self._inner.format(record).splitlines())


class Fields(str):
    """The tail of a log line, with what it was made of."""

    __slots__ = ("values",)
    values: dict[str, Any]


def fields(**values: Any) -> Fields:  # noqa: ANN401 - a log field may be anything printable
    """`a=1 b="two words"`: the tail of a log line."""
    tail = Fields(" ".join(f"{name}={_quoted(value)}" for name, value in values.items()))
    tail.values = values
    return tail


def _quoted(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return '"' + text.replace('"', "'") + '"' if re.search(r"[\s=]", text) or not text else text


def _plain(value: object) -> str | float | None:
    """`value` as JSON can have it, redacted."""
    number = isinstance(value, int | float) and math.isfinite(value)
    return value if number or value is None else redact(str(value))  # type: ignore[return-value]


def _rfc3339(wall_s: float) -> str:
    moment = datetime.fromtimestamp(wall_s, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def setup(
    stream: SupportsWrite, *, level: str, with_time: bool, journal: bool = False, form: Format = Format.TEXT
) -> None:
    """Send the agent's log lines to `stream`.

    Args:
        stream: where they go.
        level: the least level that is shown.
        with_time: lines for people begin with the time of day; the others have theirs in any case.
        journal: `stream` leads to systemd's journal, which keeps time and level.
        form: what a line looks like.
    """
    handler = logging.StreamHandler(stream)
    pattern = "%(levelname)-7s %(name)s: %(message)s"
    text = RedactingFormatter(f"%(asctime)s {pattern}" if with_time else pattern, "%H:%M:%S")
    formatter = text if form is Format.TEXT else RecordFormatter(form)
    handler.setFormatter(JournalFormatter(formatter) if journal else formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("agent").setLevel(level.upper())


class Damper:
    """Says a repeated event once, then counts it and says the count, ever more rarely while it goes on. Any thread.

    It knows the last hundred kinds of event; one that was forgotten is said again.
    """

    def __init__(self, say: Callable[[str], None], now: Callable[[], float], *, interval_s: float = 10.0) -> None:
        """`interval_s`: the first interval; each one in which the event came again is followed by one twice as long."""
        self._say = say
        self._now = now
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int, float]] = {}

    def note(self, event: str, detail: str) -> None:
        """`event` happened: the key that is damped. `detail` is the sentence that is shown."""
        with self._lock:
            said_s, missed, interval_s = self._seen.pop(event, (float("-inf"), 0, self._interval_s))
            quiet_s = self._now() - said_s
            due = quiet_s >= (interval_s if missed else self._interval_s)
            if due:
                longer_s = min(2 * interval_s, max(_LONGEST_S, self._interval_s)) if missed else self._interval_s
                self._seen[event] = (self._now(), 0, longer_s)
            else:
                self._seen[event] = (said_s, missed + 1, interval_s)
            if len(self._seen) > _KINDS:
                del self._seen[next(iter(self._seen))]
        if due:
            self._say(f"{detail} (and {missed} more like it)" if missed else detail)
