"""The way to the hosted model: encodes what is sent, and tells link and budget how every request fares.

Uploads are begun by the admit thread, so that its next decision knows of them, and carried by the cloud lane's threads.
Link, budget and ladders, which they share, have their own locks.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent import logs
from agent.budget import Budget
from agent.clock import Clock
from agent.errors import Cause, EngineError, EngineRefused
from agent.evidence import LinkView
from agent.flow import Answer, Frame, Picture, Prices, Reading, Rung, Timings
from agent.ladder import Ladder
from agent.link import Link, RequestKey
from agent.ports import CloudEngine
from agent.router import Errand

_log = logging.getLogger(__name__)
DIAL_LIMIT_S = 4.0
"""TCP and TLS over a satellite take 2 s; further dials need not wait for the end of one."""
MOST_ERRANDS = 3
"""Under way at once: a look-up that hangs must not take every thread of the lane."""
SERVER_TOLERANCE_S = 0.05
"""Late acknowledgements make the server's time look shorter; 40 ms is the longest that Linux delays one."""
_SAY_EVERY_S = 600.0
IN_TIME, LATE, YIELDED = "in_time", "late", "yielded"
"""Outcomes of requests beside the causes of failures: answered, answered too late, given up for others."""
_UNBILLED = (Cause.RATE_LIMITED, Cause.CAPTIVE_PORTAL)
"""Nothing was computed, beside what was refused."""


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is to be uploaded."""

    key: RequestKey
    size_bytes: int
    """About as many; known for certain once the picture is made."""
    make: Callable[[], Picture]
    due_s: float
    """Monotonic; an answer by then is in time."""
    yields: Callable[[], bool] = lambda: False
    """Asked while bytes are on the wire: whether others need it more."""


class Uplink:
    """All that goes to the cloud passes here."""

    def __init__(
        self, engine: CloudEngine, *, link: Link, budget: Budget, clock: Clock, on_progress: Callable[[], None]
    ) -> None:
        self.engine = engine
        self.link = link
        self.budget = budget
        self.clock = clock
        self.on_progress = on_progress
        self._errands = threading.BoundedSemaphore(MOST_ERRANDS)
        self._damper = logs.Damper(_log.info, clock.now, interval_s=_SAY_EVERY_S)
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()

    def outcomes(self) -> dict[str, int]:
        """How requests with a picture have ended: IN_TIME, LATE, YIELDED, or the value of the failure's Cause."""
        with self._lock:
            return dict(self._outcomes)

    def note_outcome(self, outcome: str) -> None:
        """One more has ended so. Any thread."""
        with self._lock:
            self._outcomes[outcome] += 1

    def view(self) -> LinkView:
        """What is known of the link."""
        return self.link.view(self.clock.now())

    def prices(self) -> Prices | None:
        """What uploading costs; None where there is no budget."""
        return self.budget.prices(self.clock.now())

    def begin(self, frame: Frame, rung: Rung, *, ladder: Ladder, due_s: float) -> "Upload":
        """From now on this frame is on its way; an answer by `due_s`, monotonic, is in time."""
        key = (frame.camera, frame.seq)
        return self.load(Cargo(key, rung.size_bytes, lambda: ladder.picture(frame.pixels, rung), due_s))

    def load(self, cargo: Cargo) -> "Upload":
        """From now on `cargo` is on its way."""
        return Upload(self, cargo)

    def begin_errand(self) -> bool:
        """Whether one more may be under way; it is then to be run."""
        return self._errands.acquire(blocking=False)

    def run(self, errand: Errand) -> bool:
        """Dial or knock, and note what came of it. Always False: it is no engine run."""
        try:
            self._run(errand)
        finally:
            self._errands.release()
        self.on_progress()
        return False

    def _run(self, errand: Errand) -> None:
        act = self.engine.dial if errand is Errand.DIAL else self.engine.knock
        try:
            self.budget.note_overhead(act(self.clock.now() + DIAL_LIMIT_S))
        except EngineError as error:
            self.budget.note_overhead(error.metered_bytes)
            self.link.note_unwelcome(error, self.clock.now())
        else:
            note = self.link.note_dialled if errand is Errand.DIAL else self.link.note_welcome
            note(self.clock.now())

    def check(self, timings: Timings) -> None:
        """Hold the server's time as it was measured against the server's own account of it."""
        measured_s, stated_s = timings.server_s, timings.processing_s
        if measured_s is not None and stated_s is not None and stated_s > measured_s + SERVER_TOLERANCE_S:
            said = logs.fields(stated_ms=round(stated_s * 1000), measured_ms=round(measured_s * 1000))
            self._damper.note("server", f"the API states more time than it had the whole picture for {said}")


