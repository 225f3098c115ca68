"""`vedette model add`, `list`, `verify`, `use` and `remove`, run in this process."""

import errno
import json
import logging
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from gpu import MISSING, REASON, Gpu
from toy_models import NAMES, Commands, classifier, without_rehearsal

from agent import config, document, imaging, package, words
from agent.engines import _tensorrt_builder
from agent.engines._tensorrt_cache import Cache, Recipe, sha256_of
from agent.errors import ConfigError
from agent.flow import Task
from agent.model.session import state_folder
from agent.package import Input, Resize
from agent.shelf import Shelf, Standing

SHAPES = package.shipped("models", "shapes")


@pytest.fixture(autouse=True)
def around(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_rehearsal(monkeypatch)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


@pytest.fixture
def model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path / "state", capsys)


# Adding


def test_a_file_is_inspected_run_and_installed(model: Commands, tmp_path: Path) -> None:
    said = model("add", classifier(tmp_path / "colours.onnx"))
    assert said.code == 0, said.err
    assert "colours.onnx: classification, 16x16, runs with onnx\n" in said.out
    assert "  input images [1, 3, 16, 16] float32\n  output out [1, 3] float32\n" in said.out
    assert "  classes: 3 (red, green, blue)\n" in said.out
    assert f"colours@1 is installed in {model.folder}, and in use" in said.out
    found = package.find("colours", base_dir=tmp_path / "elsewhere", shelf=model.folder)
    assert found.task is Task.CLASSIFICATION
    assert found.labels == ("red", "green", "blue")
    assert found.input == Input(16, 16)
    assert list(package.problems(model.folder / "colours" / "1")) == []
    assert model.litter() == []


def plan_of(onnx: Path, folder: Path) -> bytes:
    """An engine of it, as TensorRT writes it."""
    recipe = Recipe(sha256_of(onnx), "fp16", 16, 16, "10.3.0", "Orin", "8.7", 8)
    _tensorrt_builder.main({"onnx": str(onnx), "home": str(folder / "engines"), "recipe": asdict(recipe)})
    return Cache(folder / "engines", onnx).engine.read_bytes()


