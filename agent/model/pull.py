"""`vedette model pull`: the hosted model's own weights, so that what answers here is the model that answers there."""

import argparse
import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agent import config, words
from agent.engines import _aliases
from agent.errors import AgentError
from agent.model import manifest, platform, preparation, report
from agent.model.download import Wanted, Web
from agent.model.manifest import Keys
from agent.model.meter import Meter
from agent.model.platform import PLATFORM, RemoteFile, WeightsPackage
from agent.model.session import DONE, OTHER_STATE, Commands, Session
from agent.model.trial import ensure_runtime, tried
from agent.options import Secret
from agent.package import MANIFEST

KEY_VARIABLE: Final = "ROBOFLOW_API_KEY"
_EU: Final = "https://api.roboflow.eu"
_WEIGHTS: Final = "weights.onnx"
_LABELS: Final = "class_names.txt"
_PREPARATION: Final = "inference_config.json"
_KEYPOINTS: Final = "keypoints_metadata.json"
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """Which model, where, and with which key."""

    model: str
    """PROJECT/VERSION."""
    url: str
    """The platform's API."""
    key: str
    name: str
    """What the package is to be called."""
    ca_file: Path | None = None

    @property
    def version(self) -> str:
        """The project's."""
        return self.model.partition("/")[2]


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """See Command."""
    parser = commands.add_parser(
        "pull",
        help="fetch the weights of a hosted model, so that the fallback is the same model",
        description="Fetch the hosted model's own weights (ONNX) from the platform, with the way its pictures are "
        "prepared there, and install them. A download that was cut off goes on where it ended.",
    )
    add = parser.add_argument
    add("model", nargs="?", metavar="PROJECT/VERSION", help="as under engines.cloud, or an alias such as yolov8n-640")
    add("--config", type=Path, metavar="FILE", help="take model and key from engines.cloud of this configuration")
    add("--name", help="what it is called here; left out: the project, or the alias")
    add("--url", help=f"the platform's API (default: {PLATFORM}, or {_EU} where the configuration's url is in Europe)")
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--api-key-env", metavar="NAME", help=f"environment variable with the key ({KEY_VARIABLE})")
    keys.add_argument("--api-key-file", type=Path, metavar="PATH", help="file with the key and nothing else")
    keys.add_argument("--api-key-credential", metavar="NAME", help="systemd credential with the key")
    return parser


def run(options: argparse.Namespace, session: Session) -> int:
    """See Command."""
    source = _source(options, session)
    with contextlib.closing(Web(session.clock, ca_file=source.ca_file, tell=session.meter.say)) as web:
        session.say(pull(web, source, session))
    return DONE


def pull(web: Web, source: Source, session: Session) -> str:
    """Fetch and install; what was done, for people. Raises AgentError."""
    shelf = session.shelf
    ensure_runtime(_WEIGHTS)
    found = platform.weights(web, source.url, source.model, source.key)
    package = platform.best(found, source.model)
    origin = f"{source.model} at {source.url}, package {package.id}"
    if source.version in shelf.versions(source.name):
        return _there(source, session, origin)
    mark = hashlib.sha256(f"{source.name} {origin}".encode()).hexdigest()[:20]
    try:
        with shelf.stage(mark) as staged:
            keys = _Fetcher(web, source, package, staged, session.meter).keys()
            keys = {**keys, "task": found.task.value if found.task else "", "source": origin}
            keys["description"] = f"The weights of the hosted model {source.model} ({found.architecture})."
            _tidy(staged, keys)
            manifest.write(staged, keys)
            done = tried(str(staged), staged / _WEIGHTS, session)
            version = shelf.install(staged, source.name, source.version)
    except OSError as error:
        raise AgentError(words.unwritable(error.filename or shelf.folder, error, otherwise=OTHER_STATE)) from error
    told = [*report.described(origin, done, picture=None), ""]
    return "\n".join([*told, *report.installed(shelf, source.name, version, done.card.runtime)])


