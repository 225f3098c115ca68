"""The keys of `engines.rollout`. No state."""

from pydantic import Field

from agent.options import Options
from agent.rollout.gate import Against, Terms


class RolloutConfig(Options):
    """What a new version of the installed model goes through before it is used."""

    agreement: float = Field(
        0.8, ge=0, le=1, description="its answers must agree so far with those of `against`, 0..1; 0: no matter"
    )
    against: Against = Field(
        Against.EITHER,
        description="whose answers: running, the version in use; hosted, the hosted API; either, one of them is enough",
    )
    slower: float = Field(
        1.5, ge=1, le=100, description="its runs may take so many times as long as those of the version in use"
    )
    frames: int = Field(8, ge=1, le=32, description="frames with objects in them on which it is judged")
    every_s: float = Field(
        10.0, ge=0.1, le=86_400, description="least seconds between two of those frames of one camera"
    )
    probation_s: float = Field(
        600.0,
        ge=1,
        le=604_800,
        description="so many seconds it answers on trial, and the version before it stays loaded",
    )

    @property
    def terms(self) -> Terms:
        """As the gate knows them."""
        return Terms(self.agreement, self.against, self.slower, self.frames)