@pytest.mark.skipif(MISSING, reason=REASON)
def test_an_engine_of_tensorrt_is_run_on_the_gpu_and_installed_with_what_its_header_says(
    model: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(tmp_path, monkeypatch)
    plan = plan_of(classifier(tmp_path / "colours.onnx", names=()), tmp_path)
    header = json.dumps({"task": "classify", "imgsz": [16, 16], "names": dict(enumerate(NAMES))}).encode()
    file = tmp_path / "colours.engine"
    file.write_bytes(len(header).to_bytes(4, "little") + header + plan)
    said = model("add", file)
    assert said.code == 0, said.err
    assert "colours.engine: classification, 16x16, runs with tensorrt\n" in said.out
    assert "  classes: 3 (red, green, blue)\n" in said.out
    assert "    type: tensorrt\n    model: colours" in said.out
    assert model("verify").code == 0
    file.write_bytes(file.read_bytes()[:200])
    refused = model("add", file, "--name", "cut")
    assert refused.code == 1
    assert "colours.engine: is no engine for TensorRT 10.3.0 on Orin" in refused.err
    assert not (model.folder / "cut").exists()
    assert gpu.left == 0


def test_what_it_prints_for_the_configuration_can_be_pasted(model: Commands, tmp_path: Path) -> None:
    said = model("add", classifier(tmp_path / "colours.onnx"))
    pasted = said.out[said.out.index("engines:") :]
    whole = f"agent: a\ncameras: [{{name: c, source: {{type: synthetic}}}}]\nsinks: [{{type: stdout}}]\n{pasted}"
    local = config.validate(document.parse(whole, name="vedette.yaml")).engines.local
    assert local is not None
    assert local.model_dump()["model"] == "colours"
    assert local.model_dump()["type"] == "onnx"


def test_class_names_that_nobody_knows_are_asked_for_and_not_needed(model: Commands, tmp_path: Path) -> None:
    said = model("add", classifier(tmp_path / "colours.onnx", names=()))
    assert said.code == 0, said.err
    assert "results call them class_0, class_1 and so on; name them by --labels FILE" in said.out
    assert package.find("colours", base_dir=tmp_path, shelf=model.folder).labels == ()


def test_class_names_can_be_given(model: Commands, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("rot\ngrün\nblau\n", encoding="utf-8")
    said = model("add", classifier(tmp_path / "c.onnx"), "--labels", tmp_path / "names.txt")
    assert "  classes: 3 (rot, grün, blau)\n" in said.out
    assert package.find("c", base_dir=tmp_path, shelf=model.folder).labels == ("rot", "grün", "blau")


def test_too_few_class_names_are_refused_and_nothing_is_installed(model: Commands, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("rot\n", encoding="utf-8")
    said = model("add", classifier(tmp_path / "c.onnx"), "--labels", tmp_path / "names.txt")
    assert said.code == 1
    assert "finds 3 classes but 1 labels are given" in said.err
    assert model.litter() == []
    assert Shelf(model.folder).names() == []


def test_the_same_file_is_installed_once(model: Commands, tmp_path: Path) -> None:
    file = classifier(tmp_path / "colours.onnx")
    model("add", file)
    said = model("add", file)
    assert (said.code, said.out.splitlines()[-1]) == (0, "It is installed already: colours@1")
    again = model("add", shutil.copy(file, tmp_path / "copy.onnx"))
    assert again.out.splitlines()[-1] == "It is installed already: colours@1"
    assert Shelf(model.folder).names() == ["colours"]


def test_the_same_file_with_other_class_names_is_another_version(model: Commands, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("rot\ngruen\nblau\n", encoding="utf-8")
    file = classifier(tmp_path / "colours.onnx")
    model("add", file)
    said = model("add", file, "--labels", tmp_path / "names.txt")
    assert f"colours@2 is installed in {model.folder}, beside colours@1, which stays in use" in said.out
    assert "  vedette model use colours@2\n" in said.out
    shelf = Shelf(model.folder)
    assert (shelf.versions("colours"), shelf.current("colours")) == (["1", "2"], "1")


def test_another_name_makes_another_package(model: Commands, tmp_path: Path) -> None:
    file = classifier(tmp_path / "colours.onnx")
    model("add", file)
    assert model("add", file, "--name", "paint").code == 0
    assert Shelf(model.folder).names() == ["colours", "paint"]


def test_a_file_s_name_becomes_one_that_a_package_may_have(model: Commands, tmp_path: Path) -> None:
    assert model("add", classifier(tmp_path / "my model.v2 (best).onnx")).code == 0
    assert Shelf(model.folder).names() == ["my-model-v2-best"]


def test_a_dry_run_says_the_same_and_touches_nothing(model: Commands, tmp_path: Path) -> None:
    said = model("add", classifier(tmp_path / "colours.onnx"), "--dry-run")
    assert said.code == 0, said.err
    assert "classification, 16x16" in said.out
    assert "installed" not in said.out
    assert not model.folder.exists()


def test_a_picture_of_ones_own_shows_what_it_finds(model: Commands, tmp_path: Path) -> None:
    green = np.zeros((40, 60, 3), np.uint8)
    green[..., 1] = 255
    (tmp_path / "green.jpg").write_bytes(imaging.encode(green, longest_px=60, quality=90).data)
    said = model("add", classifier(tmp_path / "c.onnx"), "--image", tmp_path / "green.jpg", "--dry-run")
    assert f"  in {tmp_path}/green.jpg: 1 green\n" in said.out


def test_how_training_pictures_were_resized_and_the_licence_are_noted(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "c.onnx"), "--resize", "stretch", "--licence", "MIT")
    found = package.find("c", base_dir=tmp_path, shelf=model.folder)
    assert found.input == Input(16, 16, Resize.STRETCH)
    assert package.about(model.folder / "c" / "1").licence == "MIT"


def test_further_files_of_the_model_become_variants(model: Commands, tmp_path: Path) -> None:
    first, second = classifier(tmp_path / "a.onnx"), classifier(tmp_path / "b.onnx", mark="b")
    said = model("add", first, "--variant", f"half={second}")
    assert said.code == 0, said.err
    assert said.out.count("classification, 16x16") == 2
    assert package.find("a", base_dir=tmp_path, variant="half", shelf=model.folder).file.name == "b.onnx"


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("half", "give it as WORD=FILE"),
        ("half=none.onnx", "half=none.onnx: cannot be read: No such file"),
        ("half=c.onnx", "one name"),
    ],
)
def test_a_variant_that_is_none_is_refused(
    variant: str, said: str, *, model: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = model("add", classifier(tmp_path / "c.onnx"), "--variant", variant)
    assert done.code == 1
    assert said in done.err


def test_a_package_folder_is_installed_as_it_is(model: Commands) -> None:
    said = model("add", SHAPES, "--name", "figures")
    assert said.code == 0, said.err
    assert said.out.count("object-detection, 320x320, runs with tflite") == 2
    was = document.read(SHAPES / "model.yaml").data
    now = document.read(model.folder / "figures" / "1" / "model.yaml").data
    assert now == {**was, "name": "figures"}


def test_a_file_beside_a_manifest_that_lists_it_is_what_the_manifest_says(model: Commands, tmp_path: Path) -> None:
    said = model("add", SHAPES / "shapes_320_float32.tflite", "--name", "figures")
    assert said.code == 0, said.err
    found = package.find("figures", base_dir=tmp_path, shelf=model.folder)
    assert found.labels == ("circle", "square", "triangle", "star")
    assert found.file.name == "shapes_320_float32.tflite"
    assert [path.name for path in package.about(model.folder / "figures" / "1").files] == [found.file.name]


def test_a_package_whose_file_is_another_is_refused(model: Commands, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHAPES, tmp_path / "shapes"))
    with (folder / "shapes_320_float32.tflite").open("ab") as file:
        file.write(b"x")
    said = model("add", folder)
    assert said.code == 1
    assert "shapes_320_float32.tflite: is not the file model.yaml describes" in said.err
    assert Shelf(model.folder).names() == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("weights.pt", b"x", "export the model as one of them: scripts/export-model in Vedette's repository does"),
        ("model.onnx", b"not a model", "is not an ONNX model, or is cut short"),
        ("model.tflite", b"not a model", "is not a TFLite model"),
    ],
)
def test_what_is_no_model_is_refused(name: str, content: bytes, said: str, *, model: Commands, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    done = model("add", tmp_path / name)
    assert done.err.startswith(str(tmp_path / name))
    assert done.code == 1
    assert said in done.err
    assert model.litter() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.onnx",), "none.onnx: no such file or folder"),
        ((".",), ".: has no model.yaml; name a model file"),
        (("c.onnx", "--name", "a/b"), "'a/b' can be no package's name"),
        (("c.onnx", "--labels", "none.txt"), "none.txt: cannot be read: No such file or directory"),
        (("c.onnx", "--image", "none.jpg"), "none.jpg: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_added_is_a_sentence(
    arguments: tuple[str, ...], said: str, *, model: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    classifier(tmp_path / "c.onnx")
    done = model("add", *arguments)
    assert done.code == 1
    assert said in done.err


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    model: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000_100))
    said = model("add", classifier(tmp_path / "c.onnx"))
    assert said.code == 1
    assert f"are to come, and {model.folder} has 100.0 MB free" in said.err
    assert model.litter() == []


