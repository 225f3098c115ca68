"""`vedette model eval`: what it makes of annotations, how it judges, and what it says of what cannot be judged."""

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator_engine import KEY, ScriptedEngine, emulating

from agent import cli, imaging
from agent.errors import AgentError
from agent.flow import Answer, Keypoint, Prediction, Runs, Task, Timings
from agent.model import agreement, dataset, evaluation, metrics, scorecard
from agent.model.dataset import Dataset
from agent.model.evaluation import Asked
from agent.model.metrics import Kind
from agent.ports import Card
from agent.sources._scene import CLASSES, Scene

PIXELS = np.full((100, 200, 3), 90, np.uint8)
CRATE = Prediction(50.0, 50.0, 20.0, 40.0, 0.9, "crate", 0)
"""What lies in the first of the tests' pictures: left 40, top 30."""
PERSON = Prediction(150.0, 40.0, 30.0, 60.0, 0.8, "person", 1)


def picture(path: Path, pixels: Any = PIXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imaging.encode_jpeg(pixels, 90))
    return path


def coco(**more: Any) -> dict[str, Any]:
    """Two pictures, a crate in each; a person in the first."""
    box = [40.0, 30.0, 20.0, 40.0]
    objects = [(1, 7, box), (2, 7, box), (1, 9, [135.0, 10.0, 30.0, 60.0])]
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 200, "height": 100} for n in (1, 2)],
        "annotations": [{"image_id": n, "category_id": category, "bbox": bbox} for n, category, bbox in objects],
        "categories": [{"id": 7, "name": "crate"}, {"id": 9, "name": "person"}],
    } | more


def folder(tmp_path: Path, told: object) -> Path:
    for number in (1, 2):
        picture(tmp_path / f"{number}.jpg")
    (tmp_path / "truth.json").write_text(told if isinstance(told, str) else json.dumps(told))
    return tmp_path


class Knows:
    """A contender that has a card, and is never asked."""

    name = "fake"

    def __init__(self, *labels: str) -> None:
        self.card: Card | None = Card(Task.OBJECT_DETECTION, "tflite", 320, 320, labels)

    def ask(self, number: int, pixels: Any) -> Answer:
        raise NotImplementedError

    def close(self) -> None: ...


def asked(found: Mapping[int, Sequence[Prediction]], task: Task = Task.OBJECT_DETECTION) -> Asked:
    answers = {number: Answer(tuple(objects), "m", "tflite", Timings(), task=task) for number, objects in found.items()}
    return Asked(answers, (), dict.fromkeys(found, (200, 100)), 12.0, 13.0)


def judged(
    tmp_path: Path, found: Mapping[int, Sequence[Prediction]], *, task: Task = Task.OBJECT_DETECTION, **more: Any
) -> evaluation.Evaluation:
    data = dataset.read(folder(tmp_path, coco(**more)))
    return evaluation.evaluate(Knows("crate", "person"), data, asked(found, task), confidence=0.5)


# Judging


def test_a_model_that_finds_everything_as_it_is_has_everything(tmp_path: Path) -> None:
    (boxes,) = judged(tmp_path, {1: [CRATE, PERSON], 2: [CRATE]}).figures
    assert (boxes.map50_95, boxes.map50, boxes.precision, boxes.recall) == pytest.approx((1, 1, 1, 1))
    assert [(one.name, one.objects) for one in boxes.classes] == [("crate", 2), ("person", 1)]


def test_a_model_that_finds_nothing_has_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, {1: [], 2: []})
    (boxes,) = found.figures
    assert (boxes.map50_95, boxes.map50, boxes.recall) == (0, 0, 0)
    assert math.isnan(boxes.precision), "it claims nothing"
    assert "nan" not in scorecard.text(found, classes=True)
    assert scorecard.as_json(found)["figures"]["boxes"]["precision"] is None