class Upload:
    """One frame's request: carried at most once, then ended."""

    def __init__(self, uplink: Uplink, cargo: Cargo) -> None:
        self.key = cargo.key
        self.yielded = False
        """It was given up for others, which is no failure."""
        self._uplink = uplink
        self._cargo = cargo
        self._reading: Reading | None = None
        self._refused = False
        self._processing_s: float | None = None
        self._receipt = uplink.budget.reserve(cargo.size_bytes)
        uplink.link.note_sent(self.key, size_bytes=cargo.size_bytes, now_s=uplink.clock.now(), due_s=cargo.due_s)

    def carry(self, give_up_s: float) -> Answer:
        """Encode, send, and wait until the monotonic time `give_up_s`. Raises EngineUnavailable, EngineRefused."""
        link, clock, budget = self._uplink.link, self._uplink.clock, self._uplink.budget
        begun_s = clock.now()
        picture = self._cargo.make()
        link.note_size(self.key, len(picture.data))
        encode_s = clock.now() - begun_s
        try:
            answer = self._uplink.engine.infer(picture, give_up_s, self._watch)
        except EngineError as error:
            self.yielded = self.yielded and error.cause is Cause.TIMEOUT
            self._uplink.note_outcome(YIELDED if self.yielded else error.cause.value)
            if not self.yielded:
                link.note_failure(self.key, error, now_s=clock.now())
            # Not the error itself: its traceback has this upload and its frame, which would wait for the collector.
            self._refused = isinstance(error, EngineRefused) or error.cause in _UNBILLED
            self._processing_s = error.processing_s
            raise
        now_s = clock.now()
        on_time = now_s <= self._cargo.due_s
        self._uplink.note_outcome(IN_TIME if on_time else LATE)
        link.note_answer(self.key, now_s=now_s, on_time=on_time, cold_start=answer.cold_start)
        stated = answer.timings
        billed_s = stated.processing_s if stated.billed_s is None else stated.billed_s
        budget.settle(self._receipt, metered_bytes=self._metered_bytes, billed_s=billed_s)
        self._uplink.check(stated)
        timings = replace(stated, preprocess_s=encode_s)
        return replace(answer, timings=timings, size_bytes=len(picture.data), quality=picture.quality)

    def end(self) -> None:
        """However it went, or if it was never carried: nothing of it is under way any more."""
        self._uplink.link.note_ended(self.key)
        self._uplink.budget.settle(
            self._receipt,
            metered_bytes=self._metered_bytes,
            billed_s=self._processing_s,
            billed=self._arrived and not self._refused,
        )

    def _watch(self, reading: Reading) -> bool:
        self._reading = reading
        wanted = self._uplink.link.note_reading(self.key, reading, now_s=self._uplink.clock.now())
        self._uplink.on_progress()
        self.yielded = self.yielded or (wanted and reading.unacked_bytes > 0 and self._cargo.yields())
        return wanted and not self.yielded

    @property
    def _metered_bytes(self) -> int:
        return 0 if self._reading is None else self._reading.metered_bytes

    @property
    def _arrived(self) -> bool:
        """Whether the server has all of it, so that it may have been billed."""
        return self._reading is not None and self._reading.unacked_bytes == 0