def test_a_disk_that_fills_up_meanwhile_is_named_and_not_the_file_that_was_given(
    model: Commands, tmp_path: Path
) -> None:
    file = classifier(tmp_path / "c.onnx", padding_bytes=100_000)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        said = model("add", file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert said.code == 1
    assert said.err == f"{model.folder} cannot be written: File too large; make room there\n"
    assert model.litter() == []


# Names, versions and places


def test_a_variant_of_another_size_is_refused_and_both_are_named(model: Commands, tmp_path: Path) -> None:
    first, small = classifier(tmp_path / "a.onnx"), classifier(tmp_path / "b.onnx", side_px=8)
    said = model("add", first, "--variant", f"small={small}")
    assert said.code == 1
    assert f"{small} is classification of 8x8, and {first} is classification of 16x16" in said.err
    assert Shelf(model.folder).names() == []


def test_a_variant_of_another_task_or_with_other_classes_is_refused(model: Commands, tmp_path: Path) -> None:
    other = classifier(tmp_path / "a.onnx", names=(), side_px=320)
    said = model("add", SHAPES / "shapes_320_float32.tflite", "--name", "s", "--variant", f"other={other}")
    assert said.code == 1
    assert said.err.startswith(f"{other}: ")
    assert "It is given as a further file of " in said.err
    assert "shapes_320_float32.tflite, which is object-detection of 320x320" in said.err
    assert Shelf(model.folder).names() == []


def make_strange(path: Path, kind: str) -> Path:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_at_once_whatever_it_is_given_for(
    kind: str, model: Commands, tmp_path: Path
) -> None:
    file, strange = classifier(tmp_path / "c.onnx"), make_strange(tmp_path / "strange.onnx", kind)
    for arguments in ((file, "--labels", strange), (file, "--image", strange), (file, "--variant", f"half={strange}")):
        said = model("add", *arguments)
        assert (said.code, f"strange.onnx: is a {kind}; name a file" in said.err) == (1, True), said.err
    if kind != "folder":
        assert f"{strange}: is a {kind}; name a file" in model("add", strange).err
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.yaml").write_text("name: p\nfile: p.onnx\n")
    make_strange(folder / "p.onnx", kind)
    assert f"p.onnx: is a {kind}; name a file" in model("add", folder).err
    assert model.litter() == []


def test_a_file_whose_name_is_no_text_is_refused_with_a_sentence(model: Commands, tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"c\xff.onnx")
    classifier(tmp_path / "c.onnx").rename(strange)
    said = model("add", strange)
    assert said.code == 1
    assert "the name of this file is not UTF-8 text; rename it" in said.err
    assert model.litter() == []


def test_what_a_file_says_cannot_move_the_terminal(model: Commands, tmp_path: Path) -> None:
    file = classifier(tmp_path / "c.onnx", names=("\x1b[2Jred", "gre\nen", "blue"))
    said = model("add", file, "--dry-run")
    assert said.code == 0, said.err
    assert "classes: 3 (\\u001b[2Jred, gre\\u000aen, blue)\n" in said.out
    assert "\x1b" not in said.out


def test_a_state_folder_that_is_a_file_says_so(model: Commands, tmp_path: Path) -> None:
    model.state.write_text("")
    said = model("add", classifier(tmp_path / "c.onnx"))
    assert said.code == 1
    assert "a file stands where a folder has to be: take it away, or name another place" in said.err


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room there"),
        (errno.EROFS, "that disk is for reading only: name a place on another"),
        (errno.EACCES, "use sudo"),
    ],
)
def test_what_helps_where_nothing_can_be_written_is_told_by_the_reason(number: int, remedy: str) -> None:
    said = words.unwritable("/x", OSError(number, os.strerror(number)), otherwise="use sudo")
    assert said == f"/x cannot be written: {os.strerror(number)}; {remedy}"
    assert words.unwritable("/x", OSError("no number"), otherwise="use sudo").endswith(": no number; use sudo")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'' can be no package's name"),
        ("m" * 300, "mmmmm...: is too long for a package's name: 300 letters, 63 are"),
    ],
)
def test_a_name_that_is_none_says_why(name: str, said: str, model: Commands, tmp_path: Path) -> None:
    done = model("add", classifier(tmp_path / "c.onnx"), "--name", name)
    assert done.code == 1
    assert said in done.err


