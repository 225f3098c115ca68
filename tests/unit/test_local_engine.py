"""The one engine over every runtime: models made by hand, of each kind and with each fault.

The runtime is scripted: it gives the outputs that the test wrote, and keeps the input that the engine wrote.
"""

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import FakeClock
from numpy.typing import NDArray

from agent.engines import _masks
from agent.engines._input import InputWriter
from agent.engines._local import CpuOptions, Local
from agent.engines._runtime import Quantisation, Tensor
from agent.errors import ConfigError, EngineBroken
from agent.flow import Answer, Frame, Prediction, Task
from agent.package import ModelPackage
from agent.ports import Context

SIDE = 64
ANCHORS = 8 * 8 + 4 * 4 + 2 * 2
LOW = 0.001
"""The score of what is not there: a sigmoid is never quite 0."""
FRAME = (128, 96)
"""Twice as large as it will be inside the input, with 8 rows of grey above and below."""
Array = NDArray[Any]


@dataclass
class Scripted:
    """A runtime whose outputs were written by the test."""

    raw: tuple[Array, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    quantised: Quantisation = field(default_factory=Quantisation)
    input_quantised: Quantisation = field(default_factory=Quantisation)
    input_shape: tuple[int, ...] = (1, SIDE, SIDE, 3)
    input_dtype: Any = np.float32
    sees: Callable[[Array], Array] | None = None
    """What its one output is for a picture, where that matters; as large as the one in `raw`."""
    closed: bool = False

    def __post_init__(self) -> None:
        self.input = Tensor("in", self.input_shape, np.dtype(self.input_dtype), self.input_quantised)
        self.outputs = tuple(
            Tensor(f"out{number}", (1, *raw.shape), raw.dtype, self.quantised) for number, raw in enumerate(self.raw)
        )
        self.memory = np.zeros(self.input_shape[1:], self.input_dtype)

    def buffer(self) -> Array:
        return self.memory

    def run(self) -> tuple[Array, ...]:
        if self.sees is not None:
            self.raw[0][:] = self.sees(self.memory)  # as runtimes do it: into the same memory
        return self.raw

    def close(self) -> None:
        self.closed = True


def opened(runtime: Scripted, folder: Path, *, manifest: str = "", **options: Any) -> Local:
    (folder / "m.bin").write_bytes(b"a model")
    if manifest:
        (folder / "model.yaml").write_text(f"name: m\nfile: m.bin\n{manifest}\n", encoding="utf-8")

    def load(_found: ModelPackage, _threads: int, _context: Context) -> Scripted:
        return runtime

    given = CpuOptions(model="m.bin", threads=1, **options)
    engine = Local(given, Context("test", FakeClock(), folder, folder), load, runtime="scripted")
    engine.open()
    return engine


def answer(runtime: Scripted, folder: Path, *, manifest: str = "", **options: Any) -> Answer:
    engine = opened(runtime, folder, manifest=manifest, **options)
    pixels = np.zeros((FRAME[1], FRAME[0], 3), np.uint8)
    return engine.infer(Frame("cam", 0, 0.0, 0.0, clock_synchronized=True, pixels=pixels), 0.0)


def rows(count: int, *, at: int = 5, values: Sequence[float] = (32, 32, 16, 8)) -> Array:
    """The output of a head with `count` rows, a box of one anchor in the middle of the input, in its pixels."""
    raw = np.full((count, ANCHORS), LOW, np.float32)
    raw[:2] = np.linspace(4, SIDE - 4, ANCHORS)
    raw[:4, at] = values
    return raw


def only(found: Answer) -> Prediction:
    (one,) = found.predictions
    return one


# Kinds of model


def test_a_detector_s_box_is_given_in_the_frame_s_pixels(tmp_path: Path) -> None:
    raw = rows(4 + 2)
    raw[5, 5] = 0.9
    found = answer(Scripted((raw,)), tmp_path)
    assert found.task is Task.OBJECT_DETECTION
    one = only(found)
    assert (one.x, one.y, one.width, one.height) == (64, 48, 32, 16)
    assert (one.class_name, one.class_id, one.confidence) == ("class_1", 1, 0.9)


def a_segmenter(*, prototypes_last: bool, boxes_first: bool) -> Scripted:
    """Two prototypes: the left half of the picture, and all of it; the object is a mix that is its left half."""
    raw = rows(4 + 3 + 2, values=(32, 32, 32, 16))
    raw[6, 5] = 0.8
    raw[7:, 5] = 1.0, -0.5
    left = np.zeros((16, 16), np.float32)
    left[:, :8] = 1
    prototypes = np.stack([left, np.ones_like(left)], axis=2 if prototypes_last else 0)
    return Scripted((raw, prototypes) if boxes_first else (prototypes, raw))


@pytest.mark.parametrize("prototypes_last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("boxes_first", [False, True])
def test_a_mask_is_the_mix_of_the_prototypes_inside_of_the_box(
    prototypes_last: bool, boxes_first: bool, tmp_path: Path
) -> None:
    model = a_segmenter(prototypes_last=prototypes_last, boxes_first=boxes_first)
    found = answer(model, tmp_path, masks="rle")
    assert found.task is Task.INSTANCE_SEGMENTATION
    one = only(found)
    assert one.class_id == 2
    assert one.runs is not None
    expected = np.zeros((FRAME[1], FRAME[0]), bool)
    expected[32:64, 32:64] = True  # the box spans 32 to 96 across: its left half is the object's
    assert (_masks.decode_runs(one.runs) == expected).all()


def test_a_mask_s_outline_encloses_it(tmp_path: Path) -> None:
    one = only(answer(a_segmenter(prototypes_last=False, boxes_first=True), tmp_path))
    assert one.points is not None
    painted = np.zeros((FRAME[1], FRAME[0]), np.uint8)
    cv2.fillPoly(painted, [np.array(one.points, np.int32)], (1,))
    assert painted[32:64, 32:64].all()
    assert painted.sum() == 32 * 32


def test_an_object_whose_mask_is_empty_is_none(tmp_path: Path) -> None:
    model = a_segmenter(prototypes_last=False, boxes_first=True)
    model.raw[0][7:, 5] = 0, -1
    assert answer(model, tmp_path).predictions == ()


def a_pose(*, keypoint_unit: float, numbers: int = 3, classes: int = 1) -> Array:
    """Three keypoints: in the middle, left above it, and one that is hardly visible."""
    raw = rows(4 + classes + 3 * numbers)
    raw[4, 5] = 0.7
    points = ((32, 32, 0.9), (16, 24, 0.8), (40, 40, 0.1))
    behind = raw[4 + classes :].reshape(3, numbers, ANCHORS)
    behind[:, :2] = np.linspace(4, SIDE - 4, ANCHORS) / keypoint_unit
    for number, point in enumerate(points):
        behind[number, :, 5] = (point[0] / keypoint_unit, point[1] / keypoint_unit, point[2])[:numbers]
    return raw


@pytest.mark.parametrize("keypoint_unit", [1, SIDE], ids=["pixels", "shares"])
def test_keypoints_are_read_in_their_own_unit_and_given_in_the_frame_s_pixels(
    keypoint_unit: int, tmp_path: Path
) -> None:
    found = answer(Scripted((a_pose(keypoint_unit=keypoint_unit),)), tmp_path, manifest="keypoints: [a, b, c]")
    assert found.task is Task.KEYPOINT_DETECTION
    points = only(found).keypoints
    assert points is not None
    assert [(point.x, point.y, point.confidence, point.class_name) for point in points] == [
        (64, 48, 0.9, "a"),
        (32, 32, 0.8, "b"),
        (80, 64, 0.1, "c"),
    ]


def test_keypoints_below_the_threshold_are_left_out(tmp_path: Path) -> None:
    found = answer(
        Scripted((a_pose(keypoint_unit=1),)), tmp_path, manifest="keypoints: [a, b, c]", keypoint_confidence=0.5
    )
    assert [point.class_id for point in only(found).keypoints or ()] == [0, 1]


@pytest.mark.parametrize(
    ("metadata", "manifest"),
    [
        ({"kpt_shape": [3, 2], "names": {0: "hand"}}, ""),
        ({"task": "pose", "kpt_shape": [3, 2]}, ""),
        ({}, "keypoints: [a, b, c]\nlabels: [hand]"),
    ],
    ids=["metadata", "task", "package"],
)
def test_keypoints_without_visibility_are_all_there(metadata: dict[str, Any], manifest: str, tmp_path: Path) -> None:
    model = Scripted((a_pose(keypoint_unit=1, numbers=2),), metadata=metadata)
    points = only(answer(model, tmp_path, manifest=manifest)).keypoints
    assert points is not None
    assert [point.confidence for point in points] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [([0.1, 0.7, 0.2], 0.7), ([1.0, 3.0, -1.0], 0.8668)],
    ids=["shares", "logits"],
)
def test_a_classifier_gives_its_best_class_as_large_as_the_frame(
    raw: list[float], expected: float, tmp_path: Path
) -> None:
    model = Scripted((np.array(raw, np.float32),), metadata={"names": ["cat", "dog", "owl"]})
    found = answer(model, tmp_path)
    assert found.task is Task.CLASSIFICATION
    one = only(found)
    assert (one.class_name, one.confidence) == ("dog", pytest.approx(expected, abs=1e-4))
    assert (one.x, one.y, one.width, one.height) == (64, 48, 128, 96)


def test_scores_that_stand_each_by_itself_are_several_labels(tmp_path: Path) -> None:
    model = Scripted((np.array([0.9, 0.1, 0.8], np.float32),), metadata={"names": ["cat", "dog", "owl"]})
    found = answer(model, tmp_path)
    assert found.task is Task.MULTI_LABEL_CLASSIFICATION
    assert [one.class_name for one in found.predictions] == ["cat", "owl"]
    assert [(each.class_name, each.confidence) for each in found.scores] == [("cat", 0.9), ("dog", 0.1), ("owl", 0.8)]


def test_logits_of_several_labels_are_so_only_where_the_package_says_so(tmp_path: Path) -> None:
    model = Scripted((np.array([3.0, -3.0, 2.0], np.float32),))
    found = answer(model, tmp_path, manifest="task: multi-label-classification")
    assert [each.confidence for each in found.scores] == [0.9526, 0.0474, 0.8808]


def mean_and_spread(picture: Array) -> Array:
    return np.array([picture.mean(), picture.std()], np.float32)


@pytest.mark.parametrize(
    ("sees", "reading"),
    [
        (lambda picture: mean_and_spread(picture) * (4, 1) - (1.25, -0.2), "logits"),  # 0.54 and 0.2 of the grey one
        (lambda picture: mean_and_spread(picture) * (0.9, 1), "scores"),
        (lambda picture: np.array([picture.mean(), 1 - picture.mean()]), "shares"),
        (lambda picture: np.array([114 / 255, 141 / 255]) + mean_and_spread(picture)[1], "scores"),  # 1 of the grey one
    ],
)
def test_what_a_classifier_s_numbers_are_is_seen_in_several_pictures(
    sees: Callable[[Array], Array], reading: str, tmp_path: Path
) -> None:
    card = opened(Scripted((np.zeros(2, np.float32),), sees=sees), tmp_path, manifest="labels: [a, b]").card
    assert card is not None
    assert card.reading.endswith(f"({reading})")
    many = Task.MULTI_LABEL_CLASSIFICATION
    assert card.task is (many if reading == "scores" else Task.CLASSIFICATION)


@pytest.mark.parametrize("classes_last", [False, True], ids=["NCHW", "NHWC"])
def test_each_pixel_of_the_frame_gets_its_class(classes_last: bool, tmp_path: Path) -> None:
    planes = np.zeros((3, 16, 16), np.float32)
    planes[0] = 0.6
    planes[1, :, :8], planes[0, :, :8] = 0.9, 0.1
    planes[2, :, 12:], planes[0, :, 12:] = 0.2, 0.1  # too unsure
    model = Scripted((np.moveaxis(planes, 0, 2) if classes_last else planes,))
    found = answer(model, tmp_path, manifest="labels: [background, road, kerb]")
    assert found.task is Task.SEMANTIC_SEGMENTATION
    regions = found.regions
    assert regions is not None
    mask = cv2.imdecode(np.frombuffer(regions.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert mask.shape == (FRAME[1], FRAME[0])
    assert (mask == np.repeat([1, 0], 64)).all()
    assert (regions.class_names, regions.present_ids) == ({0: "background", 1: "road", 2: "kerb"}, (0, 1))
    one = only(found)
    assert (one.class_name, one.x, one.y, one.width, one.height) == ("road", 32, 48, 64, 96)


def test_a_model_without_a_background_class_has_one_all_the_same(tmp_path: Path) -> None:
    planes = np.full((2, 16, 16), 0.1, np.float32)
    planes[1, :, 8:] = 0.9
    found = answer(Scripted((planes,)), tmp_path, manifest="labels: [road, kerb]")
    assert found.regions is not None
    assert found.regions.class_names == {0: "background", 1: "road", 2: "kerb"}
    assert found.regions.present_ids == (0, 2)


# What is refused, and complained of


def refused(model: Scripted, folder: Path, *, manifest: str = "", named: bool = True) -> str:
    with pytest.raises(EngineBroken) as caught:
        opened(model, folder, manifest=manifest)
    assert not named or str(folder / "m.bin") in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_no_number_is_found_at_load(value: float, tmp_path: Path) -> None:
    raw = rows(6)
    raw[3, 7] = value
    assert "out0 is not numbers" in refused(Scripted((raw,)), tmp_path)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(300, 6)], "not that of a YOLOv8 detector"),
        ([(6, ANCHORS), (6, ANCHORS)], "no model that is known here"),
        ([(6, ANCHORS), (7, 16, 16)], "no room for mask coefficients"),
        ([()], "no model that is known here"),
    ],
    ids=["NMS built in", "two heads", "too few rows", "one number"],
)
def test_a_wrong_head_is_refused_with_the_shapes_that_it_has(
    shapes: list[tuple[int, ...]], said: str, tmp_path: Path
) -> None:
    text = refused(Scripted(tuple(np.zeros(shape, np.float32) for shape in shapes)), tmp_path, named=False)
    assert said in text
    assert str([1, *shapes[-1]]) in text


