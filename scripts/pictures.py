"""Makes the pictures in docs/pictures by the product itself: the drawn scene, the shipped model, an emulated link.

    scripts/pictures                    all of them, in about three minutes
    scripts/pictures snapshot bench     some of them
    scripts/pictures --to folder        elsewhere

`page` needs Chromium (Debian: chromium), the others Matplotlib (the extra plot). Nothing else should run on the machine
meanwhile, for `bench` shows figures.
"""

import argparse
import contextlib
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from real.agent_process import environment, start_vedette, vedette  # noqa: E402 - the checkout goes first on the path
from real.chromium import Tab, chromium  # noqa: E402

from agent import imaging  # noqa: E402
from agent.demo import free_port  # noqa: E402
from agent.sources._scene import Scene, Shape  # noqa: E402

TARGET = REPOSITORY / "docs" / "pictures"
MOST_BYTES = 150_000
COLOURS = 48
"""Of a chart: its lines have few, and their edges need some between."""
QUALITY = 80
LONGEST_PX = 1360
LINK = "good:14,slow:7,dead:7"
HISTORY_S = 36.0
"""What the page's charts show, and one turn of the link with it."""
KEY = "picture-key"
CAMERAS = """
agent: yard-north
cameras:
  - name: gate
    source: {type: synthetic, width: 1280, height: 720, fps: 8, seed: 3, shapes: 7}
    zones: [{name: door, points: [[0.05, 0.3], [0.4, 0.3], [0.4, 1.0], [0.05, 1.0]]}]
"""
BARN = """
  - name: barn
    source: {type: synthetic, width: 640, height: 480, fps: 4, seed: 8}
"""
CLOUD = """
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
  cloud: {{type: roboflow, model: shapes/1, url: "http://127.0.0.1:{api}", api_key: {{file: key}}, input_px: 320}}
routing: {{deadline_ms: 500, data_cap_mb_per_day: 2000}}
sinks: [{{type: jsonl, path: results.jsonl}}]
"""
SNAPSHOT = """
cameras:
  - name: gate
    source: {type: image_folder, path: drawn}
    masks: [{points: [[0.5, 0.62], [0.7, 0.58], [0.7, 1.0], [0.5, 1.0]]}]
engines: {local: {type: tflite, model: shapes, threads: 1}}
snapshots: {folder: snapshots, rules: [{every_s: 0, confidence: 0.4}], record: false, keep_free_mb: 0, longest_px: 960}
sinks: [{type: jsonl}]
"""
PICTURE = "document.querySelector('#live').naturalWidth > 100 && document.querySelector('#empty').hidden"
STILLS = "[...document.querySelectorAll('#strip img')].every(each => each.naturalWidth > 100)"
SERVED = "document.querySelector('#verdict .chip.cloud') !== null"
"""What must be true of the page before it is taken."""