def test_an_empty_file_name_is_a_mistake_of_the_command_line(
    model: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        model("add", "")
    assert ended.value.code == 2
    assert "argument FILE: it is empty; name a model file" in capsys.readouterr().err


def test_adding_what_is_installed_beside_another_says_which_is_in_use(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "c.onnx"))
    second = classifier(tmp_path / "d.onnx", mark="2")
    model("add", second, "--name", "c")
    Shelf(model.folder).note("c", "2", Standing.REJECTED, reason="finds nothing")
    assert model("add", second, "--name", "c").out.splitlines()[-1] == (
        "It is installed already: c@2, beside c@1, which is in use. It was rejected: finds nothing. "
        "To use it: vedette model use c@2"
    )


def test_a_name_of_a_model_that_comes_with_the_agent_is_taken_with_a_word(model: Commands, tmp_path: Path) -> None:
    said = model("add", classifier(tmp_path / "c.onnx"), "--name", "shapes").out
    assert "`model: shapes` means this one from now on, and no longer the shapes that comes with the agent" in said
    assert "comes with the agent" not in model("add", classifier(tmp_path / "d.onnx", mark="d")).out


def test_verifying_says_how_an_installed_model_gets_class_names(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "c.onnx", names=()))
    said = model("verify", "c").out
    assert f"vedette model add {model.folder / 'c' / '1' / 'c.onnx'} --name c --labels FILE" in said
    assert "model.yaml beside it" not in said


