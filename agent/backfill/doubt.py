"""Which frames are worth a second look: answered on the device, unsure, while the link was bad. Pure; no state."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.flow import Prediction, Reason, Result, Route

BAD_LINK: Final = frozenset(
    {
        Reason.NO_EVIDENCE,
        Reason.P_LOW_BANDWIDTH,
        Reason.P_LOW_RTT,
        Reason.P_LOW_SERVER,
        Reason.STALLED,
        Reason.DEAD,
        Reason.HTTP_ERROR,
        Reason.HTTP_RATE_LIMITED,
    }
)
"""The cloud was out of reach. A busy wire is none of them: there the neighbours of the frame are sent. Nor is a budget,
for the past is not worth more than the present; nor a refusal, which a person must mend."""


class Judge(str, Enum):
    """Which object of a frame decides."""

    LOWEST = "lowest"
    HIGHEST = "highest"


@dataclass(frozen=True, slots=True)
class Doubt:
    """What makes a frame doubtful."""

    below: float
    """Confidence, 0..1, above which the device is sure."""
    judge: Judge = Judge.LOWEST
    empty: bool = False
    """Whether a frame without any object is doubtful."""

    def has(self, predictions: Sequence[Prediction]) -> bool:
        """Whether an answer of the device is doubtful. What the device leaves out is below the band."""
        if not predictions:
            return self.empty
        choose = min if self.judge is Judge.LOWEST else max
        return choose(found.confidence for found in predictions) < self.below


def deserves(result: Result, doubt: Doubt) -> bool:
    """Whether the frame of `result` is to be shown to the hosted model later.

    One that was sent is not: its answer may come yet, as a correction of its own.
    """
    decision = result.decision
    here = decision.route is Route.LOCAL and result.published is Route.LOCAL and not decision.waits
    if not here or result.revision or decision.reason not in BAD_LINK or result.answer is None:
        return False
    return doubt.has(result.answer.predictions)
