"""Engines of TensorRT that are built, kept and run, over stand-ins for the library and for a GPU's driver."""

import contextlib
import fcntl
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_file
import pytest
from gpu import MISSING, REASON, Gpu
from onnx_file import FLOAT, FLOAT16, INT64, Value

from agent.clock import SystemClock
from agent.engines import _tensorrt_builder, _tensorrt_cache, _tensorrt_cuda, _tensorrt_monitor, tensorrt
from agent.engines._runtime import Runtime
from agent.engines._tensorrt_cache import Cache, Recipe
from agent.errors import EngineBroken, EngineUnwanted
from agent.package import Input, ModelPackage
from agent.ports import Context

needs_driver = pytest.mark.skipif(MISSING, reason=REASON)
RECIPE = Recipe("ab" * 32, "fp16", 640, 640, "10.3.0", "Orin", "8.7", 8)
METADATA = {"task": "detect", "imgsz": "[8, 16]"}
PICTURE: Value = ("images", FLOAT, [1, 3, 8, 16])


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("driver")


@pytest.fixture
def gpu(driver: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(driver, monkeypatch)


def an_onnx(
    folder: Path, entry: Value = PICTURE, out: Value = ("out", FLOAT, [1, 3, 8, 16]), *, node: str = "Neg"
) -> Path:
    file = folder / "m.onnx"
    file.write_bytes(onnx_file.model([entry], [out], [(node, [entry[0]], [out[0]], {})], metadata=METADATA))
    return file


def load(
    file: Path,
    state_dir: Path,
    *,
    tell: Callable[[str], None] = lambda _: None,
    precision: str = "fp16",
    size: Any = None,
) -> Runtime:
    found = ModelPackage("m", "", file, (), input=None if size is None else Input(*size))
    context = Context("test", SystemClock(), file.parent, state_dir, tell)
    return tensorrt._Loader(precision).load(found, 1, context)


def a_task(onnx: Path, home: Path, **changes: Any) -> dict[str, Any]:
    """For the builder."""
    return {"onnx": str(onnx), "home": str(home), "recipe": asdict(a_recipe(onnx, **changes))}


def a_recipe(onnx: Path, **changes: Any) -> Recipe:
    """What `load` wants."""
    return replace(RECIPE, onnx_sha256=_tensorrt_cache.sha256_of(onnx), **{"width": 16, "height": 8, **changes})


# The cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    (tmp_path / "m.onnx").write_bytes(b"a model")
    (tmp_path / "engines").mkdir()
    return Cache(tmp_path / "engines", tmp_path / "m.onnx")


def test_what_was_kept_is_found_again_with_how_long_it_took(cache: Cache) -> None:
    assert cache.complaint(RECIPE) == "none was built here yet"
    assert cache.took_s is None
    cache.keep(b"an engine", RECIPE, 312.44)
    assert cache.complaint(RECIPE) is None
    assert cache.engine.read_bytes() == b"an engine"
    assert cache.took_s == 312.4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"onnx_sha256": "cd" * 32}, "the content of the .onnx file was abababababab... and is cdcdcdcdcdcd..."),
        ({"precision": "fp32"}, "the precision was fp16 and is fp32"),
        ({"width": 320}, "the width of the input was 640 and is 320"),
        ({"height": 320}, "the height of the input was 640 and is 320"),
        ({"tensorrt": "10.7.0"}, "TensorRT was 10.3.0 and is 10.7.0"),
        ({"gpu": "Thor"}, "the GPU was Orin and is Thor"),
        ({"compute_capability": "11.0"}, "the GPU's compute capability was 8.7 and is 11.0"),
        ({"multiprocessors": 16}, "the number of the GPU's multiprocessors was 8 and is 16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_engine_that_was_made_of_or_for_something_else_is_not_used(
    change: dict[str, Any], said: str, cache: Cache
) -> None:
    cache.keep(b"an engine", RECIPE, 1.0)
    assert cache.complaint(replace(RECIPE, **change)) == f"it was built with another: {said}"


def test_every_field_of_a_recipe_has_its_words() -> None:
    assert asdict(RECIPE).keys() == _tensorrt_cache._WORDS.keys()


