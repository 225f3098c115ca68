"""Makes the model package models/shapes from nothing but the drawn scene: renders, trains, converts, measures, writes.

How to run it again (a quarter to half an hour on two cores, no GPU), from the root of the repository:

    python3.11 -m venv /tmp/train && . /tmp/train/bin/activate
    pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    pip install litert-torch==0.10.0 ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 \
        opencv-python-headless==5.0.0.93 pydantic==2.11.10 pyyaml==6.0.3
    PYTHONPATH=. python scripts/train_shapes.py

It is seeded: the same machine and versions give the same weights. One thread of Python owns everything.

The network is shapes_network.py, beside this file. Box distances are trained with the distribution focal loss (Li et
al. 2020, "Generalized Focal Loss") and complete IoU (Zheng et al. 2020, "Distance-IoU Loss"). A cell learns an object
when the object's centre is near and its size suits the stride (a centre prior): this task needs no learned assignment.
"""

import argparse
import copy
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import litert_torch
import numpy as np
import torch
import yaml
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from numpy.typing import NDArray
from shapes_network import BINS, SIDE, STRIDES, Exported, ShapesNet, cell_centres, fused
from torch import Tensor, nn
from torch.nn import functional

from agent import canvas, imaging
from agent.flow import Pixels
from agent.sources._scene import CLASSES, Scene, Shape

FITTING_PX = ((0, 40), (28, 72), (56, 1000))
"""Longer side of the objects each stride learns. The ranges overlap, so that no size falls between two."""
BATCH = 16
MOST_SHAPES = 12
SHRUNK_SHARE, JPEG_SHARE, FLIPPED_SHARE = 0.25, 0.5, 0.5
"""How many training pictures are made smaller, go through a JPEG (as the hosted API gets them), and are mirrored."""
GAINS = (0.8, 1.1)
"""Range of the random change of brightness."""
SIZES = ((320, 240), (640, 480), (640, 360), (1280, 720), (800, 600), (480, 480), (320, 320), (480, 640))
TRAINING_SEED, CALIBRATION_SEED, HELD_OUT_SEED = 100_000, 50_000, 0
"""First scene seeds of three sets that share no scene; the held-out one begins with the plugin's default."""
FILES = {"float32": "shapes_320_float32.tflite", "int8": "shapes_320_full_int8.tflite"}
CONVERTED_APART = 1e-3
"""How far the float32 file may be off the network in any number of its output."""
CONFIDENCE, OVERLAP, MATCH_IOU = 0.4, 0.3, 0.5


# What the network learns from


@dataclass(frozen=True)
class Sample:
    """One picture as the model sees it, and the boxes in it."""

    rgb: Pixels
    """(SIDE, SIDE, 3)."""
    boxes: NDArray[np.float32]
    """(n, 5): class id, left, top, right, bottom in pixels of the input."""


def samples(count: int, first_seed: int) -> Iterator[Sample]:
    """`count` pictures, each of another scene, of all sizes; some shrunk, some through a JPEG."""
    rng = np.random.default_rng(first_seed)
    for seed in range(first_seed, first_seed + count):
        width, height = SIZES[int(rng.integers(len(SIZES)))]
        scene = Scene(width, height, seed=seed, shapes=int(rng.integers(MOST_SHAPES + 1)))
        index = int(rng.integers(100_000))
        pixels = scene.render(index)
        if rng.random() < SHRUNK_SHARE:
            pixels = imaging.shrink(pixels, int(rng.integers(SIDE, 2 * SIDE)))
        if rng.random() < JPEG_SHARE:
            pixels = imaging.decode_image(imaging.encode_jpeg(pixels, int(rng.integers(50, 96))))
        yield sample(pixels, scene.truth(index), pixels.shape[1] / width)


def sample(pixels: Pixels, truth: tuple[Shape, ...], scale: float) -> Sample:
    """`pixels` letterboxed, with the `truth` of a scene that is 1 / `scale` times as large."""
    rgb, fit = canvas.letterbox_rgb(pixels, SIDE, SIDE)
    boxes = np.array(
        [(s.class_id, s.x - s.width / 2, s.y - s.height / 2, s.x + s.width / 2, s.y + s.height / 2) for s in truth],
        dtype=np.float32,
    ).reshape(-1, 5)
    boxes[:, 1::2] = boxes[:, 1::2] * scale * fit.scale_x + fit.left_px
    boxes[:, 2::2] = boxes[:, 2::2] * scale * fit.scale_y + fit.top_px
    return Sample(rgb, boxes)


