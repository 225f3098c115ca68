"""Writes an Ultralytics .pt file as ONNX. The only file of this project that imports Ultralytics.

Ultralytics, and what it exports, is under the AGPL-3.0. So this is a program of its own, which scripts/export_model.py
starts; nothing of it is imported elsewhere, and nothing of it goes to the device but the network's numbers.

    python scripts/export_weights.py WEIGHTS.pt OUT.onnx [WIDTHxHEIGHT]

Opening a .pt file runs the code in it: only open those you trust. Nothing is fetched or sent.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

OPSET = 17


def main() -> None:
    weights, out, *size = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=work)
        from ultralytics import YOLO

        copy = Path(work, Path(weights).name)  # it writes beside what it reads
        shutil.copyfile(weights, copy)
        model = YOLO(str(copy))
        asked = [int(side) for side in size[0].split("x")][::-1] if size else model.overrides.get("imgsz", 640)
        made = model.export(format="onnx", imgsz=asked, opset=OPSET, simplify=False, device="cpu")
        shutil.copyfile(made, out)


if __name__ == "__main__":
    main()
