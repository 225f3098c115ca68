"""The agent on 64-bit Arm, by emulation, without a network. Run by `scripts/arm64`.

The steps are one story, in order: install, check, answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest

STOCK = Path(os.environ.get("VEDETTE_ARM64", ""))
"""What `scripts/arm64` has prepared: `debian`, a tree, and `wheels`, all that the agent needs."""
CHECKOUT = Path(__file__).parents[2]
COMMAND = "/usr/local/bin/vedette"
BINARIES = Path("/proc/sys/fs/binfmt_misc")
EMULATOR = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
FRAMES = 20
LEAST_AGREEMENT = 0.8
"""Whole numbers of 8 bits are multiplied another way there, so that scores near the threshold fall on either side."""
STEP_S = 600.0

pytestmark = [
    pytest.mark.skipif(not (STOCK / "debian" / "vedette-made").exists(), reason="run scripts/arm64, which prepares it"),
    pytest.mark.timeout(900),
]


class Board:
    """A tree of Arm's programs, unchanged beneath a layer of its own; what is mounted goes with each command."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for the layer; what lies in its `shared` is in the board's /srv/shared."""
        self.shared = folder / "shared"
        self._root = folder / "root"
        for each in (self.shared, self._root, folder / "upper", folder / "work"):
            each.mkdir()
        layers = f"lowerdir={STOCK / 'debian'},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        places = {STOCK / "wheels": "wheels", CHECKOUT / "scripts": "scripts", self.shared: "shared"}
        binds = "".join(
            f"mkdir -p {self._root}/srv/{name}\nmount --bind {place} {self._root}/srv/{name}\n"
            for place, name in places.items()
        )
        # Not /sys: from there the runtime would read what the processor of this machine is.
        self._script = (
            f"mount -t overlay -o {layers} overlay {self._root}\n{binds}"
            f"mount -t proc proc {self._root}/proc\nmount --rbind /dev {self._root}/dev\n"
            f"mount -t tmpfs tmpfs {self._root}/run\n"
            f"[ -e {BINARIES}/register ] || mount -t binfmt_misc binfmt_misc {BINARIES}\n"
            f"[ -e {BINARIES}/qemu-aarch64 ] || cat {EMULATOR} > {BINARIES}/register\n"
            f'exec chroot {self._root} /usr/bin/env -i HOME=/root PATH="$PATH" LANG=C.UTF-8 "$@"\n'
        )

    def run(self, *command: str, limit_s: float = STEP_S) -> "subprocess.CompletedProcess[str]":
        """What the command printed, and how it ended."""
        apart = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-ec", self._script, "sh"]
        done = subprocess.run([*apart, *command], capture_output=True, text=True, timeout=limit_s, check=False)
        print(done.stdout, done.stderr)
        return done


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return Board(tmp_path_factory.mktemp("arm64"))


def configuration(folder: str, model: str, source: str) -> str:
    """One camera, one model on the device, one file of results."""
    return f"""\
agent: arm
cameras:
  - name: pictures
    source: {source}
engines:
  local: {{type: tflite, model: {model}}}
routing: {{mode: local_only, deadline_ms: 8000}}
sinks:
  - {{type: jsonl, path: {folder}/results.jsonl}}
"""


def answers(results: Path) -> list[dict[str, Any]]:
    """What was seen in each picture, in their order."""
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def test_the_installer_installs_it_from_wheels_without_a_network(board: Board) -> None:
    machine = board.run("uname", "-m")
    assert machine.stdout == "aarch64\n"
    done = board.run("/srv/scripts/install.sh", "--from", "/srv/wheels", "--wheelhouse", "/srv/wheels", "--no-start")
    assert done.returncode == 0
    assert "is installed, and was not started" in done.stdout
    assert board.run(COMMAND, "version").stdout.startswith("vedette ")


def test_check_probe_finds_everything_fine_with_the_shipped_model(board: Board) -> None:
    text = configuration("/srv/shared", "shapes", "{type: synthetic, fps: 2}")
    (board.shared / "probe.yaml").write_text(text, encoding="utf-8")
    done = board.run(COMMAND, "check", "--probe", "/srv/shared/probe.yaml")
    assert done.returncode == 0
    assert "tflite" in done.stdout


def test_twenty_frames_have_the_answers_that_this_machine_gives(board: Board, shared: Path) -> None:
    pictures = board.shared / "pictures"
    pictures.mkdir()
    taken = cv2.VideoCapture(str(shared / "media" / "vtest.avi"))
    for number in range(FRAMES):
        assert cv2.imwrite(str(pictures / f"{number:02}.jpg"), taken.read()[1])
    model = "yolov8n_224_full_int8.tflite"
    (board.shared / model).write_bytes((shared / "models" / model).read_bytes())
    seen = {}
    for name, folder in (("arm", "/srv/shared"), ("here", str(board.shared))):
        source = f"{{type: image_folder, path: {folder}/pictures}}"
        text = configuration(f"{folder}/{name}", f"{folder}/{model}", source)
        (board.shared / f"{name}.yaml").write_text(text, encoding="utf-8")
        (board.shared / name).mkdir()
    assert board.run(COMMAND, "run", "/srv/shared/arm.yaml").returncode == 0
    here = [sys.executable, "-m", "agent", "run", str(board.shared / "here.yaml")]
    state = {**os.environ, "XDG_STATE_HOME": str(board.shared / "state")}
    subprocess.run(here, check=True, env=state, timeout=STEP_S)
    for name in ("arm", "here"):
        seen[name] = answers(board.shared / name / "results.jsonl")
        assert len(seen[name]) == FRAMES
    agree = agreement(seen["arm"], seen["here"])
    print(f"agreement with this machine over {FRAMES} pictures: {agree:.3f}")
    assert sum(len(each["predictions"]) for each in seen["arm"]) > FRAMES  # nothing seen would agree, too
    assert agree > LEAST_AGREEMENT


def agreement(some: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> float:
    """F1 of the objects of one class whose boxes overlap by half or more: 1.0 where both see the same."""
    pairs = objects = 0
    for one, other in zip(some, others, strict=True):
        left = list(other["predictions"])
        objects += len(one["predictions"]) + len(left)
        for seen in one["predictions"]:
            twin = max(left, key=lambda each: overlap(seen, each), default=None)
            if twin is not None and overlap(seen, twin) >= 0.5:
                left.remove(twin)
                pairs += 1
    return 2 * pairs / objects


def overlap(a: dict[str, Any], b: dict[str, Any]) -> float:
    """IoU of two boxes; 0 where the classes differ."""
    if a["class"] != b["class"]:
        return 0.0
    width, height = (
        max(0.0, min(a[at] + a[size] / 2, b[at] + b[size] / 2) - max(a[at] - a[size] / 2, b[at] - b[size] / 2))
        for at, size in (("x", "width"), ("y", "height"))
    )
    both = width * height
    return float(both / (a["width"] * a["height"] + b["width"] * b["height"] - both))
