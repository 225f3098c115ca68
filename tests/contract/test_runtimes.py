"""The same weights in every runtime: the engine above them finds the same, and keeps the same promises.

TensorRT runs here as a stand-in, which has the agent's own code move real pictures and real answers; where there is a
GPU, the real one runs as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_file
import pytest
from gpu import MISSING, REASON, Gpu, why_no_real_one
from numpy.typing import NDArray
from onnx_file import FLOAT
from test_engines import judge, places, worst_match

from agent import imaging, plugins
from agent.clock import SystemClock
from agent.errors import EngineBroken
from agent.flow import Answer, Frame, Pixels, Task
from agent.ports import Context, Described, Engine

TFLITE = {"yolov8n_320": "yolov8n_320_float32_nhwc", "yolov8n-seg_320": "yolov8n-seg_320_float32_nchw"}
EXACT_PX, EXACT_SCORE = 0.05, 0.001
"""Other kernels add in another order; over 40 pictures that was the last digit of results, 0.01 px and 0.0001."""
HALF_PX, HALF_SCORE = 4.0, 0.03
"""For a GPU in fp16; an estimate, for none was at hand."""


@dataclass
class Bench:
    """One runtime, and a folder for what it keeps."""

    runtime: str
    folder: Path
    models: Path
    precise: bool = True
    opened: list[Engine] = field(default_factory=list)
    _known: dict[str, Engine] = field(default_factory=dict)

    def engine(self, name: str) -> Engine:
        """Of the weights of that name; opened once."""
        if name not in self._known:
            self._known[name] = self.open(self.weights(name))
        return self._known[name]

    def open(self, model: Path, **options: Any) -> Engine:
        kind = next(one for one in plugins.options_of("engines") if one.__module__ == f"agent.engines.{self.runtime}")
        given = kind.model_validate({"type": self.runtime, "model": str(model), **options})
        engine = plugins.build_engine(given, Context("test", SystemClock(), self.folder, self.folder))
        self.opened.append(engine)
        engine.open()
        return engine

    def weights(self, name: str) -> Path:
        return self.models / (f"{TFLITE[name]}.tflite" if self.runtime == "tflite" else f"{name}.onnx")

    def close(self) -> None:
        for engine in self.opened:
            engine.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is kept in it is paid for once: trials of files, engines."""
    return tmp_path_factory.mktemp("benches")


@pytest.fixture(scope="module", params=["onnx", "tensorrt (stand-in)", "tensorrt"])
def bench(request: pytest.FixtureRequest, folder: Path, shared: Path) -> Iterator[Bench]:
    patch = pytest.MonkeyPatch()
    runtime, _, standin = request.param.partition(" ")
    if standin and MISSING:
        pytest.skip(REASON)
    gpu = Gpu(folder, patch) if standin else None
    real = runtime == "tensorrt" and gpu is None
    if real and (why := why_no_real_one()):
        pytest.skip(why)
    made = Bench(runtime, folder, shared / "models", precise=not real)
    yield made
    made.close()
    assert gpu is None or gpu.left == 0
    patch.undo()


@pytest.fixture(scope="module")
def bus(shared: Path) -> Pixels:
    return imaging.read_image(shared / "media" / "images" / "bus.jpg")


@pytest.fixture(scope="module")
def reference(folder: Path, shared: Path) -> Iterator[Bench]:
    """The runtime whose answers the others' are held against."""
    made = Bench("tflite", folder, shared / "models")
    yield made
    made.close()


def look(engine: Engine, pixels: Pixels) -> Answer:
    return engine.infer(Frame("cam", 0, 0.0, 0.0, clock_synchronized=True, pixels=pixels), 0.0)


def assert_alike(found: Answer, expected: Answer, *, px: float, score: float) -> None:
    assert [one.class_id for one in found.predictions] == [one.class_id for one in expected.predictions]
    for one, other in zip(found.predictions, expected.predictions, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=score)
        assert (one.x, one.y, one.width, one.height) == pytest.approx(
            (other.x, other.y, other.width, other.height), abs=px
        )


