import csv as tables
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from disks import room_for, small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.errors import SinkUnavailable
from agent.flow import (
    Answer,
    Decision,
    Delivery,
    Fate,
    Outcome,
    Prediction,
    Reason,
    Regions,
    Result,
    Route,
    Score,
    Task,
    Timings,
)
from agent.ports import Context, Sink
from agent.record import Identity, delivery_of
from agent.sinks import csv

CAT = Prediction(100.5, 80.0, 40.0, 30.25, 0.875, "cat", 3)
RESULT = Result(
    camera="door",
    seq=7,
    revision=0,
    captured_s=1000.0,
    captured_wall_s=1_795_441_839.25,
    clock_synchronized=True,
    width=640,
    height=480,
    decision=Decision(Route.CLOUD, Reason.P_OK, 1000.5, 1000.3),
    fate=Fate.DONE,
    published=Route.CLOUD,
    answer=Answer((CAT, replace(CAT, class_name="dog", class_id=4)), "coco/7", "roboflow", Timings()),
    late=False,
    started_s=1000.01,
    answered_s=1000.25,
)
HEAD = ",".join(csv.COLUMNS) + "\r\n"


def sink(base_dir: Path, **options: Any) -> Sink:
    chosen = csv.Options.model_validate({"type": "csv", "path": "out.csv", **options})
    return csv.build(chosen, Context("porch", SystemClock(), base_dir, base_dir))


def seen(*names: str, seq: int = 7) -> Delivery:
    found = tuple(replace(CAT, class_name=name) for name in names)
    answer = Answer(found, "coco/7", "roboflow", Timings())
    return delivery_of(replace(RESULT, seq=seq, answer=answer), Identity("porch", "b00t"))


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(tables.DictReader(text, strict=True))


def written(folder: Path, *batch: Delivery, **options: Any) -> list[dict[str, str]]:
    out = sink(folder, **options)
    out.open()
    assert set(out.send(batch)) == {Outcome.ACCEPTED}
    out.close()
    return rows(folder / "out.csv")


def was_taken(out: Sink, delivery: Delivery) -> bool:
    try:
        return list(out.send([delivery])) == [Outcome.ACCEPTED]
    except SinkUnavailable:
        return False


# What a row holds


def test_each_object_is_a_row_that_tells_all_of_its_result(tmp_path: Path) -> None:
    first, second = written(tmp_path, delivery_of(RESULT, Identity("porch", "b00t")))
    assert first == {
        "id": "porch/door/b00t/7/0",
        "camera": "door",
        "captured_at": "2026-11-23T13:50:39.250Z",
        "seq": "7",
        "revision": "0",
        "supersedes": "",
        "class": "cat",
        "class_id": "3",
        "confidence": "0.875",
        "x": "100.5",
        "y": "80.0",
        "width": "40.0",
        "height": "30.25",
        "tracker_id": "",
        "image_width": "640",
        "image_height": "480",
        "route": "cloud",
        "reason": "p_ok",
        "late": "false",
        "latency_ms": "250.0",
        "model": "coco/7",
    }
    assert second == {**first, "class": "dog", "class_id": "4"}


def test_a_correction_names_the_row_that_it_replaces(tmp_path: Path) -> None:
    corrected = replace(RESULT, revision=1, supersedes=0)
    (row, _) = written(tmp_path, delivery_of(corrected, Identity("porch", "b00t")))
    assert (row["id"], row["supersedes"]) == ("porch/door/b00t/7/1", "porch/door/b00t/7/0")


def test_a_result_without_objects_is_one_row_with_empty_cells(tmp_path: Path) -> None:
    (row,) = written(tmp_path, seen())
    assert {name for name, cell in row.items() if not cell} == {
        "supersedes",
        *("class", "class_id", "confidence", "x", "y", "width", "height", "tracker_id"),
    }


def test_a_result_without_objects_leaves_no_row_where_that_is_not_wanted(tmp_path: Path) -> None:
    assert [row["class"] for row in written(tmp_path, seen(), seen("cat"), seen(), empty_rows=False)] == ["cat"]
    assert written(tmp_path, seen(), append=False, empty_rows=False) == []


def told(answer: Answer) -> Delivery:
    return delivery_of(replace(RESULT, answer=answer), Identity("porch", "b00t"))


def cells(found: list[dict[str, str]]) -> list[tuple[str, str, str, str]]:
    return [(row["class"], row["class_id"], row["confidence"], row["x"]) for row in found]


