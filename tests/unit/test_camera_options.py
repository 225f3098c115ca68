"""What of a camera's pictures is used, as it stands in the file."""

import pytest

from agent import config, document
from agent.config import Config
from agent.errors import ConfigError

PAGE = """
cameras: [{{name: gate, source: {{type: synthetic}}, {keys}}}]
engines: {{local: {{type: tflite, model: shapes}}}}
sinks: [{{type: stdout}}]
"""


def parsed(keys: str) -> Config:
    return config.validate(document.parse(PAGE.format(keys=keys), name="vedette.yaml"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("rotate: 45", "rotate: '45' is unknown; allowed: 0, 90, 180, 270"),
        ("crop: [0.5, 0, 0.2, 1]", "crop: give [left, top, right, bottom] as fractions"),
        ("masks: [{points: [[0, 0], [1, 1]]}]", "masks[0].points: needs at least three points"),
        (
            "masks: [{points: [[0, 0], [1, 1], [1, 0], [0, 1]]}]",
            "masks[0].points: the edge from (0, 0) to (1, 1) meets",
        ),
        ("masks: [{points: [[0, 0], [640, 0], [1, 1]]}]", "masks[0].points: (640, 0) lies outside of the picture"),
        ("schedule: {periods: [{from: 7, to: 9}]}", "periods[0].from: should be text; put it in quotes"),
        ('schedule: {periods: [{from: "07:00+02:00", to: "9:00"}]}', 'periods[0].from: give a time as "07:30"'),
        ("schedule: {periods: [{from: sunrise, to: sunset}]}", "schedule: sunrise and sunset need latitude"),
    ],
)
def test_a_mistake_says_where_it_is_and_what_is_allowed(keys: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(keys)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_times_are_read_with_quotes_and_without() -> None:
    schedule = (
        parsed('schedule: {periods: [{from: 7:05, to: 17:30}, {from: "07:05", to: "17:30"}]}').cameras[0].schedule
    )
    assert schedule is not None
    first, second = (period.period for period in schedule.periods)
    assert first == second


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "crop: [0.5, 0, 1, 1], masks: [{points: [[0, 0], [0.5, 0], [0.4, 1]]}]",
            "camera gate: masks[0] lies in what crop cuts off, and hides nothing",
        ),
        ("motion: {hold_s: 60, heartbeat_s: 30}", "heartbeat_s is not above motion.hold_s"),
        ("fps: 0.01, motion: {}", "nothing is held back"),
    ],
)
def test_what_is_probably_not_meant_is_noted_but_allowed(keys: str, said: str) -> None:
    assert said in parsed(keys).notes[0]


def test_nothing_is_noted_of_what_makes_sense() -> None:
    keys = "crop: [0.4, 0, 1, 1], masks: [{points: [[0, 0], [0.5, 0], [0.4, 1]]}], fps: 5, motion: {}"
    assert parsed(keys).notes == ()