def test_precision_and_recall_are_of_the_sure_objects_average_precision_of_all(tmp_path: Path) -> None:
    doubtful, wrong = replace(CRATE, confidence=0.3), replace(CRATE, x=150.0, confidence=0.6)
    (boxes,) = judged(tmp_path, {1: [CRATE, PERSON, wrong], 2: [doubtful]}).figures
    assert (boxes.precision, boxes.recall) == pytest.approx((2 / 3, 2 / 3))
    crate, person = boxes.classes
    # Precision at the recalls 0 to .5 is 1, and from .51 on 2 of 3: over 101 recalls.
    assert crate.map50 == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-3)
    assert boxes.map50 == pytest.approx((crate.map50 + person.map50) / 2)


def test_a_box_that_is_a_little_off_counts_at_low_overlaps_alone(tmp_path: Path) -> None:
    off = replace(CRATE, x=54.0)  # IoU 16/24
    (boxes,) = judged(tmp_path, {1: [off, PERSON], 2: [off]}).figures
    assert boxes.classes[0].map50 == pytest.approx(1.0)
    assert boxes.classes[0].map50_95 == pytest.approx(0.4)  # .50, .55, .60, .65 of ten


def test_masks_are_judged_as_runs_and_as_outlines(tmp_path: Path) -> None:
    corners = [40.0, 30.0, 60.0, 30.0, 60.0, 70.0, 40.0, 70.0]
    annotations = [
        {"image_id": n, "category_id": 7, "bbox": [40, 30, 20, 40], "segmentation": [corners]} for n in (1, 2)
    ]
    outline = tuple(zip(corners[::2], corners[1::2], strict=True))
    mask = pytest.importorskip("pycocotools.mask")
    plane = np.zeros((100, 200), np.uint8, order="F")
    plane[30:70, 40:60] = 1
    runs = Runs(100, 200, mask.encode(plane)["counts"].decode())
    answers = {1: [replace(CRATE, points=outline)], 2: [replace(CRATE, runs=runs)]}
    found = judged(tmp_path, answers, task=Task.INSTANCE_SEGMENTATION, annotations=annotations)
    assert [(each.kind, each.map50_95) for each in found.figures] == [(Kind.BOXES, 1.0), (Kind.MASKS, 1.0)]


def test_keypoints_that_are_off_cost(tmp_path: Path) -> None:
    points = [(45.0, 35.0), (55.0, 35.0), (50.0, 65.0)]
    flat = [value for x, y in points for value in (x, y, 2)]
    annotations = [{"image_id": n, "category_id": 7, "bbox": [40, 30, 20, 40], "keypoints": flat} for n in (1, 2)]
    right = tuple(Keypoint(x, y, 0.9, str(number), number) for number, (x, y) in enumerate(points))
    wrong = tuple(replace(point, x=point.x + 60) for point in right)
    for keypoints, least, most in ((right, 1.0, 1.0), (wrong, 0.0, 0.1)):
        answers = {n: [replace(CRATE, keypoints=keypoints)] for n in (1, 2)}
        found = judged(tmp_path, answers, task=Task.KEYPOINT_DETECTION, annotations=annotations)
        boxes, oks = found.figures
        assert boxes.map50_95 == pytest.approx(1.0)
        assert least <= oks.map50_95 <= most


def test_where_the_data_has_boxes_alone_the_masks_are_left_out_with_a_word(tmp_path: Path) -> None:
    found = judged(tmp_path, {1: [CRATE, PERSON], 2: [CRATE]}, task=Task.INSTANCE_SEGMENTATION)
    assert [each.kind for each in found.figures] == [Kind.BOXES]
    assert "no masks were judged: 3 of 3 objects of the data have none" in found.notes


def test_a_crowd_is_no_object_to_be_found(tmp_path: Path) -> None:
    annotations = [{**each, "iscrowd": int(each["category_id"] == 9)} for each in coco()["annotations"]]
    (boxes,) = judged(tmp_path, {1: [CRATE], 2: [CRATE]}, annotations=annotations).figures
    assert (boxes.map50_95, boxes.recall) == pytest.approx((1.0, 1.0))


# Classes