def test_each_class_that_a_classifier_passed_is_a_row_without_a_box(tmp_path: Path) -> None:
    one = told(Answer((CAT,), "m", "e", Timings(), task=Task.CLASSIFICATION))
    assert cells(written(tmp_path, one)) == [("cat", "3", "0.875", "")]


def test_each_label_that_passed_is_a_row_and_the_others_are_none(tmp_path: Path) -> None:
    scores = (Score("dog", 4, 0.1), Score("cat", 3, 0.875))
    many = told(Answer((CAT,), "m", "e", Timings(), task=Task.MULTI_LABEL_CLASSIFICATION, scores=scores))
    assert cells(written(tmp_path, many)) == [("cat", "3", "0.875", "")]


def test_each_area_but_the_background_is_a_row(tmp_path: Path) -> None:
    regions = Regions(b"", b"", {0: "background", 1: "road", 2: "kerb", 7: "sky"}, (0, 1, 7))
    areas = told(Answer((CAT,), "m", "e", Timings(), task=Task.SEMANTIC_SEGMENTATION, regions=regions))
    assert cells(written(tmp_path, areas)) == [("road", "1", "", ""), ("sky", "7", "", "")]


def test_a_result_of_any_task_without_anything_is_one_row_with_empty_cells(tmp_path: Path) -> None:
    tasks = (Task.CLASSIFICATION, Task.MULTI_LABEL_CLASSIFICATION, Task.KEYPOINT_DETECTION)
    none = [told(Answer((), "m", "e", Timings(), task=task)) for task in tasks]
    assert cells(written(tmp_path, *none)) == [("", "", "", "")] * 3


def test_the_file_is_as_rfc_4180_has_it(tmp_path: Path) -> None:
    written(tmp_path, seen('a "big", old\ndog', "grün"))
    text = (tmp_path / "out.csv").read_bytes()
    assert text.startswith(HEAD.encode())
    assert b',"a ""big"", old\ndog",' in text
    assert ",grün,".encode() in text
    assert text.count(b"\r\n") == 3


@given(
    names=st.lists(
        st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])), min_size=1, max_size=4
    )
)
@settings(deadline=None, max_examples=100)
def test_any_name_of_a_class_comes_back_as_it_was_but_for_crlf(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = written(tmp_path_factory.mktemp("names"), seen(*names))
    assert [row["class"] for row in found] == [re.sub("\r+\n", "\n", name) for name in names]


def test_a_delivery_that_is_no_record_is_rejected_and_the_others_are_written(tmp_path: Path) -> None:
    out = sink(tmp_path)
    out.open()
    odd = [Delivery(str(n), "door", body) for n, body in enumerate((b"\xff", b"[1]", b"", b"[" * 100_000))]
    assert out.send([odd[0], seen("cat"), *odd[1:]]) == [
        Outcome.REJECTED,
        Outcome.ACCEPTED,
        *[Outcome.REJECTED] * 3,
    ]
    out.close()
    assert [row["class"] for row in rows(tmp_path / "out.csv")] == ["cat"]


@pytest.mark.parametrize(
    "part",
    [
        None,
        5,
        "x",
        "\ud800",
        [],
        [1],
        {},
        {"class": {"a": 1}},
        [{"class": {"a": 1}}],
        [{"class": "\ud800"}],
        {"segmentation_mask": 1, "class_map": 5, "present_class_ids": [1, [2]]},
        {"segmentation_mask": 1, "present_class_ids": 5},
    ],
)
def test_a_record_of_another_shape_still_makes_rows_that_can_be_read(tmp_path: Path, part: Any) -> None:
    fields = {"image": part, "predictions": part, "route": part, "predicted_classes": part}
    body = json.dumps({"id": "a", **fields}).encode()
    assert all(row["id"] == "a" and None not in row for row in written(tmp_path, Delivery("a", "door", body)))


# The file


def test_a_second_run_goes_on_below_the_same_names_of_the_columns(tmp_path: Path) -> None:
    written(tmp_path, seen("cat"))
    assert [row["class"] for row in written(tmp_path, seen("dog"))] == ["cat", "dog"]
    assert (tmp_path / "out.csv").read_text().count("captured_at") == 1


def test_every_closed_file_begins_with_the_names_of_the_columns(tmp_path: Path) -> None:
    out = sink(tmp_path, rotate={"max_mb": 0.01, "compress": False})
    out.open()
    for seq in range(200):
        out.send([seen("cat", "dog", seq=seq)])
    out.close()
    files = sorted(tmp_path.glob("out*.csv"))
    assert len(files) > 3
    found = [row for file in files for row in rows(file)]
    assert [(row["seq"], row["class"]) for row in found] == [(str(n), it) for n in range(200) for it in ("cat", "dog")]
    assert all(file.read_text().startswith("id,camera,") for file in files)
    assert all(file.stat().st_size <= 10_000 for file in files)


def test_a_file_that_somebody_emptied_begins_anew_with_the_names_of_the_columns(tmp_path: Path) -> None:
    out = sink(tmp_path)
    out.open()
    out.send([seen("cat")])
    (tmp_path / "out.csv").write_bytes(b"")
    out.send([seen("dog")])
    out.close()
    assert [row["class"] for row in rows(tmp_path / "out.csv")] == ["dog"]


def test_a_torn_last_row_is_moved_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path, seen("cat"))
    file = tmp_path / "out.csv"
    with file.open("ab") as end:
        end.write(b'porch/door/b00t/8/0,door,"torn\nin a cel')
    with caplog.at_level(logging.INFO):
        found = written(tmp_path, seen("dog"))
    assert [row["class"] for row in found] == ["cat", "dog"]
    assert (tmp_path / "out.csv.torn").read_bytes() == b'porch/door/b00t/8/0,door,"torn\nin a cel\n'
    assert f"moved a torn last line path={file} to={file}.torn size_bytes=39" in caplog.text


