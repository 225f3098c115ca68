"""ONNX Runtime as a runtime, over small graphs that are written here."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_file
import onnxruntime
import pytest
from onnx_file import FLOAT, FLOAT16, INT64, UINT8, Node, Value

from agent.engines import _onnx_model, onnx
from agent.errors import EngineBroken
from agent.package import Input, ModelPackage

PICTURE: Value = ("images", FLOAT, [1, 3, 8, 16])
NEGATED: Node = ("Neg", ["images"], ["out"], {})


def written(
    folder: Path,
    entry: Value | Sequence[Value] = PICTURE,
    exits: Sequence[Value] = (("out", FLOAT, [1, 3, 8, 16]),),
    nodes: Sequence[Node] = (NEGATED,),
    **more: Any,
) -> Path:
    entries = [entry] if isinstance(entry, tuple) else list(entry)
    file = folder / "model.onnx"
    file.write_bytes(onnx_file.model(entries, exits, nodes, **more))
    return file


def loaded(file: Path, size: tuple[int, int] | None = None) -> onnx.Session:
    given = None if size is None else Input(*size)
    return onnx.Session(ModelPackage("m", "", file, (), input=given), threads=1)


# Running


def test_what_is_written_into_the_buffer_is_what_the_model_reads(tmp_path: Path) -> None:
    session = loaded(written(tmp_path))
    assert session.input.shape == (1, 3, 8, 16)
    session.buffer()[...] = np.arange(384, dtype=np.float32).reshape(3, 8, 16)
    (out,) = session.run()
    assert np.array_equal(out, -np.arange(384, dtype=np.float32).reshape(3, 8, 16))


def test_what_was_written_stays_for_the_next_run(tmp_path: Path) -> None:
    session = loaded(written(tmp_path))
    session.buffer()[...] = 2
    session.run()
    session.buffer()[0] = 3
    (out,) = session.run()
    assert (out[0] == -3).all()
    assert (out[1:] == -2).all()


def test_a_result_comes_into_the_same_memory_each_time(tmp_path: Path) -> None:
    session = loaded(written(tmp_path))
    (first,) = session.run()
    (second,) = session.run()
    assert np.shares_memory(first, second)


def test_a_model_of_half_precision_is_given_and_gives_half_precision(tmp_path: Path) -> None:
    session = loaded(written(tmp_path, ("images", FLOAT16, [1, 3, 8, 16]), [("out", FLOAT16, [1, 3, 8, 16])]))
    assert session.input.dtype == np.float16
    session.buffer()[...] = 0.1
    (out,) = session.run()
    assert out.dtype == np.float16
    assert (out == -np.float16(0.1)).all()


def test_several_results_come_in_the_model_s_order(tmp_path: Path) -> None:
    exits = [("low", FLOAT, [1, 3, 8, 16]), ("high", FLOAT, [1, 3, 8, 16])]
    session = loaded(
        written(tmp_path, exits=exits, nodes=[("Neg", ["images"], ["low"], {}), ("Exp", ["images"], ["high"], {})])
    )
    session.buffer()[...] = 1
    low, high = session.run()
    assert [tensor.name for tensor in session.outputs] == ["low", "high"]
    assert low[0, 0, 0] == -1
    assert high[0, 0, 0] == pytest.approx(math.e)


def test_a_result_of_a_size_that_only_the_run_shows_is_as_large_as_it_is(tmp_path: Path) -> None:
    session = loaded(written(tmp_path, exits=[("out", INT64, [4, "n"])], nodes=[("NonZero", ["images"], ["out"], {})]))
    for count in (3, 5):
        session.buffer()[...] = 0
        session.buffer()[0, 0, :count] = 1
        assert session.run()[0].shape == (count,)


@pytest.mark.parametrize(
    ("axes", "package", "imgsz", "settled"),
    [
        (["batch", 3, "height", "width"], (32, 16), None, (1, 3, 16, 32)),
        (["batch", 3, "height", "width"], (32, 16), "[8, 24]", (1, 3, 16, 32)),
        (["batch", 3, "height", "width"], None, "[8, 24]", (1, 3, 8, 24)),
        (["batch", 3, "height", "width"], None, "24", (1, 3, 24, 24)),
        (["batch", 3, "height", "width"], None, "large", (1, 3, 640, 640)),
        (["batch", 3, "height", "width"], None, None, (1, 3, 640, 640)),
        (["batch", "height", "width", 3], (32, 16), None, (1, 16, 32, 3)),
        (["batch", "colours", "height", "width"], (32, 16), None, (1, 3, 16, 32)),
        (["batch", 3, 8, 16], None, "[64, 64]", (1, 3, 8, 16)),
        ([1, 3, 8, "width"], (32, 16), None, (1, 3, 8, 32)),
        ([1, 3, 8, 3], None, None, (1, 3, 8, 3)),
    ],
)
def test_an_input_that_takes_any_size_gets_the_package_s_else_the_exporter_s_else_the_usual_one(
    axes: list[int | str],
    package: tuple[int, int] | None,
    imgsz: str | None,
    *,
    settled: tuple[int, ...],
    tmp_path: Path,
) -> None:
    metadata = {} if imgsz is None else {"imgsz": imgsz}
    file = written(tmp_path, ("images", FLOAT, axes), [("out", FLOAT, axes)], metadata=metadata)
    session = loaded(file, package)
    assert session.input.shape == settled
    assert session.outputs[0].shape == settled
    session.buffer()[...] = 5
    assert (session.run()[0] == -5).all()


def test_a_closed_session_lets_go_of_the_library_s_own(tmp_path: Path) -> None:
    session = loaded(written(tmp_path))
    session.close()
    session.close()
    assert session._session is None


def test_threads_do_not_spin_and_are_as_many_as_wanted() -> None:
    settings = onnx._settings(onnxruntime, 3)
    assert (settings.intra_op_num_threads, settings.inter_op_num_threads) == (3, 1)
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"


# What the exporter wrote

METADATA = {
    "names": "{0: 'person', 1: 'hard hat'}",
    "task": "pose",
    "imgsz": "[320, 640]",
    "kpt_shape": "[17, 3]",
    "stride": "32",
    "end2end": "False",
    "version": "8.3.0",
    "args": "{'nms': None}",
}
READ = {
    "names": {0: "person", 1: "hard hat"},
    "task": "pose",
    "imgsz": [320, 640],
    "kpt_shape": [17, 3],
    "stride": 32,
    "end2end": False,
    "version": "8.3.0",
    "args": {"nms": None},
}


def test_metadata_is_read_as_data(tmp_path: Path) -> None:
    assert loaded(written(tmp_path, metadata=METADATA)).metadata == READ


def test_the_same_is_read_from_the_file_without_a_library(tmp_path: Path) -> None:
    assert _onnx_model.metadata(written(tmp_path, metadata=METADATA)) == READ


@pytest.mark.parametrize("name", ["yolov8n_320", "yolov8n_640", "yolov8n-seg_320"])
def test_real_files_are_read_alike_with_and_without_the_library(name: str, shared: Path) -> None:
    file = shared / "models" / f"{name}.onnx"
    said = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    assert _onnx_model.metadata(file) == _onnx_model.values(said)
    assert len(_onnx_model.metadata(file)["names"]) == 80


@pytest.mark.parametrize(
    "text", ["__import__('os').system('false')", "[" * 400_000, "{0: 'a'", "", "\0", "-" * 100_000 + "1"]
)
def test_metadata_that_is_no_data_stays_text(text: str) -> None:
    assert _onnx_model.values({"names": text}) == {"names": text}


def test_metadata_that_is_far_too_long_is_left_out(tmp_path: Path) -> None:
    long = {"names": "x" * 1_000_001, "task": "detect"}
    assert _onnx_model.values(long) == {"task": "detect"}
    assert _onnx_model.metadata(written(tmp_path, metadata=long)) == {"task": "detect"}


def test_a_damaged_file_gives_what_can_be_read_of_it(tmp_path: Path) -> None:
    whole = written(tmp_path, metadata=METADATA).read_bytes()
    for end in range(0, len(whole), 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:end])
        read = _onnx_model.metadata(tmp_path / "cut.onnx")
        assert all(READ[name] == value for name, value in read.items())
    rng = np.random.default_rng(5)
    for _ in range(300):
        noise = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            noise[place] = int(rng.integers(256))
        (tmp_path / "noise.onnx").write_bytes(noise)
        assert isinstance(_onnx_model.metadata(tmp_path / "noise.onnx"), dict)


@pytest.mark.parametrize("length", [1 << 31, 1 << 62, 1 << 63, (1 << 64) - 1, (1 << 70) - 1])
def test_a_field_that_is_longer_than_any_file_ends_the_reading_and_is_refused(length: int, tmp_path: Path) -> None:
    file = written(tmp_path, metadata=METADATA)
    tag = bytes([14 << 3 | 2])
    file.write_bytes(file.read_bytes() + tag + onnx_file._varint(length) + b"\x0a\x01a\x12\x01b")
    assert _onnx_model.metadata(file) == READ
    inside = onnx_file._field(14, tag + onnx_file._varint(length))
    file.write_bytes(written(tmp_path, metadata=METADATA).read_bytes() + inside)
    assert _onnx_model.metadata(file) == READ
    file.write_bytes(tag + onnx_file._varint(length) + b"abc")
    assert _onnx_model.metadata(file) == {}
    with pytest.raises(EngineBroken, match=r"model.onnx: is not an ONNX model, or is cut short"):
        loaded(file)


def test_a_file_that_is_not_there_has_no_metadata(tmp_path: Path) -> None:
    assert _onnx_model.metadata(tmp_path / "none.onnx") == {}


# What cannot be used


def test_a_file_that_is_no_model_says_so(tmp_path: Path) -> None:
    for content in (b"", b"hello" * 100, bytes(1000), written(tmp_path).read_bytes()[:40]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(EngineBroken, match=r"bad.onnx: is not an ONNX model, or is cut short; export"):
            loaded(tmp_path / "bad.onnx")


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineBroken, match=r"none.onnx: is not there"):
        loaded(tmp_path / "none.onnx")


def test_an_operator_set_from_the_future_says_what_helps(tmp_path: Path) -> None:
    with pytest.raises(EngineBroken, match=r"newer ONNX Runtime, or an export with a lower opset: .*[Oo]pset 99"):
        loaded(written(tmp_path, opset=99))


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineBroken, match=r"cannot be loaded; .*FancyConv"):
        loaded(written(tmp_path, nodes=[("FancyConv", ["images"], ["out"], {})]))


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("images", FLOAT, [4, 3, 8, 16])], r"takes an input of \[4, 3, 8, 16\], .* export it for a batch of 1"),
        ([("images", FLOAT, [1, "any", 16])], r"takes an input of \[1, any, 16\], not one colour picture"),
        ([("images", UINT8, [1, 3, 8, 16])], r"takes tensor\(uint8\)"),
        ([PICTURE, ("sizes", INT64, [1, 2])], r"takes 2 inputs, not one picture"),
    ],
)
def test_an_input_that_is_no_picture_is_refused(entries: list[Value], said: str, tmp_path: Path) -> None:
    kind, axes = entries[0][1:]
    nodes: list[Node] = [("Identity", ["images"], ["out"], {})]
    with pytest.raises(EngineBroken, match=said):
        loaded(written(tmp_path, entries, [("out", kind, axes)], nodes))


def test_a_model_that_fails_when_it_runs_says_so(tmp_path: Path) -> None:
    axes = [1, 3, "height", "width"]
    file = written(
        tmp_path, ("images", FLOAT, axes), [("out", FLOAT, axes)], [("MatMul", ["images", "images"], ["out"], {})]
    )
    with pytest.raises(EngineBroken, match=r"model.onnx: failed to run: .*MatMul"):
        loaded(file, (32, 16))


def test_a_library_that_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(EngineBroken, match=r"pip install 'vedette\[onnx\]'"):
        loaded(written(tmp_path))


def test_the_library_prints_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("agent").debug("a line of ours would be fine")
    with pytest.raises(EngineBroken):
        loaded(written(tmp_path, opset=99))
    assert capfd.readouterr() == ("", "")
