"""The keys of the YAML file's `care` section. No state."""

from pydantic import Field

from agent.care.metered import WhenMetered
from agent.care.relief import Policy
from agent.care.strain import Limits
from agent.options import Options
from agent.router import Mode


class CareConfig(Options):
    """What the agent does of itself when the machine is too hot, its power supply too weak, or data dear."""

    policy: Policy = Field(
        Policy.LOWER_FPS,
        description="when it is too hot, or the voltage too low. lower_fps: fewer frames, step by step; "
        "shift_to_cloud: the on-device model rests wherever the cloud answers; both: that, and then fewer frames; none",
    )
    hot_c: float | None = Field(
        None,
        ge=30,
        le=120,
        description="degrees Celsius from which it is too hot; left out: 2 above those at which the machine slows "
        "itself down, as its kernel has it, 80 of a Raspberry Pi",
    )
    hysteresis_c: float = Field(5.0, ge=1, le=40, description="it is cool again so many degrees below")
    zones: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="names of the thermal zones that count, * for any letters; left out: all that have a limit",
    )
    least_fps: float = Field(
        1.0, gt=0, le=1000, description="so many frames per second of each camera are used however hot it is"
    )
    metered: tuple[str, ...] = Field(
        (), description="network interfaces whose data is dear, * for any letters, such as wwan*; none: no data is"
    )
    when_metered: WhenMetered = Field(
        WhenMetered.COST,
        description="while one of them leads out. cost: as routing.prefer cost; local_only: as routing.mode local_only",
    )

    @property
    def limits(self) -> Limits:
        """The limits as the care knows them."""
        return Limits(self.hot_c, self.hysteresis_c, self.zones)

    def ensure_possible(self, mode: Mode, *, local: bool, cloud: bool) -> None:
        """Raises ValueError: it needs an engine that is not given, or another routing.mode."""
        if self.policy.shifts and not (local and cloud and mode is Mode.AUTO):
            needs = "both engines and routing.mode auto"
            raise ValueError(f"policy {self.policy.value} needs {needs}; give lower_fps or none instead")
        if self.metered and not cloud:
            raise ValueError("metered is given, but there is no engines.cloud whose data could be spared; remove it")
        if self.metered and self.when_metered is WhenMetered.LOCAL_ONLY and not local:
            raise ValueError("when_metered is local_only, but there is no engines.local; give cost")
