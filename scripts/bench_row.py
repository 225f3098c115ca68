"""One figure of scripts/bench beside its bar."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured, and what it must be."""

    what: str
    measured: float
    bar: float
    unit: str
    detail: str
    least: bool = False
    """The figure must be at least the bar; else at most."""
    digits: int = 2

    @property
    def fine(self) -> bool:
        return self.measured >= self.bar if self.least else self.measured <= self.bar  # NaN is neither

    def __str__(self) -> str:
        sign, verdict = ">=" if self.least else "<=", "ok" if self.fine else "MISSED"
        figure = f"{self.measured:8.{self.digits}f} {self.unit:3} {sign} {self.bar:g} {self.unit:3}"
        return f"{self.what:51} {figure} {verdict:7} {self.detail}"
