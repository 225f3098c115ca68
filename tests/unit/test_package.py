"""Model packages: how a name in the configuration becomes a file."""

import hashlib
from pathlib import Path

import pytest

from agent import package
from agent.errors import ConfigError

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
    assert found == package.ModelPackage("yolo", tmp_path / "yolo.tflite", ())


def test_a_bare_file_anywhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yolo.tflite").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(tmp_path / "yolo.tflite"), "~/yolo.tflite"):
        assert package.find(name, base_dir=Path("/nowhere")).file == tmp_path / "yolo.tflite"


def test_a_folder_gives_the_file_and_the_labels_of_its_manifest(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds")
    found = package.find("birds", base_dir=tmp_path)
    assert found == package.ModelPackage("birds", folder / "birds_int8.tflite", ("robin", "wren"))


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
    assert found == package.ModelPackage("birds", folder / name, ("robin", "wren"))


def test_a_listed_file_is_checked_against_the_manifest_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "birds", f"{MANIFEST}sha256: {{birds_float32.tflite: {'f' * 64}}}\n")
    assert "sha256 differs" in str(refusal("birds/birds_float32.tflite", tmp_path))
    assert package.find("birds/birds_int8.tflite", base_dir=tmp_path).name == "birds"


def test_a_manifest_that_lists_other_files_says_nothing_of_this_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "birds")
    (folder / "yolo.tflite").write_bytes(b"x")
    found = package.find("birds/yolo.tflite", base_dir=tmp_path)
    assert found == package.ModelPackage("yolo", folder / "yolo.tflite", ())


def test_a_mistake_in_the_manifest_beside_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "birds", "labels: [robin]\n")
    problems = refusal("birds/birds_int8.tflite", tmp_path).problems
    assert any(problem.startswith(f"{tmp_path}/birds/model.yaml:1: file: ") for problem in problems)


def test_a_listed_file_needs_no_variant(tmp_path: Path) -> None:
    write(tmp_path / "birds")
    assert "so leave variant out" in str(refusal("birds/birds_int8.tflite", tmp_path, "int8"))