def test_classes_are_matched_by_name_and_strangers_are_named(tmp_path: Path) -> None:
    data = dataset.read(folder(tmp_path, coco()))
    found = asked({1: [replace(CRATE, class_name="Crate", class_id=4)], 2: [CRATE]})
    told = evaluation.evaluate(Knows("van", "CRATE"), data, found, confidence=0.5)
    assert told.figures[0].map50_95 == pytest.approx(1.0)
    assert told.notes == (
        "left out, for the model does not know them: person",
        "left out, for the data does not know them: van",
    )


def test_without_a_common_class_there_is_nothing_to_judge(tmp_path: Path) -> None:
    data = dataset.read(folder(tmp_path, coco()))
    with pytest.raises(AgentError, match=r"no class of fake \(van\) is one of the data's \(crate, person\)"):
        evaluation.evaluate(Knows("van"), data, asked({1: []}), confidence=0.5)


def test_a_model_without_names_is_matched_by_number_and_that_is_said(tmp_path: Path) -> None:
    data = dataset.read(folder(tmp_path, coco()))
    found = asked({1: [replace(CRATE, class_name="class_0"), replace(PERSON, class_name="class_1")], 2: []})
    told = evaluation.evaluate(Knows(), data, found, confidence=0.5)
    assert told.figures[0].recall == pytest.approx(2 / 3)
    assert "carries no class names" in told.notes[0]


def test_classes_of_whole_pictures_are_ranked(tmp_path: Path) -> None:
    for name in ("crate", "person"):
        picture(tmp_path / "test" / name / "a.jpg")
        picture(tmp_path / "train" / name / "b.jpg")
    data = dataset.read(tmp_path)
    assert [path.parent.name for path in data.pictures.values()] == ["crate", "person"]
    assert all(path.parents[1].name == "test" for path in data.pictures.values()), "not what it has learnt"
    answers = asked({0: [CRATE, PERSON], 1: [replace(CRATE, confidence=0.95), PERSON]}, Task.CLASSIFICATION)
    ranks = evaluation.evaluate(Knows("crate", "person"), data, answers, confidence=0.5).ranks
    assert ranks is not None
    assert (ranks.top1, ranks.top5, ranks.classes) == (0.5, 1.0, (("crate", 1, 1.0), ("person", 1, 0.0)))


@pytest.mark.parametrize(
    ("task", "objects", "said"),
    [
        (Task.CLASSIFICATION, True, "gives classes of whole pictures"),
        (Task.OBJECT_DETECTION, False, "tells the class of whole pictures alone"),
        (Task.SEMANTIC_SEGMENTATION, True, "gives areas of classes"),
    ],
)
def test_data_of_another_kind_is_refused(tmp_path: Path, task: Task, objects: bool, said: str) -> None:
    data = dataset.read(folder(tmp_path, coco())) if objects else Dataset(tmp_path, {1: tmp_path}, classes={1: "crate"})
    with pytest.raises(AgentError, match=said):
        evaluation.evaluate(Knows("crate"), data, asked({1: []}, task), confidence=0.5)


# Annotations


def yolo(tmp_path: Path, *lines: str, page: str = "names: [crate, person]\ntest: ../test/images\n") -> Path:
    picture(tmp_path / "test" / "images" / "a.jpg")
    (tmp_path / "test" / "labels").mkdir()
    (tmp_path / "test" / "labels" / "a.txt").write_text("\n".join(lines))
    picture(tmp_path / "test" / "images" / "empty.jpg")
    (tmp_path / "data.yaml").write_text(page)
    return tmp_path


def test_yolo_labels_become_boxes_in_pixels_and_outlines(tmp_path: Path) -> None:
    data = dataset.read(yolo(tmp_path, "0 0.25 0.5 0.1 0.4", "", "1 0.5 0.5 0.6 0.5 0.6 0.7 0.5 0.7"))
    assert data.names == {0: "crate", 1: "person"}
    assert [path.name for path in data.pictures.values()] == ["a.jpg", "empty.jpg"]
    assert data.coco is not None
    box, outline = data.coco["annotations"]
    assert box["bbox"] == pytest.approx([40, 30, 20, 40])
    assert outline["bbox"] == pytest.approx([100, 50, 20, 20])
    assert outline["segmentation"] == [pytest.approx([100, 50, 120, 50, 120, 70, 100, 70])]
    assert outline["area"] == pytest.approx(400)


