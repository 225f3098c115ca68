"""One frame that is kept for a second look: its picture, and what its correction's record needs. No state.

As a file: a line of checksum, schema and JSON, then the JPEG. The line has the JPEG's length and checksum, so a file
that is torn anywhere shows it.
"""

import json
import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from agent.flow import Answer, Decision, Fate, Hedge, Picture, Reason, Result, Route
from agent.stamp import Stamp

SCHEMA: Final = "vedette.kept/1"
LONGEST_LINE_BYTES: Final = 4096


class Torn(ValueError):
    """The file does not hold what was written."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture and the result that was published for its frame, without the objects."""

    picture: Picture
    camera: str
    seq: int
    boot_id: str
    captured_s: float
    """Monotonic seconds of that boot."""
    captured_wall_s: float
    clock_synchronized: bool
    reason: Reason
    deadline_s: float
    """Monotonic, of that boot."""
    p: float | None
    threshold: float | None

    @property
    def stamp(self) -> Stamp:
        """When the frame was taken."""
        return Stamp(self.boot_id, self.captured_s, self.captured_wall_s if self.clock_synchronized else None)

    def correction(self, answer: Answer, *, age_s: float, took_s: float) -> Result:
        """The hosted model's answer in place of the device's.

        Args:
            answer: in the captured frame's pixels.
            age_s: from the capture until the answer, as far as it is known.
            took_s: from the request until the answer.
        """
        answered_s = self.captured_s + age_s  # in the time of the frame's own boot, as if it had gone on
        return Result(
            camera=self.camera,
            seq=self.seq,
            revision=1,
            captured_s=self.captured_s,
            captured_wall_s=self.captured_wall_s,
            clock_synchronized=self.clock_synchronized,
            width=self.picture.frame_width,
            height=self.picture.frame_height,
            decision=Decision(Route.LOCAL, self.reason, self.deadline_s, None, self.p, self.threshold),
            fate=Fate.DONE,
            published=Route.CLOUD,
            answer=answer,
            late=True,
            started_s=answered_s - took_s,
            answered_s=answered_s,
            hedge=Hedge.NONE,
            supersedes=0,
        )


def of(result: Result, picture: Picture, boot_id: str) -> Kept:
    """What is kept of a frame whose `result` was published in this boot."""
    decision = result.decision
    return Kept(
        picture,
        result.camera,
        result.seq,
        boot_id,
        result.captured_s,
        result.captured_wall_s,
        result.clock_synchronized,
        decision.reason,
        decision.deadline_s,
        decision.p,
        decision.threshold,
    )


def pack(kept: Kept) -> bytes:
    """The file's content."""
    picture = kept.picture
    values = asdict(replace(kept, picture=replace(picture, data=b"")))
    values["picture"] = {name: value for name, value in values["picture"].items() if name != "data"}
    text = json.dumps([SCHEMA, len(picture.data), zlib.crc32(picture.data), values], separators=(",", ":")).encode()
    return b"%08x %b\n%b" % (zlib.crc32(text), text, picture.data)


def head_of(line: bytes) -> tuple[int, Stamp]:
    """From a file's first line: how long its picture is, and when the frame was taken. Raises Torn."""
    size_bytes, _, kept = _parsed(line)
    return size_bytes, kept.stamp


def unpack(content: bytes) -> Kept:
    """What `pack` packed. Raises Torn."""
    line, _, data = content.partition(b"\n")
    size_bytes, checksum, kept = _parsed(line)
    if len(data) != size_bytes or zlib.crc32(data) != checksum:
        raise Torn("the picture is not whole")
    return replace(kept, picture=replace(kept.picture, data=data))


def _parsed(line: bytes) -> tuple[int, int, Kept]:
    checksum, _, text = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            raise Torn("its first line is not whole")
        schema, size_bytes, data_checksum, values = json.loads(text)
        if schema != SCHEMA:
            raise Torn(f"its schema is {schema}, not {SCHEMA}")
        return int(size_bytes), int(data_checksum), _kept(values)
    except (ValueError, TypeError, KeyError) as error:
        raise Torn(str(error) or type(error).__name__) from error


def _kept(values: dict[str, Any]) -> Kept:
    picture = Picture(data=b"", **values.pop("picture"))
    return Kept(picture, reason=Reason(values.pop("reason")), **values)