def test_what_a_killed_dry_run_left_is_swept_after_a_day(
    model: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, young, other = (tmp_path / name for name in ("vedette-model-old", "vedette-model-young", "else-old"))
    for folder in (old, young, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (0, 0))
    model("add", classifier(tmp_path / "c.onnx"), "--dry-run")
    assert sorted(path.name for path in tmp_path.glob("*-*")) == ["else-old", "vedette-model-young"]


# Listing, verifying, switching, removing


def test_the_list_shows_what_is_installed_and_what_comes_with_the_agent(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "colours.onnx"))
    model("add", classifier(tmp_path / "other.onnx", mark="2"), "--name", "colours")
    Shelf(model.folder).note("colours", "2", Standing.REJECTED, reason="finds nothing")
    said = model("list")
    rows = [line.split() for line in said.out.splitlines()[2:]]
    assert rows[0] == ["NAME", "VERSION", "TASK", "INPUT", "RUNTIME", "SIZE", "FROM", "STATE"]
    assert rows[1][:6] == ["*", "colours", "1", "classification", "16x16", "onnx"]
    assert rows[1][-2:] == ["colours.onnx", "installed"]
    assert rows[2][:3] == ["colours", "2", "classification"]
    assert rows[2][-3:] == ["rejected:", "finds", "nothing"]
    assert rows[3][:3] == ["*", "shapes", "-"]
    assert said.code == 0


def test_the_list_for_programs_has_the_same(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "colours.onnx"))
    listed = json.loads(model("list", "--json").out)
    assert listed["folder"] == str(model.folder)
    first, second = listed["models"]
    assert (first["name"], first["version"], first["current"], first["runtimes"]) == ("colours", "1", True, ["onnx"])
    assert first["size_bytes"] == (tmp_path / "colours.onnx").stat().st_size
    assert (second["name"], second["state"]) == ("shapes", "with the agent")


def test_a_package_that_cannot_be_read_is_listed_as_such(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "colours.onnx"))
    (model.folder / "colours" / "1" / "model.yaml").write_text("labels: 3\n", encoding="utf-8")
    said = model("list")
    assert said.code == 1
    assert "cannot be used" in said.out
    assert "colours@1: " in said.out
    assert "model.yaml:1: labels: should be a list" in said.out


