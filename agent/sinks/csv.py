"""Results as rows of a CSV file, for spreadsheets and data frames: a row for each object.

Of a classifier each class that passed has a row, of a semantic segmentation each class that is there but the
background, both with empty cells for the box.

Talks to one regular file, and with `rotate` to the closed ones beside it, as a sink of type jsonl does; each of them
begins with the names of the columns. RFC 4180: UTF-8, commas, CRLF after each row, and quotes around a cell with a
comma, a quote or a line break. A CRLF inside of a cell becomes LF, so that CRLF ends a row everywhere. Numbers, true
and false are as in the JSON record; what a record does not have is an empty cell. x and y are the middle of the object,
and all is in pixels of the captured frame. A correction has rows of its own: where the newest answers alone are wanted,
leave out the rows whose `id` is another row's `supersedes`.

The rows of a batch are all written, or none is and SinkUnavailable is raised. After a kill the last results may come
again, with the same ids. A delivery that is no JSON object is rejected.
Try it: `python -c "import pandas; print(pandas.read_csv('results.csv'))"`.
State is owned by the one thread of the sink.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from agent.flow import Delivery, Outcome
from agent.ports import Context, Sink
from agent.sinks._file import ActiveFile
from agent.sinks._file_options import FileOptions
from agent.sinks._tail import Form

_OF_RESULT: Final = {
    "id": ("id",),
    "camera": ("camera",),
    "captured_at": ("captured_at",),
    "seq": ("seq",),
    "revision": ("revision",),
    "supersedes": ("supersedes",),
}
_OF_OBJECT: Final = ("class", "class_id", "confidence", "x", "y", "width", "height", "tracker_id")
_OF_RESULT_TOO: Final = {
    "image_width": ("image", "width"),
    "image_height": ("image", "height"),
    "route": ("route", "published"),
    "reason": ("route", "reason"),
    "late": ("route", "late"),
    "latency_ms": ("latency_ms", "total"),
    "model": ("model",),
}
"""Column -> where the record has it."""
COLUMNS: Final = (*_OF_RESULT, *_OF_OBJECT, *_OF_RESULT_TOO)
_ROW_END: Final = "\r\n"
_LINE_BREAK: Final = re.compile(r"\r+\n")


class Options(FileOptions):
    """Rows of a CSV file, one for each object."""

    type: Literal["csv"] = Field(description="one row per object in a local CSV file")
    path: Path = Field(
        Path("vedette-results.csv"), description="the file; a relative path starts at the configuration's folder"
    )
    empty_rows: bool = Field(
        True,
        description="true: a result without objects has one row, with empty cells for the object; false: it has none",
    )


class CsvRows:
    """One file; one thread."""

    def __init__(self, options: Options, context: Context) -> None:
        self._file = ActiveFile(
            options, context, Form("CSV rows", end=_ROW_END.encode(), head=_text([COLUMNS]), is_whole=_never)
        )
        self._empty_rows = options.empty_rows

    def open(self) -> None:
        """Make the folders, open the file and put its end in order. Raises SinkUnavailable."""
        self._file.open()

    def send(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """Write the batch in one go; all of it is there, or SinkUnavailable is raised and none is."""
        records = [_record(delivery) for delivery in batch]
        self._file.append(_text([row for record in records if record is not None for row in self._rows(record)]))
        return [Outcome.REJECTED if record is None else Outcome.ACCEPTED for record in records]

    def _rows(self, record: dict[str, Any]) -> Iterator[list[object]]:
        """A row for each object, or the one that says there is none."""
        before, after = ([_at(record, place) for place in part.values()] for part in (_OF_RESULT, _OF_RESULT_TOO))
        objects = _objects(record)
        for found in objects:
            yield [*before, *(_at(found, (name,)) for name in _OF_OBJECT), *after]
        if not objects and self._empty_rows:
            yield [*before, *[None] * len(_OF_OBJECT), *after]

    def close(self) -> None:
        """Let go of the file; every batch is already with the system."""
        self._file.close()

    def __repr__(self) -> str:
        return f"<CsvRows {self._file}>"


def _never(_tail: bytes) -> bool:
    """A row that was cut off inside of its last cell looks whole."""
    return False


def _record(delivery: Delivery) -> dict[str, Any] | None:
    try:
        record = json.loads(delivery.body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _objects(record: dict[str, Any]) -> list[Any]:
    """What has a row, whichever shape the task gives `predictions`."""
    found = record.get("predictions")
    if not isinstance(found, dict):
        return _list(found)
    if "segmentation_mask" in found:
        present = _list(found.get("present_class_ids"))
        return [{"class": _at(found, ("class_map", str(each))), "class_id": each} for each in present if each]
    passed = {name: found[name] for name in _list(record.get("predicted_classes")) if name in found}
    return [{"class": name, **score} for name, score in passed.items() if isinstance(score, dict)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(record: object, place: tuple[str, ...]) -> object:
    """The cell's value; None, an empty cell, where the record has no such place."""
    for name in place:
        record = record.get(name) if isinstance(record, dict) else None
    return _LINE_BREAK.sub("\n", record) if isinstance(record, str) else _as_json(record)


def _as_json(value: object) -> object:
    return json.dumps(value) if isinstance(value, bool | dict | list) else value


def _text(rows: Sequence[Sequence[object]]) -> bytes:
    page = io.StringIO(newline="")
    csv.writer(page, lineterminator=_ROW_END).writerows(rows)
    return page.getvalue().encode(errors="backslashreplace")


def build(options: Options, context: Context) -> Sink:
    """The plugin's entry."""
    return CsvRows(options, context)
