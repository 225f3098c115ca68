"""Versions of libraries that do not fit each other, although each can be imported. No state."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Final

from agent.check import Finding
from agent.doctor.finding import doubt, fault, fine

PART: Final = "versions"
_OPENCV: Final = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_SHOWN: Final = ("numpy", "ai-edge-litert", "tflite-runtime", "onnxruntime", "tensorrt")


def installed() -> dict[str, str]:
    """The version of every distribution that this Python sees, by its name in lower case with hyphens."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # the remains of a removed one have none; of two, the first is the one that is imported
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return found


def has(module: str) -> bool:
    """Whether `module` could be imported; it is not."""
    return importlib.util.find_spec(module) is not None


def findings(
    found: Mapping[str, str], opencv: str, *, jetson: bool, tensorrt: bool, pip_says: str | None
) -> Iterator[Finding]:
    """One line that names them, and one for each pair that does not fit.

    Args:
        found: versions by distribution.
        opencv: what the cv2 that is imported says of itself, as "OpenCV 5.0.0 with ...".
        jetson: whether this is a Jetson.
        tensorrt: whether TensorRT could be imported.
        pip_says: what `pip check` prints, a line for each need that is not met; None: there is no pip.
    """
    shown = [f"{name} {found[name]}" for name in _SHOWN if name in found]
    yield fine(PART, ", ".join([*shown, opencv]))
    yield from _numpy(found)
    yield from _opencv(found, opencv)
    if jetson and not tensorrt:
        yield doubt(
            PART,
            "this Python does not see JetPack's TensorRT, which is made for the system's; make the virtual environment "
            "with /usr/bin/python3 and --system-site-packages, as scripts/install.sh does",
        )
    for line in (pip_says or "").splitlines():
        if line.startswith("vedette "):
            yield fault(PART, f"{line.rstrip('.')}; install Vedette into a virtual environment of its own")


def _numpy(found: Mapping[str, str]) -> Iterator[Finding]:
    numpy = _major(found.get("numpy", "0"))
    if "tflite-runtime" in found and "ai-edge-litert" not in found and numpy[0] >= 2:  # noqa: PLR2004 - numpy's ABI 2
        yield fault(
            PART,
            "tflite-runtime was made for numpy 1: it imports, and then fails at every model; install the extra, which "
            "pins what fits: pip install 'vedette[tflite-runtime]', or use ai-edge-litert",
        )


def _opencv(found: Mapping[str, str], opencv: str) -> Iterator[Finding]:
    twice = [name for name in _OPENCV if name in found]
    if len(twice) > 1:
        yield doubt(
            PART,
            f"{' and '.join(twice)} write into the same folder, so that neither is whole; pip uninstall them, then "
            "pip install opencv-python-headless",
        )
    version = re.search(r"OpenCV (\d+)\.(\d+)", opencv)
    if version and not (4, 8) <= (int(version[1]), int(version[2])) < (6, 0):
        yield fault(
            PART, f"{version[0]} is none that it works with (4.8 to 5); pip install 'opencv-python-headless>=4.8,<6'"
        )


def _major(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2]) or (0,)
