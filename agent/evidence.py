"""What is known of the way to the cloud at one moment, and what follows from it. Immutable; no state.

Every request gives one triple: round trip, server time, seconds per byte. Of the recent ones, those that would have met
a deadline count for it, each half as much after every four seconds: docs/architecture.md, "Routing".
"""

from dataclasses import dataclass

from agent.errors import Cause
from agent.flow import Outlook, Reason

HALF_LIFE_S = 4.0
"""Evidence counts half after this: 40 requests at 10 fps, and short against a tunnel."""
SCEPTICAL_WEIGHT = 0.25
"""A failure that is always assumed, so that no evidence means p = 0 and one good answer means p = 0.8."""
HALF_LIFE_FRAMES = 4.0
"""Nor less than so many frames, or a camera with few, or a tight budget, would never trust a good link."""
GUESSED_RTT_S = 0.1
GUESSED_S_PER_BYTE = 8e-6
"""Before the first answer."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One request: what each part of its time was, or was at least."""

    at_s: float
    rtt_s: float
    server_s: float
    """Infinite: it failed."""
    s_per_byte: float
    cause: Cause | None = None

    def time_s(self, size_bytes: float) -> float:
        """How long `size_bytes` would have taken."""
        return self.rtt_s + self.server_s + self.s_per_byte * size_bytes


@dataclass(frozen=True, slots=True)
class Chance:
    """How likely an answer comes in time."""

    p: float
    sustained: float
    """The same, each request weighted with the share of frames that the link could carry at its rate."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """The link at one moment."""

    now_s: float
    evidence: tuple[Evidence, ...] = ()
    in_flight: int = 0
    """Requests without an answer."""
    unacked_bytes: int = 0
    rtt_s: float = GUESSED_RTT_S
    """The newest."""
    stalled: bool = False
    """An upload makes no progress."""
    dead: bool = False
    """Nothing gets through; only a new connection can show that it does again."""
    dead_cause: Cause | None = None
    """Why no connection came about; None: an upload fell silent."""
    on_time_s: float = float("-inf")
    """When an answer last came in time."""
    dialled_s: float = float("-inf")
    """When a connection last came about by dialling, or a knock was welcome."""
    answered_s: float = float("-inf")
    """When an answer last came at all."""
    closed_until_s: float = float("-inf")
    closed_reason: Reason = Reason.HTTP_ERROR
    refused: bool = False
    """The cloud said no: it is asked without a picture first, whether it may be used again."""

    def _weights(self, sent_fps: float = float("inf")) -> list[float]:
        """Where frames to send are rare, evidence counts for longer."""
        half_life_s = max(HALF_LIFE_S, HALF_LIFE_FRAMES / sent_fps)
        return [0.5 ** ((self.now_s - item.at_s) / half_life_s) for item in self.evidence]

    def chance(self, size_bytes: int, budget_s: float, *, fps: float, sent_fps: float) -> Chance:
        """The chance of a picture of `size_bytes` that must be answered within `budget_s`.

        Args:
            size_bytes: of the picture.
            budget_s: what is left of the frame's time.
            fps: frames a second.
            sent_fps: how many of them may be sent at most.
        """
        total, good, sustained = SCEPTICAL_WEIGHT, 0.0, 0.0
        for weight, item in zip(self._weights(sent_fps), self.evidence, strict=True):
            total += weight
            if item.time_s(size_bytes) <= budget_s:
                good += weight
                sustained += weight * min(1.0, 1.0 / (fps * size_bytes * item.s_per_byte))
        return Chance(good / total, sustained / total)

    def typical(self, field: str) -> float | None:
        """Weighted median of a field of the evidence, failures left out; None where there is none."""
        weighed = zip(self.evidence, self._weights(), strict=True)
        pairs = sorted((getattr(item, field), weight) for item, weight in weighed if item.cause is None)
        half, so_far = sum(weight for _, weight in pairs) / 2, 0.0
        for value, weight in pairs:
            so_far += weight
            if so_far >= half:
                return float(value)
        return None

    def outlook(self, size_bytes: int) -> Outlook | None:
        """What a picture of `size_bytes` is expected to take; None where nothing is known."""
        rtt_s, server_s, s_per_byte = (self.typical(name) for name in ("rtt_s", "server_s", "s_per_byte"))
        if rtt_s is None or server_s is None or s_per_byte is None:
            return None
        return Outlook(
            rtt_s=rtt_s,
            upload_s=s_per_byte * size_bytes,
            server_s=server_s,
            uplink_mbit_s=8e-6 / s_per_byte,
            evidence=len(self.evidence),
            evidence_age_s=self.now_s - self.evidence[-1].at_s,
        )

    def certainty(self, sent_fps: float) -> float:
        """The most that p can be with as little evidence as there is, 0..1."""
        weight = sum(self._weights(sent_fps))
        return weight / (weight + SCEPTICAL_WEIGHT)

    @property
    def wire_free(self) -> bool:
        """Whether an upload begun now would find the wire empty by the time its first byte is there."""
        s_per_byte = self.typical("s_per_byte") or GUESSED_S_PER_BYTE
        return self.unacked_bytes == 0 or self.unacked_bytes * s_per_byte <= self.rtt_s

    @property
    def closed(self) -> bool:
        """Whether the cloud is to be left alone, pictures or not."""
        return self.now_s < self.closed_until_s

    @property
    def newest_cause(self) -> Cause | None:
        """Why the newest request failed, if it did."""
        return self.evidence[-1].cause if self.evidence else None