def test_scores_that_are_none_are_refused(tmp_path: Path) -> None:
    raw = rows(6)
    raw[4:] = 40
    assert "its scores are not between 0 and 1 (they span 40 to 40)" in refused(Scripted((raw,)), tmp_path)


@pytest.mark.parametrize(
    ("raw", "manifest"),
    [
        ((rows(6),), "labels: [a]"),
        ((np.array([0.5, 0.5], np.float32),), "labels: [a]"),
        ((np.zeros((4, 16, 16), np.float32),), "labels: [a]"),
    ],
    ids=["boxes", "classes", "areas"],
)
def test_a_wrong_count_of_classes_is_refused_with_both_numbers(
    raw: tuple[Array, ...], manifest: str, tmp_path: Path
) -> None:
    assert "classes but 1 labels are given" in refused(Scripted(raw), tmp_path, manifest=manifest)


def test_a_task_that_the_outputs_do_not_have_is_refused_with_both(tmp_path: Path) -> None:
    text = refused(Scripted((rows(6),)), tmp_path, manifest="task: semantic-segmentation")
    assert "said to be for semantic-segmentation" in text
    assert "those of object-detection" in text


def a_row_of_angles() -> Array:
    raw = rows(4 + 15 + 1)
    raw[-1] = np.linspace(-0.78, 2.3, ANCHORS)
    return raw