def test_verifying_runs_everything_there_is(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "colours.onnx"))
    said = model("verify")
    assert (said.code, said.out) == (0, "ok    colours@1\nok    shapes\n")


def test_verifying_names_what_is_wrong(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "colours.onnx"))
    model("add", classifier(tmp_path / "other.onnx", mark="2"))
    file = model.folder / "colours" / "1" / "colours.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    said = model("verify")
    assert said.code == 1
    assert said.out.splitlines()[0].startswith(f"FAIL  colours@1: {file}: is not the file model.yaml describes")
    assert said.out.splitlines()[1:] == ["ok    other@1", "ok    shapes"]
    assert model("verify", "other").code == 0
    assert model("verify", "colours").code == 1


def test_verifying_finds_a_file_that_is_as_installed_and_does_not_run(model: Commands) -> None:
    with Shelf(model.folder).stage() as staged:
        (staged / "broken.onnx").write_bytes(b"x")
        (staged / "model.yaml").write_text("name: broken\nfile: broken.onnx\n", encoding="utf-8")
        Shelf(model.folder).install(staged, "broken")
    said = model("verify", "broken")
    assert said.code == 1
    assert "FAIL  broken@1: " in said.out
    assert "is not an ONNX model" in said.out


def test_another_version_is_used_when_asked_for(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "c.onnx"))
    model("add", classifier(tmp_path / "d.onnx", mark="2"), "--name", "c")
    assert model("use", "c@2").out == "c@2 is used now; before it was 1\n"
    assert package.find("c", base_dir=tmp_path, shelf=model.folder).version == "2"
    assert model("use", "c@2").out == "c@2 is used now, as before\n"
    assert "say which version, as NAME@VERSION" in model("use", "c").err
    assert "c has no version 9; it has 1, 2, of which 2 is in use" in model("use", "c@9").err


def test_a_version_that_does_not_run_is_not_used(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "c.onnx"))
    model("add", classifier(tmp_path / "d.onnx", mark="2"), "--name", "c")
    (model.folder / "c" / "2" / "d.onnx").write_bytes(b"cut")
    said = model("use", "c@2")
    assert said.code == 1
    assert said.err.startswith("c@2 cannot be used, and c@1 stays: ")
    assert package.find("c", base_dir=tmp_path, shelf=model.folder).version == "1"


def test_a_version_for_another_engine_says_what_is_to_be_set(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "c.onnx"))
    said = "But it runs with tflite, and c@1 with onnx: to use it, set `type: tflite` under engines.local."
    assert said in model("add", SHAPES / "shapes_320_float32.tflite", "--name", "c").out
    assert said in model("use", "c@2").out


def test_versions_and_packages_are_removed(model: Commands, tmp_path: Path) -> None:
    model("add", classifier(tmp_path / "c.onnx"))
    model("add", classifier(tmp_path / "d.onnx", mark="2"), "--name", "c")
    assert "c@1 is in use" in model("remove", "c@1").err
    assert model("remove", "c@2").out == f"c@2 removed from {model.folder}\n"
    assert model("remove", "c").out == f"c (1 version) removed from {model.folder}\n"
    assert Shelf(model.folder).names() == []
    assert "no package c is installed" in model("remove", "c").err


# Where packages are


def test_the_state_folder_is_the_user_s_own_where_that_has_packages_else_the_service_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, service = tmp_path / "own", tmp_path / "service"
    monkeypatch.setattr("agent.model.session.SERVICE_STATE", service)
    assert state_folder(None, own) == own
    service.mkdir()
    assert state_folder(None, own) == service
    (own / "models").mkdir(parents=True)
    assert state_folder(None, own) == own
    assert state_folder(tmp_path / "given", own) == tmp_path / "given"


def test_an_installed_name_with_no_state_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        package.find("colours", base_dir=tmp_path)