def painted(points: Any, pixels: Pixels) -> NDArray[np.bool_]:
    canvas = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(canvas, [np.round(np.array(points)).astype(np.int32)], (1,))
    return canvas.astype(bool)


def test_the_people_and_the_bus_are_where_an_independent_judge_sees_them(
    bench: Bench, shared: Path, bus: Pixels
) -> None:
    expected = judge(shared / "models" / "yolov8n_320.onnx", shared / "media" / "images" / "bus.jpg")
    found = look(bench.engine("yolov8n_320"), bus).predictions
    assert worst_match(expected, places(found)) >= 0.9


def test_the_same_is_found_as_in_another_runtime(bench: Bench, reference: Bench, bus: Pixels) -> None:
    engine, other = bench.engine("yolov8n_320"), reference.engine("yolov8n_320")
    px, score = (EXACT_PX, EXACT_SCORE) if bench.precise else (HALF_PX, HALF_SCORE)
    for pixels in (bus, cv2.resize(bus, (333, 900)), bus[:400]):
        found, expected = look(engine, pixels), look(other, pixels)
        assert expected.predictions
        assert_alike(found, expected, px=px, score=score)


def test_masks_cover_the_same_as_in_another_runtime(bench: Bench, reference: Bench, bus: Pixels) -> None:
    engine, other = bench.engine("yolov8n-seg_320"), reference.engine("yolov8n-seg_320")
    found, expected = look(engine, bus), look(other, bus)
    assert found.task is Task.INSTANCE_SEGMENTATION
    assert len(found.predictions) == len(expected.predictions) >= 4
    for one, two in zip(found.predictions, expected.predictions, strict=True):
        mine, theirs = painted(one.points, bus), painted(two.points, bus)
        assert (mine & theirs).sum() >= 0.98 * (mine | theirs).sum() > 0


def test_whatever_the_frame_s_size_its_objects_lie_inside_it(bench: Bench, bus: Pixels) -> None:
    engine = bench.open(bench.weights("yolov8n_320"), confidence=0.02)
    for width, height in ((1, 1), (1, 900), (900, 1), (123, 457), (2560, 1440)):
        for one in look(engine, cv2.resize(bus, (width, height))).predictions:
            assert one.width > 0
            assert one.height > 0
            assert one.x - one.width / 2 >= -0.01
            assert one.y - one.height / 2 >= -0.01
            assert one.x + one.width / 2 <= width + 0.01
            assert one.y + one.height / 2 <= height + 0.01


def test_a_closed_engine_says_so_and_can_be_opened_again(bench: Bench, bus: Pixels) -> None:
    engine = bench.open(bench.weights("yolov8n_320"))
    first = look(engine, bus).predictions
    engine.close()
    with pytest.raises(EngineBroken, match="not loaded"):
        look(engine, bus)
    engine.open()
    assert look(engine, bus).predictions == first
    engine.close()
    engine.close()


def test_names_and_size_come_from_the_file(bench: Bench) -> None:
    engine = bench.engine("yolov8n_320")
    assert isinstance(engine, Described)
    assert engine.card is not None
    assert (engine.card.width, engine.card.height) == (320, 320)
    assert engine.card.labels[:2] == ("person", "bicycle")
    assert engine.card.runtime == bench.runtime
    assert engine.card.complaints == ()


def test_an_export_with_open_axes_finds_the_same(bench: Bench, bus: Pixels, tmp_path: Path) -> None:
    plain = bench.weights("yolov8n_320")
    (tmp_path / "open.onnx").write_bytes(
        onnx_file.bordered(
            plain,
            [("images", FLOAT, ["batch", 3, "height", "width"])],
            [("output0", FLOAT, ["batch", 84, "anchors"])],
        )
    )
    found, expected = (look(one, bus) for one in (bench.open(tmp_path / "open.onnx"), bench.engine("yolov8n_320")))
    assert found.predictions == expected.predictions


def test_a_file_that_was_cut_short_is_named(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "cut.onnx"
    file.write_bytes(bench.weights("yolov8n_320").read_bytes()[:1_000_000])
    with pytest.raises(EngineBroken, match=r"cut\.onnx"):
        bench.open(file)
