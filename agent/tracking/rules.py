"""What is tracked in one camera's pictures, and what it is held against. No state."""

from dataclasses import dataclass, field

from agent.tracking.lines import Line
from agent.tracking.tracker import Settings
from agent.tracking.zones import Zone


@dataclass(frozen=True, slots=True)
class Rules:
    """One camera's."""

    settings: Settings = field(default_factory=Settings)
    classes: frozenset[str] = frozenset()
    """Those that are tracked; empty: all."""
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    still_s: float = 0.0
    """So long may no frame come because nothing moves."""

    def wants(self, class_name: str) -> bool:
        """Whether objects of this class are tracked."""
        return not self.classes or class_name in self.classes
