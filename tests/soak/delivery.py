"""What the agent owed and what came, for the fault suite's oracle. No state.

The obligations are the lines of the file sink, which no fault touches; the receipts are those of the independent
receiver at the broker. That every frame which was answered is in the file is told by the agent's own counts.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faults.oracle import Ledger, Obligation, checksum


def obligations(results: Path) -> tuple[Ledger, list[str]]:
    """What the file holds, in its order, and the ids that are in it twice."""
    ledger, count = Ledger(), Counter[str]()
    with results.open("rb") as lines:
        for line in _whole(lines):
            body = line.rstrip(b"\n")
            record = json.loads(body)
            name, camera = record["id"], record["camera"]
            count[name] += 1
            ledger.intended[name] = checksum(body)
            ledger.obligations.append(Obligation(name, camera, checksum(body), record["captured_monotonic_s"], 0))
    return ledger, [name for name, times in count.items() if times > 1]


def _whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line.endswith(b"\n"))


def answered(ledger: Ledger) -> Counter[str]:
    """Frames of each camera with a result; corrections are not counted."""
    return Counter(each.camera for each in ledger.obligations if each.id.endswith("/0"))


FATES = ("overwritten", "skipped", "done", "failed")


class Counts:
    """The agent's own counts of frames, over reloads, at which they begin at zero again."""

    def __init__(self) -> None:
        self.most_under_way = 0
        """Frames without a fate at a moment, at most: under way, or lost."""
        self._before: Counter[tuple[str, str]] = Counter()
        self._newest: Counter[tuple[str, str]] = Counter()

    def note(self, said: Mapping[str, Any]) -> None:
        """What /state.json has."""
        now, captured = Counter[tuple[str, str]](), 0
        for camera, status in said["cameras"].items():
            now.update({(camera, fate): status["fates"].get(fate, 0) for fate in FATES})
            captured += status["captured"]
        if any(now[key] < count for key, count in self._newest.items()):
            self._before += self._newest
        self._newest = now
        self.most_under_way = max(self.most_under_way, captured - now.total())

    def total(self, fate: str, camera: str | None = None) -> int:
        """Of all cameras, or of one."""
        both = self._before + self._newest
        return sum(count for (name, kind), count in both.items() if kind == fate and camera in {None, name})
