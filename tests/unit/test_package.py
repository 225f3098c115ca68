"""Model packages: how a name in the configuration becomes a file."""

import hashlib
from pathlib import Path

import pytest

from agent import package
from agent.errors import ConfigError
from agent.flow import Task
from agent.package import Input, ModelPackage, Resize
from agent.shelf import Shelf

MANIFEST = """\
name: birds
task: object-detection
file: birds_int8.tflite
variants: {int8: birds_int8.tflite, float32: birds_float32.tflite}
input: {width: 320, height: 320}
labels: [robin, wren]
licence: Apache-2.0
source: drawn
metrics: {birds_int8.tflite: {precision: 0.9}}
"""


def write(folder: Path, manifest: str = MANIFEST) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(manifest, encoding="utf-8")
    for name in ("birds_int8.tflite", "birds_float32.tflite"):
        (folder / name).write_bytes(name.encode())
    return folder


def birds(file: Path, version: str = "") -> ModelPackage:
    """What MANIFEST says of a file."""
    return ModelPackage("birds", version, file, ("robin", "wren"), Task.OBJECT_DETECTION, Input(320, 320))


def refusal(model: str, base_dir: Path, variant: str | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        package.find(model, base_dir=base_dir, variant=variant)
    return caught.value


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages that come with the agent, for one test."""
    monkeypatch.setattr(package, "_HERE", tmp_path / "product" / "agent")
    return tmp_path / "product" / "models"


def test_a_bare_file_beside_the_configuration_is_a_model_without_labels(tmp_path: Path) -> None:
    (tmp_path / "yolo.tflite").write_bytes(b"x")
    found = package.find("yolo.tflite", base_dir=tmp_path)
    assert found == package.ModelPackage("yolo", "", tmp_path / "yolo.tflite", ())


def test_a_bare_file_anywhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yolo.tflite").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(tmp_path / "yolo.tflite"), "~/yolo.tflite"):
        assert package.find(name, base_dir=Path("/nowhere")).file == tmp_path / "yolo.tflite"


def test_a_folder_gives_the_file_and_the_labels_of_its_manifest(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds")
    found = package.find("birds", base_dir=tmp_path)
    assert found == birds(folder / "birds_int8.tflite")


def test_the_manifest_itself_names_its_package(tmp_path: Path) -> None:
    write(tmp_path / "birds")
    assert package.find("birds/model.yaml", base_dir=tmp_path) == package.find("birds", base_dir=tmp_path)


def test_a_variant_gives_its_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds")
    assert package.find("birds", base_dir=tmp_path, variant="float32").file == folder / "birds_float32.tflite"


def test_a_shipped_package_is_found_by_its_name(tmp_path: Path, shelf: Path) -> None:
    folder = write(shelf / "birds")
    assert package.find("birds", base_dir=tmp_path).file == folder / "birds_int8.tflite"


def test_inside_a_wheel_the_shipped_packages_lie_beside_the_code(tmp_path: Path, shelf: Path) -> None:
    folder = write(shelf.parent / "agent" / "_shipped" / "models" / "birds")
    assert package.find("birds", base_dir=tmp_path).file == folder / "birds_int8.tflite"


def test_a_folder_of_ones_own_comes_before_a_shipped_package_of_the_same_name(tmp_path: Path, shelf: Path) -> None:
    write(shelf / "birds")
    own = write(tmp_path / "birds")
    assert package.find("birds", base_dir=tmp_path).file == own / "birds_int8.tflite"


def test_a_name_that_is_nearly_right_is_told_the_right_one(tmp_path: Path, shelf: Path) -> None:
    write(shelf / "birds")
    assert str(refusal("brids", tmp_path)).endswith("did you mean birds?")


def test_a_name_that_is_nothing_is_told_where_was_looked_and_what_there_is(tmp_path: Path, shelf: Path) -> None:
    write(shelf / "birds")
    said = str(refusal("model.onnx", tmp_path))
    assert f"(looked at {tmp_path / 'model.onnx'})" in said
    assert said.endswith("packages that come with the agent: birds")


@pytest.mark.parametrize("model", ["", ".", "no\0name", "x" * 5000, "~nobody_of_this_name/x", "a/../..", "model.yaml"])
def test_a_name_that_can_be_no_path_is_a_config_error(model: str, tmp_path: Path) -> None:
    assert "the model" in str(refusal(model, tmp_path))


def test_a_file_has_no_variants(tmp_path: Path) -> None:
    (tmp_path / "yolo.tflite").write_bytes(b"x")
    assert "variant: int8 needs a model package" in str(refusal("yolo.tflite", tmp_path, "int8"))


def test_a_variant_that_is_not_there_is_told_which_are(tmp_path: Path) -> None:
    write(tmp_path / "birds")
    assert "has no variant int4; it has: int8, float32" in str(refusal("birds", tmp_path, "int4"))


def test_a_package_whose_file_is_missing_is_refused(tmp_path: Path) -> None:
    (write(tmp_path / "birds") / "birds_int8.tflite").unlink()
    assert "is named in model.yaml but is not there" in str(refusal("birds", tmp_path))


def test_a_file_with_the_right_checksum_is_taken(tmp_path: Path) -> None:
    right = hashlib.sha256(b"birds_int8.tflite").hexdigest()
    write(tmp_path / "birds", f"{MANIFEST}sha256: {{birds_int8.tflite: {right}}}\n")
    assert package.find("birds", base_dir=tmp_path).name == "birds"


def test_a_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "birds", f"{MANIFEST}sha256: {{birds_int8.tflite: {'f' * 64}}}\n")
    said = str(refusal("birds", tmp_path))
    assert said == (
        f"{tmp_path}/birds/birds_int8.tflite: is not the file model.yaml describes (sha256 differs); "
        "copy the package again"
    )


def test_every_mistake_in_a_manifest_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "birds", "name: birds\nlabel: [a]\nlabels: robin\n")
    said = refusal("birds", tmp_path).problems
    assert len(said) == 3
    assert said[0].startswith(f"{tmp_path}/birds/model.yaml:1: file: ")
    assert {problem.partition("model.yaml")[2].partition(" ")[0] for problem in said} == {":1:", ":2:", ":3:"}


@pytest.mark.parametrize("manifest", ["", "- a\n", "name: [\n", f"{MANIFEST}name: twice\n"])
def test_a_manifest_that_is_none_is_a_config_error(manifest: str, tmp_path: Path) -> None:
    write(tmp_path / "birds", manifest)
    assert "model.yaml" in str(refusal("birds", tmp_path))


def test_every_package_in_this_checkout_is_whole() -> None:
    folders = [path.parent for path in package.shipped("models").glob("*/model.yaml")]
    if not folders:
        pytest.skip("models/ holds no package yet; scripts/train_shapes.py makes the shipped one")
    for folder in folders:
        found = package.find(folder.name, base_dir=Path("/nowhere"))
        assert found.labels
        assert found.name == folder.name


@pytest.mark.parametrize("name", ["birds_int8.tflite", "birds_float32.tflite"])
def test_a_file_that_the_manifest_beside_it_lists_is_what_the_manifest_says(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "birds")
    found = package.find(f"birds/{name}", base_dir=tmp_path)
    assert found == birds(folder / name)


def test_a_listed_file_is_checked_against_the_manifest_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "birds", f"{MANIFEST}sha256: {{birds_float32.tflite: {'f' * 64}}}\n")
    assert "sha256 differs" in str(refusal("birds/birds_float32.tflite", tmp_path))
    assert package.find("birds/birds_int8.tflite", base_dir=tmp_path).name == "birds"


def test_a_manifest_that_lists_other_files_says_nothing_of_this_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds")
    (folder / "yolo.tflite").write_bytes(b"x")
    found = package.find("birds/yolo.tflite", base_dir=tmp_path)
    assert found == package.ModelPackage("yolo", "", folder / "yolo.tflite", ())


def test_a_mistake_in_the_manifest_beside_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "birds", "labels: [robin]\n")
    problems = refusal("birds/birds_int8.tflite", tmp_path).problems
    assert any(problem.startswith(f"{tmp_path}/birds/model.yaml:1: file: ") for problem in problems)


def test_a_listed_file_needs_no_variant(tmp_path: Path) -> None:
    write(tmp_path / "birds")
    assert "so leave variant out" in str(refusal("birds/birds_int8.tflite", tmp_path, "int8"))


# What the manifest says


def test_every_key_of_the_input_reaches_the_engine(tmp_path: Path) -> None:
    said = (
        "{width: 640, height: 480, resize: stretch, padding: 0, mean: [0.485, 0.456, 0.406],"
        " std: [0.229, 0.224, 0.225], bgr: true}"
    )
    write(tmp_path / "birds", MANIFEST.replace("{width: 320, height: 320}", said))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert package.find("birds", base_dir=tmp_path).input == Input(640, 480, Resize.STRETCH, 0, mean, std, bgr=True)


def test_a_manifest_that_says_little_leaves_the_rest_to_be_found_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds", "name: birds\nfile: birds_int8.tflite\n")
    found = package.find("birds", base_dir=tmp_path)
    assert found == ModelPackage("birds", "", folder / "birds_int8.tflite", (), task=None, input=None, keypoints=())


@pytest.mark.parametrize("version", ["3", "2024-11", "'3'"])
def test_a_version_may_look_like_a_number(version: str, tmp_path: Path) -> None:
    write(tmp_path / "birds", f"{MANIFEST}version: {version}\n")
    assert package.find("birds", base_dir=tmp_path).version == version.strip("'")


def test_keypoints_have_names(tmp_path: Path) -> None:
    write(tmp_path / "birds", f"{MANIFEST}keypoints: [beak, tail]\n")
    assert package.find("birds", base_dir=tmp_path).keypoints == ("beak", "tail")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("taks: classification", "taks: there is no such key here; did you mean task?"),
        ("task: object-detecting", "task: 'object-detecting' is unknown; did you mean object-detection? Allowed: "),
        ("input: {width: 320}", "input.height: is missing: of the model's input, in pixels"),
        ("input: {width: 320, height: 320, resize: letterboxed}", "input.resize: 'letterboxed' is unknown; did you"),
        ("input: {width: 320, height: 320, std: [0, 1, 1]}", "input.std[0]: should be greater than 0"),
        ("input: {width: 320, height: 320, mean: [0, 0]}", "input.mean[2]: is missing"),
        ("input: {width: 0, height: 320}", "input.width: should be greater than or equal to 1"),
        ("file: ../elsewhere.tflite", "file: should be the name of a file in the folder of model.yaml"),
        ("variants: {a: /etc/passwd}", "variants: should be the name of a file in the folder of model.yaml"),
    ],
)
def test_a_mistake_is_named_with_its_line_its_key_and_the_nearest_right_name(
    line: str, said: str, tmp_path: Path
) -> None:
    key = line.partition(":")[0]
    kept = "".join(f"{each}\n" for each in MANIFEST.splitlines() if not each.startswith(f"{key}:"))
    write(tmp_path / "birds", f"{kept}{line}\n")
    number = len(kept.splitlines()) + 1
    assert str(refusal("birds", tmp_path)).startswith(f"{tmp_path}/birds/model.yaml:{number}: {said}")


# Installed packages


def install(shelf: Path, *versions: str, name: str = "birds") -> Shelf:
    kept = Shelf(shelf)
    for version in versions:
        with kept.stage() as staged:
            kept.install(write(staged), name, version)
    return kept


def test_an_installed_package_is_found_by_its_name_in_the_version_in_use(tmp_path: Path) -> None:
    kept = install(tmp_path / "models", "1", "2")
    kept.make_current("birds", "2")
    found = package.find("birds", base_dir=tmp_path, shelf=tmp_path / "models")
    assert found == birds(tmp_path / "models" / "birds" / "2" / "birds_int8.tflite", version="2")


def test_a_version_behind_an_at_sign_is_taken_whatever_is_in_use(tmp_path: Path) -> None:
    install(tmp_path / "models", "1", "2")
    for version in ("1", "2"):
        found = package.find(f"birds@{version}", base_dir=tmp_path, variant="float32", shelf=tmp_path / "models")
        assert found == birds(tmp_path / "models" / "birds" / version / "birds_float32.tflite", version=version)


def test_ones_own_folder_comes_before_an_installed_package_and_that_before_a_shipped_one(
    tmp_path: Path, shelf: Path
) -> None:
    write(shelf / "birds")
    installed = tmp_path / "state" / "models"
    install(installed, "1")
    assert package.find("birds", base_dir=tmp_path, shelf=installed).file.is_relative_to(installed)
    own = write(tmp_path / "birds")
    assert package.find("birds", base_dir=tmp_path, shelf=installed).file.parent == own


def test_a_version_that_is_not_there_is_told_which_are(tmp_path: Path) -> None:
    install(tmp_path / "models", "1", "10")
    with pytest.raises(ConfigError) as caught:
        package.find("birds@2", base_dir=tmp_path, shelf=tmp_path / "models")
    assert str(caught.value) == (
        "the model birds@2 is not there: birds has no version 2; it has 1, 10, of which 1 is in use"
    )


def test_a_name_that_is_nearly_that_of_an_installed_package_is_told_the_right_one(tmp_path: Path) -> None:
    install(tmp_path / "models", "1")
    with pytest.raises(ConfigError, match=r"did you mean birds\?"):
        package.find("brids", base_dir=tmp_path, shelf=tmp_path / "models")
    with pytest.raises(ConfigError, match="installed packages: birds; packages that come with the agent: shapes"):
        package.find("zzz", base_dir=tmp_path, shelf=tmp_path / "models")


@pytest.mark.parametrize("model", ["..", "../birds", "birds@..", "@1", "@", ".staged-1", "birds/1@2"])
def test_no_name_leads_out_of_the_shelf_or_to_a_part_of_it(model: str, tmp_path: Path) -> None:
    install(tmp_path / "state" / "models", "1")
    with pytest.raises(ConfigError):
        package.find(model, base_dir=tmp_path / "state", shelf=tmp_path / "state" / "models")


# What is wrong with a package


def test_a_whole_package_has_no_problems(tmp_path: Path) -> None:
    right = hashlib.sha256(b"birds_int8.tflite").hexdigest()
    folder = write(tmp_path / "birds", f"{MANIFEST}sha256: {{birds_int8.tflite: {right}}}\n")
    assert list(package.problems(folder)) == []


def test_every_file_that_is_missing_or_another_is_a_problem(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds", f"{MANIFEST}sha256: {{birds_int8.tflite: {'f' * 64}}}\n")
    (folder / "birds_float32.tflite").unlink()
    found = list(package.problems(folder))
    assert len(found) == 2
    assert "birds_int8.tflite: is not the file" in found[0]
    assert "birds_float32.tflite: is named in model.yaml but is not there" in found[1]


def test_a_wrong_manifest_is_the_problem(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds", "name: birds\nfile: birds_int8.tflite\nlabels: robin\n")
    assert [problem.partition("model.yaml:3: ")[2] for problem in package.problems(folder)] == [
        "labels: should be a list: each item on a line of its own that begins with - (it is 'robin')"
    ]
    assert "no such file" in next(package.problems(tmp_path))
