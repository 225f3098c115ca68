"""Log lines: `message key=value`, every known secret and URL password struck out, repeats damped.

The set of secrets is written at start-up and read by every thread that logs; it only grows.
"""

import json
import logging
import re
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import quote

_SYSLOG_LEVELS = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_HIDDEN: set[str] = set()
_SHORT: Final = 4
"""A secret of fewer letters is struck out as a word only: it stands inside other words by chance."""
_KINDS: Final = 100
_LONGEST_S: Final = 600.0
"""Between two lines about the same trouble, a camera that is gone for days, say."""
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)[^/\s@]*:[^\s\"'<>]*@")
_URL_KEY = re.compile(
    r"(?P<name>\b(?:[a-z]+_)?(?:api_?key|key|token|password|passwd|pass|pwd|secret)=)[^&\s\"']+", re.IGNORECASE
)


def hide(secret: str) -> None:
    """From now on `secret` appears in no log line, nor as a URL, Python or JSON would have it."""
    if secret:
        _HIDDEN.update((secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1]))


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
    """The one place every line passes, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, redacted."""
        return redact(super().format(record))


class JournalFormatter(RedactingFormatter):
    """Begins every line with its level as `<N>`, which the journal takes off and files (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines, each with its level."""
        level = next(number for least, number in _SYSLOG_LEVELS if record.levelno >= least)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())


def fields(**values: Any) -> str:  # noqa: ANN401 - a log field may be anything printable
    """`a=1 b="two words"`: the tail of a log line."""
    return " ".join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return '"' + text.replace('"', "'") + '"' if re.search(r"[\s=]", text) or not text else text


def setup(stream: SupportsWrite, *, level: str, with_time: bool, journal: bool = False) -> None:
    """Send the agent's log lines to `stream`; `journal`: it leads to systemd's journal, which keeps time and level."""
    handler = logging.StreamHandler(stream)
    pattern = "%(levelname)-7s %(name)s: %(message)s"
    formatter = JournalFormatter if journal else RedactingFormatter
    handler.setFormatter(formatter(f"%(asctime)s {pattern}" if with_time else pattern, "%H:%M:%S"))
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
