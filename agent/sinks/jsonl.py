"""Records as JSON lines in a local file.

Talks to one regular file that no other program writes to, and with `rotate` to the closed ones beside it; `_file` and
`_closed` say what happens to them. A full disk, a read-only or missing one, a folder in the way, and a file that was
moved or deleted are SinkUnavailable: records are kept and the file is opened again later. A batch that was written in
part is taken back first, so the files hold whole lines and no line twice.
Try it: `tail -F results.jsonl`; all of it: `zcat -f results.*.jsonl* results.jsonl`.
State is owned by the one thread of the sink.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from agent.flow import Delivery, Kind, Outcome
from agent.options import What, kinds_of
from agent.ports import Context, Sink
from agent.sinks import _lines
from agent.sinks._file import ActiveFile
from agent.sinks._file_options import FileOptions
from agent.sinks._tail import Form


class Options(FileOptions):
    """JSON lines in a local file."""

    type: Literal["jsonl"] = Field(description="one JSON line per record in a local file")
    path: Path = Field(
        Path("vedette-results.jsonl"), description="the file; a relative path starts at the configuration's folder"
    )
    what: What = Field("results", description="which records come into this file")

    @property
    def kinds(self) -> frozenset[Kind]:
        """What `what` stands for."""
        return kinds_of(self.what)


class JsonLines:
    """One file; one thread."""

    def __init__(self, options: Options, context: Context) -> None:
        self._file = ActiveFile(options, context, Form("JSON lines", end=b"\n", head=b"", is_whole=_is_record))

    def open(self) -> None:
        """Make the folders, open the file and put its end in order. Raises SinkUnavailable."""
        self._file.open()

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Write the batch in one go; all of it is there, or SinkUnavailable is raised and none is."""
        self._file.append(_lines.lines(batch))
        return [Outcome.ACCEPTED] * len(batch)

    def close(self) -> None:
        """Let go of the file; every batch is already with the system."""
        self._file.close()

    def __repr__(self) -> str:
        return f"<JsonLines {self._file}>"


def _is_record(tail: bytes) -> bool:
    """Whether `tail` is a whole JSON object: no beginning of an object is one itself."""
    try:
        return isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        return False


def build(options: Options, context: Context) -> Sink:
    """The plugin's entry."""
    return JsonLines(options, context)