@pytest.mark.parametrize("size_bytes", [65_534, 65_535, 65_536, 65_537, 131_071, 1_000_000])
def test_a_torn_row_of_any_length_is_found(tmp_path: Path, size_bytes: int) -> None:
    written(tmp_path, seen("cat"))
    with (tmp_path / "out.csv").open("ab") as end:
        end.write(b"x" * size_bytes)
    assert [row["class"] for row in written(tmp_path, seen("dog"))] == ["cat", "dog"]
    assert (tmp_path / "out.csv.torn").read_bytes() == b"x" * size_bytes + b"\n"


@settings(deadline=None, max_examples=60)
@given(names=st.lists(st.sampled_from(["cat", "a\nb", 'q"', "c,d", "\r", "e\r\n", ""]), min_size=1), data=st.data())
def test_a_file_cut_off_anywhere_keeps_every_whole_row_and_goes_on(
    names: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    before = written(folder, *(seen(name) for name in names))
    file = folder / "out.csv"
    whole = file.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    after = written(folder, seen("last"))
    kept = max(0, whole[:cut].count(b"\r\n") - 1)
    assert after[:-1] == before[:kept]
    assert after[-1]["class"] == "last"
    torn = folder / "out.csv.torn"
    assert whole[:cut].endswith(torn.read_bytes()[:-1] if torn.exists() else b"\r\n" if cut else b"")


@pytest.mark.parametrize("foreign", ["a,b\r\n1,2\r\n", "a;b\n1;2\n", "x" * 100, HEAD.replace("camera", "kamera")])
def test_a_file_that_is_none_of_ours_is_left_as_it_is(tmp_path: Path, foreign: str) -> None:
    (tmp_path / "out.csv").write_bytes(foreign.encode())
    out = sink(tmp_path)
    with pytest.raises(SinkUnavailable, match=r"does not begin as CSV rows of this version do; move it, or name"):
        out.open()
    out.close()
    assert (tmp_path / "out.csv").read_bytes() == foreign.encode()
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


@settings(deadline=None, max_examples=50)
@given(room=st.integers(0, 1500))
def test_wherever_a_write_stops_the_file_holds_whole_batches_and_none_twice(
    room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("full")
    out = sink(folder)
    out.open()
    with room_for(room):
        taken = [seq for seq in range(12) if was_taken(out, seen("a\nb", "cat", seq=seq))]
    assert len(taken) < 12
    out.send([seen("a\nb", "cat", seq=99)])
    out.close()
    assert [row["seq"] for row in rows(folder / "out.csv")] == [str(seq) for seq in [*taken, 99] for _ in range(2)]


def test_a_full_disk_keeps_whole_batches_and_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=64k"):
        ballast = tmp_path / "disk/ballast"
        ballast.write_bytes(bytes(40_000))
        out = sink(tmp_path, path="disk/out.csv")
        out.open()
        seq = 0
        while was_taken(out, seen("cat", "dog", seq=seq)):
            seq += 1
        assert seq > 20
        with pytest.raises(SinkUnavailable, match=r"out\.csv cannot be written: No space left on device"):
            out.send([seen("cat", "dog", seq=seq)])
        out.close()
        ballast.unlink()
        out.open()
        out.send([seen("cat", "dog", seq=seq)])
        out.close()
        found = [row["seq"] for row in rows(tmp_path / "disk/out.csv")]
        assert found == [str(n) for n in range(seq + 1) for _ in range(2)]
