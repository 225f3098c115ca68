"""Makes a model package from a .pt or .onnx file: TFLite as float32, float16 and int8, and the ONNX original.

    scripts/export-model best.pt --size 640 --images frames/ --out models/forklifts

`scripts/export-model` makes the environment that this needs, apart from the agent's; docs/export.md says what each
format costs. The way: .pt to ONNX by Ultralytics, in a process of its own; the boxes of the ONNX graph become shares
of the input (export_scaling.py); the graph becomes a PyTorch module (export_network.py), and that TFLite. The float32
file is held against the ONNX file, and the agent's own engine opens every file, before the package is put in place.
Ends with 2 when something is refused.
"""

import contextlib
import importlib.metadata
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from export_package import Card, describe, staged  # noqa: E402 - the checkout goes first on the path
from export_pictures import Album, album  # noqa: E402
from export_request import ENOUGH_PICTURES, Refused, Request, parser, refuse_mixed, refuse_too_few, request_of  # noqa: E402

from agent.clock import SystemClock  # noqa: E402
from agent.engines import tflite  # noqa: E402
from agent.errors import AgentError  # noqa: E402
from agent.package import sha256_of  # noqa: E402
from agent.ports import Context  # noqa: E402

if TYPE_CHECKING:
    from export_original import Original

TOOLS = ("torch", "litert-torch", "ai-edge-quantizer", "onnx", "onnxslim")
WEIGHTS_TOOLS = ("ultralytics",)
SHORT_DIGITS = 12
LOOKED_AT = 32
"""Pictures that tell how large mask coefficients get."""


def main() -> None:
    try:
        request = request_of(parser().parse_args())
        exported(request)
    except (Refused, AgentError) as error:
        print(f"export-model: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{request.out} is complete")
    if request.images is not None:
        print(f"now hold it against the original: scripts/compare-models {request.out} --images {request.images}")


def exported(request: Request) -> None:
    """Make the package. Raises Refused, AgentError."""
    chosen = _calibration(request)
    with staged(request.out) as folder:
        original = _original(request, chosen, folder)
        refuse_mixed(request.formats, mixed=original.mixed)
        print(
            f"{original.task.value}, input {original.width}x{original.height}: {', '.join(request.formats)}", flush=True
        )
        with quiet():
            from export_formats import make

            files = make(request, original, chosen, folder)
        describe(folder, _card(request, original, chosen), {**files, "onnx": original.file.name})
        for variant in request.formats:
            _open(folder, variant)
        for name in (*files.values(), original.file.name):
            print(f"  {name}: {(folder / name).stat().st_size / 1e6:.1f} MB")


def _calibration(request: Request) -> Album:
    """The user's pictures. Raises Refused: int8 is wanted, and they are too few."""
    if request.images is None:
        return Album((), ())
    found = album(request.images, request.pictures)
    if found.complaint:
        print(found.complaint, file=sys.stderr)
    if "int8" in request.formats:
        refuse_too_few(len(found.readable), request.images)
        if len(found.readable) < ENOUGH_PICTURES:
            print(
                f"only {len(found.readable)} pictures to calibrate int8 on; {ENOUGH_PICTURES} or more, by day and by "
                "night, make it closer to the original",
                file=sys.stderr,
            )
    return found


def _original(request: Request, chosen: Album, folder: Path) -> "Original":
    """The ONNX file, made from weights or copied, in `folder`. Raises Refused."""
    onnx = folder / "original.onnx"
    if request.model.suffix.lower() == ".onnx":
        onnx.write_bytes(request.model.read_bytes())
    else:
        _from_weights(request, onnx)
    with quiet():
        from export_original import read

        original = read(onnx, request, list(itertools.islice(chosen.pictures(), LOOKED_AT)))
    size = str(original.width) if original.width == original.height else f"{original.width}x{original.height}"
    return replace(original, file=onnx.rename(folder / f"{request.name}_{size}.onnx"))


def _from_weights(request: Request, onnx: Path) -> None:
    """Raises Refused."""
    print(f"{request.model.name} to ONNX, by Ultralytics (AGPL-3.0) in a process of its own", flush=True)
    size = [] if request.size is None else ["x".join(map(str, request.size))]
    program = [sys.executable, Path(__file__).with_name("export_weights.py"), request.model, onnx, *size]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode or not onnx.is_file():
        print(done.stdout, done.stderr, file=sys.stderr)
        raise Refused(f"Ultralytics could not export {request.model}; what it said is above")


def _card(request: Request, original: "Original", chosen: Album) -> Card:
    said = original.metadata
    licence = request.licence or str(said.get("license", "")).partition(" License")[0]
    if not licence:
        print("the model does not say on what terms it may be used; --licence puts them in", file=sys.stderr)
    labels = request.labels or original.export.labels
    if not labels:
        print("the model carries no class names; --labels FILE gives them, one a line", file=sys.stderr)
    return Card(
        name=request.name,
        description=request.description or str(said.get("description", "")).strip(),
        task=original.task,
        width=original.width,
        height=original.height,
        resize=original.resize.value if original.resize else "",
        labels=labels,
        keypoints=original.export.keypoints,
        licence=licence,
        source=_source(request, chosen),
    )


def _source(request: Request, chosen: Album) -> str:
    """What made it, of what, with which versions."""
    weights = request.model.suffix.lower() == ".pt"
    tools = (*(WEIGHTS_TOOLS if weights else ()), *TOOLS)
    versions = ", ".join(f"{tool} {importlib.metadata.version(tool)}" for tool in tools)
    calibrated = f"; int8 calibrated on {len(chosen.readable)} pictures" if "int8" in request.formats else ""
    digest = sha256_of(request.model)[:SHORT_DIGITS]
    return f"{request.model.name} (sha256 {digest}...) by scripts/export_model.py with {versions}{calibrated}"


def _open(folder: Path, variant: str) -> None:
    """Raises AgentError: the agent's own engine does not take what was made."""
    context = Context("export-model", SystemClock(), folder, folder, trial=True)
    engine = tflite.build(
        tflite.Options(type="tflite", model=str(folder.resolve()), variant=variant, threads=1), context
    )
    try:
        with quiet():
            engine.open()
    finally:
        engine.close()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What libraries print, those of C++ as well, is shown only when they fail."""
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        try:
            yield
        except (Refused, AgentError):
            raise
        except BaseException:
            log.seek(0)
            os.write(kept[1], log.read())
            raise
        finally:
            sys.stdout.flush()
            for number, file in enumerate(kept, start=1):
                os.dup2(file, number)
                os.close(file)


if __name__ == "__main__":
    main()
