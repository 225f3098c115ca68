"""What a mask hides is in nothing that leaves the camera's thread: proven on the bytes that arrived."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from unit.emulator_engine import KEY, ScriptedEngine, emulating

from agent import app, config, imaging
from agent.backfill import kept
from agent.flow import Answer, Frame, Pixels
from agent.service import Service

CONFIG = """
agent: tester
cameras:
  - name: street
    source: {{type: image_folder, path: pictures}}
    rotate: 180
    crop: [0.25, 0.0, 1.0, 1.0]
    masks:
      - {{points: [[0.5, 0.25], [0.75, 0.25], [0.75, 0.75], [0.5, 0.75]], fill: {fill}}}
engines:
  local: {{type: tflite, model: shapes}}
  cloud: {{type: roboflow, model: shapes/1, url: "{url}", api_key: {{file: key}}}}
routing: {{mode: {mode}, deadline_ms: 2000}}
{more}
sinks:
  - {{type: jsonl, path: results.jsonl}}
"""
SNAPSHOTS = "snapshots: {folder: shots, keep_free_mb: 1, rules: [{confidence: 0.1, every_s: 0, annotate: false}]}"
BACKFILL = "backfill: {empty: true, every_s: 0.1, jpeg_quality: 100, longest_px: 4096}"


class Archive(ScriptedEngine):
    """The hosted model's side: keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Pixels] = []

    def infer(self, frame: Frame, give_up_s: float) -> Answer:
        self.received.append(frame.pixels)
        return super().infer(frame, give_up_s)


def write_pictures(folder: Path) -> None:
    """640 by 480, each line of pixels black or white by chance: what nothing but the camera may know."""
    folder.mkdir()
    for number in range(3):
        lines = np.random.default_rng(number).integers(0, 2, (480, 1, 1)) * 255
        picture = np.broadcast_to(lines, (480, 640, 3)).astype(np.uint8)
        (folder / f"{number}.png").write_bytes(imaging.cv2.imencode(".png", picture)[1].tobytes())


def contrast(pixels: NDArray[np.uint8]) -> float:
    """How much lines differ from their neighbours, in grey levels."""
    grey = pixels.astype(np.float32).mean(axis=(1, 2))
    return float(np.abs(np.diff(grey)).mean())


def run(folder: Path, **words: object) -> None:
    (folder / "key").write_text(KEY)
    write_pictures(folder / "pictures")
    (folder / "vedette.yaml").write_text(CONFIG.format(**words))
    settings = config.load(folder / "vedette.yaml")
    make = partial(app.build, base_dir=folder, state_dir=folder / "state")
    assert Service(settings, make).run(seconds=20) == 0


def hides(pixels: Pixels, fill: str) -> bool:
    """Whether a picture that has arrived, in whatever size, shows the scene, and nothing of it behind the mask."""
    side_px = pixels.shape[0]
    assert pixels.shape == (side_px, side_px, 3)
    assert contrast(pixels[:, side_px // 48 : side_px * 14 // 48]) > 40, "outside the mask the scene is there"
    # The mask lies at 160 to 320 of 480 across, 120 to 360 down; JPEG's blocks share its edge with what is around.
    masked = pixels[side_px * 135 // 480 : side_px * 345 // 480, side_px * 175 // 480 : side_px * 305 // 480]
    return contrast(masked) < 4 and (fill != "black" or int(masked.max()) < 12)


@pytest.mark.parametrize("fill", ["black", "blur", "pixelate"])
def test_no_byte_that_was_uploaded_or_kept_as_a_snapshot_shows_what_is_masked(fill: str, tmp_path: Path) -> None:
    engine = Archive()
    with emulating(engine) as emulator:
        run(tmp_path, url=emulator.url, fill=fill, mode="cloud_only", more=SNAPSHOTS)
    shots = [imaging.read_image(path) for path in (tmp_path / "shots").rglob("*.jpg")]
    assert len(engine.received) >= 3
    assert shots
    assert all(hides(pixels, fill) for pixels in (*engine.received, *shots))


def test_no_picture_that_waits_for_a_second_look_shows_what_is_masked(tmp_path: Path) -> None:
    run(tmp_path, url="http://127.0.0.1:9", fill="black", mode="auto", more=BACKFILL)
    waiting = [kept.unpack(path.read_bytes()) for path in (tmp_path / "state").rglob("*.ask")]
    assert waiting
    for each in waiting:
        assert each is not None
        assert hides(imaging.decode_image(each.picture.data), "black")
