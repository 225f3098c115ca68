"""Tracking, zones and lines in the configuration: what reaches the rules, and what is said of mistakes."""

import pytest

from agent import config, document, pipelines
from agent.config import Config
from agent.errors import ConfigError
from agent.polygon import Point, Polygon
from agent.presence import Presence
from agent.record import Identity
from agent.tracking.lines import Line
from agent.tracking.rules import Rules
from agent.tracking.spot import Anchor
from agent.tracking.tracker import Settings
from agent.tracking.whereabouts import Whereabouts
from agent.tracking.zones import Zone

FILE = """\
cameras:
  - name: gate
    source: {{type: synthetic}}
{keys}
engines: {{local: {{type: tflite, model: shapes}}}}
sinks: [{{type: stdout}}]
"""
SQUARE = "[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]"


def parsed(*keys: str) -> Config:
    text = FILE.format(keys="\n".join(f"    {key}" for key in keys))
    return config.validate(document.parse(text, name="f.yaml"))


def rules(*keys: str) -> Rules | None:
    return parsed(*keys).cameras[0].rules


def test_every_key_reaches_the_rules() -> None:
    found = rules(
        "tracking: {hold_s: 3, begin_confidence: 0.6, classes: [person, car]}",
        "zones:",
        "  - {name: door, points: [[0, 0], [1, 0], [1, 1]], classes: [person], dwell_s: 10, anchor: centre}",
        "lines:",
        "  - {name: entrance, from: [0, 0.5], to: [1, 0.5], classes: [car], anchor: centre}",
    )
    corner = Polygon((Point(0, 0), Point(1, 0), Point(1, 1)))
    assert found == Rules(
        Settings(3.0, 0.6),
        frozenset({"person", "car"}),
        (Zone("door", corner, frozenset({"person"}), 10.0, Anchor.CENTRE),),
        (Line("entrance", Point(0, 0.5), Point(1, 0.5), frozenset({"car"}), Anchor.CENTRE),),
    )


def test_a_camera_is_tracked_where_that_is_said_or_needed() -> None:
    assert rules() is None
    assert rules("tracking: {}") == Rules()
    assert Settings() == Rules().settings
    by_zone = rules(f"zones: [{{name: a, points: {SQUARE}}}]")
    by_line = rules("lines: [{name: a, from: [0, 0], to: [1, 1]}]")
    assert by_zone is not None
    assert by_line is not None
    assert (by_zone.settings, by_line.settings) == (Settings(), Settings())


def test_what_follows_a_camera_is_by_object_where_it_is_tracked_and_by_class_elsewhere() -> None:
    identity = Identity("a", "b")
    assert isinstance(pipelines.reporter_of(parsed().cameras[0], identity, ()), Presence)
    assert isinstance(pipelines.reporter_of(parsed("tracking: {}").cameras[0], identity, ()), Whereabouts)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "zones: [{name: a, points: [[0, 0], [640, 0], [640, 480]]}]",
            "cameras[0].zones[0].points: (640, 0) lies outside of the picture; give fractions of it, each 0..1",
        ),
        (
            "zones: [{name: a, points: [[0, 0], [1, 1]]}]",
            "cameras[0].zones[0].points: needs at least three points, and has 2",
        ),
        (
            "zones: [{name: a, points: [[0, 0], [1, 1], [1, 0], [0, 1]]}]",
            (
                "cameras[0].zones[0].points: the edge from (0, 0) to (1, 1) meets the one from (1, 0) to (0, 1); "
                "give the points in the order in which one walks around the area"
            ),
        ),
        (
            f"zones: [{{name: a, points: {SQUARE}}}, {{name: a, points: {SQUARE}}}]",
            "cameras[0].zones: two zones of this camera are called a; give each a name of its own",
        ),
        (
            f"zones: [{{name: a/b, points: {SQUARE}}}]",
            (
                "cameras[0].zones[0].name: may hold letters, digits, - and _ only, begins with a letter or digit, "
                "and has at most 63 of them (it is 'a/b')"
            ),
        ),
        (
            f"zones: [{{name: a, points: {SQUARE}, anchor: center}}]",
            "cameras[0].zones[0].anchor: 'center' is unknown; did you mean centre? Allowed: bottom, centre",
        ),
        (
            f"zones: [{{name: a, points: {SQUARE}, dwell_s: 0}}]",
            "cameras[0].zones[0].dwell_s: should be greater than 0 (it is 0)",
        ),
        ("zones: []", "cameras[0].zones: needs at least one item"),
        (
            "lines: [{name: a, from: [0.5, 0.5], to: [0.5, 0.5]}]",
            "cameras[0].lines[0]: begins and ends at the same point; give two different ones",
        ),
        (
            "lines: [{name: a, from: [0, 0], to: [0, 1]}, {name: a, from: [0, 0], to: [1, 1]}]",
            "cameras[0].lines: two lines of this camera are called a; give each a name of its own",
        ),
        (
            "lines: [{name: a, from: [0, 0.5], to: [100, 0.5]}]",
            "cameras[0].lines[0].to[0]: should be less than or equal to 1 (it is 100)",
        ),
        (
            "lines: [{name: a, from: [0, 0.5]}]",
            (
                "cameras[0].lines[0].to: is missing: where it ends, [x, y]; `in` is the way from the left to the "
                "right of who looks from its beginning to its end, `out` the other"
            ),
        ),
        ("tracking: {hold_s: 0}", "cameras[0].tracking.hold_s: should be greater than 0 (it is 0)"),
        (
            "tracking: {clases: [person]}",
            (
                "cameras[0].tracking.clases: there is no such key here; did you mean classes? Allowed: "
                "begin_confidence, classes, hold_s"
            ),
        ),
    ],
)
def test_a_mistake_is_named(keys: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(keys)
    assert caught.value.problems == (f"f.yaml:4: {said}",)
