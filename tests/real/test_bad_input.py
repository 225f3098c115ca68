"""What is wrong is said in a sentence, and the exit code tells the service manager whether to try again."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from real.agent_process import REPOSITORY, records, start_vedette, vedette
from real.broker import wait_until

SHAPES = REPOSITORY / "models" / "shapes" / "shapes_320_full_int8.tflite"
CONFIG = """
cameras:
  - name: cam
    source: {source}
engines:
  local: {{type: tflite, model: {model}}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
"""


def run(folder: Path, *, source: str = "{type: synthetic, frames: 3}", model: str = "shapes") -> tuple[int, str]:
    (folder / "vedette.yaml").write_text(CONFIG.format(source=source, model=model))
    done = vedette("run", "vedette.yaml", "--seconds", "20", folder=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_good_configuration_ends_with_0_when_its_camera_has_ended(tmp_path: Path) -> None:
    code, _ = run(tmp_path)
    assert code == 0
    assert len(records(tmp_path / "results.jsonl")) >= 1


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"these are no weights", "is not a TFLite model"), (SHAPES.read_bytes()[:200_000], "cannot be loaded")],
    ids=["text", "cut short"],
)
def test_a_damaged_model_ends_the_start(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    code, stderr = run(tmp_path, model="model.tflite")
    assert code == 78
    assert said in stderr
    assert "model.tflite" in stderr


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("yolov8n-pose_224_dynamic_int8.tflite", "its outputs [1, 56, 1029] are those of keypoint-detection"),
        ("yolov8n-seg_320_float32_nchw.tflite", "are those of instance-segmentation"),
    ],
)
def test_a_model_that_is_not_what_its_package_says_is_refused(
    model: str, said: str, shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / model).symlink_to(shared / "models" / model)
    manifest = f"name: birds\ntask: object-detection\nfile: {model}\n"
    (tmp_path / "birds" / "model.yaml").write_text(manifest, encoding="utf-8")
    code, stderr = run(tmp_path, model="birds")
    assert code == 78
    assert "is said to be for object-detection" in stderr
    assert said in stderr


def test_a_model_for_another_runtime_is_refused(shared: Path, tmp_path: Path) -> None:
    code, stderr = run(tmp_path, model=str(shared / "models" / "yolov8n_320.onnx"))
    assert code == 78
    assert "does not run with type: tflite; it runs with type: onnx" in stderr


def test_a_model_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    code, stderr = run(tmp_path, model="shpes")
    assert code == 78
    assert "did you mean shapes?" in stderr


@pytest.mark.parametrize("file", ["absent.mp4", "text.mp4"])
def test_a_video_that_is_none_ends_the_start(file: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    code, stderr = run(tmp_path, source=f"{{type: video_file, path: {file}}}")
    assert code == 78
    assert file in stderr


def test_an_absent_camera_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    two = "{type: v4l2, device: 63}\n  - {name: scene, source: {type: synthetic, frames: 5}}"
    (tmp_path / "vedette.yaml").write_text(CONFIG.format(source=two, model="shapes"))
    done = vedette("run", "vedette.yaml", "--seconds", "3", folder=tmp_path)
    assert done.returncode == 0
    assert "/dev/video63: no such camera" in done.stderr
    assert "Traceback" not in done.stderr
    assert {record["camera"] for record in records(tmp_path / "results.jsonl")} == {"scene"}


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "vedette.yaml").write_text("cameras:\n  - {name: cam\nengines: [\n")
    done = vedette("run", "vedette.yaml", folder=tmp_path)
    assert done.returncode == 78
    assert "vedette.yaml:3" in done.stderr
    assert "Traceback" not in done.stderr


def test_pictures_of_every_kind_are_answered_or_counted(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = np.full((48, 64, 3), 90, np.uint8)
    cv2.imwrite(str(folder / "a.png"), picture)
    cv2.imwrite(str(folder / "b_1x1.png"), picture[:1, :1])
    cv2.imwrite(str(folder / "c_grey.png"), picture[..., 0])
    cv2.imwrite(str(folder / "d_16bit.png"), picture.astype(np.uint16) * 257)
    (folder / "e_text.jpg").write_text("no picture")
    (folder / "f_empty.jpg").touch()
    shutil.copy(folder / "a.png", folder / "z_last.png")
    code, stderr = run(tmp_path, source="{type: image_folder, path: pictures}")
    assert code == 0
    found = records(tmp_path / "results.jsonl")
    assert [(r["image"]["width"], r["image"]["height"]) for r in found] == [
        (64, 48),
        (1, 1),
        (64, 48),
        (64, 48),
        (64, 48),
    ]
    assert "e_text.jpg is not a picture" in stderr
    assert "unreadable 2" in stderr.splitlines()[-1]


def test_a_video_that_vanishes_ends_no_other_camera(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "loop.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(20):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    looped = "{type: video_file, path: loop.avi, loop: true, realtime: true}"
    (tmp_path / "vedette.yaml").write_text(
        CONFIG.format(source=f"{looped}\n  - {{name: scene, source: {{type: synthetic}}}}", model="shapes")
    )
    process = start_vedette("run", "vedette.yaml", folder=tmp_path)
    results = tmp_path / "results.jsonl"
    wait_until(lambda: results.exists() and '"cam"' in results.read_text(), "a result of the video")
    (tmp_path / "loop.avi").unlink()
    wait_until(lambda: "no such" in (tmp_path / "stderr.txt").read_text().lower(), "the word that the video is gone")
    lines = len(results.read_text().splitlines())
    wait_until(lambda: len(results.read_text().splitlines()) > lines + 5, "results of the other camera")
    process.terminate()
    assert process.wait(20) == 0
