"""The parameters of a request: defaults, ranges, and FastAPI's words for a bad one. No state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.emulator import replies

_DEFAULT_CONFIDENCE: Final = 0.4
_DEFAULT_OVERLAP: Final = 0.3
_DEFAULT_MAX_DETECTIONS: Final = 300
_LEAST_CONFIDENCE: Final = 0.01
_NAMED_CONFIDENCES: Final = ("best", "default")
_DRAWN_FORMATS: Final = ("image", "image_and_json")
_MASK_FORMATS: Final = ("polygon", "rle")
_TRUE: Final = ("true", "1", "yes", "on", "t", "y")
_FALSE: Final = ("false", "0", "no", "off", "f", "n")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the client asked for."""

    confidence: float
    """Objects scored below this are left out, 0.01 and up."""
    overlap: float
    """Boxes of one class with a higher IoU are one object."""
    max_detections: int
    keypoint_confidence: float = 0.0
    as_runs: bool = False
    """Masks as run lengths, in place of outlines."""


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(text)
    return text.lower() in _TRUE


@dataclass(frozen=True, slots=True)
class _Type:
    """How a parameter is read, and what FastAPI says when it cannot be."""

    parse: Callable[[str], float | int | bool]
    code: str
    sentence: str


_FLOAT = _Type(float, "float_parsing", "Input should be a valid number, unable to parse string as a number")
_INT = _Type(int, "int_parsing", "Input should be a valid integer, unable to parse string as an integer")
_BOOL = _Type(_boolean, "bool_parsing", "Input should be a valid boolean, unable to interpret input")
_TYPES: Final[Mapping[str, _Type]] = {
    "confidence": _FLOAT,
    "overlap": _FLOAT,
    "keypoint_confidence": _FLOAT,
    "tradeoff_factor": _FLOAT,
    "max_detections": _INT,
    "stroke": _INT,
    "labels": _BOOL,
    "include_anomaly_map": _BOOL,
    "allow_reduced_mask_resolution": _BOOL,
    "disable_preproc_auto_orient": _BOOL,
    "disable_preproc_contrast": _BOOL,
    "disable_preproc_grayscale": _BOOL,
    "disable_preproc_static_crop": _BOOL,
    "disable_active_learning": _BOOL,
    "disable_model_monitoring": _BOOL,
    "countinference": _BOOL,
}


def read(parameters: Mapping[str, str], *, place: str = "query") -> Wanted:
    """What the parameters ask for; unknown ones are ignored, as the service does.

    Args:
        parameters: as texts, by their names in a query.
        place: where they stand, for the words about a bad one.

    Raises:
        Refused: 422 for a badly typed one, 400, 500 or 501 for one that asks for what is not there.
    """
    values = _typed(parameters, place)
    _refuse_what_is_not_there(parameters, values)
    return Wanted(
        confidence=max(_LEAST_CONFIDENCE, _share(values.get("confidence", _DEFAULT_CONFIDENCE))),
        overlap=max(0.0, _share(values.get("overlap", _DEFAULT_OVERLAP))),
        max_detections=max(0, int(values.get("max_detections", _DEFAULT_MAX_DETECTIONS))),
        keypoint_confidence=values.get("keypoint_confidence", 0.0),
        as_runs=parameters.get("response_mask_format") == "rle",
    )


def _typed(parameters: Mapping[str, str], place: str) -> dict[str, float]:
    values: dict[str, float] = {}
    problems: list[Mapping[str, object]] = []
    for name, kind in _TYPES.items():
        text = parameters.get(name)
        if text is None or (name == "confidence" and text in _NAMED_CONFIDENCES):
            continue
        try:
            values[name] = kind.parse(text)
        except ValueError:
            problems.append({"type": kind.code, "loc": [place, name], "msg": kind.sentence, "input": text})
    if problems:
        raise replies.Refused(replies.invalid(problems))
    return values


def _refuse_what_is_not_there(parameters: Mapping[str, str], values: Mapping[str, float]) -> None:
    if not values.get("countinference", True):
        raise replies.Refused(replies.message(500, "Service misconfiguration."))
    if parameters.get("format") in _DRAWN_FORMATS:
        text = f"The emulator draws no pictures: format={parameters['format']} is not there, ask for format=json."
        raise replies.Refused(replies.message(501, text))
    if parameters.get("response_mask_format", "polygon") not in _MASK_FORMATS:
        formats = " or ".join(_MASK_FORMATS)
        raise replies.Refused(replies.message(400, f"response_mask_format must be {formats}."))
    if parameters.get("image_type", "base64") != "base64":
        raise replies.Refused(replies.undecodable(f"image_type={parameters['image_type']} is not accepted"))


def _share(value: float) -> float:
    """0..1; the service reads 40 as 0.4."""
    return value / 100 if value >= 1 else value