@pytest.mark.parametrize("names", [{}, {"names": [f"n{number}" for number in range(15)]}])
def test_oriented_boxes_are_refused_by_name(names: dict[str, Any], tmp_path: Path) -> None:
    said = refused(Scripted((a_row_of_angles(),), metadata={"task": "obb", **names}), tmp_path)
    assert "finds oriented boxes (task: obb), and those are not supported" in said
    assert "looks like the angles of oriented boxes" in refused(
        Scripted((a_row_of_angles(),), metadata=names), tmp_path
    )


@pytest.mark.parametrize(
    "said", ["task: keypoint-detection", "keypoints: [a, b, c, d, e]", "task: keypoint-detection\nlabels: [a, b]"]
)
def test_a_detector_that_is_said_to_find_keypoints_is_refused_with_both(said: str, tmp_path: Path) -> None:
    for count in (4 + 15, 4 + 16, 4 + 2):
        text = refused(Scripted((rows(count),)), tmp_path, manifest=said)
        assert "said to be for keypoint-detection" in text
        assert "those of object-detection" in text


def test_a_detector_whose_exporter_says_that_it_finds_keypoints_is_refused_with_both(tmp_path: Path) -> None:
    text = refused(Scripted((rows(4 + 80),), metadata={"task": "pose", "kpt_shape": [17, 3]}), tmp_path)
    assert "said to be for keypoint-detection" in text
    assert "those of object-detection" in text


