"""How old the first line of a active file is, whatever the wall clock does. Owned by the thread of the sink.

Within a run by the monotonic clock. Across restarts by a note beside the file, `.NAME.age`, which says how old it was
and what the wall clock showed then; it is written when the file is begun and closed, and every ten minutes. The time
between the note and the next start is what the wall clock has gone forward since, and nothing where it went back or
forward by more than a year. So a clock that is wrong by years at each start (no battery, no network yet) neither makes
a file old nor keeps one young: the age of each run still adds up. What this costs: a kill forgets at most ten minutes,
and while a clock is set wrong by days, one file is closed early.
"""

import contextlib
import json
from pathlib import Path
from typing import Final

from agent.clock import Clock

_NOTE_EVERY_S: Final = 600.0
_LONGEST_PAUSE_S: Final = 366 * 86400.0


class Age:
    """The age of one file, by the number that it will be closed under."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._note = path.with_name(f".{path.name}.age")
        self._clock = clock
        self._number = 0
        self._begun_s: float | None = None
        self._noted_s = 0.0

    def resume(self, number: int) -> None:
        """The active file is number `number`, and holds lines already; without a note it counts as new."""
        self._number = number
        self._begun_s = self._clock.now() - self._age_on_note(number)
        self._write()

    def _age_on_note(self, number: int) -> float:
        try:
            note = json.loads(self._note.read_bytes())
            if note["number"] != number:
                return 0.0
            pause_s = self._clock.wall() - float(note["wall_s"])
            return max(0.0, float(note["age_s"])) + (pause_s if 0.0 <= pause_s <= _LONGEST_PAUSE_S else 0.0)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return 0.0

    def begin(self, number: int) -> None:
        """The first line of file `number` is written now."""
        self._number, self._begun_s = number, self._clock.now()
        self._write()

    def now_s(self) -> float:
        """Seconds."""
        if self._begun_s is None:
            return 0.0
        if self._clock.now() - self._noted_s >= _NOTE_EVERY_S:
            self._write()
        return self._clock.now() - self._begun_s

    def pause(self) -> None:
        """The agent ends; the next start goes on from here."""
        if self._begun_s is not None:
            self._write()
            self._begun_s = None

    def _write(self) -> None:
        """The old note or the new one is there, whole; a full disk costs no more than a note."""
        self._noted_s = self._clock.now()
        age_s = self._clock.now() - (self._begun_s or 0.0)
        note = {"number": self._number, "age_s": age_s, "wall_s": self._clock.wall()}
        new = self._note.with_name(self._note.name + ".new")
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(note), encoding="utf-8")
            new.replace(self._note)
