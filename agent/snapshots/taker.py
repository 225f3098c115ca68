"""Pictures for people, by rule: JPEG files, with boxes or as captured, and the result's record beside each.

Emit threads show results and frames, which wait in one slot for each camera; the snapshots' thread draws, encodes and
writes. A picture that a newer one pushes out of the slot is counted, and its rules want the next one. One that cannot
be written is counted too. Results never wait for either. Slots and rules are under one lock; the album is the thread's.

A picture of 1920x1080 takes this thread 6 ms to encode (185 kB at quality 85), 1 ms more with six boxes, and 2 ms to
write and sync, with its record, to ext4 on a server's disk; shrunk to 1280 px it takes 10 ms to draw and encode
(86 kB). The emit thread gives 6 us to each result, for three rules and ten objects. Two cores of an x86-64 server
that was half busy, the best of 7 runs of 10, three times over, by

    python -m timeit -n 10 -r 7 -s 'from agent import imaging; from agent.sources._scene import Scene
    frame = Scene(1920, 1080, seed=1, shapes=6).render(5)' 'imaging.snapshot(frame, (), "", longest_px=0, quality=85)'
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agent import logs
from agent.clock import Clock
from agent.errors import FrameUnreadable
from agent.flow import Frame, Pixels, Prediction, Result
from agent.loop import Pulse
from agent.record import Identity, delivery_of
from agent.snapshots import caption
from agent.snapshots.album import Album, Loss
from agent.snapshots.trigger import Rule, Trigger

_log = logging.getLogger(__name__)
_WAIT_S: Final = 1.0
_TIDY_EVERY_S: Final = 10.0
Develop: TypeAlias = Callable[[Pixels, Sequence[Prediction], str], bytes]
"""A captured frame, what is drawn into it, and a comment become a JPEG file."""


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """What became of the pictures since the start, and what lies in the folder."""

    written: int
    overtaken: int
    """Pushed out of their slot by a newer one."""
    failed: int
    """Could not be drawn or encoded."""
    lost: dict[Loss, int]
    held: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class _Shot:
    """A frame that is to become a picture."""

    frame: Frame
    result: Result
    rules: tuple[int, ...]


class Snapshots:
    """A Witness, and the loop that makes its pictures."""

    def __init__(
        self,
        rules: Sequence[Rule],
        album: Album,
        develop: Develop,
        *,
        identity: Identity,
        clock: Clock,
        record: bool = True,
    ) -> None:
        """`record`: the result's record is written beside each picture."""
        self._trigger = Trigger(rules)
        self._album = album
        self._develop = develop
        self._identity = identity
        self._clock = clock
        self._record = record
        self._lock = threading.Lock()
        self._slots: dict[str, _Shot] = {}
        self._overtaken = self._failed = self._seen = 0
        self._damper = logs.Damper(_log.warning, clock.now)
        self._stirred = threading.Event()
        self._tidy_s = float("-inf")

    def see(self, frame: Frame, result: Result) -> None:
        """See Witness."""
        with self._lock:
            self._seen += 1
            rules = self._trigger.pull(result)
            if not rules:
                return
            lost = self._slots.pop(frame.camera, None)
            self._slots[frame.camera] = _Shot(frame, result, rules)
            if lost is not None:
                self._overtaken += 1
                self._trigger.release(frame.camera, set(lost.rules) - set(rules))
        self._stirred.set()

    def run(self, pulse: Pulse) -> None:
        """Make pictures until told to stop, and then those that still wait."""
        self._album.open()
        while not pulse.stopping.is_set():
            pulse.beat()
            self._clock.wait(self._stirred, _WAIT_S)
            self._stirred.clear()
            self.step(pulse.beat)
        self.step(pulse.beat)
        self._say_what_was()

    def wake(self) -> None:
        """Something is to be seen to, such as a stop. Any thread."""
        self._stirred.set()

    def step(self, beat: Callable[[], None] = lambda: None) -> None:
        """Make a picture of all that waits, and hold the folder's limits."""
        while (shot := self._take()) is not None:
            beat()
            self._make(shot)
        if self._clock.now() - self._tidy_s >= _TIDY_EVERY_S:
            self._tidy_s = self._clock.now()
            self._album.tidy()

    def _make(self, shot: _Shot) -> None:
        try:
            forms = self._forms(shot)
        except FrameUnreadable as error:
            self._failed += 1
            self._damper.note("failed", f"camera {shot.frame.camera}: {error}; counted and left out")
        else:
            self._album.put(shot.result, forms)

    def _take(self) -> _Shot | None:
        """The one that waits longest, so that no camera's rules keep another's waiting."""
        with self._lock:
            camera = next(iter(self._slots), None)
            return None if camera is None else self._slots.pop(camera)

    def _forms(self, shot: _Shot) -> dict[str, bytes]:
        """The files of one picture, by the endings of their names."""
        delivery = delivery_of(shot.result, self._identity)
        found = shot.result.answer.predictions if shot.result.answer is not None else ()
        wanted = {self._trigger.rules[number].annotate for number in shot.rules}
        forms = {
            (caption.BOXES if boxes else caption.CLEAN): self._develop(
                shot.frame.pixels, found if boxes else (), delivery.id
            )
            for boxes in wanted
        }
        return {**forms, caption.RECORD: delivery.body + b"\n"} if self._record else forms

    def _say_what_was(self) -> None:
        status = self.status()
        counts = {loss.value: count for loss, count in status.lost.items()}
        missed = {"overtaken": status.overtaken, "failed": status.failed}
        _log.info("pictures %s", logs.fields(written=status.written, **missed, **counts, held=status.held))
        for number, (rule, met) in enumerate(zip(self._trigger.rules, self._trigger.met, strict=True)):
            if self._seen and not met:
                classes = ", ".join(sorted(rule.classes)) or "any"
                hint = "are they written as in the model's labels?" if rule.classes else "is its confidence too high?"
                _log.warning("no result met snapshots.rules[%d], classes %s; %s", number, classes, hint)

    def status(self) -> SnapshotStatus:
        """Counts, for people. Any thread."""
        return SnapshotStatus(
            written=self._album.written,
            overtaken=self._overtaken,
            failed=self._failed,
            lost={loss: count for loss, count in self._album.lost.items() if count},
            held=self._album.held,
            held_bytes=self._album.held_bytes,
        )

    def __repr__(self) -> str:
        return f"<Snapshots {self._trigger!r} {self._album!r}>"
