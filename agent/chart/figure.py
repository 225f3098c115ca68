"""What every picture shares: the blank sheet, its colours, and a PNG file that is whole or not there. No state."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import words
from agent.errors import ChartError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOUD, DEVICE, PROBE, LATE = "#2f6fb3", "#e39c37", "#7b52ab", "#c62f2f"
MEASURED, LIMIT, FAINT = "#333333", "#c62f2f", "#8c8c8c"
_DPI = 100
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.markerscale": 2.5,
    "axes.formatter.useoffset": False,
    "date.converter": "concise",
    "timezone": "UTC",
}
"""Any: the keys are a type of their own in some versions of Matplotlib and text in others."""
_ENDING = ".png"
_PNG = b"\x89PNG\r\n\x1a\n"
_MAKER = b"Software\x00vedette"
_HEAD_BYTES = 512
"""The maker's name follows the picture's size, before any of its pixels."""


@contextlib.contextmanager
def sheet(path: Path, *, width_in: float, height_in: float) -> Iterator["Figure"]:
    """A blank figure, written to `path` as PNG when the block ends well: all of it, or the file stays as it was.

    Raises:
        ChartError: Matplotlib is not installed, or `path` holds anything but a picture of ours, has another ending or
            cannot be written.
    """
    ensure_drawable(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), contextlib.ExitStack() as undo:
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
        undo.callback(figure.clear)
        yield figure
        _save(figure, path)


def ensure_drawable(path: Path) -> None:
    """Raises ChartError where a picture could not be made in the end: Matplotlib is missing, or `path` is no place."""
    refuse_what_is_not_ours(path)
    _refuse_another_ending(path)
    _ensure_matplotlib()


def _ensure_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401 - that it can be
    except ImportError as error:
        raise ChartError(_absent(error)) from error


def refuse_what_is_not_ours(path: Path) -> None:
    """Raises ChartError where a picture would replace a folder, a device, or a file that is no picture of ours."""
    with _translated(path):
        if not path.exists():
            return
        head = b""
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
    if not (head.startswith(_PNG) and _MAKER in head):
        raise ChartError(f"{path} exists and is not a picture that vedette made, so it stays; name another file")


def _refuse_another_ending(path: Path) -> None:
    """Raises ChartError where programs would take the picture for something else."""
    if path.suffix.lower() != _ENDING:
        raise ChartError(f"no picture: it would be a PNG, and {path} does not end in {_ENDING}; name one that does")


def _absent(error: ImportError) -> str:
    what = "is not installed" if (error.name or "").partition(".")[0] == "matplotlib" else f"does not load ({error})"
    return f"no picture: Matplotlib {what}; {words.pip_install('matplotlib')} brings it"


def _save(figure: "Figure", path: Path) -> None:
    """Through a file beside it, so that no reader meets half a picture."""
    with _translated(path), contextlib.ExitStack() as undo:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        undo.callback(Path(name).unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as file:
            figure.savefig(file, format="png", metadata={"Software": "vedette"})
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
        undo.pop_all()


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise ChartError(f"no picture: {path} cannot be written: {why}; name another file") from error
