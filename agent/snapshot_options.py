"""The keys of the YAML file's `snapshots` section. No state."""

import math
from pathlib import Path

from pydantic import Field

from agent.options import Confidence, Name, Options
from agent.snapshots import album
from agent.snapshots.trigger import Rule


class SnapshotRuleConfig(Options):
    """Which results are worth a picture, and of which kind."""

    cameras: tuple[Name, ...] | None = Field(None, min_length=1, description="the rule is for these; left out: for all")
    classes: tuple[str, ...] | None = Field(
        None, min_length=1, description="one of these is to be seen, as the model's labels have them; left out: any"
    )
    confidence: Confidence = Field(0.5, description="an object scored below this does not count, 0..1")
    every_s: float = Field(
        10.0, ge=0, le=86_400, description="least seconds between two pictures of one camera by this rule; 0: all"
    )
    annotate: bool = Field(True, description="true: with boxes, classes and confidences; false: as captured")

    @property
    def rule(self) -> Rule:
        """The rule as the trigger knows it."""
        cameras, classes = frozenset(self.cameras or ()), frozenset(self.classes or ())
        return Rule(cameras, classes, self.confidence, self.every_s, self.annotate)


class SnapshotsConfig(Options):
    """Pictures for people, of what was seen."""

    folder: Path = Field(Path("vedette-snapshots"), description="they lie in FOLDER/AGENT/CAMERA")
    rules: tuple[SnapshotRuleConfig, ...] = Field(
        min_length=1, description="a frame that meets one of them becomes a picture"
    )
    record: bool = Field(True, description="write the result's record beside each picture, as .json")
    quality: int = Field(85, ge=30, le=100, description="JPEG quality, 30..100")
    longest_px: int = Field(0, ge=0, le=8192, description="longest side of the pictures; 0: as large as captured")
    max_mb: float = Field(
        500.0,
        ge=1,
        description="most megabytes, those of earlier runs included, and never more than 50000 pictures; the oldest "
        "give way",
    )
    max_age_hours: float = Field(0.0, ge=0, description="what is older than this is removed; 0: nothing is too old")
    keep_free_mb: float = Field(
        300.0, ge=0, description="megabytes of the filesystem that are left free; with less, the oldest give way"
    )

    @property
    def limits(self) -> album.Limits:
        """The limits as the album knows them."""
        age_s = self.max_age_hours * 3600 or math.inf
        return album.Limits(round(self.max_mb * 1e6), age_s, round(self.keep_free_mb * 1e6))
