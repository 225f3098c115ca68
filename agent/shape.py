"""What an answer found, in the hosted API's own JSON: one shape a task, whichever engine answered. No state."""

from base64 import b64encode
from typing import Any

from agent.flow import Answer, Keypoint, Prediction, Regions, Task


def hosted_shape(answer: Answer) -> dict[str, Any]:
    """`predictions`, and what stands beside them, as the hosted API answers a request for this task."""
    found = answer.predictions
    if answer.task is Task.CLASSIFICATION:
        best = found[0] if found else None
        predictions = [_class(each) for each in found]
        return {"predictions": predictions, "top": best.class_name if best else "", "confidence": _confidence(best)}
    if answer.task is Task.MULTI_LABEL_CLASSIFICATION:
        scores = {each.class_name: {"confidence": each.confidence, "class_id": each.class_id} for each in answer.scores}
        return {"predictions": scores, "predicted_classes": [each.class_name for each in found]}
    if answer.task is Task.SEMANTIC_SEGMENTATION and answer.regions is not None:
        return {"predictions": _regions(answer.regions)}
    return {"predictions": [_object(each) for each in found]}


def _class(found: Prediction) -> dict[str, Any]:
    return {"class": found.class_name, "class_id": found.class_id, "confidence": found.confidence}


def _confidence(best: Prediction | None) -> float:
    return 0.0 if best is None else best.confidence


def _object(found: Prediction) -> dict[str, Any]:
    box: dict[str, Any] = {
        "x": found.x,
        "y": found.y,
        "width": found.width,
        "height": found.height,
        "confidence": found.confidence,
        "class": found.class_name,
        "class_id": found.class_id,
    }
    if found.tracker_id is not None:
        box["tracker_id"] = found.tracker_id
    if found.keypoints is not None:
        box["keypoints"] = [_keypoint(each) for each in found.keypoints]
    return box | _mask(found)


def _keypoint(point: Keypoint) -> dict[str, Any]:
    return {
        "x": point.x,
        "y": point.y,
        "confidence": point.confidence,
        "class_id": point.class_id,
        "class": point.class_name,
    }


def _mask(found: Prediction) -> dict[str, Any]:
    if found.runs is not None:
        size = [found.runs.height, found.runs.width]
        return {"rle": {"size": size, "counts": found.runs.counts}, "mask_format": "rle"}
    if found.points is None:
        return {}
    return {"points": [{"x": x, "y": y} for x, y in found.points], "mask_format": "polygon"}


def _regions(regions: Regions) -> dict[str, Any]:
    return {
        "segmentation_mask": b64encode(regions.mask_png).decode(),
        "class_map": {str(class_id): name for class_id, name in regions.class_names.items()},
        "confidence_mask": b64encode(regions.confidence_png).decode(),
        "present_class_ids": list(regions.present_ids),
    }
