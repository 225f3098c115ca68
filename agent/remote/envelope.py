"""From the bytes on a command's topic to an Order: hostile until proven otherwise. No state.

Size, depth, types and names are checked before anything is looked up. A message is

    {"id": ID, ...}                               a command's text; or
    {"signed": TEXT, "signature": HEX}            the same as text, so that its bytes are what was signed
"""

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import CommandRefused
from agent.remote.order import NOBODY, Letter, Order
from agent.remote.signature import Key, signer
from agent.remote.words import Word

LARGEST_BYTES: Final = 262_144
"""A configuration of a hundred cameras is a quarter of that."""
_DEEPEST: Final = 8
_MOST_PARTS: Final = 1000
"""Strings and brackets; a configuration is one string."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LATEST_S: Final = 2.0**53
"""Seconds are exact below."""
_ENVELOPE: Final = {"signed", "signature"}
_PART: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)
"""A string, to the end of the text if it has none, or a bracket: one pass over whatever comes."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the messages of one agent."""

    agent: str
    allowed: Sequence[Word]
    keys: Sequence[Key]
    """Of signatures; none: messages are not signed, and the broker's access list alone says who may send them."""

    def order(self, letter: Letter) -> Order:
        """The command in a message. Raises CommandRefused with what was wrong, what is allowed, the nearest name."""
        if letter.retained:
            raise CommandRefused("it was retained at the broker; publish commands without retain, and clear this one")
        word = self._word(letter.name)
        body, by = self._opened(letter.body, word)
        said = _object(body)
        name = said.pop("id", None)
        if not isinstance(name, str) or not _ID.fullmatch(name):
            raise CommandRefused("needs an id: 1 to 64 letters, digits, - and _, another one for each command")
        at_s, session = said.pop("at", None), said.pop("session", None)
        if at_s is not None and (
            isinstance(at_s, bool) or not isinstance(at_s, int | float) or not abs(at_s) < _LATEST_S
        ):
            raise CommandRefused("at should be a number: the seconds since 1970, as `date +%s` prints them")
        if session is not None and not isinstance(session, str):
            raise CommandRefused("session should be text, as the retained topic remote has it")
        digest = hashlib.sha256(word.value.encode() + b"\n" + body).hexdigest()[:32]
        return Order(name, word, said, digest, by, None if at_s is None else float(at_s), session)

    def _word(self, name: str) -> Word:
        names = [word.value for word in self.allowed]
        if name in names:
            return Word(name)
        listed = ", ".join(names)
        if name in {word.value for word in Word}:
            raise CommandRefused(f"{name} is not among remote.allow of this agent, which has {listed}")
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CommandRefused(f"there is no command {name[:64]!r}{hint} Allowed: {listed}")

    def _opened(self, body: bytes, word: Word) -> tuple[bytes, str]:
        """The command's own text, and who signed it. Raises CommandRefused."""
        said = _object(body)
        sealed = bool(said.keys() & _ENVELOPE)
        if not self.keys:
            if sealed:
                raise CommandRefused("it is signed, and this agent has no remote.signature_key to check it by")
            return body, NOBODY
        if not sealed:
            raise CommandRefused('this agent takes signed commands only: {"signed": TEXT, "signature": HEX}')
        text, signature = said.get("signed"), said.get("signature")
        if said.keys() != _ENVELOPE or not isinstance(text, str) or not isinstance(signature, str):
            raise CommandRefused("a signed command has signed and signature, both text, and nothing else")
        by = signer(text, signature, self.keys, agent=self.agent, command=word.value)
        return text.encode(), by


def id_in(body: bytes) -> str | None:
    """The id of a message that was refused, if it can be read: nothing in it has been believed."""
    try:
        said = _object(body)
        said = _object(said["signed"].encode()) if isinstance(said.get("signed"), str) else said
    except CommandRefused:
        return None
    name = said.get("id")
    return name if isinstance(name, str) and _ID.fullmatch(name) else None


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, all of whose strings are text. Raises CommandRefused."""
    if len(body) > LARGEST_BYTES:
        raise CommandRefused(f"it has {len(body)} bytes; at most {LARGEST_BYTES} are read")
    try:
        text = body.decode()
        _refuse_depth(text)
        said = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CommandRefused('it is no JSON; send an object in UTF-8, such as {"id": "1"}') from error
    if not isinstance(said, dict):
        raise CommandRefused('it is no JSON object; send one, such as {"id": "1"}')
    _refuse_half_letters(said, text)
    return said


def _refuse_half_letters(said: dict[str, Any], text: str) -> None:
    """JSON can escape half of a surrogate pair (RFC 8259, section 8.2), which is no letter and has no UTF-8.

    Raises CommandRefused.
    """
    try:
        if "\\u" in text:
            json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise CommandRefused(
            f"{half} stands in it alone, which is half of a letter; send both halves, or neither"
        ) from error


def _refuse_depth(text: str) -> None:
    """Before it is parsed, which takes a stack and memory. Raises CommandRefused."""
    depth = 0
    for number, part in enumerate(_PART.finditer(text)):
        depth += (part[0] in "{[") - (part[0] in "}]")
        if depth > _DEEPEST or number >= _MOST_PARTS:
            raise CommandRefused(f"it is nested more than {_DEEPEST} deep, or has more than {_MOST_PARTS} parts")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise CommandRefused(f"{twice[:64]!r} stands twice; keep one")
    return dict(pairs)


def _no_number(text: str) -> float:
    raise CommandRefused(f"{text} is no number of JSON")
