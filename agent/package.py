"""Model packages: a folder with `model.yaml` and the model file, or a bare model file. No state."""

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from agent import document
from agent.errors import ConfigError
from agent.options import Options

_HERE = Path(__file__).parent


def shipped(*parts: str) -> Path:
    """A file or folder that comes with the product: inside the wheel, or beside the package in a checkout."""
    inside = _HERE / "_shipped"
    return (inside if inside.is_dir() else _HERE.parent).joinpath(*parts)


class _InputSize(Options):
    width: int
    height: int


class _Manifest(Options):
    """The keys of model.yaml."""

    name: str
    task: str = "object-detection"
    file: str
    variants: dict[str, str] = Field(default_factory=dict)
    input: _InputSize | None = None
    labels: tuple[str, ...] = ()
    sha256: dict[str, str] = Field(default_factory=dict)
    licence: str = ""
    source: str = ""
    description: str = ""
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A model file and what its package says of it."""

    name: str
    file: Path
    labels: tuple[str, ...]
    """Class names by class id; empty when the package does not say."""


def find(model: str, *, base_dir: Path, variant: str | None = None) -> ModelPackage:
    """The package that `model` names.

    Args:
        model: a model file, a package folder (both relative to `base_dir`), or the name of a shipped package.
        base_dir: the folder of the configuration file.
        variant: one of the package's variants; None for its default file.

    Raises:
        ConfigError: nothing is there, the manifest is wrong, or the file is not the one it describes.
    """
    try:
        named = base_dir / Path(model).expanduser()
        found = _found(model, named, variant)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"the model {model!r} is no usable path: {error}") from error
    if found is not None:
        return found
    known = sorted(path.parent.name for path in shipped("models").glob("*/model.yaml"))
    near = difflib.get_close_matches(model, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"packages that come with the agent: {', '.join(known) or 'none'}"
    raise ConfigError(f"the model {model} is neither a file nor a package folder (looked at {named}); {hint}")


def _found(model: str, named: Path, variant: str | None) -> ModelPackage | None:
    if named.is_file() and named.name != "model.yaml":
        return _single(named, variant)
    for folder in (named.parent if named.name == "model.yaml" else named, shipped("models", model)):
        if (folder / "model.yaml").is_file():
            return _from_manifest(folder, variant)
    return None


def _single(file: Path, variant: str | None) -> ModelPackage:
    """A file by itself, or with what a model.yaml beside it says of it."""
    if variant is not None:
        raise ConfigError(f"variant: {variant} needs a model package; {file} is a single file, so leave variant out")
    page = file.parent / "model.yaml"
    manifest = _manifest(document.read(page)) if page.is_file() else None
    if manifest is None or file.name not in {manifest.file, *manifest.variants.values()}:
        return ModelPackage(name=file.stem, file=file, labels=())
    return _verified(file, manifest)


def _from_manifest(folder: Path, variant: str | None) -> ModelPackage:
    page = document.read(folder / "model.yaml")
    manifest = _manifest(page)
    if variant is not None and variant not in manifest.variants:
        raise ConfigError(f"{page.name}: has no variant {variant}; it has: {', '.join(manifest.variants) or 'none'}")
    return _verified(folder / (manifest.file if variant is None else manifest.variants[variant]), manifest)


def _manifest(page: document.Document) -> _Manifest:
    try:
        manifest = _Manifest.model_validate(page.data)
    except ValidationError as error:
        problems = (f"{page.place(problem['loc'])}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(*page.duplicates, *problems) from error
    if page.duplicates:
        raise ConfigError(*page.duplicates)
    return manifest


def _verified(file: Path, manifest: _Manifest) -> ModelPackage:
    _verify(file, manifest.sha256.get(file.name))
    return ModelPackage(name=manifest.name, file=file, labels=manifest.labels)


def _verify(file: Path, sha256: str | None) -> None:
    if not file.is_file():
        raise ConfigError(f"{file}: is named in model.yaml but is not there")
    if sha256 is not None and hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise ConfigError(f"{file}: is not the file model.yaml describes (sha256 differs); copy the package again")