def _source(options: argparse.Namespace, session: Session) -> Source:
    """What the command line asks for. Raises ConfigError, AgentError."""
    model, secret, folder, ca_file, url = options.model, None, session.here, None, options.url
    if options.config is not None:
        cloud = config.load(options.config).engines.cloud
        if cloud is None:
            raise AgentError(f"{options.config}: has no engines.cloud; name the model and the key on the command line")
        folder = options.config.resolve().parent
        model, secret = model or getattr(cloud, "model", None), getattr(cloud, "api_key", None)
        ca_file = getattr(cloud, "ca_file", None) if url else None  # it vouches for a server of their own
        url = url or (_EU if str(getattr(cloud, "url", "")).rstrip("/").endswith(".roboflow.eu") else None)
    if url is not None and urlsplit(url).scheme not in {"http", "https"}:
        example = f"https://{url.rpartition('://')[2]}"
        raise AgentError(f"--url {url}: has to begin with https:// or http://, as in {example}")
    if not model:
        raise AgentError("which model? Give PROJECT/VERSION, or --config FILE with engines.cloud.model")
    project, _, version = _aliases.resolved(model).partition("/")
    if not project or not version or "/" in version:
        raise AgentError(f"{model}: is neither PROJECT/VERSION, such as my-project/3, nor a known alias")
    given = _given_key(options)
    own = _STRANGE.sub("-", model if "/" not in model else project).strip("-_")
    name = own if options.name is None else options.name
    manifest.ensure_name(name)
    key = (given or secret or Secret(env=KEY_VARIABLE)).reveal(session.here if given else folder)
    return Source(f"{project}/{version}", url or PLATFORM, key, name, folder / ca_file if ca_file else None)


def _given_key(options: argparse.Namespace) -> Secret | None:
    ways = {"env": options.api_key_env, "file": options.api_key_file, "credential": options.api_key_credential}
    given = {way: value for way, value in ways.items() if value is not None}
    return Secret.model_validate(given) if given else None


def _there(source: Source, session: Session, origin: str) -> str:
    """That it is installed, or what is in its place. Raises AgentError."""
    place = f"{source.name}@{source.version}"
    if manifest.read(session.shelf.path(source.name, source.version)).get("source") == origin:
        return f"{place} is installed already, and the platform has nothing newer of this version"
    raise AgentError(
        f"{place} is installed, and is another model or an earlier form of this one; remove it first, or give --name"
    )


@dataclass(frozen=True, slots=True)
class _Fetcher:
    """Brings the files of one package."""

    web: Web
    source: Source
    package: WeightsPackage
    staged: Path
    meter: Meter

    def keys(self) -> Keys:
        """Fetch every file of use, what is small first, for weights that cannot be used are not fetched.

        What they say, as keys of model.yaml. Raises AgentError, OSError.
        """
        names = (_PREPARATION, _LABELS, _WEIGHTS)
        preparing, naming, weights = (self.package.file(name) for name in names)
        points = self.package.file(_KEYPOINTS)
        if preparing is None or naming is None or weights is None:
            missing = ", ".join(name for name in names if self.package.file(name) is None)
            raise AgentError(f"the platform's package {self.package.id} of {self.source.model} lacks {missing}")
        keys: Keys = {"name": self.source.name, "version": self.source.version, "file": _WEIGHTS}
        keys["input"] = manifest.input_keys(preparation.read(self._fetch(preparing)))
        keys["labels"] = _lines(self._fetch(naming))
        keys["keypoints"] = [] if points is None else list(preparation.keypoints(self._fetch(points)))
        self._fetch(weights)
        return keys

    def _fetch(self, file: RemoteFile) -> Path:
        wanted = Wanted(file.name, "md5", file.md5)
        return self.web.fetch(wanted, self.staged, address=self._addresses(file), meter=self.meter)

    def _addresses(self, file: RemoteFile) -> Callable[[], str]:
        """Where a file lies: as the platform has said, and afterwards as it says anew, for addresses expire."""
        first = [file.url]

        def address() -> str:
            return _safe(first.pop() if first else self._anew(file), self.source)

        return address

    def _anew(self, file: RemoteFile) -> str:
        found = platform.weights(self.web, self.source.url, self.source.model, self.source.key)
        again = next((each.file(file.name) for each in found.packages if each.id == self.package.id), None)
        if again is None or again.md5 != file.md5:
            raise AgentError(f"the platform has another package of {self.source.model} since just now; pull it again")
        return again.url


def _safe(address: str, source: Source) -> str:
    """Raises AgentError: files would come unprotected although the platform is asked over TLS."""
    if source.url.startswith("https:") and not address.startswith("https:"):
        raise AgentError("the platform names an address without TLS for the weights; it is not used")
    return address


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").strip().splitlines()]
    except UnicodeDecodeError as error:
        raise AgentError(f"{file.name} of the hosted model is not text") from error


def _tidy(staged: Path, keys: Mapping[str, object]) -> None:
    """Only the model stays: what the other files say is in model.yaml."""
    for path in staged.iterdir():
        if path.name not in {keys["file"], MANIFEST}:
            path.unlink()