@pytest.mark.parametrize("content", [b"", b"an engin", b"an enginf", b"an engine "])
def test_an_engine_that_is_not_whole_is_not_used(content: bytes, cache: Cache) -> None:
    cache.keep(b"an engine", RECIPE, 1.0)
    cache.engine.write_bytes(content)
    assert cache.complaint(RECIPE) == "its file is damaged"


@pytest.mark.parametrize("note", ["", "{", "[]", "null", "[" * 100_000, "\udcff"])
def test_a_note_that_cannot_be_read_is_none(note: str, cache: Cache) -> None:
    cache.keep(b"an engine", RECIPE, 1.0)
    cache.note.write_text(note, encoding="utf-8", errors="surrogateescape")
    assert cache.complaint(RECIPE) == "none was built here yet"
    assert cache.took_s is None


def test_a_power_cut_between_the_engine_and_its_note_leaves_no_engine(cache: Cache) -> None:
    cache.keep(b"an old engine", RECIPE, 1.0)
    note = cache.note.read_bytes()
    cache.keep(b"a new engine", RECIPE, 1.0)
    cache.note.write_bytes(note)
    assert cache.complaint(RECIPE) == "its file is damaged"


def test_files_of_one_name_in_two_folders_have_an_engine_each(tmp_path: Path) -> None:
    places = {Cache(tmp_path, tmp_path / folder / "m.onnx").engine for folder in ("one", "two")}
    assert len(places) == 2


def test_engines_whose_model_is_gone_are_taken_away(cache: Cache, tmp_path: Path) -> None:
    cache.keep(b"an engine", RECIPE, 1.0)
    (tmp_path / "other.onnx").write_bytes(b"another")
    other = Cache(cache.home, tmp_path / "other.onnx")
    other.keep(b"another engine", RECIPE, 1.0)
    (tmp_path / "other.onnx").unlink()
    _tensorrt_cache.tidy(cache.home)
    assert {path.name for path in cache.home.iterdir()} == {cache.engine.name, cache.note.name}


# A file of an engine

ENGINE = b"ftrt" + bytes(range(256))


def headed(text: str, engine: bytes = ENGINE) -> bytes:
    """As Ultralytics writes it."""
    return len(text).to_bytes(4, "little") + text.encode() + engine


def test_the_header_of_an_exporter_is_read_and_skipped() -> None:
    written = {"names": {"0": "person"}, "task": "detect", "imgsz": [320, 640]}
    assert tensorrt.split(headed(json.dumps(written))) == (written, ENGINE)


@pytest.mark.parametrize(
    "content",
    [ENGINE, b"", b"\1", ENGINE[:4], headed("[1]"), headed('{"a": 1'), headed("x" * 1_000_001), b"\xff\xff\xff\xff{}"],
)
def test_a_file_without_one_is_an_engine_from_its_first_byte(content: bytes) -> None:
    assert tensorrt.split(content) == ({}, content)


# Building, in a process of its own


@needs_driver
def test_a_model_is_built_once_and_runs(gpu: Gpu, tmp_path: Path) -> None:
    file, told = an_onnx(tmp_path), list[str]()
    runtime = load(file, tmp_path, tell=told.append)
    assert told[0].startswith("building the TensorRT engine of m.onnx: 0 s")
    assert any(" s, " in words for words in told)  # which of its steps is seen is chance
    runtime.close()
    told.clear()
    runtime = load(file, tmp_path, tell=told.append)
    assert told == []
    assert runtime.metadata == {"task": "detect", "imgsz": [8, 16]}
    for value in (2, 3):
        runtime.buffer()[...] = value
        (out,) = runtime.run()
        assert out.shape == (3, 8, 16)
        assert (out == -value).all()
    del out
    runtime.close()
    assert gpu.left == 0