def batch(chosen: list[Sample], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (n, 3, SIDE, SIDE) 0..1 and boxes (n, MOST_SHAPES, 5) with class -1 where there is none.

    Each picture's brightness is changed on its own: one gain for a whole batch would be normalised away in training,
    and the averages that stand in for the batch afterwards would fit no picture.
    """
    varied = [vary(one, rng) for one in chosen]
    boxes = np.full((len(varied), MOST_SHAPES, 5), -1, dtype=np.float32)
    for row, one in enumerate(varied):
        boxes[row, : len(one.boxes)] = one.boxes
    gains = torch.from_numpy(rng.uniform(*GAINS, size=(len(varied), 1, 1, 1))).float() / 255
    pictures = torch.from_numpy(np.stack([one.rgb for one in varied])).permute(0, 3, 1, 2).float()
    return (pictures * gains).clamp(0, 1), torch.from_numpy(boxes)


def vary(one: Sample, rng: np.random.Generator) -> Sample:
    """The picture with its channels exchanged, and mirrored or not: shapes stay shapes."""
    rgb, boxes = one.rgb[..., rng.permutation(3)], one.boxes.copy()
    for axis, ends in ((1, (1, 3)), (0, (2, 4))):
        if rng.random() < FLIPPED_SHARE:
            rgb = np.flip(rgb, axis)
            boxes[:, list(ends)] = SIDE - boxes[:, list(reversed(ends))]
    return Sample(rgb, boxes)


# The loss


def assign(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Which box each cell learns: (n, cells) row in `boxes` (n, m, 5), and whether it learns one at all.

    A cell learns a box when its centre is within one stride of the box's and the size suits the stride; of several
    boxes, the one whose centre is nearest.
    """
    middle = (boxes[..., 1:3] + boxes[..., 3:5]) / 2
    longer = (boxes[..., 3:5] - boxes[..., 1:3]).amax(-1)
    distances = []
    for stride, (low, high) in zip(STRIDES, FITTING_PX, strict=True):
        apart = (cell_centres(stride)[None, :, None] - middle[:, None]).abs().amax(-1) / stride
        fits = (boxes[..., 0] >= 0) & (longer >= low) & (longer < high)
        distances.append(apart.masked_fill(~fits[:, None], math.inf))
    nearest, row = torch.cat(distances, 1).min(-1)
    return row, nearest < 1


def loss(logits: list[tuple[Tensor, Tensor]], boxes: Tensor) -> Tensor:
    """Class, box and bin losses over the cells that learn a box.

    The weights are ours: YOLOv8 has 0.5, 7.5 and 1.5, but here boxes are easy and classes decide.
    """
    kinds = torch.cat([kind for _, kind in logits], 1)
    row, learns = assign(boxes)
    wanted = boxes.gather(1, row[..., None].expand(-1, -1, 5))[learns]
    target = torch.zeros_like(kinds)
    target[learns] = functional.one_hot(wanted[:, 0].long(), len(CLASSES)).float()
    class_loss = functional.binary_cross_entropy_with_logits(kinds, target, reduction="sum")
    strides = torch.cat([torch.full((cell_centres(s).shape[0], 1), float(s)) for s in STRIDES])
    places = torch.cat([cell_centres(s) for s in STRIDES]) / strides
    cells = torch.cat([box for box, _ in logits], 1)[learns].reshape(-1, 4, BINS)
    place = places.expand(len(boxes), -1, -1)[learns]
    edges = wanted[:, 1:] / strides.expand(len(boxes), -1, -1)[learns]
    distances = torch.cat((place - edges[:, :2], edges[:, 2:] - place), 1).clamp(0, BINS - 1.01)
    found = cells.softmax(-1) @ torch.arange(BINS, dtype=torch.float32)
    box_loss = (1 - complete_iou(found, distances)).sum()
    total = class_loss + 5 * box_loss + bin_loss(cells, distances)
    return total / max(1, len(wanted))


def bin_loss(cells: Tensor, distances: Tensor) -> Tensor:
    """Cross entropy with the two bins beside each distance, weighted by nearness; the sum of the mean over edges."""
    logs, lower = cells.log_softmax(-1), distances.floor()
    share = distances - lower
    low = logs.gather(-1, lower.long()[..., None])[..., 0]
    high = logs.gather(-1, lower.long()[..., None] + 1)[..., 0]
    return -(low * (1 - share) + high * share).mean(-1).sum()


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of boxes around a common point, given as (n, 4) distances to left, top, right, bottom."""
    size_a, size_b = a[:, :2] + a[:, 2:] + 1e-6, b[:, :2] + b[:, 2:] + 1e-6
    common = (torch.minimum(a, b)[:, :2] + torch.minimum(a, b)[:, 2:]).prod(-1)
    iou = common / (size_a.prod(-1) + size_b.prod(-1) - common)
    hull = torch.maximum(a, b)[:, :2] + torch.maximum(a, b)[:, 2:]
    apart = ((a[:, 2:] - a[:, :2] - b[:, 2:] + b[:, :2]) / 2).square().sum(-1) / (hull.square().sum(-1) + 1e-6)
    angles = torch.atan(size_a[:, 0] / size_a[:, 1]) - torch.atan(size_b[:, 0] / size_b[:, 1])
    skew = angles.square() * 4 / math.pi**2
    with torch.no_grad():
        weight = skew / (1 - iou + skew + 1e-6)
    return iou - apart - weight * skew


# Training


def train(images: int, steps: int) -> ShapesNet:
    """The averaged network after `steps` batches drawn from `images` pictures."""
    started_s = time.monotonic()
    pool = list(samples(images, TRAINING_SEED))
    print(f"rendered {images} pictures in {time.monotonic() - started_s:.0f} s", flush=True)
    rng = np.random.default_rng(1)
    net = ShapesNet().to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(net).eval().requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.06)
    for step in range(steps):
        pictures, boxes = batch([pool[row] for row in rng.integers(len(pool), size=BATCH)], rng)
        value = loss(net(pictures.to(memory_format=torch.channels_last)), boxes)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        follow(average, net, decay=min(0.998, (1 + step) / (10 + step)))
        if step % 50 == 0:
            print(f"step {step} loss {value.item():.3f} at {time.monotonic() - started_s:.0f} s", flush=True)
    return average


def follow(average: nn.Module, net: nn.Module, *, decay: float) -> None:
    """Move the exponential average towards the network's present weights."""
    for old, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        old.lerp_(new, 1 - decay) if old.is_floating_point() else old.copy_(new)


# Conversion


def convert(net: ShapesNet, folder: Path) -> None:
    """Write both files into `folder`: float32, and int8 with int8 input and output, calibrated on rendered frames.

    Raises:
        RuntimeError: the float32 file does not answer as the network does.
    """
    # Weights left in channels_last order, as in training, come out of the converter scrambled without a word.
    exported = Exported(fused(net.to(memory_format=torch.contiguous_format)))
    shipped = litert_torch.to_channel_last_io(exported, args=[0]).eval()
    float32, int8 = (str(folder / FILES[variant]) for variant in ("float32", "int8"))
    litert_torch.convert(shipped, (torch.zeros(1, SIDE, SIDE, 3),)).export(float32)
    compare(exported, Path(float32))
    work = quantizer.Quantizer(float32)
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    frames = [{"args_0": one.rgb[None].astype(np.float32) / 255} for one in samples(200, CALIBRATION_SEED)]
    for frame in frames:  # ranges are averaged over frames; black and white in each keep the input's scale at 1 / 255
        frame["args_0"][0, 0, :2] = ((0, 0, 0), (1, 1, 1))
    ranges = work.calibrate({"serving_default": frames})
    work.quantize(calibration_result=ranges).export_model(int8, overwrite=True)
    Path(int8).chmod(0o644)  # the quantizer makes it executable


def compare(exported: Exported, path: Path) -> None:
    """Check on one picture that the file answers as the network does. Raises RuntimeError."""
    (one,) = samples(1, CALIBRATION_SEED)
    picture = torch.from_numpy(one.rgb).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        apart = float(np.abs(exported(picture)[0].numpy() - Detector(path).rows(one.rgb)).max())
    if apart > CONVERTED_APART:
        raise RuntimeError(f"{path} is {apart:.3f} off the network's own answer; the conversion went wrong")


# Measurement


class Detector:
    """One of the two files with the usual decoding around it."""

    def __init__(self, path: Path) -> None:
        self._interpreter = Interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input, self._output = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]

    def rows(self, rgb: Pixels) -> NDArray[np.float32]:
        """(4 + classes, cells) 0..1 for a letterboxed picture."""
        picture = rgb[None].astype(np.float32) / 255
        if self._input["dtype"] == np.int8:
            scale, zero = self._input["quantization"]
            picture = np.clip(np.round(picture / scale) + zero, -128, 127).astype(np.int8)
        self._interpreter.set_tensor(self._input["index"], picture)
        self._interpreter.invoke()
        rows = self._interpreter.get_tensor(self._output["index"])[0]
        if self._output["dtype"] == np.int8:
            scale, zero = self._output["quantization"]
            rows = (rows.astype(np.float32) - zero) * scale
        return rows

    def find(self, rgb: Pixels) -> NDArray[np.float32]:
        """(n, 5) class id, left, top, right, bottom in pixels of the input, best first."""
        rows = self.rows(rgb)
        scores, kinds = rows[4:].max(0), rows[4:].argmax(0).astype(np.int32)
        sure = scores > CONFIDENCE
        centre, size = rows[:2, sure].T * SIDE, rows[2:4, sure].T * SIDE
        corners = centre - size / 2
        kept = imaging.suppress(np.hstack((corners, size)), scores[sure], kinds[sure], overlap=OVERLAP)
        return np.hstack((kinds[sure, None], corners, corners + size))[kept]