def test_a_keypoint_model_that_is_said_to_be_a_detector_is_refused_with_both(tmp_path: Path) -> None:
    model = Scripted((a_pose(keypoint_unit=1),))
    text = refused(model, tmp_path, manifest="task: object-detection\nlabels: [p]")
    assert "said to be for object-detection" in text
    assert "those of keypoint-detection" in text


@pytest.mark.parametrize(("keypoint_unit", "numbers"), [(1, 2), (1, 3), (SIDE, 3)])
def test_a_keypoint_model_that_nothing_is_said_of_is_known_by_its_numbers(
    keypoint_unit: int, numbers: int, tmp_path: Path
) -> None:
    card = opened(Scripted((a_pose(keypoint_unit=keypoint_unit, numbers=numbers),)), tmp_path).card
    assert card is not None
    assert card.task is Task.KEYPOINT_DETECTION
    assert " 3 keypoints in " in card.reading


def test_a_model_with_suppression_built_in_is_refused(tmp_path: Path) -> None:
    assert "suppression built in" in refused(Scripted((rows(6),), metadata={"end2end": True}), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "type_", "types"),
    [
        ("m.onnx", b"", "tflite", "onnx or tensorrt"),
        ("m.onnx", b"\x1c\0\0\0TFL3", "onnx", "tflite"),
        ("m.tflite", b"\x1c\0\0\0TFL3", "tensorrt", "tflite"),
        ("m.engine", b"ftrt", "onnx", "tensorrt"),
    ],
)
def test_a_model_file_of_another_type_says_which(
    name: str, content: bytes, *, type_: str, types: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    context = Context("test", FakeClock(), tmp_path, tmp_path)
    engine = Local(CpuOptions(model=name), context, lambda *_: Scripted((rows(6),)), runtime=type_)
    with pytest.raises(ConfigError) as caught:
        engine.open()
    said = f"does not run with type: {type_}; it runs with type: {types}; set engines.local.type"
    assert str(caught.value) == f"{tmp_path / name}: {said}"


def test_scores_that_share_eight_bits_with_pixels_are_refused(tmp_path: Path) -> None:
    model = Scripted((rows(6).astype(np.int8),), quantised=Quantisation(2.5, -128))
    assert "one step of its quantised output is 2.5" in refused(model, tmp_path)


@pytest.mark.parametrize("shape", [(1, SIDE, SIDE, 4), (2, SIDE, SIDE, 3), (1, SIDE * SIDE * 3)])
def test_an_input_that_is_not_one_colour_picture_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert f"takes an input of {list(shape)}" in refused(Scripted((rows(6),), input_shape=shape), tmp_path)


def test_a_size_that_is_not_the_model_s_is_refused(tmp_path: Path) -> None:
    text = refused(Scripted((rows(6),)), tmp_path, manifest="input: {width: 32, height: 64}")
    assert "takes pictures of 64x64, but model.yaml says 32x64" in text


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.bool_])
def test_whole_numbers_that_stand_for_nothing_are_refused_by_name(dtype: Any, tmp_path: Path) -> None:
    said = refused(Scripted((rows(6),), input_dtype=dtype), tmp_path)
    assert f"its input is {np.dtype(dtype)} and does not say what its numbers stand for" in said


