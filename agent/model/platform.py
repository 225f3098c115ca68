"""Asks the hosted platform for a model's own weights: which packages there are, and where their files lie. No state."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import AgentError
from agent.flow import Task
from agent.model.download import Reply, Web

PLATFORM: Final = "https://api.roboflow.com"
_PATH: Final = "/models/v1/external/weights"
_MOST_PAGES: Final = 10
"""As many as the platform's own client reads."""
_KIND: Final = "-model-package-v1"
"""Behind the kind in a package's type."""
_PRECISIONS: Final = ("fp32", "fp16", "int8", "bf16")
"""The one that loses nothing first."""
_OK: Final = 200
_REFUSALS: Final = {
    401: "the API key is not accepted ({said}); check it",
    402: "the workspace has no credits for this ({said}); check its billing and its plan",
    403: "the API key may not fetch the weights of {model} ({said}); check the key's scope, and the workspace's plan",
    404: "there is no model {model}, or the key may not see it ({said}); check project and version",
    423: "the workspace has paused its API use ({said}); whoever administers it can let it go on",
}
_SHOWN_LETTERS: Final = 300


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a package."""

    name: str
    url: str
    """Signed, and good for a while."""
    md5: str


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """One form in which the platform has the weights."""

    id: str
    kind: str
    """Such as onnx or trt."""
    precision: str
    static_batch: int | None
    """How many pictures at once; None: as many as come."""
    files: tuple[RemoteFile, ...]

    def file(self, name: str) -> RemoteFile | None:
        """The file of this name."""
        return next((each for each in self.files if each.name == name), None)


@dataclass(frozen=True, slots=True)
class HostedWeights:
    """What the platform has of one model."""

    architecture: str
    task: Task | None
    packages: tuple[WeightsPackage, ...]


def weights(web: Web, url: str, model: str, key: str) -> HostedWeights:
    """What there is of `model`, PROJECT/VERSION, at the platform at `url`. Raises AgentError."""
    packages: list[WeightsPackage] = []
    params = {"modelId": model}
    for _ in range(_MOST_PAGES):
        reply = web.ask(f"{url.rstrip('/')}{_PATH}", params=params, headers={"Authorization": f"Bearer {key}"})
        told = _metadata(reply, model)
        packages += _packages(told)
        if not told.get("nextPage"):
            break
        params = {**params, "startAfter": str(told["nextPage"])}
    task = told.get("taskType")
    known = next((each for each in Task if each.value == task), None)
    return HostedWeights(str(told.get("modelArchitecture") or "unknown"), known, tuple(packages))


def best(found: HostedWeights, model: str) -> WeightsPackage:
    """The ONNX package to use: the most precise that takes one picture at a time. Raises AgentError: there is none."""
    usable = [each for each in found.packages if each.kind == "onnx" and each.static_batch in {None, 1}]
    if not usable:
        kinds = sorted({_described(each) for each in found.packages})
        raise AgentError(
            f"the platform has no ONNX weights of {model} that take one picture at a time, but "
            f"{', '.join(kinds) or 'none at all'}; train it on the platform as YOLOv8 or YOLO11, or export it yourself"
        )
    return min(usable, key=_rank)


def _rank(package: WeightsPackage) -> tuple[int, bool]:
    known = package.precision in _PRECISIONS
    return _PRECISIONS.index(package.precision) if known else len(_PRECISIONS), package.static_batch is None


def _described(package: WeightsPackage) -> str:
    batch = f", {package.static_batch} pictures at a time" if package.static_batch not in {None, 1} else ""
    return f"{package.kind} ({package.precision}{batch})"


def _metadata(reply: Reply, model: str) -> Mapping[str, Any]:
    if reply.status != _OK:
        sentence = _REFUSALS.get(reply.status, "the platform refused with status {status} ({said})")
        raise AgentError(sentence.format(said=_said(reply), model=model, status=reply.status))
    try:
        told = json.loads(reply.body)["modelMetadata"]
        if isinstance(told, dict) and isinstance(told.get("modelPackages"), list):
            return told
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    if "html" in reply.media_type:
        raise AgentError("a web page came in place of an answer; a captive portal? Sign in to the network")
    raise AgentError(f"the platform's answer about {model} is none that is known here ({_said(reply)})")


def _packages(told: Mapping[str, Any]) -> list[WeightsPackage]:
    """Those that can be understood."""
    return [package for each in told["modelPackages"] if (package := _package(each)) is not None]


def _package(told: Any) -> WeightsPackage | None:  # noqa: ANN401 - whatever the platform said
    try:
        manifest = told["packageManifest"]
        static = manifest.get("staticBatchSize")
        return WeightsPackage(
            id=str(told["packageId"]),
            kind=str(manifest["type"]).removesuffix(_KIND),
            precision=str(manifest.get("quantization", "unknown")),
            static_batch=None if manifest.get("dynamicBatchSize") or static is None else int(static),
            files=tuple(_file(file) for file in told["packageFiles"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _file(told: Mapping[str, Any]) -> RemoteFile:
    return RemoteFile(str(told["fileHandle"]), str(told["downloadUrl"]), str(told.get("md5Hash") or ""))


def _said(reply: Reply) -> str:
    """What an error says, wherever it stands."""
    text = reply.body[:65_536].decode("utf-8", "replace")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = text
    if isinstance(told, dict):
        told = told.get("message") or told.get("detail") or told.get("error") or told
    if isinstance(told, dict):
        told = told.get("message") or told
    return " ".join(str(told).split())[:_SHOWN_LETTERS] or "no text"
