"""Everything about one emulator. No state."""

import ipaddress
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.emulator import keys
from agent.emulator.faults import Fault
from agent.emulator.flavour import Flavour
from agent.emulator.keys import KeyRing
from agent.emulator.schedule import Schedule
from agent.errors import ConfigError

LOOPBACK = "127.0.0.1"
DEFAULT_KEYS = ("emulator-key",)
_PROJECT = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """What is served, and how."""

    host: str = LOOPBACK
    port: int = 9001
    """0: any free one."""
    control_port: int = 0
    """Behind the link, on loopback always; 0: any free one."""
    allow_remote: bool = False
    """Whether `host` may be an address other machines reach."""
    api: Flavour = Flavour.V2
    model: str = "shapes"
    """A .tflite or .onnx file, a package folder, or the name of a shipped package."""
    project: str = "shapes/1"
    weights: Path | None = None
    """An .onnx file that `vedette model pull` gets as the project's own weights; None: there are none."""
    workspace: str = "vedette"
    keys: KeyRing = field(default_factory=lambda: keys.parse(DEFAULT_KEYS))
    key_file: Path | None = None
    """Where keys came from that are not to be shown."""
    cold_start_s: float = 1.0
    """0: the model is always loaded."""
    idle_unload_s: float = 600.0
    server_s: float = 0.0
    """Mean of what the server takes beside the inference."""
    server_spread: float = 0.25
    """Sigma of its log-normal distribution."""
    seed: int = 0
    rate_limit_per_s: float | None = None
    retry_after_s: float | None = 1.0
    """What a 429 of the rate limit says in Retry-After; None: nothing."""
    max_body_bytes: int | None = None
    """None: what the service allows that is played."""
    fault: Fault | None = None
    schedule: Schedule | None = None
    """What the link does; None: nothing, it is as fast as this machine."""
    until_input_ends: bool = False
    """End with standard input: whoever holds its other end cannot leave the emulator behind."""

    def __post_init__(self) -> None:
        """Refuse what cannot be served. Raises ConfigError with one sentence for each mistake."""
        problems = [*_address_problems(self), *_number_problems(self)]
        if not _PROJECT.fullmatch(self.project) or self.project.startswith("emulator/"):
            problems.append(f"--project {self.project!r} is not PROJECT/VERSION, for example shapes/1")
        if problems:
            raise ConfigError(*problems)


def _address_problems(settings: EmulatorSettings) -> Iterator[str]:
    for option, port in (("--port", settings.port), ("--control-port", settings.control_port)):
        if not 0 <= port <= 65535:  # noqa: PLR2004 - the range of TCP ports
            yield f"{option} is {port}; give 0 to 65535"
    if not settings.allow_remote and not is_loopback(settings.host):
        yield f"--host {settings.host!r} is not this machine alone; use {LOOPBACK}, or add --allow-remote"


def _number_problems(settings: EmulatorSettings) -> Iterator[str]:
    """By the names of the command line, where it has them."""
    from_0 = {
        "--cold-start-s": settings.cold_start_s,
        "--idle-unload-s": settings.idle_unload_s,
        "--server-ms": settings.server_s * 1000,
        "server_spread": settings.server_spread,
    }
    yield from (f"{name} is {value:g}; give 0 or more" for name, value in from_0.items() if not 0 <= value < math.inf)
    above_0 = {
        "--rate-limit-per-s": settings.rate_limit_per_s,
        "retry_after_s": settings.retry_after_s,
        "max_body_bytes": settings.max_body_bytes,
    }
    for name, limit in above_0.items():
        if limit is not None and not 0 < limit < math.inf:
            yield f"{name} is {limit:g}; give a number above 0"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