def test_bytes_as_they_are_leave_no_room_for_a_mean(tmp_path: Path) -> None:
    manifest = "input: {width: 64, height: 64, mean: [0.5, 0.5, 0.5]}"
    assert "remove mean and std" in refused(Scripted((rows(6),), input_dtype=np.uint8), tmp_path, manifest=manifest)


def complaints(model: Scripted, folder: Path) -> tuple[str, ...]:
    card = opened(model, folder, manifest="labels: [a, b]").card
    assert card is not None
    return card.complaints


@pytest.mark.parametrize(
    ("scale", "zero_point", "fine"),
    [
        (1 / 255, -128, True),
        (0.0039, -128, True),
        (0.0186, -14, False),  # as of pictures with mean and deviation taken off
        (0.002, -128, False),  # nothing brighter than a half
        (1.0, -128, False),  # as of pictures in 0..255
    ],
)
def test_an_input_that_was_quantised_for_other_numbers_is_complained_of(
    scale: float, zero_point: int, fine: bool, tmp_path: Path
) -> None:
    model = Scripted((rows(6),), input_dtype=np.int8, input_quantised=Quantisation(scale, zero_point))
    found = complaints(model, tmp_path)
    assert bool(found) is not fine
    assert all("export it again, calibrated on 0..1" in each for each in found)