def matches(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> int:
    """How many of `found`, best first, meet a box of `wanted` of their class that no better one has taken."""
    free = list(range(len(wanted)))
    hits = 0
    for one in found:
        ious = [overlap(one, wanted[row]) for row in free]
        if ious and max(ious) >= MATCH_IOU:
            free.pop(int(np.argmax(ious)))
            hits += 1
    return hits


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two (class, left, top, right, bottom); 0 for different classes."""
    sides = np.minimum(a[3:], b[3:]) - np.maximum(a[1:3], b[1:3])
    common = float(sides.clip(0).prod())
    both = float((a[3:] - a[1:3]).prod() + (b[3:] - b[1:3]).prod()) - common
    return common / both if a[0] == b[0] and both > 0 else 0.0


def measure(path: Path, frames: int) -> dict[str, float]:
    """Precision and recall over `frames` frames of scenes that no training picture shows."""
    detector = Detector(path)
    hits = found = wanted = 0
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + frames // 10):
        width, height = SIZES[(seed + 1) % len(SIZES)]
        scene = Scene(width, height, seed=seed, shapes=6)
        for index in range(0, 1000, 100):
            one = sample(scene.render(index), scene.truth(index), 1.0)
            boxes = detector.find(one.rgb)
            hits, found, wanted = hits + matches(boxes, one.boxes), found + len(boxes), wanted + len(one.boxes)
    return {"precision": round(hits / max(1, found), 4), "recall": round(hits / max(1, wanted), 4)}


# The package


def describe(folder: Path, frames: int) -> None:
    """Measure both files and write model.yaml beside them."""
    card = {
        "name": "shapes",
        "description": "Finds the circles, squares, triangles and stars of the synthetic camera, and nothing else.",
        "task": "object-detection",
        "file": FILES["int8"],
        "variants": FILES,
        "input": {"width": SIDE, "height": SIDE},
        "labels": list(CLASSES),
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES.values()},
        "licence": "Apache-2.0",
        "source": "scripts/train_shapes.py",
        "metrics": {variant: measure(folder / name, frames) for variant, name in FILES.items()},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False, width=120), encoding="utf-8")
    print(yaml.safe_dump(card, sort_keys=False))


def main() -> None:
    """Train, convert, measure and write the package."""
    parser = argparse.ArgumentParser(description="Makes the model package models/shapes.")
    parser.add_argument("--images", type=int, default=5000, help="pictures to train on")
    parser.add_argument("--steps", type=int, default=3000, help=f"training steps of {BATCH} pictures")
    parser.add_argument("--frames", type=int, default=800, help="frames to measure on")
    parser.add_argument("--out", type=Path, default=Path("models/shapes"), help="folder of the package")
    wanted = parser.parse_args()
    torch.manual_seed(0)
    wanted.out.mkdir(parents=True, exist_ok=True)
    convert(train(wanted.images, wanted.steps), wanted.out)
    describe(wanted.out, wanted.frames)


if __name__ == "__main__":
    main()
