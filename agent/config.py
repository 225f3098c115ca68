"""The YAML file as frozen records; every mistake in it at once, with file, line, key and cure. No state."""

import re
import socket
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    HttpUrl,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from agent import document, plugins
from agent.backfill.doubt import Doubt, Judge
from agent.backfill.keep import Limits
from agent.budget import Caps
from agent.camera_options import LookConfig
from agent.care_options import CareConfig
from agent.document import Document
from agent.errors import ConfigError
from agent.flow import Route
from agent.logs import Format
from agent.mistakes import Mistakes
from agent.options import BARE_SECRET, Confidence, Name, Options, SinkOptions, unverified
from agent.page_options import PageConfig
from agent.remote_options import RemoteConfig
from agent.rollout.gate import Against
from agent.rollout_options import RolloutConfig
from agent.router import Mode, Prefer
from agent.snapshot_options import SnapshotsConfig
from agent.tracking_options import FollowConfig

_UNVERIFIED = (
    "any certificate will do there, so whoever is on the way may read along, passwords too; name it in ca_file instead"
)
USEFUL_DEADLINE_MS = 350
"""Below it only very good links reach the hosted API in time: the vendor's own end-to-end times are about 400 ms."""


def _is_enough(cap: float, least: float) -> float:
    """A cap from which a frame can be paid now and then. Raises ValueError."""
    if 0 < cap < least:
        raise ValueError(f"give 0 for no cap, or at least {least:g}: less would never pay for one frame")
    return cap


Megabytes = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(partial(_is_enough, least=1.0))]
Credits = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(partial(_is_enough, least=0.01))]


def _host_name() -> str:
    """This machine's name, as far as it can be a Name."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname()).strip("-_")[:63] or "agent"


class CameraConfig(LookConfig, FollowConfig):
    """One camera."""

    name: Name = Field(description="the camera's name in results and topics: letters, digits, - and _")
    source: Options = Field(description="where its frames come from")


class EnginesConfig(Options):
    """What looks at the frames."""

    local: Options | None = Field(None, description="the on-device model")
    cloud: Options | None = Field(None, description="the hosted API")
    rollout: RolloutConfig = Field(
        default=RolloutConfig(), description="what a new version of an installed model goes through before it is used"
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> "EnginesConfig":
        if self.local is None and self.cloud is None:
            raise ValueError("give local, cloud or both")
        if self.cloud is None and self.rollout.against is Against.HOSTED:
            raise ValueError("rollout.against is hosted, but there is no cloud; give cloud, or another against")
        return self


class RoutingConfig(Options):
    """How frames are shared between the hosted API and the on-device model."""

    deadline_ms: int = Field(500, ge=50, le=8_000, description="an answer later than this is stale, milliseconds")
    mode: Mode = Field(Mode.AUTO, description="auto: each frame where it is served best; local_only; cloud_only")
    prefer: Prefer = Field(
        Prefer.ACCURACY,
        description="accuracy: the better answer by the deadline; latency: the first answer at once, corrected by the "
        "cloud's; cost: the cloud only where it is well worth its data and credits; cool: the on-device model rests "
        "wherever the cloud answers",
    )
    data_cap_mb_per_day: Megabytes = Field(0.0, description="most megabytes sent and received in 24 hours; 0: no cap")
    data_cap_mb_per_month: Megabytes = Field(0.0, description="most megabytes sent and received in 30 days; 0: no cap")
    credits_per_day: Credits = Field(0.0, description="most credits spent at the API in 24 hours; 0: no cap")
    credits_per_month: Credits = Field(0.0, description="most credits spent at the API in 30 days; 0: no cap")

    @property
    def caps(self) -> Caps:
        """The caps as the budget knows them."""
        return Caps(
            data_mb_per_day=self.data_cap_mb_per_day,
            data_mb_per_month=self.data_cap_mb_per_month,
            credits_per_day=self.credits_per_day,
            credits_per_month=self.credits_per_month,
        )


class ContributeConfig(Options):
    """A project that gets the same frames as training images, through the Upload API."""

    project: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$", description="the project's name in its address, without workspace"
    )
    per_hour: int = Field(20, ge=1, le=10_000, description="most pictures given within any hour")
    per_day: int = Field(100, ge=1, le=100_000, description="most pictures given within any 24 hours")
    batch: str = Field("vedette", min_length=1, max_length=100, description="the batch that they are put into")
    tags: tuple[str, ...] = Field((), description="tags that each of them gets")
    split: Literal["train", "valid", "test"] = Field("train", description="the part of the dataset that they are for")
    url: HttpUrl = Field(HttpUrl("https://api.roboflow.com"), description="the platform API's address")

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password or url.query:
            raise PydanticCustomError(BARE_SECRET, "give the server's address alone; engines.cloud has the key")
        return url


class BackfillConfig(Options):
    """Doubtful frames of the time without the cloud, shown to it afterwards."""

    below: Confidence = Field(0.6, description="a frame is doubtful when its object is scored below this, 0..1")
    judge: Judge = Field(Judge.LOWEST, description="lowest: its least certain object; highest: its most certain one")
    empty: bool = Field(False, description="whether a frame without any object is doubtful")
    every_s: float = Field(10.0, ge=0.1, le=86_400, description="least seconds between two such frames of one camera")
    max_mb: float = Field(100.0, ge=1, description="most megabytes of pictures that wait; the oldest give way")
    max_age_hours: float = Field(24.0, gt=0, description="what has waited for longer is dropped")
    longest_px: int | None = Field(
        None, ge=32, le=4096, description="longest side of the pictures; left out: what the hosted model takes"
    )
    jpeg_quality: int = Field(75, ge=30, le=100, description="JPEG quality of the pictures, 30..100")
    contribute: ContributeConfig | None = Field(None, description="give them to a project as training images, too")

    @property
    def doubt(self) -> Doubt:
        """The rule as the sieve knows it."""
        return Doubt(self.below, self.judge, self.empty)

    @property
    def limits(self) -> Limits:
        """The limits as the keep knows them."""
        return Limits(round(self.max_mb * 1e6), self.max_age_hours * 3600)


class LogConfig(Options):
    """What the agent says of itself."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least level that is shown")
    format: Format = Field(
        Format.TEXT, description="text: for people; keyvalue: logfmt; json: one object a line, for collectors of logs"
    )