def test_yolo_poses_have_their_points(tmp_path: Path) -> None:
    page = "names: {0: person}\nkpt_shape: [2, 3]\nval: test/images\n"
    data = dataset.read(yolo(tmp_path, "0 0.25 0.5 0.1 0.4 0.2 0.4 2 0 0 0", page=page))
    assert data.coco is not None
    (one,) = data.coco["annotations"]
    assert (one["keypoints"], one["num_keypoints"]) == (pytest.approx([40, 40, 2, 0, 0, 0]), 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5", r"a\.txt:1: has 2 numbers after the class"),
        ("0 a b c d", r"a\.txt:1: has something else than numbers"),
        ("5 0.5 0.5 0.1 0.1", r"a\.txt:1: is of class 5, which .*data.yaml does not name"),
        ("0 nan 0.5 0.1 0.1", r"a\.txt:1: has something else than numbers"),
        ("0.5 0.5 0.5 0.1 0.1", r"a\.txt:1: is of class 0.5"),
        ("0 0.5 0.5 -0.1 0.1", r"a\.txt:1: has a box of negative width or height"),
    ],
)
def test_a_label_that_is_wrong_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(AgentError, match=said):
        dataset.read(yolo(tmp_path, line))


def test_names_that_yaml_takes_for_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"data.yaml:1: names\[1\]: is no text, but false \(no, off\)"):
        dataset.read(yolo(tmp_path, page="names: [crate, no]\ntest: test/images\n"))


def test_label_files_without_a_picture_are_told(tmp_path: Path) -> None:
    made = yolo(tmp_path, "0 0.25 0.5 0.1 0.4")
    stray = made / "test" / "labels" / "gone.txt"
    stray.write_text("0 0.25 0.5 0.1 0.4")
    data = dataset.read(made)
    assert data.notes == (f"1 label file without a picture, such as {stray}: left out",)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("not json", "truth.json: is not JSON"),
        ([], "is not COCO's JSON"),
        ({"images": []}, r"is not COCO's JSON .*: annotations should be a list of objects"),
        ({**coco(), "images": [3]}, r"is not COCO's JSON .*: images should be a list of objects"),
        (
            coco(annotations=[{"id": 88, "image_id": 1, "category_id": 7, "bbox": [1, 2]}]),
            r"truth.json: annotation 88: its bbox should be numbers, four: left, top, width, height",
        ),
        (coco(annotations=[{"image_id": 1, "category_id": 7}]), "annotation number 1: its bbox should be numbers"),
        (
            coco(annotations=[{"id": 8, "image_id": "1", "category_id": 7, "bbox": [1, 2, 3, 4]}]),
            "annotation 8: its image_id is no whole number",
        ),
        (
            coco(annotations=[{"id": 8, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "segmentation": [[1]]}]),
            "annotation 8: its segmentation should be polygons",
        ),
        (coco(images=[{"id": 1}]), "truth.json: image 1: its file_name is no text"),
        (coco(images=[{"file_name": "1.jpg"}]), "entry 1 of images has no id that is a whole number"),
        (coco(images=[{"id": 1, "file_name": "1.jpg"}] * 2), "two images have the id 1"),
        (coco(categories=[{"id": 7}]), "category 7: its name is no text"),
        (coco(categories=[{"id": 1, "name": "x"}]), "is of a category that the file does not name"),
        (coco(images=[{"id": 1, "file_name": "none.jpg", "width": 1, "height": 1}]), "none of its pictures is in"),
    ],
)
def test_annotations_that_cannot_be_used_are_refused(tmp_path: Path, told: object, said: str) -> None:
    with pytest.raises(AgentError, match=said):
        dataset.read(folder(tmp_path, told))


