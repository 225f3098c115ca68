"""Model packages: a folder with `model.yaml` and the model file, or a bare model file. No state."""

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError, field_validator

from agent import document
from agent.errors import ConfigError
from agent.flow import Task
from agent.mistakes import Mistakes
from agent.options import Options
from agent.shelf import Shelf

MANIFEST: Final = "model.yaml"
_HERE = Path(__file__).parent
_PIECE_BYTES: Final = 1 << 20
_Channels = tuple[float, float, float]
_Deviation = Annotated[float, Field(gt=0)]


def shipped(*parts: str) -> Path:
    """A file or folder that comes with the product: inside the wheel, or beside the package in a checkout."""
    inside = _HERE / "_shipped"
    return (inside if inside.is_dir() else _HERE.parent).joinpath(*parts)


class Resize(str, Enum):
    """How a picture becomes as large as the model's input."""

    LETTERBOX = "letterbox"
    """Its shape is kept; what is left over, half on either side, is padded."""
    STRETCH = "stretch"
    """Both sides become as long as the input's."""
    CROP = "crop"
    """Its shape is kept; what is too much, half on either side, is left out."""


class _InputKeys(Options):
    """The section `input` of model.yaml."""

    width: int = Field(ge=1, le=8192, description="of the model's input, in pixels")
    height: int = Field(ge=1, le=8192, description="of the model's input, in pixels")
    resize: Resize = Field(Resize.LETTERBOX, description="how a picture becomes so large")
    padding: int = Field(114, ge=0, le=255, description="grey value around a letterboxed picture")
    mean: _Channels = Field((0.0, 0.0, 0.0), description="taken off each channel's 0..1, in the model's channel order")
    std: tuple[_Deviation, _Deviation, _Deviation] = Field((1.0, 1.0, 1.0), description="what that is divided by")
    bgr: bool = Field(False, description="whether the model takes blue first")


