"""How long an examination may take. Each has a thread of its own: what hangs in a disk or a driver is left behind."""

import threading
from collections.abc import Callable, Iterable
from typing import Final

from agent.check import Finding
from agent.clock import Clock
from agent.doctor.finding import fault

_LOOK_EVERY_S: Final = 0.05


class Patience:
    """Waits for one examination after the other. Used by the main thread; `sign` by any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard_s = 0.0
        self.exhausted = False
        """Whether an examination was left behind, and still hangs."""

    def sign(self) -> None:
        """What is under way makes progress: its time begins anew."""
        self._heard_s = self._clock.now()

    def wait(self, part: str, examine: Callable[[], Iterable[Finding]], limit_s: float) -> list[Finding]:
        """The findings of `examine`, or that it gave none within `limit_s` of its start or its last sign."""
        found: list[Finding] = []
        ended = threading.Event()
        complete = False

        def work() -> None:
            nonlocal complete
            try:
                found.extend(examine())
                complete = True
            finally:
                ended.set()

        self.sign()
        threading.Thread(target=work, name=f"doctor-{part}", daemon=True).start()
        while not self._clock.wait(ended, _LOOK_EVERY_S):
            if self._clock.now() - self._heard_s > limit_s:
                self.exhausted = True
                return [fault(part, f"gave no answer within {limit_s:.0f} s; what it needs hangs: look at `dmesg`")]
        if complete:
            return found
        return [*found, fault(part, "could not be examined, by a mistake of this program; please report it")]