@contextlib.contextmanager
def emulator(folder: Path) -> Iterator[int]:
    """The emulated API, and the port that it is at."""
    port = free_port()
    (folder / "key").write_text(KEY)
    command = [sys.executable, "-m", "agent", "emulate", "--port", str(port), "--key-file", "key", "--link", LINK]
    command += ["--server-ms", "80", "--cold-start-s", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        process.stdout.readline()
        try:
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def agent(folder: Path, text: str) -> Iterator[None]:
    """An agent with this configuration."""
    (folder / "agent.yaml").write_text(text)
    process = start_vedette("run", "agent.yaml", folder=folder)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def page(folder: Path, target: Path) -> None:
    """The live page, on a desk and on a phone, after a whole turn of the link."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        sys.exit("needs Chromium (Debian: chromium)")
    port = free_port()
    with chromium(folder) as tab, emulator(folder) as api:
        text = f"{CAMERAS}{BARN}{CLOUD.format(api=api)}page: {{port: {port}}}\n"
        with agent(folder, text):
            url = f"http://127.0.0.1:{port}/"
            time.sleep(3.0)
            tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
            tab.ask("Emulation.setScrollbarsHidden", hidden=True)
            take(tab, url, target / "page-desk.jpg", width=1360, height=930)
            take(tab, url, target / "page-phone.jpg", width=390, height=844)


def take(tab: Tab, url: str, path: Path, *, width: int, height: int) -> None:
    """The page as it is after HISTORY_S."""
    tab.show("about:blank", width=width, height=height)
    tab.show(url, width=width, height=height, phone=height > width)
    tab.until(PICTURE)
    time.sleep(HISTORY_S)
    tab.until(STILLS)
    tab.until(SERVED)
    pixels = imaging.decode_image(tab.picture())
    path.write_bytes(imaging.encode_jpeg(imaging.shrink(pixels, LONGEST_PX), QUALITY))


def snapshot(folder: Path, target: Path) -> None:
    """An annotated snapshot, behind a privacy mask, of a moment in which the drawn shapes stand well apart."""
    scene = Scene(1280, 720, seed=3, shapes=7)
    best = max(range(0, 600, 3), key=lambda index: apart(scene.truth(index)))
    (folder / "drawn").mkdir()
    (folder / "drawn" / "scene.jpg").write_bytes(imaging.encode_jpeg(scene.render(best), 95))
    (folder / "agent.yaml").write_text(SNAPSHOT)
    done("run", "agent.yaml", folder=folder)
    (taken,) = folder.glob("snapshots/*/gate/*.jpg")
    shutil.copy(taken, target / "snapshot.jpg")


def apart(shapes: Sequence[Shape]) -> int:
    """How many there are, less those whose boxes meet."""
    return len(shapes) - 2 * sum(meet(*pair) for pair in itertools.combinations(shapes, 2))


def meet(one: Shape, other: Shape) -> bool:
    """Whether two boxes overlap, with the words above them."""
    beside = abs(one.x - other.x) < (one.width + other.width) / 2
    return beside and abs(one.y - other.y) < (one.height + other.height) / 2 + 30


def explain(folder: Path, target: Path) -> None:
    """Why the frames of a run went where they went."""
    with emulator(folder) as api:
        (folder / "agent.yaml").write_text(f"{CAMERAS}{CLOUD.format(api=api)}")
        done("run", "agent.yaml", "--seconds", "75", folder=folder)
    done("explain", "results.jsonl", "--picture", "explain.png", folder=folder)
    compress(folder / "explain.png", target / "explain.png")


def simulate(folder: Path, target: Path) -> None:
    """The router on five made-up links, beside simpler rules."""
    done("simulate", "--deadline-ms", "500", "--picture", "simulate.png", folder=folder)
    compress(folder / "simulate.png", target / "simulate.png")


def bench(folder: Path, target: Path) -> None:
    """How fast the shipped model is."""
    done("bench", "--model", "shapes", "--threads", "1", "2", "--picture", "bench.png", folder=folder)
    compress(folder / "bench.png", target / "bench.png")


def done(*arguments: str, folder: Path) -> None:
    """Run `vedette ARGUMENTS` to its end; a failure ends this script."""
    ended = vedette(*arguments, folder=folder, timeout_s=400)
    if ended.returncode:
        sys.exit(f"vedette {' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")


def compress(chart: Path, target: Path) -> None:
    """A chart has few colours: a palette makes its file a third as large."""
    from PIL import Image

    with Image.open(chart) as picture:
        flat = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    flat.save(target, optimize=True)


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "page": page,
    "snapshot": snapshot,
    "explain": explain,
    "simulate": simulate,
    "bench": bench,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"{', '.join(MAKERS)}; left out: all")
    parser.add_argument(
        "--to", type=Path, default=TARGET, metavar="FOLDER", help="where they go (default: docs/pictures)"
    )
    options = parser.parse_args()
    unknown = set(options.pictures) - set(MAKERS)
    if unknown:
        parser.error(f"no such picture: {', '.join(sorted(unknown))}; there are {', '.join(MAKERS)}")
    options.to.mkdir(parents=True, exist_ok=True)
    for name in options.pictures or MAKERS:
        with tempfile.TemporaryDirectory(prefix="vedette-pictures-") as folder:
            MAKERS[name](Path(folder), options.to)
    large = [path for path in sorted(options.to.glob("*.*")) if path.stat().st_size > MOST_BYTES]
    for path in sorted(options.to.glob("*.*")):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    if large:
        sys.exit(f"more than {MOST_BYTES // 1000} kB: {', '.join(path.name for path in large)}")


if __name__ == "__main__":
    main()