class _Manifest(Options):
    """The keys of model.yaml."""

    name: str = Field(description="what results call the model")
    version: str = Field("", description="which one of that name it is")
    description: str = Field("", description="one sentence for people")
    task: Task | None = Field(None, description="what the model does; left out: found out from the file")
    file: str = Field(description="the model file, in the folder of model.yaml")
    variants: dict[str, str] = Field(default_factory=dict, description="each file by a word for it")
    input: _InputKeys | None = Field(None, description="what the model is shown")
    labels: tuple[str, ...] = Field((), description="class names by class id")
    keypoints: tuple[str, ...] = Field((), description="names of the points of an object, by number")
    sha256: dict[str, str] = Field(default_factory=dict, description="checksum of each file")
    licence: str = Field("", description="on what terms it may be used")
    source: str = Field("", description="what made it, or where it came from")
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict, description="what was measured of each file")

    @field_validator("version", mode="before")
    @classmethod
    def _may_look_like_a_number(cls, version: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
        """`version: 3` means the text."""
        return str(version) if isinstance(version, int) and not isinstance(version, bool) else version

    @field_validator("file", "variants")
    @classmethod
    def _stays_in_the_folder(cls, files: str | dict[str, str]) -> str | dict[str, str]:
        for file in [files] if isinstance(files, str) else files.values():
            if file != Path(file).name:
                raise ValueError("should be the name of a file in the folder of model.yaml, without a path")
        return files


@dataclass(frozen=True, slots=True)
class Input:
    """What a model is shown."""

    width: int
    height: int
    resize: Resize = Resize.LETTERBOX
    padding: int = 114
    """Grey value around a letterboxed picture, 0..255."""
    mean: _Channels = (0.0, 0.0, 0.0)
    """By channel in the model's own order: the model reads (value / 255 - mean) / std."""
    std: _Channels = (1.0, 1.0, 1.0)
    bgr: bool = False
    """Whether blue is the model's first channel."""


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A model file and what its package says of it."""

    name: str
    version: str
    """Of an installed package the one it was installed as; else what its manifest says, "": nothing."""
    file: Path
    labels: tuple[str, ...]
    """Class names by class id; empty when the package does not say."""
    task: Task | None = None
    """None: the package does not say."""
    input: Input | None = None
    """None: the package does not say."""
    keypoints: tuple[str, ...] = ()
    """Names of the points of an object, by number."""


@dataclass(frozen=True, slots=True)
class About:
    """What a package says of itself to people."""

    name: str
    version: str
    description: str
    task: Task | None
    width: int | None
    """Of the input, in pixels; None: it does not say."""
    height: int | None
    files: tuple[Path, ...]
    """The default one first."""
    labels: int
    """How many class names there are."""
    licence: str
    source: str


def find(model: str, *, base_dir: Path, variant: str | None = None, shelf: Path | None = None) -> ModelPackage:
    """The package that `model` names: a path, else an installed package, else one that comes with the agent.

    Args:
        model: a model file or a package folder (both relative to `base_dir`), or the name of an installed or a shipped
            package. NAME@VERSION pins a version of an installed one; NAME is the version in use.
        base_dir: the folder of the configuration file.
        variant: one of the package's variants; None for its default file.
        shelf: the folder of installed packages; None: there are none.

    Raises:
        ConfigError: nothing is there, the manifest is wrong, or the file is not the one it describes.
    """
    shelved = None if shelf is None else Shelf(shelf)
    try:
        named = base_dir / Path(model).expanduser()
        found = _found(model, named, variant, shelved)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"the model {model!r} is no usable path: {error}") from error
    if found is not None:
        return found
    raise ConfigError(_unknown(model, named, shelved))


def about(folder: Path) -> About:
    """What the package in `folder` says of itself; its files are not read. Raises ConfigError."""
    manifest = _manifest(document.read(folder / MANIFEST))
    shape = manifest.input
    names = dict.fromkeys([manifest.file, *manifest.variants.values()])
    return About(
        manifest.name,
        manifest.version,
        manifest.description,
        manifest.task,
        None if shape is None else shape.width,
        None if shape is None else shape.height,
        tuple(folder / name for name in names),
        len(manifest.labels),
        manifest.licence,
        manifest.source,
    )


def problems(folder: Path) -> Iterator[str]:
    """Everything that is wrong with the package in `folder`: its manifest, and the checksum of every file."""
    try:
        manifest = _manifest(document.read(folder / MANIFEST))
    except ConfigError as error:
        yield from error.problems
        return
    for name in dict.fromkeys([manifest.file, *manifest.variants.values(), *manifest.sha256]):
        yield from _file_problems(folder / name, manifest.sha256.get(name))


def _file_problems(file: Path, sha256: str | None) -> tuple[str, ...]:
    try:
        _verify(file, sha256)
    except ConfigError as error:
        return error.problems
    except OSError as error:
        return (f"{file}: cannot be read: {error.strerror}",)
    return ()


def sha256_of(file: Path) -> str:
    """In hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _found(model: str, named: Path, variant: str | None, shelf: Shelf | None) -> ModelPackage | None:
    if named.is_file() and named.name != MANIFEST:
        return _single(named, variant)
    folder = named.parent if named.name == MANIFEST else named
    if (folder / MANIFEST).is_file():
        return _from_manifest(folder, variant)
    name, _, wanted = model.partition("@")
    version = None if shelf is None else wanted or shelf.current(name)
    if shelf is not None and version is not None and version in shelf.versions(name):
        return _from_manifest(shelf.path(name, version), variant, version=version)
    own = shipped("models", model)
    return _from_manifest(own, variant) if (own / MANIFEST).is_file() else None


def _unknown(model: str, named: Path, shelf: Shelf | None) -> str:
    name, _, version = model.partition("@")
    if shelf is not None and version and shelf.versions(name):
        return f"the model {model} is not there: {shelf.unknown(name, version)}"
    ours = sorted(path.parent.name for path in shipped("models").glob(f"*/{MANIFEST}"))
    installed = [] if shelf is None else shelf.names()
    near = difflib.get_close_matches(name, [*installed, *ours], n=1)
    hint = f"did you mean {near[0]}?" if near else f"packages that come with the agent: {', '.join(ours) or 'none'}"
    if installed and not near:
        hint = f"installed packages: {', '.join(installed)}; {hint}"
    return f"the model {model} is neither a file nor a package folder (looked at {named}); {hint}"


def _single(file: Path, variant: str | None) -> ModelPackage:
    """A file by itself, or with what a model.yaml beside it says of it."""
    if variant is not None:
        raise ConfigError(f"variant: {variant} needs a model package; {file} is a single file, so leave variant out")
    page = file.parent / MANIFEST
    manifest = _manifest(document.read(page)) if page.is_file() else None
    if manifest is None or file.name not in {manifest.file, *manifest.variants.values()}:
        return ModelPackage(file.stem, "", file, labels=())
    return _verified(file, manifest)


def _from_manifest(folder: Path, variant: str | None, *, version: str | None = None) -> ModelPackage:
    page = document.read(folder / MANIFEST)
    manifest = _manifest(page)
    if variant is not None and variant not in manifest.variants:
        raise ConfigError(f"{page.name}: has no variant {variant}; it has: {', '.join(manifest.variants) or 'none'}")
    file = folder / (manifest.file if variant is None else manifest.variants[variant])
    return _verified(file, manifest, version=version)


def _manifest(page: document.Document) -> _Manifest:
    try:
        manifest = _Manifest.model_validate(page.data)
    except ValidationError as error:
        sentences = Mistakes(page, _Manifest.model_json_schema()).sentences(error.errors())
        raise ConfigError(*page.duplicates, *sentences) from error
    if page.duplicates:
        raise ConfigError(*page.duplicates)
    return manifest


def _verified(file: Path, manifest: _Manifest, *, version: str | None = None) -> ModelPackage:
    _verify(file, manifest.sha256.get(file.name))
    shape = manifest.input
    return ModelPackage(
        name=manifest.name,
        version=manifest.version if version is None else version,
        file=file,
        labels=manifest.labels,
        task=manifest.task,
        input=None if shape is None else Input(**dict(shape)),
        keypoints=manifest.keypoints,
    )


def _verify(file: Path, sha256: str | None) -> None:
    if not file.is_file():
        raise ConfigError(f"{file}: is named in model.yaml but is not there")
    if sha256 is not None and sha256_of(file) != sha256:
        raise ConfigError(f"{file}: is not the file model.yaml describes (sha256 differs); copy the package again")
