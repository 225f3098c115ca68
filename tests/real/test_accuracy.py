"""Average precision of the on-device engines beside that of ONNX Runtime, on a few pictures; scripts/bench-accuracy has
all of them, and the judge."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_accuracy

from agent.model import dataset
from agent.model.dataset import Dataset

PICTURES = 10
ROUGH_BAR = 0.1
"""For int8: few pictures have few objects of a class, and one that is missed costs much."""


@pytest.fixture(scope="module")
def reference(shared: Path) -> tuple[Dataset, float]:
    """The pictures, and what ONNX Runtime reaches on them."""
    data = dataset.read(shared / "media" / "coco128").first(PICTURES)
    judge = bench_accuracy.Reference(shared / "models" / "yolov8n_320.onnx")
    return data, bench_accuracy.reference_map(judge, data, several=False)


@pytest.mark.parametrize(
    ("model", "bar"),
    [
        ("yolov8n_320_float32_nhwc.tflite", bench_accuracy.FLOAT_BAR),
        ("yolov8n_320_float16_nhwc.tflite", bench_accuracy.FLOAT_BAR),
        ("yolov8n_320.onnx", bench_accuracy.FLOAT_BAR),
        ("yolov8n_320_full_int8_nhwc.tflite", ROUGH_BAR),
    ],
)
def test_no_accuracy_is_lost_beside_onnx_runtime(
    shared: Path, reference: tuple[Dataset, float], model: str, bar: float
) -> None:
    data, theirs = reference
    assert theirs > 0.3
    assert bench_accuracy.own_map(shared / "models" / model, data) == pytest.approx(theirs, abs=bar)