def scored(score: float, *, segments: bool = False) -> Scripted:
    """525 anchors with the score, for any picture at all."""
    raw = np.full((4 + 2 + 4 * segments, 525), score, np.float32)
    raw[:4] = np.linspace(4, 156, 525)
    return Scripted((raw, np.zeros((4, 40, 40), np.float32))[: 1 + segments], input_shape=(1, 160, 160, 3))


@pytest.mark.parametrize("segments", [False, True])
def test_objects_all_over_a_picture_without_any_are_complained_of(segments: bool, tmp_path: Path) -> None:
    (said,) = complaints(scored(0.6, segments=segments), tmp_path)
    assert said.startswith(
        "it finds objects at 525 of 525 places of a grey picture without anything in it (scores of 0.4"
    )
    assert complaints(scored(0.3, segments=segments), tmp_path) == ()


def test_scores_without_a_step_between_0_and_1_are_complained_of(tmp_path: Path) -> None:
    (said,) = complaints(scored(0.0), tmp_path)
    assert said.startswith("all of its scores are exactly 0, and its boxes are in pixels")
    assert "export int8 with boxes in 0..1, or export float32" in said
    shares = scored(0.0)
    shares.raw[0][:4] /= 160
    assert complaints(shares, tmp_path) == ()  # a picture with nothing in it may have no score


def test_a_model_that_says_nothing_of_its_classes_is_complained_of(tmp_path: Path) -> None:
    card = opened(Scripted((rows(6),)), tmp_path).card
    assert card is not None
    assert "carries no class names" in card.complaints[0]


def test_the_card_tells_what_was_found_out(tmp_path: Path) -> None:
    card = opened(Scripted((a_pose(keypoint_unit=SIDE),)), tmp_path, manifest="keypoints: [a, b, c]\nlabels: [p]").card
    assert card is not None
    assert (card.task, card.runtime, card.width, card.height) == (Task.KEYPOINT_DETECTION, "scripted", SIDE, SIDE)
    assert (card.labels, card.keypoints, card.threads) == (("p",), ("a", "b", "c"), 1)
    assert card.tensors == ("input in [1, 64, 64, 3] float32", f"output out0 [1, 14, {ANCHORS}] float32")
    assert card.reading == "channels last; [rows, anchors], boxes in pixels, 1 classes, 3 keypoints in 0..1"