class Config(Options):
    """The whole file."""

    agent: Name = Field(default_factory=_host_name, description="this agent's name; left out: the machine's")
    cameras: tuple[CameraConfig, ...] = Field(min_length=1, description="at least one camera")
    engines: EnginesConfig = Field(description="the on-device model, the hosted API, or both")
    routing: RoutingConfig = Field(default=RoutingConfig(), description="how frames are routed")
    backfill: BackfillConfig | None = Field(None, description="a second look at doubtful frames; left out: none")
    snapshots: SnapshotsConfig | None = Field(None, description="pictures of what was seen; left out: none")
    care: CareConfig = Field(
        default=CareConfig(), description="what it does of itself when the machine is too hot, or data dear"
    )
    page: PageConfig | None = Field(
        None, description="a page with live pictures, metrics and health; left out: none, and no port is open"
    )
    sinks: tuple[SinkOptions, ...] = Field(
        min_length=1, description="where results go: all of them, each at its own pace"
    )
    remote: RemoteConfig | None = Field(
        None, description="commands from afar, over the first MQTT sink's broker; left out: none"
    )
    log: LogConfig = Field(default=LogConfig(), description="what the agent says of itself")

    @field_validator("cameras")
    @classmethod
    def _names_differ(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        names = [camera.name for camera in cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two cameras are called {', '.join(twice)}; give each a name of its own")
        return cameras

    @field_validator("routing")
    @classmethod
    def _mode_has_its_engine(cls, routing: RoutingConfig, others: ValidationInfo) -> RoutingConfig:
        needed = {Mode.LOCAL_ONLY: "local", Mode.CLOUD_ONLY: "cloud"}.get(routing.mode)
        engines = others.data.get("engines")
        if engines is not None and needed is not None and getattr(engines, needed) is None:
            raise ValueError(f"mode is {routing.mode.value} but engines.{needed} is not given")
        return routing

    @field_validator("backfill")
    @classmethod
    def _backfill_has_both_engines(
        cls, backfill: BackfillConfig | None, others: ValidationInfo
    ) -> BackfillConfig | None:
        engines, routing = others.data.get("engines"), others.data.get("routing")
        if backfill is None or engines is None or routing is None:
            return backfill
        missing = next((name for name in ("local", "cloud") if getattr(engines, name) is None), None)
        if missing is not None:
            raise ValueError(f"needs both engines, one to doubt and one to ask; give engines.{missing}, or remove this")
        if routing.mode is not Mode.AUTO:
            raise ValueError(f"needs routing.mode auto, and it is {routing.mode.value}; change that, or remove this")
        return backfill

    @field_validator("care")
    @classmethod
    def _care_has_its_engines(cls, care: CareConfig, others: ValidationInfo) -> CareConfig:
        engines, routing = others.data.get("engines"), others.data.get("routing")
        if engines is None or routing is None:
            return care
        care.ensure_possible(routing.mode, local=engines.local is not None, cloud=engines.cloud is not None)
        return care

    @field_validator("snapshots")
    @classmethod
    def _rules_know_their_cameras(
        cls, snapshots: SnapshotsConfig | None, others: ValidationInfo
    ) -> SnapshotsConfig | None:
        cameras = others.data.get("cameras")
        if snapshots is None or cameras is None:
            return snapshots
        known = {camera.name for camera in cameras}
        unknown = sorted({name for rule in snapshots.rules for name in rule.cameras or ()} - known)
        if unknown:
            raise ValueError(f"no camera is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return snapshots

    @field_validator("sinks")
    @classmethod
    def _sinks_differ(cls, sinks: tuple[SinkOptions, ...]) -> tuple[SinkOptions, ...]:
        targets = [plugins.target_of(sink) for sink in sinks]
        twice = sorted({target for target in targets if targets.count(target) > 1})
        if twice:
            raise ValueError(f"two sinks have {', '.join(twice)}; each needs its own")
        return sinks

    @field_validator("remote")
    @classmethod
    def _commands_have_their_broker(cls, remote: RemoteConfig | None, others: ValidationInfo) -> RemoteConfig | None:
        if remote is not None and {"sinks", "cameras"} <= others.data.keys():
            names = [camera.name for camera in others.data["cameras"]]
            remote.ensure_possible(map(plugins.type_of, others.data["sinks"]), names)
        return remote

    @property
    def notes(self) -> tuple[str, ...]:
        """What is allowed, and probably not meant."""
        doubts = tuple(f"{key} is false: {_UNVERIFIED}" for key in unverified(self))
        doubts += tuple(f"camera {camera.name}: {doubt}" for camera in self.cameras for doubt in camera.doubts)
        deadline_ms = self.routing.deadline_ms
        if self.mode is Mode.LOCAL_ONLY or deadline_ms >= USEFUL_DEADLINE_MS:
            return doubts
        note = (
            f"routing.deadline_ms is {deadline_ms}: the hosted API rarely answers that soon, so most frames will be "
            f"answered on the device; {USEFUL_DEADLINE_MS} or more gives it a chance"
        )
        return (*doubts, note)

    @property
    def mode(self) -> Mode:
        """The mode in force: with one engine there is nothing to choose."""
        if self.engines.cloud is None:
            return Mode.LOCAL_ONLY
        return Mode.CLOUD_ONLY if self.engines.local is None else self.routing.mode


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: with one sentence for every mistake in it.
    """
    return validate(document.read(path))


def validate(page: Document) -> Config:
    """Check a document. Raises ConfigError."""
    if not isinstance(page.data, dict):
        raise ConfigError(f"{page.name}: holds no configuration; start from the example in the README")
    model = _full_model()
    try:
        config = model.model_validate(page.data)
    except ValidationError as error:
        mistakes = Mistakes(page, model.model_json_schema())
        raise ConfigError(*page.duplicates, *mistakes.sentences(error.errors())) from error
    if page.duplicates:
        raise ConfigError(*page.duplicates)
    return config


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration, for editors."""
    schema = _full_model().model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Vedette configuration"}


def _full_model() -> type[Config]:
    """Config with the options of every plugin of this build in their places."""
    source = _one_of(plugins.options_of("sources"), CameraConfig, "source")
    camera = create_model("Camera", __base__=CameraConfig, __doc__=CameraConfig.__doc__, source=source)
    by_route = {route: plugins.options_of("engines", route=route) for route in Route}
    engines = create_model(
        "Engines",
        __base__=EnginesConfig,
        __doc__=EnginesConfig.__doc__,
        local=_one_of(by_route[Route.LOCAL], EnginesConfig, "local"),
        cloud=_one_of(by_route[Route.CLOUD], EnginesConfig, "cloud"),
    )
    sink: Any = Annotated[reduce(or_, plugins.options_of("sinks")), Field(discriminator="type")]
    return create_model(
        "Vedette",
        __base__=Config,
        __doc__=Config.__doc__,
        cameras=(tuple[camera, ...], Config.model_fields["cameras"]),
        engines=(engines, Config.model_fields["engines"]),
        sinks=(tuple[sink, ...], Config.model_fields["sinks"]),
    )


def _one_of(choices: tuple[type[Options], ...], owner: type[Options], name: str) -> tuple[Any, FieldInfo]:
    """A field like `owner`'s `name` that takes any of `choices`, told apart by `type`."""
    field = owner.model_fields[name]
    union: Any = reduce(or_, choices)
    tag = "type" if len(choices) > 1 else None
    if field.is_required():
        return union, FieldInfo(description=field.description, discriminator=tag)
    return union | None, FieldInfo(default=None, description=field.description, discriminator=tag)
