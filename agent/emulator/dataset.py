"""The platform's side: pictures that were uploaded to become training images. State is owned by the event loop.

What is said here follows the Upload API's own words: `success` and `id`, `duplicate` for a picture it has, and errors
one level down, as the platform has them and the hosted models do not.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agent import imaging
from agent.emulator import replies
from agent.errors import FrameUnreadable

REMEMBERED = 200
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Image:
    """One upload that was taken."""

    name: str
    split: str
    batch: str | None
    tags: tuple[str, ...]
    size_bytes: int
    width: int
    height: int
    duplicate: bool


class Dataset:
    """One project's images."""

    def __init__(self, project: str) -> None:
        """`project`: its slug."""
        self._project = project
        self._ids: dict[str, str] = {}
        self._newest: deque[Image] = deque(maxlen=REMEMBERED)
        self._uploads = self._duplicates = 0

    def add(
        self, project: str, data: bytes, *, name: str, split: str, batch: str | None, tags: Sequence[str]
    ) -> replies.Reply:
        """What the API says to a picture. Raises Refused."""
        if project != self._project:
            raise replies.Refused(_error(404, f"The project {project} does not exist, or the key may not see it."))
        if split not in SPLITS:
            raise replies.Refused(_error(400, f"split must be one of {', '.join(SPLITS)}"))
        try:
            height, width = imaging.decode_image(data).shape[:2]
        except FrameUnreadable as error:
            raise replies.Refused(_error(400, "The image could not be processed.")) from error
        digest = hashlib.sha256(data).hexdigest()
        duplicate = digest in self._ids
        self._uploads += 1
        self._duplicates += duplicate
        known = self._ids.setdefault(digest, digest[:20])
        self._newest.append(Image(name, split, batch, tuple(tags), len(data), width, height, duplicate))
        said = {"duplicate": True, "id": known} if duplicate else {"success": True, "id": known}
        return replies.Reply(200, replies.compact(said))

    def state(self) -> dict[str, object]:
        """For `GET /emulator/state`: how many uploads were taken, and the newest of them."""
        newest = [asdict(image) for image in self._newest]
        return {"dataset": {"uploads": self._uploads, "duplicates": self._duplicates, "images": newest}}


def _error(status: int, text: str) -> replies.Reply:
    return replies.Reply(status, replies.compact({"error": {"message": text, "status": status}}))
