"""How the hosted platform prepares a picture for a model, as an `input` of model.yaml that does the same. No state.

The file inference_config.json comes with the weights. Its server resizes, may swap red and blue, divides by
`scaling_factor`, takes off the mean of each channel and divides by its deviation, in this order:
(value / scaling_factor - mean) / deviation. Here it is (value / 255 - mean) / std, so both are converted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agent.errors import AgentError
from agent.package import Input, Resize

_COLOURS: Final = 3
_FULL: Final = 255.0
_RESIZES: Final = {
    "stretch": Resize.STRETCH,
    "letterbox": Resize.LETTERBOX,
    "letterbox-reflect-edges": Resize.LETTERBOX,  # the server pads it with one grey, too
    "fit-longer-edge": Resize.LETTERBOX,  # and this one with 127, for the size of exported weights is fixed
}
_FIT_PADDING: Final = 127
_ALTERED: Final = {
    "static-crop": "cut to a fixed part",
    "static_crop": "cut to a fixed part",
    "grayscale": "turned to grey",
    "contrast": "changed in contrast",
}
"""What the server may do to a picture before it is resized, and the agent does not."""


def read(path: Path) -> Input:
    """What the model is shown. Raises AgentError: the file says nothing of use, or what the agent cannot do."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        network = told["network_input"]
        problems = [*_alterations(told.get("image_pre_processing")), *_shape_problems(network)]
        if not problems:
            return _input(network)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise AgentError(f"{path.name} of the hosted model is not as it should be: {type(error).__name__}") from error
    raise AgentError(
        f"the hosted model is shown its pictures in a way the agent cannot repeat: {'; '.join(problems)}. Its answers "
        "here would not be those of the hosted API; generate a version of the dataset without that, and train on it"
    )


def keypoints(path: Path) -> tuple[str, ...]:
    """The names of an object's points, as keypoints_metadata.json has them by class; empty where classes differ.

    Raises AgentError: the file is not as it should be.
    """
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
        named = {_in_order(each["keypoints"]) for each in classes}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AgentError(f"{path.name} of the hosted model is not as it should be: {type(error).__name__}") from error
    return named.pop() if len(named) == 1 else ()


def _in_order(points: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(points[number]) for number in sorted(points, key=int))


def _alterations(steps: Mapping[str, Any] | None) -> Iterator[str]:
    """Turning a picture upright by its EXIF tag is none: frames of cameras have no such tag."""
    for step, words in _ALTERED.items():
        told = (steps or {}).get(step)
        if told and told.get("enabled", True):
            yield f"they are {words} ({step})"


def _shape_problems(network: Mapping[str, Any]) -> Iterator[str]:
    resize = network["resize_mode"]
    if resize == "center-crop":
        yield "only the middle of a picture is used, and that is not resized (center-crop)"
    elif resize not in _RESIZES:
        yield f"they are resized in a way that is not known here ({resize})"
    if network["input_channels"] != _COLOURS:
        yield f"they have {network['input_channels']} channels"
    if network.get("training_input_size") is None:
        yield "they keep their own size"
    if network["color_mode"] not in {"rgb", "bgr"}:
        yield f"their colours are {network['color_mode']}"


def _input(network: Mapping[str, Any]) -> Input:
    size, resize = network["training_input_size"], network["resize_mode"]
    padding = _FIT_PADDING if resize == "fit-longer-edge" else int(network.get("padding_value") or 0)
    usual = Input(int(size["width"]), int(size["height"]), _RESIZES[resize], padding)
    mean, std = network.get("normalization") or ((0.0,) * _COLOURS, (1.0,) * _COLOURS)
    share = float(network.get("scaling_factor") or 1.0) / _FULL
    return replace(usual, mean=_scaled(mean, share), std=_scaled(std, share), bgr=network["color_mode"] == "bgr")


def _scaled(values: Sequence[float], share: float) -> tuple[float, float, float]:
    red, green, blue = (round(float(value) * share, 9) for value in values)
    return red, green, blue
