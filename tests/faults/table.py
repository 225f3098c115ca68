"""What a case was about and how it ended, as one line of a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faults.driven import Drivers
from faults.oracle import Verdict


@dataclass(frozen=True)
class World:
    """What a case works with."""

    folder: Path
    drivers: Drivers
    seed: int
    defect: str = ""
    """Of the sample outbox in place of the real one; for tests of the suite itself."""

    def subfolder(self, name: str) -> Path:
        """A new folder of its own, by its real name, as diskfault.c wants it."""
        made = self.folder.resolve() / name
        made.mkdir(parents=True)
        return made


@dataclass
class Row:
    """The sum over all rounds of one case."""

    case: str
    rounds: int = 0
    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    excused: int = 0
    """Lost within the commit window before a death, as is stated."""
    oldest_excused_s: float = 0.0
    duplicates: int = 0
    longest_duplicates: int = 0
    most_a_minute: int | None = None
    """Attempts to reach the sink, at most, in any minute."""
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What is wrong; empty: nothing."""

    def add(self, verdict: Verdict, faults: Sequence[str], where: str, *, rounds: int = 1) -> None:
        """One more scene."""
        self.rounds += rounds
        self.accepted += verdict.accepted
        self.delivered += verdict.delivered
        self.lost += len(verdict.lost)
        self.excused += verdict.excused
        self.oldest_excused_s = max(self.oldest_excused_s, verdict.oldest_excused_s)
        self.duplicates += verdict.duplicates
        self.longest_duplicates = max(self.longest_duplicates, verdict.longest_duplicates)
        self.faults += [f"{where}: {fault}" for fault in faults]


_HEAD = ("case", "rounds", "accepted", "delivered", "lost", "in window", "twice", "longest", "a minute", "verdict")


def table(rows: Sequence[Row]) -> str:
    """All of them, aligned."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.rounds, row.accepted, row.delivered, row.lost, row.excused, row.duplicates, row.longest_duplicates)
    minute = "-" if row.most_a_minute is None else str(row.most_a_minute)
    return (row.case, *map(str, counts), minute, "FAILED" if row.faults else "held")
