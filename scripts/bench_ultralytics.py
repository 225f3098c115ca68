"""Run by scripts/bench in an environment of its own: Ultralytics' own way through a video, and when each result came.

    python bench_ultralytics.py MODEL.tflite VIDEO FRAMES

Prints one line of JSON: the moments of the first and the last result (CLOCK_MONOTONIC, which all processes share), how
many there were, the most memory that the process held, and the threads of the interpreter.
"""

import json
import sys
import time
from pathlib import Path

from ultralytics import YOLO
from ultralytics.utils import NUM_THREADS


def main() -> None:
    model, video, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    results_s = []
    for _ in YOLO(model, task="detect").predict(source=video, stream=True):
        results_s.append(time.monotonic())
        if len(results_s) == frames:
            break
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    told = {"first_s": results_s[0], "last_s": results_s[-1], "frames": len(results_s)}
    print(json.dumps({**told, "peak_kib": peak_kib, "threads": NUM_THREADS}), flush=True)


if __name__ == "__main__":
    main()
