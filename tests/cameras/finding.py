"""What was found: how soon a fault was noticed, how soon frames came again after it, and what was wrong, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SLACK_S = 1.0
"""A fault is noticed within its limit and so much."""
RECOVERY_S = 5.0
"""From a camera's return to its first frame."""
PATIENCE_S = 30.0
"""How long a case waits for what should come, before it goes on without."""


@dataclass(frozen=True)
class World:
    """What a case works with."""

    folder: Path
    seed: int = 1
    timed: bool = True
    """Whether times are judged: not where others run beside it."""

    def subfolder(self, name: str) -> Path:
        """A new folder of its own."""
        made = self.folder / name.replace(" ", "-")
        made.mkdir(parents=True)
        return made


@dataclass
class Finding:
    """One line of the table."""

    what: str
    limit_s: float | None = None
    """The configured one."""
    detected_s: float | None = None
    recovered_s: float | None = None
    note: str = ""
    faults: list[str] = field(default_factory=list)
    """What is wrong; empty: nothing."""

    def judged(self, world: World) -> "Finding":
        """With what its times say."""
        if not world.timed:
            return self
        if self.limit_s is not None and self.detected_s is not None and self.detected_s > self.limit_s + SLACK_S:
            self.faults.append(f"{self.what}: noticed after {self.detected_s:.2f} s, the limit being {self.limit_s:g}")
        if self.recovered_s is not None and self.recovered_s > RECOVERY_S:
            self.faults.append(f"{self.what}: frames came {self.recovered_s:.2f} s after its return")
        return self


_HEAD = ("case", "limit", "noticed", "back after", "verdict", "")


def table(findings: Sequence[Finding]) -> str:
    """All of them, aligned."""
    lines = [_HEAD, *(_cells(finding) for finding in findings)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(finding: Finding) -> tuple[str, ...]:
    times = (finding.limit_s, finding.detected_s, finding.recovered_s)
    shown = ["-" if time_s is None else f"{time_s:.2f} s" for time_s in times]
    return (finding.what, *shown, "FAILED" if finding.faults else "held", finding.note)
