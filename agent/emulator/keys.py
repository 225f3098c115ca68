"""Which API keys the emulated server knows, and what it says to each. No state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from agent.emulator import replies
from agent.errors import ConfigError

_BEARER = "bearer "


class Verdict(str, Enum):
    """What becomes of a request with this key."""

    OK = "ok"
    NO_CREDITS = "no_credits"
    FORBIDDEN = "forbidden"
    PAUSED = "paused"


_STATUS = {Verdict.NO_CREDITS: 402, Verdict.FORBIDDEN: 403, Verdict.PAUSED: 423}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys the server knows; any other is refused with 401."""

    verdicts: Mapping[str, Verdict]

    @property
    def first_good(self) -> str | None:
        """A key that works, to show a person; None when there is none."""
        return next((key for key, verdict in self.verdicts.items() if verdict is Verdict.OK), None)

    def refusal(self, key: str | None, *, is_v1: bool = False) -> replies.Reply | None:
        """The answer to a request that may not go on; None for one that may.

        Args:
            key: what the request has; None or empty: it has none.
            is_v1: the older service says 403 where the newer one says 401.
        """
        verdict = self.verdicts.get(key) if key else None
        if verdict is None and is_v1:
            return replies.error(403)
        if not key:
            return replies.error(401, message="Unauthorized api_key")
        if verdict is None:
            return replies.error(401)
        return None if verdict is Verdict.OK else replies.error(_STATUS[verdict])


def bearer(authorization: str | None) -> str | None:
    """The key of an Authorization header, of which only the Bearer scheme counts."""
    if authorization is None or not authorization.lower().startswith(_BEARER):
        return None
    return authorization[len(_BEARER) :].strip()


def parse(texts: Iterable[str]) -> KeyRing:
    """Keys as the command line gives them: `KEY` or `KEY=VERDICT`.

    Raises:
        ConfigError: an empty key or an unknown verdict.
    """
    return KeyRing(dict(_key(text) for text in texts))


def _key(text: str) -> tuple[str, Verdict]:
    key, equals, word = text.partition("=")
    known = [verdict.value for verdict in Verdict]
    if not key or (equals and word not in known):
        raise ConfigError(f"the key {text!r} is not KEY or KEY=VERDICT; verdicts are {', '.join(known)}")
    return key, Verdict(word) if equals else Verdict.OK


def lines_of(path: Path) -> list[str]:
    """The keys of a file as `parse` takes them, one a line.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}; check path and rights") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the key file {path} is not text; put a key on each line") from error
    if not lines:
        raise ConfigError(f"the key file {path} is empty; put a key on each line")
    return lines