# The input


def written(folder: Path, manifest: str, *, channels_first: bool = False) -> Array:
    """What a frame whose left half is blue and whose right half is red, twice as wide as high, becomes."""
    shape = (1, 3, SIDE, SIDE) if channels_first else (1, SIDE, SIDE, 3)
    model = Scripted((rows(6),), input_shape=shape)
    engine = opened(model, folder, manifest=manifest)
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, :64, 0] = pixels[:, 64:, 2] = 255
    for _ in range(2):  # the second frame finds the padding of the first
        engine.infer(Frame("cam", 0, 0.0, 0.0, clock_synchronized=True, pixels=pixels), 0.0)
    return np.moveaxis(model.memory, 0, 2) if channels_first else model.memory


@pytest.mark.parametrize("channels_first", [False, True], ids=["NHWC", "NCHW"])
def test_a_frame_is_letterboxed_as_rgb_with_grey_around_it(channels_first: bool, tmp_path: Path) -> None:
    memory = written(tmp_path, "labels: [a, b]", channels_first=channels_first)
    assert memory[32, 8].tolist() == [0, 0, 1]
    assert memory[32, 56].tolist() == [1, 0, 0]
    assert memory[8, 8].tolist() == pytest.approx([114 / 255] * 3)


@pytest.mark.parametrize("channels_first", [False, True], ids=["NHWC", "NCHW"])
def test_a_package_says_how_its_model_is_shown_a_frame(channels_first: bool, tmp_path: Path) -> None:
    keys = "width: 64, height: 64, resize: stretch, bgr: true, mean: [0.5, 0, 0], std: [0.5, 1, 0.25]"
    memory = written(tmp_path, f"labels: [a, b]\ninput: {{{keys}}}", channels_first=channels_first)
    assert memory[8, 8].tolist() == [1, 0, 0]
    assert memory[8, 56].tolist() == [-1, 0, 4]


def test_an_input_of_bytes_without_a_scale_gets_the_picture_s_own(tmp_path: Path) -> None:
    model = Scripted((rows(6),), input_dtype=np.uint8)
    engine = opened(model, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    engine.infer(Frame("cam", 0, 0.0, 0.0, clock_synchronized=True, pixels=pixels), 0.0)
    assert (model.memory == pixels[..., ::-1]).all()


@pytest.mark.parametrize("channels_first", [False, True], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8])
def test_a_picture_is_written_into_the_model_s_own_memory_with_no_copy_between(
    dtype: Any, channels_first: bool, tmp_path: Path
) -> None:
    side = 256
    shape = (1, 3, side, side) if channels_first else (1, side, side, 3)
    quantised = Quantisation(1 / 255, -128) if dtype == np.int8 else Quantisation()
    model = Scripted((rows(6),), input_shape=shape, input_dtype=dtype, input_quantised=quantised)
    writer = InputWriter(model, None, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (side // 2, side, 3), dtype=np.uint8)
    writer.write(pixels)
    tracemalloc.start()
    writer.write(pixels)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    in_turn = pixels.nbytes / 3 if channels_first else 0  # one colour of the picture
    assert most_bytes < pixels.nbytes + in_turn + 5000, "the picture as RGB, and nothing as the model stores it"


def test_a_frame_of_another_shape_gets_bars_of_its_own(tmp_path: Path) -> None:
    model = Scripted((rows(6),))
    engine = opened(model, tmp_path, manifest="labels: [a, b]")
    for height, width in ((64, 128), (128, 64), (64, 64)):
        pixels = np.full((height, width, 3), 255, np.uint8)
        engine.infer(Frame("cam", 0, 0.0, 0.0, clock_synchronized=True, pixels=pixels), 0.0)
        assert np.count_nonzero(model.memory == 1) == 3 * SIDE * SIDE * min(height, width) // max(height, width)


def test_a_closed_engine_has_closed_its_runtime(tmp_path: Path) -> None:
    model = Scripted((rows(6),))
    engine = opened(model, tmp_path)
    engine.close()
    assert model.closed
    assert engine.card is None
