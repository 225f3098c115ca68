"""The example of a fleet: its files fit the agent's topics and records, and each other."""

import json
import re
from pathlib import Path

import pytest
import yaml
from fakes import FakeClock

from agent.health import report_of_camera, report_of_outbox
from agent.outbox import Outbox
from agent.room import Limits
from agent.telemetry import CameraTelemetry

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "config" / "fleet"
SCHEMA = json.loads((REPOSITORY / "docs" / "result.schema.json").read_text(encoding="utf-8"))
CONNECT = yaml.safe_load((FOLDER / "connect.yaml").read_text(encoding="utf-8"))
INSERT = CONNECT["output"]["switch"]["cases"][1]["output"]["sql_insert"]
TELEGRAF = (FOLDER / "telegraf.conf").read_text(encoding="utf-8")


def test_the_columns_that_are_filled_are_those_of_the_table() -> None:
    table = (FOLDER / "schema.sql").read_text(encoding="utf-8").split("(", 1)[1].split("PRIMARY KEY")[0]
    columns = re.findall(r"^    (\w+)", table, re.MULTILINE)
    assert INSERT["columns"] == columns
    assert len(re.findall(r"^    this\.|^  this\.", INSERT["args_mapping"], re.MULTILINE)) == len(columns)


@pytest.mark.parametrize("path", re.findall(r"this\.([\w.]+)", INSERT["args_mapping"]))
def test_what_is_stored_stands_in_every_record(path: str) -> None:
    first, *more = path.removesuffix(".length").removesuffix(".format_json").split(".")
    assert first in SCHEMA["required"]
    if more:
        part = SCHEMA["$defs"][first]
        assert more[0] in part["required"]


def test_the_readers_subscribe_to_topics_that_agents_have_and_that_they_may_read() -> None:
    access = (FOLDER / "fleet.acl").read_text(encoding="utf-8")
    wanted = [*CONNECT["input"]["mqtt"]["topics"], *re.findall(r'topics = \["(.*?)"\]', TELEGRAF)]
    for topic in wanted:
        assert f"topic read {topic.removeprefix('$share/timescale/')}\n" in access


def test_telegraf_takes_what_the_health_report_has() -> None:
    outbox = Outbox(None, Limits(1, 1.0), FakeClock())
    reports = {"cameras": report_of_camera(CameraTelemetry().status()), "outboxes": report_of_outbox(outbox)}
    for section, report in reports.items():
        block = TELEGRAF.split(f'metric_selection = "/{section}/*"')[1].split("[[")[0]
        taken = set(re.findall(r'^      \w+ = "(?:number|string)?\(?(\w+)\)?"$', block, re.MULTILINE))
        assert len(taken) >= 3
        assert taken <= report.keys()
