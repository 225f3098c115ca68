"""What sinks that write a file may be told. No state."""

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from agent.options import Options, SinkOptions

_MB: Final = 1_000_000
_HOUR_S: Final = 3600.0


def _from_switch(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
    """True and false, as they were before there were intervals."""
    return ("batch" if value else "never") if isinstance(value, bool) else value


Sync: TypeAlias = Annotated[
    Literal["never", "batch"] | Annotated[float, Field(gt=0, le=3600)], BeforeValidator(_from_switch)
]
"""When lines are on the medium; a number: seconds."""


class RotateOptions(Options):
    """When a file is closed and a new one begun, and which closed ones stay."""

    max_mb: float = Field(64.0, ge=0.01, description="a file is closed before it has more megabytes than this")
    max_hours: float = Field(
        0.0, ge=0, description="a file is closed when its first line is that many hours old; 0: at no age"
    )
    keep: int = Field(100, ge=0, description="how many closed files stay, the newest ones; 0: any number")
    keep_mb: float = Field(
        1000.0,
        ge=0,
        description="most megabytes of closed files, as they lie there; the newest one stays in any case; 0: any size",
    )
    compress: bool = Field(True, description="true: closed files are compressed by gzip, little by little")

    @property
    def max_bytes(self) -> float:
        """`max_mb` in bytes."""
        return self.max_mb * _MB

    @property
    def max_age_s(self) -> float:
        """`max_hours` in seconds; 0: at no age."""
        return self.max_hours * _HOUR_S

    @property
    def keep_bytes(self) -> float:
        """`keep_mb` in bytes; 0: any size."""
        return self.keep_mb * _MB


class FileOptions(SinkOptions):
    """One file that grows."""

    path: Path = Field(description="the file; a relative path starts at the configuration's folder")
    append: bool = Field(True, description="true: go on at the end of the file; false: empty it when the agent starts")
    fsync: Sync = Field(
        "never",
        description="batch: every batch is on the medium before it counts as delivered, which wears out SD cards; "
        "a number: all is there after at most so many seconds; never: the system writes when it likes, and a power cut "
        "may lose about the last 30 seconds",
    )
    rotate: RotateOptions | None = Field(
        None, description="left out: one file, which grows without limit; {}: closed and begun anew, by the defaults"
    )

    @property
    def sync_every_s(self) -> float | None:
        """How long a line may wait until it is on the medium; 0: not at all; None: as the system likes."""
        return {"never": None, "batch": 0.0}[self.fsync] if isinstance(self.fsync, str) else self.fsync

    @property
    def target(self) -> str:
        """The file."""
        return f"the file {os.path.normpath(self.path.expanduser())}"