def test_what_is_broken_in_annotations_is_counted_told_and_left_out(tmp_path: Path) -> None:
    told = coco()
    told["images"].append({"id": 3, "file_name": "gone.jpg", "width": 1, "height": 1})
    box = {"category_id": 7, "bbox": [40, 30, 20, 40]}
    told["annotations"] += [
        {"id": 31, "image_id": 3, **box},
        {"id": 99, "image_id": 77, **box},
        {"id": 98, "image_id": 78, **box},
        {"id": 97, "image_id": 1, **box, "bbox": [40, 30, -20, 40]},
    ]
    data = dataset.read(folder(tmp_path, told))
    assert data.notes == (
        "2 annotations of an image that the file does not name, such as 99: left out",
        "1 annotation with a negative width or height, such as 97: left out",
        "1 picture of truth.json is not there, such as gone.jpg: left out, with 1 annotation",
    )
    assert data.coco is not None
    assert (len(data.pictures), len(data.coco["annotations"])) == (2, 3)
    assert data.first(1).notes == data.notes


def test_a_size_that_is_not_the_picture_s_is_told_and_one_that_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "1.jpg", "width": 400, "height": 200}, {"id": 2, "file_name": "2.jpg"}]
    found = judged(tmp_path, {1: [CRATE, PERSON], 2: [CRATE]}, images=images)
    assert found.figures[0].map50_95 == pytest.approx(1.0)
    (odd,) = found.data_faults
    assert odd.startswith("1 picture of another size than the data says, so that its boxes may lie elsewhere: 1.jpg: ")
    assert odd.endswith("200x100, said to be 400x200")
    assert scorecard.text(found, classes=False).startswith(odd)


def test_data_without_any_annotation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, coco(annotations=[]))
    assert cli.main(["model", "eval", "shapes", "--data", str(tmp_path), "--state", str(tmp_path / "state")]) == 1
    assert f"--data {tmp_path}: has 2 pictures without annotations; " in capsys.readouterr().err


def test_annotations_that_are_no_file_are_refused_at_once(tmp_path: Path) -> None:
    picture(tmp_path / "1.jpg")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AgentError, match=r"pipe: is a pipe; name a file"):
        dataset.read(tmp_path, tmp_path / "pipe")


def test_of_several_json_files_a_person_has_to_name_one(tmp_path: Path) -> None:
    folder(tmp_path, coco())
    shutil.copy(tmp_path / "truth.json", tmp_path / "more.json")
    with pytest.raises(AgentError, match=r"several JSON files \(more.json, truth.json\); name .* --annotations"):
        dataset.read(tmp_path)
    assert len(dataset.read(tmp_path, tmp_path / "more.json").pictures) == 2


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AgentError, match=r"there is no such folder|holds no picture"):
        dataset.read(tmp_path / name)


def test_only_so_many_pictures_keep_their_objects(tmp_path: Path) -> None:
    data = dataset.read(folder(tmp_path, coco())).first(1)
    assert data.coco is not None
    assert (len(data.pictures), len(data.coco["annotations"])) == (1, 2)


# Agreement


def answers(*pairs: tuple[Sequence[Prediction], Sequence[Prediction]]) -> list[tuple[Answer, Answer]]:
    return [(Answer(tuple(one), "a", "a", Timings()), Answer(tuple(two), "b", "b", Timings())) for one, two in pairs]


def test_two_that_say_the_same_agree_and_two_that_say_nothing_too() -> None:
    every, classes = agreement.compare(answers(([CRATE, PERSON], [PERSON, CRATE]), ([], [])))
    assert (every.f1, every.mean_iou, every.mean_change) == (1.0, 1.0, 0.0)
    assert [one.name for one in classes] == ["crate", "person"]
    assert agreement.compare(answers(([], [])))[0].f1 == 1.0


def test_what_one_alone_finds_and_other_confidences_are_told() -> None:
    moved = replace(CRATE, x=52.0, confidence=0.7)
    every, (crate, person) = agreement.compare(answers(([CRATE, PERSON], [moved, replace(moved, x=190.0)])))
    assert (len(crate.pairs), crate.first_only, crate.second_only) == (1, 0, 1)
    assert (person.pairs, person.first_only) == ((), 1)
    assert every.f1 == pytest.approx(2 / 4)
    assert every.mean_iou == pytest.approx(18 / 22)
    assert every.largest_change == pytest.approx(0.2)


