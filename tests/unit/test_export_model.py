"""scripts/export_model.py and scripts/compare_models.py, as far as they go without a converter."""

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from agent import package
from agent.flow import Answer, Prediction, Task, Timings

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules that need no more than the agent."""
    sys.path.insert(0, str(SCRIPTS))
    names = ("export_request", "export_pictures", "export_package", "export_head", "compare_figures")
    modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in names}
    yield SimpleNamespace(**{name.partition("_")[2]: module for name, module in modules.items()})
    sys.path.remove(str(SCRIPTS))


def asked(scripts: SimpleNamespace, *words: str) -> object:
    return scripts.request.request_of(scripts.request.parser().parse_args(list(words)))


def refusal(scripts: SimpleNamespace, *words: str) -> str:
    with pytest.raises(scripts.request.Refused) as caught:
        asked(scripts, *words)
    return str(caught.value)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    (tmp_path / "best.pt").write_bytes(b"weights")
    return str(tmp_path / "best.pt")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((4, 6, 3), number, np.uint8))
    return folder


# What is asked for


def test_without_pictures_every_format_but_int8_is_made(
    scripts: SimpleNamespace, weights: str, tmp_path: Path, frames: Path
) -> None:
    out = str(tmp_path / "forklifts")
    assert asked(scripts, weights, "--out", out).formats == ("float32", "float16")  # type: ignore[attr-defined]
    found = asked(scripts, weights, "--out", out, "--images", str(frames))
    assert found.formats == ("float32", "float16", "int8")  # type: ignore[attr-defined]
    assert found.name == "forklifts"  # type: ignore[attr-defined]


def test_int8_without_pictures_is_refused_with_the_reason(
    scripts: SimpleNamespace, weights: str, tmp_path: Path
) -> None:
    said = refusal(scripts, weights, "--out", str(tmp_path / "out"), "--formats", "int8")
    assert "needs --images" in said
    assert "range is measured on pictures" in said


def test_a_size_that_the_grids_do_not_fit_is_refused_with_the_nearest_that_does(
    scripts: SimpleNamespace, weights: str, tmp_path: Path
) -> None:
    assert "take 352 in place of 350" in refusal(scripts, weights, "--out", str(tmp_path / "o"), "--size", "640x350")
    assert scripts.request.size_of("640x384") == (640, 384)
    assert scripts.request.size_of("320") == (320, 320)
    with pytest.raises(argparse.ArgumentTypeError, match="write 640"):
        scripts.request.size_of("big")


@pytest.mark.parametrize(
    ("model", "said"), [("model.tflite", "neither a .pt nor an .onnx"), ("absent.pt", "is not there")]
)
def test_what_is_no_original_is_refused(scripts: SimpleNamespace, tmp_path: Path, model: str, said: str) -> None:
    (tmp_path / "model.tflite").touch()
    assert said in refusal(scripts, str(tmp_path / model), "--out", str(tmp_path / "out"))


def test_a_package_that_is_there_is_only_replaced_by_force_and_other_folders_never(
    scripts: SimpleNamespace, weights: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert "--force" in refusal(scripts, weights, "--out", str(out))
    assert "no model package" in refusal(scripts, weights, "--out", str(out), "--force")
    (out / "model.yaml").write_text("name: x")
    assert asked(scripts, weights, "--out", str(out), "--force")


def test_too_few_pictures_are_refused_by_number(scripts: SimpleNamespace, tmp_path: Path) -> None:
    scripts.request.refuse_too_few(8, tmp_path)
    with pytest.raises(scripts.request.Refused, match="has 7 usable pictures, and int8 needs at least 8"):
        scripts.request.refuse_too_few(7, tmp_path)


def test_int8_is_refused_where_boxes_and_scores_cannot_be_told_apart(scripts: SimpleNamespace) -> None:
    scripts.request.refuse_mixed(("float32",), mixed=True)
    scripts.request.refuse_mixed(("int8",), mixed=False)
    with pytest.raises(scripts.request.Refused, match="with boxes in pixels every score would be 0"):
        scripts.request.refuse_mixed(("float32", "int8"), mixed=True)


def test_a_conversion_that_says_something_else_is_refused(scripts: SimpleNamespace) -> None:
    wanted = [np.ones((1, 4)), np.full((1, 4), 500.0)]
    scripts.request.refuse_other(wanted, [wanted[0] * 1.0009, wanted[1] + 0.4])
    for wrong in (wanted[1] * 1.002, wanted[1] * np.nan):
        with pytest.raises(scripts.request.Refused, match="output 1 of the converted network is"):
            scripts.request.refuse_other(wanted, [wanted[0], wrong])


def test_the_program_ends_with_2_and_a_sentence_and_leaves_nothing(weights: str, tmp_path: Path) -> None:
    out = tmp_path / "models" / "out"
    done = subprocess.run(
        [sys.executable, SCRIPTS / "export_model.py", weights, "--out", out, "--formats", "int8"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("export-model: int8 needs --images")
    assert not out.parent.exists()


# Pictures


def test_unreadable_pictures_are_named_and_left_out(scripts: SimpleNamespace, frames: Path) -> None:
    (frames / "05.png").write_bytes(b"no picture")
    (frames / "notes.txt").write_text("no picture either, and none that was meant to be one")
    album = scripts.pictures.album(frames, 300)
    assert len(album.readable) == 11
    assert album.complaint == "1 unreadable pictures are left out: 05.png"
    assert sum(1 for _ in album.pictures()) == 11


def test_of_many_pictures_some_are_taken_evenly(scripts: SimpleNamespace, frames: Path) -> None:
    taken = [path.name for path in scripts.pictures.album(frames, 4).readable]
    assert taken == ["00.png", "03.png", "06.png", "09.png"]


# Heads


def test_the_task_is_told_by_the_outputs(scripts: SimpleNamespace) -> None:
    def told(*shapes: tuple[int, ...], keypoints: tuple[int, int] | None = None) -> Task:
        task: Task = scripts.head.task_of(None, shapes, keypoints=keypoints)
        return task

    assert told((1, 84, 2100)) is Task.OBJECT_DETECTION
    assert told((1, 56, 2100), keypoints=(17, 3)) is Task.KEYPOINT_DETECTION
    assert told((1, 116, 2100), (1, 32, 80, 80)) is Task.INSTANCE_SEGMENTATION
    assert told((1, 1000)) is Task.CLASSIFICATION
    assert told((1, 5, 320, 320)) is Task.SEMANTIC_SEGMENTATION


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, 300, 6), "suppression inside"), ((1, 6300, 85), "not that of a YOLOv8 head"), ((1, 84, 2125), "strides")],
)
def test_heads_that_the_agent_does_not_read_are_refused(
    scripts: SimpleNamespace, shape: tuple[int, ...], said: str
) -> None:
    def read() -> None:
        scripts.head.task_of(None, [shape], keypoints=None)
        scripts.head.layout_of([shape], (320, 320), None)

    with pytest.raises(scripts.request.Refused, match=said):
        read()


def test_boxes_in_pixels_are_scaled_by_the_side_they_lie_along(scripts: SimpleNamespace) -> None:
    layout = scripts.head.layout_of([(1, 6, 1260)], (320, 192), None)
    rows = np.full((1, 6, 1260), 0.5, np.float32)
    rows[0, :4] = 150
    assert scripts.head.factor(rows, layout).reshape(-1).tolist() == pytest.approx(
        [1 / 320, 1 / 192, 1 / 320, 1 / 192, 1, 1]
    )


def test_boxes_that_are_shares_already_stay_and_so_do_scores(scripts: SimpleNamespace) -> None:
    layout = scripts.head.layout_of([(1, 2100, 6)], (320, 320), None)
    assert (scripts.head.factor(np.full((1, 2100, 6), 0.7, np.float32), layout) == 1).all()


def test_keypoints_are_scaled_by_themselves_and_their_visibility_is_not(scripts: SimpleNamespace) -> None:
    layout = scripts.head.layout_of([(1, 11, 2100)], (320, 320), (2, 3))
    rows = np.full((1, 11, 2100), 0.5, np.float32)
    rows[0, [5, 6, 8, 9]] = 100
    shares = scripts.head.factor(rows, layout).reshape(-1) * 320
    assert shares.tolist() == pytest.approx([320] * 5 + [1, 1, 320, 1, 1, 320])


def test_mask_coefficients_become_1_at_most(scripts: SimpleNamespace) -> None:
    layout = scripts.head.layout_of([(1, 9, 2100), (1, 4, 80, 80)], (320, 320), None)
    found = scripts.head.factor(np.full((1, 9, 2100), 0.5, np.float32), layout, reach=4.0)
    assert found.reshape(-1).tolist() == [1] * 5 + [0.25] * 4


# The package


def card(scripts: SimpleNamespace, **changes: object) -> object:
    fields = {
        "name": "forklifts",
        "description": "",
        "task": Task.OBJECT_DETECTION,
        "width": 320,
        "height": 192,
        "resize": "",
        "labels": ("forklift", "Gabelstapler für Ü"),
        "keypoints": (),
        "licence": "AGPL-3.0",
        "source": "best.pt",
    }
    return scripts.package.Card(**{**fields, **changes})


def test_what_is_written_is_a_package_that_the_agent_takes(scripts: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "models" / "forklifts"
    with scripts.package.staged(out) as folder:
        files = {"float32": "a.tflite", "onnx": "a.onnx"}
        for name in files.values():
            (folder / name).write_bytes(name.encode())
        scripts.package.describe(folder, card(scripts), files)
        assert not out.exists()
    assert list(package.problems(out)) == []
    found = package.find(str(out), base_dir=tmp_path, variant="onnx")
    assert (found.name, found.task, found.labels[1]) == ("forklifts", Task.OBJECT_DETECTION, "Gabelstapler für Ü")
    assert found.input == package.Input(320, 192)
    assert yaml.safe_load((out / "model.yaml").read_text(encoding="utf-8"))["file"] == "a.tflite"
    assert [path.name for path in out.parent.iterdir()] == ["forklifts"]


def test_a_failure_leaves_what_was_there_and_nothing_else(scripts: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "forklifts"
    out.mkdir()
    (out / "model.yaml").write_text("name: before")

    def fail() -> None:
        with scripts.package.staged(out) as folder:
            (folder / "model.yaml").write_text("name: half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "model.yaml").read_text() == "name: before"
    assert list(tmp_path.iterdir()) == [out]


def test_a_package_is_replaced_whole(scripts: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "forklifts"
    out.mkdir()
    (out / "old.tflite").touch()
    with scripts.package.staged(out) as folder:
        (folder / "new.tflite").touch()
    assert [path.name for path in out.iterdir()] == ["new.tflite"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_by_itself_keeps_its_class_names(scripts: SimpleNamespace, tmp_path: Path) -> None:
    from agent.engines.tflite import _metadata_inside

    file = tmp_path / "a.tflite"
    file.write_bytes(b"\0\0\0\0TFL3" + bytes(500))
    scripts.package.append_metadata(file, {"names": {0: "Bär"}, "task": "detect"})
    assert file.read_bytes()[4:8] == b"TFL3"
    assert _metadata_inside(file) == {"names": {"0": "Bär"}, "task": "detect"}


# Comparing


def thing(x: float, confidence: float, class_id: int = 0) -> Prediction:
    return Prediction(x, 50, 20, 20, confidence, f"class {class_id}", class_id)


def answer(*found: Prediction, task: Task = Task.OBJECT_DETECTION) -> Answer:
    return Answer(found, "model", "tflite", Timings(), task=task)


def test_agreement_is_f1_over_objects_of_one_class_that_overlap_by_half(scripts: SimpleNamespace) -> None:
    tally = scripts.figures.Tally()
    tally.add(
        answer(thing(10, 0.9), thing(105, 0.8), thing(200, 0.7, 1), thing(300, 0.6)),
        answer(thing(10, 0.8), thing(100, 0.8), thing(200, 0.7, 2)),
    )
    assert (tally.matched, tally.missed, tally.extra) == (2, 1, 2)
    assert tally.agreement == pytest.approx(2 * 2 / 7)
    assert tally.ious == pytest.approx([1, 15 / 25])
    assert tally.confidences == pytest.approx([0.1, 0])


def test_one_object_is_matched_once_and_by_the_most_certain(scripts: SimpleNamespace) -> None:
    sure, unsure, only = thing(11, 0.9), thing(10, 0.5), thing(10, 0.7)
    assert scripts.figures.matches([unsure, sure], [only]) == [(sure, only)]


def test_of_a_classifier_the_best_class_counts(scripts: SimpleNamespace) -> None:
    tally = scripts.figures.Tally()
    for first, second in ((0, 1), (1, 0)):
        tally.add(
            answer(thing(0, 0.6, first), thing(0, 0.4, second), task=Task.CLASSIFICATION),
            answer(thing(0, 0.9, 0), thing(0, 0.1, 1), task=Task.CLASSIFICATION),
        )
    assert tally.agreement == 0.5


def test_a_model_is_as_good_as_itself_and_what_is_worse_than_asked_for_ends_with_1(
    shared: Path, tmp_path: Path
) -> None:
    """The agent's own engines, over one real picture."""
    folder, report = tmp_path / "package", tmp_path / "report.json"
    folder.mkdir()
    variants = {"float32": "yolov8n_320_float32_nhwc.tflite", "onnx": "yolov8n_320.onnx"}
    for name in variants.values():
        (folder / name).symlink_to(shared / "models" / name)
    page = {"name": "n", "file": variants["float32"], "variants": variants}
    (folder / "model.yaml").write_text(yaml.safe_dump(page))
    (tmp_path / "bus.jpg").write_bytes((shared / "media/images/bus.jpg").read_bytes())
    program: list[str | Path] = [
        sys.executable,
        SCRIPTS / "compare_models.py",
        folder,
        "--images",
        tmp_path,
        "--threads",
        "1",
    ]
    done = subprocess.run(
        [*program, "--json", report, "--least", "float32=1.5", "onnx=1"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    rows = {row["variant"]: row for row in json.loads(report.read_text())}
    assert rows["float32"]["found"] == rows["onnx"]["found"] >= 4
    assert rows["float32"]["agreement"] == 1
    assert rows["float32"]["mean_iou"] > 0.99
    assert done.stdout.splitlines()[-1].startswith("float32 agrees with the original by 1.0000, and at least 1.5")


def test_a_package_without_its_original_is_not_compared(scripts: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").touch()
    scripts.package.describe(tmp_path, card(scripts), {"float32": "a.tflite"})
    module = importlib.import_module("compare_models")
    with pytest.raises(module.Incomparable, match="no variant onnx"):
        module.variants(tmp_path)
