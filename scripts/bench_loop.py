"""Run by scripts/bench: the on-device engine without the agent around it, in the words of bench_ultralytics.py.

python bench_loop.py MODEL VIDEO FRAMES THREADS
"""

import json
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from agent.clock import SystemClock  # noqa: E402 - the checkout goes first on the path
from agent.engines import tflite  # noqa: E402
from agent.flow import Frame  # noqa: E402
from agent.imaging import open_video  # noqa: E402
from agent.ports import Context  # noqa: E402


def main() -> None:
    model, video, frames, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    clock = SystemClock()
    options = tflite.Options(type="tflite", model=model, threads=threads)
    engine = tflite.build(options, Context("bench", clock, Path.cwd(), Path.cwd(), trial=True))
    engine.open()
    capture, results_s = open_video(video), []
    while len(results_s) < frames and (pixels := capture.read()) is not None:
        engine.infer(Frame("bench", len(results_s), clock.now(), clock.wall(), False, pixels), clock.now() + 60)
        results_s.append(time.monotonic())
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    told = {"first_s": results_s[0], "last_s": results_s[-1], "frames": len(results_s)}
    print(json.dumps({**told, "peak_kib": peak_kib, "threads": threads}), flush=True)


if __name__ == "__main__":
    main()