@needs_driver
def test_after_an_update_of_tensorrt_it_is_built_again_and_the_log_says_why(
    gpu: Gpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, home = an_onnx(tmp_path), tmp_path / "engines"
    home.mkdir()
    Cache(home, file).keep(b"an engine", a_recipe(file), 300.0)
    gpu.like(tensorrt="10.7.0")
    with caplog.at_level("INFO", logger="agent.engines.tensorrt"):
        load(file, tmp_path).close()
    assert "which took 300 s last time" in caplog.text
    assert "TensorRT was 10.3.0 and is 10.7.0" in caplog.text


@needs_driver
def test_an_engine_that_is_as_it_was_kept_and_does_not_load_is_built_again(
    gpu: Gpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, home = an_onnx(tmp_path), tmp_path / "engines"
    home.mkdir()
    Cache(home, file).keep(b"an engine of another world", a_recipe(file), 1.0)
    with caplog.at_level("INFO", logger="agent.engines.tensorrt"):
        load(file, tmp_path).close()
    assert "magicTag does not match" in caplog.text
    assert gpu.left == 0


@needs_driver
@pytest.mark.parametrize(("build", "said"), [("crashes", "Aborted"), ("is killed", "Killed")])
def test_a_build_that_dies_is_not_the_agent_s_death_and_leaves_nothing(
    build: str, said: str, gpu: Gpu, tmp_path: Path
) -> None:
    gpu.like(build=build)
    with pytest.raises(EngineBroken, match=rf"engine of m.onnx cannot be built: .*{said}"):
        load(an_onnx(tmp_path), tmp_path)
    assert list((tmp_path / "engines").glob("*.engine")) == []
    assert gpu.left == 0


@needs_driver
def test_an_engine_that_crashes_when_it_runs_takes_the_process_that_built_it_and_not_the_agent(
    gpu: Gpu, tmp_path: Path
) -> None:
    gpu.like(run="crashes")
    with pytest.raises(EngineBroken, match=r"engine of m.onnx cannot be built: .*Aborted"):
        load(an_onnx(tmp_path), tmp_path)
    assert list((tmp_path / "engines").glob("*.engine")) == []


@needs_driver
def test_a_stop_ends_a_build_at_once_and_leaves_nothing(gpu: Gpu, tmp_path: Path) -> None:
    gpu.like(build="60")

    def stop(words: str) -> None:
        if "Building" in words:
            raise EngineUnwanted("the agent stops")

    with pytest.raises(EngineUnwanted):
        load(an_onnx(tmp_path), tmp_path, tell=stop)
    with (tmp_path / "engines" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever built is gone
    assert list((tmp_path / "engines").glob("*.engine")) == []


# The builder by itself


@pytest.fixture
def built(gpu: Gpu, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Build, here and now; what the engine says of itself."""

    def build(onnx: Path, **changes: Any) -> dict[str, Any]:
        task = a_task(onnx, tmp_path / "engines", **changes)
        _tensorrt_builder.main(task)
        cache = Cache(tmp_path / "engines", onnx)
        assert cache.complaint(a_recipe(onnx, **changes)) is None
        head: dict[str, Any] = json.loads(cache.engine.read_bytes().split(b"\n")[1])
        return head

    yield build
    assert gpu.left == 0


@needs_driver
@pytest.mark.parametrize(
    ("version", "wanted"),
    [("8.6.2", "fp16"), ("8.6.2", "fp32"), ("10.13.3.9", "fp16"), ("11.4.0.106", "as in the file")],
)
def test_each_tensorrt_builds_in_the_precision_that_is_wanted(
    version: str, wanted: str, *, gpu: Gpu, built: Any, tmp_path: Path
) -> None:
    gpu.like(tensorrt=version)
    flag = built(an_onnx(tmp_path), precision=wanted, tensorrt=version)["precision"]
    assert flag == ("fp16" if wanted == "fp16" else "fp32")


@needs_driver
def test_from_tensorrt_11_on_the_file_decides_about_the_precision(gpu: Gpu, tmp_path: Path) -> None:
    gpu.like(tensorrt="11.4.0.106")
    assert tensorrt._Loader("fp16")._recipe(an_onnx(tmp_path), (16, 8)).precision == "as in the file"


@needs_driver
def test_an_input_that_takes_any_size_is_built_for_one(built: Any, tmp_path: Path) -> None:
    axes = ["batch", 3, "height", "width"]
    assert built(an_onnx(tmp_path, ("images", FLOAT, axes), ("out", FLOAT, axes)))["shapes"] == {
        "images": [1, 3, 8, 16]
    }


@needs_driver
def test_what_tensorrt_says_against_a_file_is_passed_on(built: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineBroken, match=r"TensorRT 10.3.0 cannot read it: In node 3 with name: stem: .*FancyConv"):
        built(an_onnx(tmp_path, node="FancyConv"))
    (tmp_path / "m.onnx").write_bytes(b"hello")
    with pytest.raises(EngineBroken, match="protobuf parsing failed"):
        built(tmp_path / "m.onnx")


@needs_driver
def test_what_tensorrt_says_of_a_failed_build_is_passed_on(gpu: Gpu, built: Any, tmp_path: Path) -> None:
    gpu.like(build="fails")
    with pytest.raises(EngineBroken, match="Error Code 10: Could not find any implementation for node stem"):
        built(an_onnx(tmp_path))
    gpu.like(build="no builder")
    with pytest.raises(EngineBroken, match=r"TensorRT does not start: .*CUDA initialization failure with error: 35"):
        built(an_onnx(tmp_path))


@needs_driver
def test_measured_timings_are_kept_and_damaged_ones_do_no_harm(built: Any, tmp_path: Path) -> None:
    built(an_onnx(tmp_path))
    timings = tmp_path / "engines" / "timing.cache"
    assert timings.read_bytes() == b"timings 10.3.0"
    timings.write_bytes(b"\0")
    built(an_onnx(tmp_path), precision="fp32")
    assert timings.read_bytes() == b"timings 10.3.0"


@needs_driver
def test_an_engine_that_another_process_has_built_meanwhile_is_not_built_again(gpu: Gpu, tmp_path: Path) -> None:
    onnx, home = an_onnx(tmp_path), tmp_path / "engines"
    task = a_task(onnx, home)
    home.mkdir()
    gpu.like(build="fails")
    said = io.StringIO()  # pytest's own capture may lose what another thread writes while it is read
    with (home / "lock").open("wb") as lock, contextlib.redirect_stdout(said):
        fcntl.flock(lock, fcntl.LOCK_EX)
        builder = threading.Thread(target=_tensorrt_builder.main, args=(task,))
        builder.start()
        while "waiting for another build to end" not in said.getvalue():
            time.sleep(0.001)
        Cache(home, onnx).keep(b"of the other", a_recipe(onnx), 1.0)
    builder.join(20)
    assert Cache(home, onnx).engine.read_bytes() == b"of the other"


@needs_driver
@pytest.mark.usefixtures("gpu")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("in the way")
    with pytest.raises(EngineBroken, match=r"engines: (File exists|Not a directory)"):
        _tensorrt_builder.main(a_task(an_onnx(tmp_path), tmp_path / "engines"))


def test_progress_is_told_of_the_whole_and_of_the_part() -> None:
    told: list[str] = []
    phases = _tensorrt_monitor.Phases(told.append)
    phases.advance("Building Engine", 0, 5)
    phases.advance("Building Engine", 2)
    phases.advance("Timing", 0, 7)
    phases.advance("Timing", 3)
    phases.end("Timing")
    phases.advance("Building Engine", 3)
    phases.end("Building Engine")
    phases.end("never begun")
    assert told == [
        "Building Engine 0 of 5",
        "Building Engine 2 of 5",
        "Building Engine 2 of 5, Timing 0 of 7",
        "Building Engine 2 of 5, Timing 3 of 7",
        "Building Engine 3 of 5",
    ]


# Running


@pytest.fixture
def plan(gpu: Gpu, tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """An .engine file of a model."""

    def make(onnx: Path, header: str = "") -> Path:
        _tensorrt_builder.main(a_task(onnx, tmp_path / "engines"))
        file = tmp_path / "given.engine"
        engine = Cache(tmp_path / "engines", onnx).engine.read_bytes()
        file.write_bytes(headed(header, engine) if header else engine)
        return file

    yield make
    assert gpu.left == 0


@needs_driver
def test_an_engine_is_loaded_as_it_is_and_its_header_read(plan: Any, tmp_path: Path) -> None:
    runtime = load(plan(an_onnx(tmp_path), '{"task": "pose", "imgsz": [8, 16]}'), tmp_path)
    assert runtime.metadata == {"task": "pose", "imgsz": [8, 16]}
    runtime.buffer()[...] = 4
    assert (runtime.run()[0] == -4).all()
    runtime.close()


@needs_driver
@pytest.mark.parametrize(
    ("how", "said"),
    [({"tensorrt": "10.7.0"}, "expecting library version 10.7.0"), ({"gpu": "Thor"}, "incompatible device")],
)
def test_an_engine_of_another_tensorrt_or_gpu_says_to_give_the_model_instead(
    how: dict[str, str], said: str, *, gpu: Gpu, plan: Any, tmp_path: Path
) -> None:
    file = plan(an_onnx(tmp_path))
    gpu.like(**how)
    with pytest.raises(EngineBroken, match=rf"given.engine: is no engine for .*{said}.*; give the .onnx file"):
        load(file, tmp_path)


@needs_driver
def test_a_model_of_half_precision_is_given_and_gives_half_precision(plan: Any, tmp_path: Path) -> None:
    onnx = an_onnx(tmp_path, ("images", FLOAT16, [1, 3, 8, 16]), ("out", FLOAT16, [1, 3, 8, 16]))
    runtime = load(plan(onnx), tmp_path)
    runtime.buffer()[...] = 0.1
    assert (runtime.run()[0] == -np.float16(0.1)).all()
    runtime.close()


@needs_driver
@pytest.mark.parametrize(
    ("entry", "out", "said"),
    [
        (
            ("images", INT64, [1, 3, 8, 16]),
            ("out", INT64, [1, 3, 8, 16]),
            "images is of INT64, which is none of: FLOAT, HALF",
        ),
        (("images", FLOAT, [1, 3, 16]), ("out", FLOAT, [1, 3, 16]), "not one colour picture"),
        (("images", FLOAT, [2, 3, 8, 16]), ("out", FLOAT, [2, 3, 8, 16]), "export it for a batch of 1"),
    ],
)
def test_an_input_that_is_no_picture_is_refused(
    entry: Value, out: Value, said: str, *, plan: Any, tmp_path: Path
) -> None:
    with pytest.raises(EngineBroken, match=said):
        load(plan(an_onnx(tmp_path, entry, out)), tmp_path)


@needs_driver
def test_a_run_that_fails_says_so(gpu: Gpu, plan: Any, tmp_path: Path) -> None:
    runtime = load(plan(an_onnx(tmp_path)), tmp_path)
    gpu.like(run="fails")
    with pytest.raises(EngineBroken, match=r"given.engine: failed to run"):
        runtime.run()
    runtime.close()


@needs_driver
@pytest.mark.parametrize("call", ["cuMemAllocHost_v2", "cuMemAlloc_v2"])
def test_too_little_memory_says_so_and_gives_back_what_there_was(
    call: str, gpu: Gpu, plan: Any, tmp_path: Path
) -> None:
    file = plan(an_onnx(tmp_path))
    gpu.like(cuda_fails=call)
    with pytest.raises(EngineBroken, match=rf"the GPU's driver says to {call}: out of memory \(2\)"):
        load(file, tmp_path)


@needs_driver
def test_a_machine_without_a_gpu_says_so(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.like(cuda_fails="cuInit")
    with pytest.raises(EngineBroken, match="no CUDA-capable device is detected"):
        load(an_onnx(tmp_path), tmp_path)
    monkeypatch.setattr(_tensorrt_cuda, "_LIBRARY", "libcuda.so.none")
    with pytest.raises(EngineBroken, match="there is no NVIDIA GPU with a driver"):
        load(an_onnx(tmp_path), tmp_path)


def test_bindings_that_are_not_installed_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(EngineBroken, match="python3-libnvinfer, and make the environment with --system-site-packages"):
        load(an_onnx(tmp_path), tmp_path)


def test_a_file_of_another_kind_says_what_would_do(tmp_path: Path) -> None:
    with contextlib.suppress(OSError):
        (tmp_path / "m.tflite").write_bytes(b"TFL3")
    with pytest.raises(EngineBroken, match=r"m.tflite: TensorRT takes an .onnx file, or one of: .engine"):
        load(tmp_path / "m.tflite", tmp_path)


@needs_driver
def test_files_that_are_not_there_say_so(gpu: Gpu, tmp_path: Path) -> None:
    for name in ("none.onnx", "none.engine"):
        with pytest.raises(EngineBroken, match=rf"{name}: .*No such file or directory"):
            load(tmp_path / name, tmp_path)
    assert gpu.left == 0
