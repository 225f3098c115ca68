"""What is wanted otherwise than the configuration has it, for now: by a person far away, or by the device's own care.

Nothing acts here. The cameras' shutters and the admission ask before each frame. Any thread; one lock.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from agent.router import Mode, Prefer

BY: Final = ("remote", "data", "heat", "power")
"""Who may want something, by rank: where two want different routes, the first has it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that is wanted now, and by whom."""

    by: str
    what: str
    """paused, most_fps, mode or prefer."""
    value: str | float
    camera: str | None = None
    """None: all."""
    why: str = ""

    @property
    def words(self) -> str:
        """For people."""
        where = "" if self.camera is None else f"camera {self.camera} "
        said = {
            "paused": f"{where}is paused",
            "most_fps": f"{where}gives at most {self.value:.3g} frames a second" if self.what == "most_fps" else "",
            "mode": f"routing.mode is {self.value}",
            "prefer": f"routing.prefer is {self.value}",
        }[self.what]
        return f"{said}, by {self.by}" + (f": {self.why}" if self.why else "")


@dataclass(slots=True)
class _Holder:
    """All that one of BY wants. `whys`: by camera, and by what is steered."""

    paused: dict[str, str] = field(default_factory=dict)
    most_fps: dict[str, tuple[float, str]] = field(default_factory=dict)
    mode: Mode | None = None
    prefer: Prefer | None = None
    steers_why: str = ""


class Controls:
    """What holds of it for cameras and routes, while it holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = {by: _Holder() for by in BY}
        self._changes = dict.fromkeys(BY, 0)

    def pause(self, camera: str, *, by: str, why: str = "") -> None:
        """Take no frames of this camera; it is closed, as outside its schedule. Raises ValueError: nobody of BY."""
        with self._lock:
            paused = self._of(by).paused
            self._changes[by] += camera not in paused
            paused[camera] = why

    def resume(self, camera: str, *, by: str) -> None:
        """It is no longer paused by this one. Raises ValueError."""
        with self._lock:
            self._changes[by] += self._of(by).paused.pop(camera, None) is not None

    def limit_fps(self, camera: str, fps: float | None, *, by: str, why: str = "") -> None:
        """Use at most so many frames a second; the lowest of all limits holds. None: no limit. Raises ValueError."""
        if fps is not None and not fps > 0:
            raise ValueError(f"a limit of {fps} frames a second: give more than 0, or pause the camera")
        with self._lock:
            limits = self._of(by).most_fps
            before, _ = limits.pop(camera, (None, ""))
            self._changes[by] += fps != before
            if fps is not None:
                limits[camera] = fps, why

    def steer(self, mode: Mode | None, prefer: Prefer | None, *, by: str, why: str = "") -> None:
        """Route by these instead; None: as the configuration, or who ranks lower, wants it. Raises ValueError."""
        with self._lock:
            holder = self._of(by)
            self._changes[by] += (mode, prefer) != (holder.mode, holder.prefer)
            holder.mode, holder.prefer, holder.steers_why = mode, prefer, why

    def release(self, *, by: str) -> None:
        """This one wants nothing any more. Raises ValueError."""
        with self._lock:
            self._changes[by] += any(_wishes(by, self._of(by)))
            self._held[by] = _Holder()

    @property
    def spares_data(self) -> bool:
        """Whether what nobody waits for is better not sent now."""
        with self._lock:
            dear = self._held["data"]
            return dear.mode is not None or dear.prefer is not None or self._mode is Mode.LOCAL_ONLY

    def paused(self, camera: str) -> bool:
        """Whether anybody wants no frames of it."""
        return bool(self.paused_by(camera))

    def paused_by(self, camera: str) -> tuple[str, ...]:
        """Who wants no frames of it."""
        with self._lock:
            return tuple(by for by, holder in self._held.items() if camera in holder.paused)

    def most_fps(self, camera: str) -> float | None:
        """The lowest of all limits; None: there is none."""
        with self._lock:
            limits = [holder.most_fps[camera][0] for holder in self._held.values() if camera in holder.most_fps]
        return min(limits, default=None)

    @property
    def mode(self) -> Mode | None:
        """The mode to be used instead of the configuration's."""
        with self._lock:
            return self._mode

    @property
    def _mode(self) -> Mode | None:
        return next((holder.mode for holder in self._held.values() if holder.mode is not None), None)

    @property
    def prefer(self) -> Prefer | None:
        """What is to matter most instead of what the configuration has."""
        with self._lock:
            return next((holder.prefer for holder in self._held.values() if holder.prefer is not None), None)

    def changes(self) -> dict[str, int]:
        """How often each of BY has changed what it wants."""
        with self._lock:
            return dict(self._changes)

    def reasons(self) -> tuple[Wish, ...]:
        """All that is wanted now, those overruled included."""
        with self._lock:
            return tuple(wish for by, holder in self._held.items() for wish in _wishes(by, holder))

    def _of(self, by: str) -> _Holder:
        if by not in self._held:
            raise ValueError(f"{by} may want nothing here: it is one of {', '.join(BY)}")
        return self._held[by]

    def __repr__(self) -> str:
        return f"<Controls {'; '.join(wish.words for wish in self.reasons()) or 'as configured'}>"


def _wishes(by: str, holder: _Holder) -> Iterator[Wish]:
    for camera, why in sorted(holder.paused.items()):
        yield Wish(by, "paused", "yes", camera, why)
    for camera, (fps, why) in sorted(holder.most_fps.items()):
        yield Wish(by, "most_fps", fps, camera, why)
    if holder.mode is not None:
        yield Wish(by, "mode", holder.mode.value, why=holder.steers_why)
    if holder.prefer is not None:
        yield Wish(by, "prefer", holder.prefer.value, why=holder.steers_why)
