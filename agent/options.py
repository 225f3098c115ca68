"""The base of every plugin's Options, and secrets by reference. No state."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agent import logs
from agent.errors import ConfigError
from agent.flow import Kind
from agent.room import WhenFull

BARE_SECRET = "bare_secret"  # noqa: S105 - the name of a mistake
"""The mistake of writing a secret itself; its value is never repeated."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""Letters, digits, - and _: names stand in MQTT topics, ids and file names."""
Port = Annotated[int, Field(ge=1, le=65535)]
Confidence = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Options(BaseModel):
    """One section of the YAML file: frozen, and no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _section_is_not_left_empty(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - any field's value
        """`tls:` with nothing below it reads like encryption, and YAML says nothing by it."""
        if value is None and info.field_name and _has_section(cls.model_fields[info.field_name].annotation):
            raise ValueError("is empty; write {} for its defaults, or take the key out to leave it off")
        return value

    @field_validator("*")
    @classmethod
    def _path_can_be_one(cls, value: Any) -> Any:  # noqa: ANN401 - any field's value
        """Expand ~ here, where a mistake has a line."""
        if not isinstance(value, Path):
            return value
        if "\0" in str(value):
            raise ValueError("holds a NUL character, which no path has")
        try:
            return value.expanduser()
        except RuntimeError as error:
            raise ValueError("there is no such user, or no home folder, for the ~ in it") from error


def _has_section(kind: object) -> bool:
    """Whether a field of this type may hold a section."""
    if isinstance(kind, type):
        return issubclass(kind, BaseModel)
    return any(map(_has_section, get_args(kind)))


class OutboxOptions(Options):
    """What waits for a sink, and for how long."""

    commit_interval_ms: int = Field(
        1000,
        ge=50,
        le=60_000,
        description="a result that no sink has taken is on the medium after at most so many milliseconds: what a power "
        "cut or a kill may lose; more of them spare an SD card",
    )
    max_mb: float = Field(2000.0, ge=1, description="most megabytes that wait, as they are stored: compressed")
    max_age_hours: float = Field(0.0, ge=0, description="what has waited for longer is dropped; 0: nothing is too old")
    when_full: WhenFull = Field(
        WhenFull.DROP_OLDEST,
        description="drop_oldest: the newest stay; drop_newest: the oldest stay; thin: every second stays, and again, "
        "as a history that grows coarser with age",
    )
    keep_free_mb: float = Field(
        200.0, ge=0, description="megabytes of the filesystem that are left free; with less, the outbox counts as full"
    )


What = Literal["results", "events", "both"]
"""What a sink is given, in the words of the YAML file."""
_KINDS: Final = {
    "results": frozenset({Kind.RESULT}),
    "events": frozenset({Kind.EVENT}),
    "both": frozenset({Kind.RESULT, Kind.EVENT}),
}


def kinds_of(what: What) -> frozenset[Kind]:
    """The kinds of delivery that `what` names."""
    return _KINDS[what]


class SinkOptions(Options):
    """The options of a sink."""

    outbox: OutboxOptions = Field(default=OutboxOptions(), description="what waits while the sink cannot take it")

    @property
    def kinds(self) -> frozenset[Kind]:
        """What this sink is given."""
        return frozenset({Kind.RESULT})

    @property
    def target(self) -> str:
        """What this sink has to itself: two sinks with one target would be in each other's way."""
        raise NotImplementedError


def unusable(base: type[Options], name: str, why: str) -> type[Options]:
    """The options of a plugin that cannot be used: they refuse whatever is given, and say `why`."""

    def refuse(_: object) -> object:
        raise ValueError(why)

    tag: Any = Literal[name]
    checks: dict[str, Any] = {"refuse": model_validator(mode="before")(refuse)}
    return create_model(
        "Options", __base__=base, __doc__=why, __validators__=checks, type=(tag, Field(description=why))
    )


def unverified(options: BaseModel, path: str = "") -> Iterator[str]:
    """The keys below `options`, at `path`, by which any certificate will do: `verify: false`, in whatever section."""
    for name, value in options:
        here = f"{path}.{name}" if path else name
        if name == "verify" and value is False:
            yield here
        for number, part in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(part, BaseModel):
                yield from unverified(part, f"{here}[{number}]" if isinstance(value, tuple) else here)


class Secret(Options):
    """A secret's whereabouts: the value itself never stands in the YAML file."""

    env: str | None = Field(None, description="name of an environment variable that holds the secret")
    file: Path | None = Field(None, description="path of a file that holds the secret and nothing else")
    credential: str | None = Field(None, description="name of a systemd credential (LoadCredential= in the unit)")

    @model_validator(mode="before")
    @classmethod
    def _refuse_a_bare_value(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
        if isinstance(value, cls):
            return value
        known = isinstance(value, dict) and value.keys() <= cls.model_fields.keys()
        if not known or not all(isinstance(where, str | Path | None) for where in value.values()):
            raise PydanticCustomError(BARE_SECRET, "give a reference, not the secret: env, file or credential")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> "Secret":
        if sum(way is not None for way in (self.env, self.file, self.credential)) != 1:
            raise ValueError("give exactly one of env, file, credential")
        if self.env is not None:
            logs.hide(os.environ.get(self.env, "").strip())  # before any child gets this process's environment
        return self

    def reveal(self, base_dir: Path) -> str:
        """The secret's value, from now on struck out of every log line.

        Raises:
            ConfigError: the variable, file or credential is missing or empty.
        """
        value = self._lookup(base_dir).strip()
        if not value:
            raise ConfigError(f"the secret {self} is empty; put the value there{self._hint()}")
        logs.hide(value)
        return value

    def _lookup(self, base_dir: Path) -> str:
        if self.env is not None:
            if self.env not in os.environ:
                raise ConfigError(f"the environment variable {self.env} is not set; set it, or name a file instead")
            return os.environ[self.env]
        if self.file is not None:
            return _text_of(base_dir / self.file)
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            raise ConfigError(
                f"the credential {self.credential} exists only under systemd: add "
                f"LoadCredential={self.credential}:PATH to the unit, or use env or file outside it"
            )
        return _text_of(Path(folder) / str(self.credential))

    def _hint(self) -> str:
        return f": the unit reads it from /etc/vedette/credentials/{self.credential}" if self.credential else ""

    def __str__(self) -> str:
        way = next(name for name in ("env", "file", "credential") if getattr(self, name) is not None)
        return f"{{{way}: {getattr(self, way)}}}"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the secret's file {path} cannot be read: {error.strerror}; check path and rights"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the secret's file {path} is not text; put the secret into it, and nothing else") from error


def credentials_from(folder: Path) -> None:
    """Where systemd gives no credentials, take them from the folder that the unit reads them from."""
    os.environ.setdefault("CREDENTIALS_DIRECTORY", str(folder))