def test_a_model_without_class_names_is_compared_by_the_numbers_of_the_other() -> None:
    nameless = [replace(one, class_name=f"class_{one.class_id}") for one in (CRATE, PERSON)]
    every, classes = agreement.compare(answers((nameless, [PERSON, CRATE]), ([], [CRATE])))
    assert (every.f1, [one.name for one in classes]) == (pytest.approx(4 / 5), ["crate", "person"])
    both, _ = agreement.compare(answers((nameless, nameless)))
    assert both.f1 == 1.0


def test_one_object_is_paired_once_and_with_its_nearest() -> None:
    near, nearer = replace(CRATE, x=53.0), replace(CRATE, x=51.0)
    every, _ = agreement.compare(answers(([CRATE], [near, nearer])))
    assert (len(every.pairs), every.second_only) == (1, 1)
    assert every.mean_iou == pytest.approx(19 / 21)


# The command


def drawn(tmp_path: Path, frames: int = 4) -> Path:
    """Pictures of the drawn scene, and what is in them, as YOLO has it."""
    scene = Scene(320, 240, seed=3, shapes=4)
    (tmp_path / "labels").mkdir(parents=True)
    for index in range(frames):
        picture(tmp_path / "images" / f"{index}.jpg", scene.render(index * 20))
        rows = [
            f"{one.class_id} {one.x / 320} {one.y / 240} {one.width / 320} {one.height / 240}"
            for one in scene.truth(index * 20)
        ]
        (tmp_path / "labels" / f"{index}.txt").write_text("\n".join(rows))
    (tmp_path / "data.yaml").write_text(f"names: {json.dumps(list(CLASSES))}\nval: images\n")
    return tmp_path


def test_the_shipped_model_is_good_at_the_drawn_scene_and_agrees_with_its_hosted_self(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, kept = drawn(tmp_path / "data"), tmp_path / "figures.json"
    (tmp_path / "key").write_text(KEY)
    found = ScriptedEngine([Prediction(160.0, 120.0, 10.0, 10.0, 0.9, CLASSES[0], 0)])
    with emulating(found, project="shapes/1") as emulator:
        cloud = f"{{type: roboflow, model: shapes/1, url: '{emulator.url}', api_key: {{file: key}}}}"
        page = tmp_path / "vedette.yaml"
        rest = "cameras: [{name: a, source: {type: synthetic}}]\nsinks: [{type: stdout}]\n"
        page.write_text(f"{rest}engines: {{cloud: {cloud}}}\n")
        asked = ["model", "eval", "shapes", "--data", str(data), "--classes", "--threads", "1"]
        more = ["--against", "hosted", "--config", str(page), "--json", str(kept), "--state", str(tmp_path)]
        assert cli.main([*asked, *more]) == 0
    told = json.loads(kept.read_text())
    assert told["evaluation"]["figures"]["boxes"]["map50"] > 0.9
    assert told["evaluation"]["pictures"] == 4
    assert told["agreement"]["second_only"] == 4
    assert told["agreement"]["both"] == 0
    shown = capsys.readouterr().out
    assert "mAP50-95" in shown
    assert "shapes and hosted shapes/1, object by object" in shown


def test_pictures_alone_can_only_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.jpg")
    assert cli.main(["model", "eval", "shapes", "--data", str(tmp_path), "--state", str(tmp_path)]) == 1
    assert "has 1 picture without annotations" in capsys.readouterr().err


def test_hosted_needs_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder(tmp_path / "data", coco())
    assert cli.main(["model", "eval", "hosted", "--data", str(data), "--state", str(tmp_path)]) == 1
    assert "say which: --config CONFIG.yaml" in capsys.readouterr().err


def test_the_judge_that_is_absent_is_told_how_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(AgentError, match=r"takes pycocotools .*pip install pycocotools"):
        metrics.judge(coco(), {}, Kind.BOXES, confidence=0.5)
