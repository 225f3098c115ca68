"""By rule: which results deserve a picture, and of which kind. Owner: whoever holds the lock, which is the snapshots'.

Rules are judged by the frames' monotonic times, so steps of the wall clock neither hold a picture back nor let one
more through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.flow import Prediction, Result


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a result meets it that shows an object of `classes` with `confidence`, of one of `cameras`."""

    cameras: frozenset[str] = frozenset()
    """Empty: all."""
    classes: frozenset[str] = frozenset()
    """Empty: any."""
    confidence: float = 0.5
    """The least, 0..1."""
    every_s: float = 10.0
    """Least seconds between two pictures of one camera by this rule."""
    annotate: bool = True

    def is_met(self, result: Result) -> bool:
        """Whether `result` shows what the rule is for, however recent the last picture is."""
        if result.answer is None or (self.cameras and result.camera not in self.cameras):
            return False
        return any(self._counts(found) for found in result.answer.predictions)

    def _counts(self, found: Prediction) -> bool:
        return found.confidence >= self.confidence and (not self.classes or found.class_name in self.classes)


class Trigger:
    """The rules, and when each was last followed for each camera."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.met = [0] * len(rules)
        """How many results met each rule, due or not."""
        self._followed_s: dict[tuple[int, str], float] = {}

    def pull(self, result: Result) -> tuple[int, ...]:
        """The rules, by number from 0, that want a picture of `result`; their intervals begin anew."""
        due = []
        for number, rule in enumerate(self.rules):
            if not rule.is_met(result):
                continue
            self.met[number] += 1
            last_s = self._followed_s.get((number, result.camera), float("-inf"))
            if result.captured_s - last_s >= rule.every_s:
                self._followed_s[number, result.camera] = result.captured_s
                due.append(number)
        return tuple(due)

    def release(self, camera: str, numbers: Iterable[int]) -> None:
        """The picture that these rules wanted was lost before it was made: they want one of the next frame."""
        for number in numbers:
            self._followed_s.pop((number, camera), None)

    def __repr__(self) -> str:
        return f"<Trigger {len(self.rules)} rules, met {self.met}>"
