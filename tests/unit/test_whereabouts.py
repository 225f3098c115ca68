"""Tracked objects of one camera: ids in results, events of objects, counts of zones and lines."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from test_presence import VALIDATOR, seen

from agent.flow import UNTRACKED, Fate, Keypoint, Kind, Prediction, Result
from agent.polygon import Point, Polygon
from agent.ports import Report
from agent.record import Identity
from agent.states import Direction, Subject
from agent.tracking.lines import Line
from agent.tracking.rules import Rules
from agent.tracking.tracker import Settings
from agent.tracking.whereabouts import Whereabouts
from agent.tracking.zones import Zone

WIDTH, HEIGHT = 1000, 1000
DOOR = Zone("door", Polygon((Point(0.5, 0.0), Point(1.0, 0.0), Point(1.0, 1.0), Point(0.5, 1.0))), dwell_s=2.0)
"""The right half."""
GATE = Line("gate", Point(0.5, 1.0), Point(0.5, 0.0))
"""Upwards in the middle: in is to the right."""
RULES = Rules(zones=(DOOR,), lines=(GATE,))


def box(x: float, y: float = 500.0, name: str = "person", confidence: float = 0.9) -> Prediction:
    return Prediction(x, y, 100.0, 200.0, confidence, name, 0)


def at(at_s: float, *found: Prediction) -> Result:
    """A result at that time that shows these."""
    result = seen(at_s)
    assert result.answer is not None
    return replace(result, width=WIDTH, height=HEIGHT, answer=replace(result.answer, predictions=found))


def failed(at_s: float) -> Result:
    return replace(at(at_s), answer=None, published=None, fate=Fate.FAILED)


def correction(of: Result, *found: Prediction) -> Result:
    assert of.answer is not None
    return replace(of, revision=1, supersedes=0, answer=replace(of.answer, predictions=found))


@dataclass
class Log:
    """A camera's results, and what came of them."""

    rules: Rules = RULES
    known: tuple[str, ...] = ()
    events: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[tuple[str | None, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.whereabouts = Whereabouts(self.rules, Identity("porch", "boot"), known=self.known)

    def note(self, *results: Result) -> Report:
        for result in results:
            report = self.whereabouts.note(result)
            for state in report.states:
                told = (state.place, state.direction or state.class_name)
                assert self.counts.get(told) != int(state.body), "only what changed is told"
                self.counts[told] = int(state.body)
            for delivery in report.events:
                record = json.loads(delivery.body)
                VALIDATOR.validate(record)
                assert (delivery.id, delivery.kind) == (record["id"], Kind.EVENT)
                self.events.append(record)
        return report

    def told(self) -> list[tuple[Any, ...]]:
        return [
            (event["type"], event["cause"], event["tracker_id"], event.get("zone") or event.get("line"))
            for event in self.events
        ]


def ids(report: Report) -> list[int | None]:
    assert report.result.answer is not None
    return [found.tracker_id for found in report.result.answer.predictions]


def walk(*places: float, begin_s: float = 1.0, step_s: float = 0.5) -> list[Result]:
    return [at(begin_s + number * step_s, box(x)) for number, x in enumerate(places)]


# Events


def test_an_object_is_new_when_it_is_confirmed_and_ends_when_it_is_not_seen_for_the_hold() -> None:
    log = Log(Rules())
    log.note(*walk(100, 100, 100), at(3, box(900)), at(4))
    assert log.told() == [("new", "appeared", 1, None)]
    log.note(at(4.6))
    assert log.told() == [("new", "appeared", 1, None), ("end", "gone", 1, None)]
    first, last = log.events
    assert first["episode"] == last["episode"] == "porch/door/boot/1500/1"
    assert [event["id"].removeprefix(first["episode"]) for event in log.events] == ["/1500/new", "/4600/end"]
    assert first["began_at"] == last["began_at"] == "2027-01-15T08:00:01.000Z"
    assert (first["duration_s"], last["duration_s"]) == (0.5, 3.6)
    assert (first["class"], first["count"], first["confidence"]) == ("person", 1, 0.9)
    assert last["box"] == {"x": 100.0, "y": 500.0, "width": 100.0, "height": 200.0}
    assert last["result"] == "porch/door/boot/4600/0"


def test_a_way_through_a_line_into_a_zone_and_out_again_is_told_step_by_step() -> None:
    log = Log()
    log.note(*walk(400, 430, 470, 540, 580, 600, 600, 600, 600, 540, 470, 430, 400), at(10), at(12))
    assert log.told() == [
        ("new", "appeared", 1, None),
        ("update", "crossed", 1, "gate"),
        ("update", "entered", 1, "door"),
        ("update", "dwelt", 1, "door"),
        ("update", "crossed", 1, "gate"),
        ("update", "left", 1, "door"),
        ("end", "gone", 1, None),
    ]
    _, crossed, entered, dwelt, back, left, _ = log.events
    assert (crossed["direction"], crossed["totals"], crossed["zones"]) == ("in", {"in": 1, "out": 0}, [])
    assert (entered["inside"], entered["zones"]) == (1, ["door"])
    assert (dwelt["inside"], dwelt["dwell_s"]) == (1, 2.0)
    assert (back["direction"], back["totals"]) == ("out", {"in": 1, "out": 1})
    assert (left["inside"], left["zones"], left["dwell_s"]) == (0, [], 3.5)
    assert entered["id"] == "porch/door/boot/1500/1/3000/update/entered/door"


def test_a_track_that_ends_inside_a_zone_leaves_it_first() -> None:
    log = Log(Rules(zones=(replace(DOOR, dwell_s=None),)))
    log.note(*walk(700, 700, 700), at(4), at(5))
    assert [cause for _, cause, *_ in log.told()] == ["appeared", "entered", "left", "gone"]
    assert log.events[2]["dwell_s"] == 0.5
    assert log.counts["door", "person"] == 0


def test_each_of_two_in_a_zone_has_events_of_its_own_and_both_are_counted() -> None:
    log = Log(Rules(zones=(DOOR,)))
    log.note(at(1, box(600), box(800)), at(1.1, box(600), box(800)))
    assert [event["inside"] for event in log.events if event["cause"] == "entered"] == [1, 2]
    assert log.counts["door", "person"] == 2
    assert len({event["episode"] for event in log.events}) == 2


def test_another_class_is_told_and_moves_the_count() -> None:
    log = Log(Rules(zones=(DOOR,)))
    log.note(*(at(1 + n / 10, box(700, name="car")) for n in range(2)))
    log.note(*(at(2 + n / 10, box(700, name="truck")) for n in range(3)))
    assert [(event["cause"], event["class"]) for event in log.events] == [
        ("appeared", "car"),
        ("entered", "car"),
        ("class", "truck"),
    ]
    assert (log.counts["door", "car"], log.counts["door", "truck"]) == (0, 1)


def test_what_turns_out_to_be_another_class_leaves_a_zone_that_is_not_for_that() -> None:
    log = Log(Rules(zones=(replace(DOOR, classes=frozenset({"car"})),)))
    log.note(*(at(1 + n / 10, box(700, name="car")) for n in range(2)))
    log.note(*(at(2 + n / 10, box(700, name="truck")) for n in range(3)))
    assert [(event["cause"], event["class"]) for event in log.events][2:] == [("left", "car"), ("class", "truck")]
    assert log.counts["door", "car"] == 0
    assert ("door", "truck") not in log.counts


def test_zones_and_lines_for_a_class_pass_others_over() -> None:
    only = frozenset({"car"})
    log = Log(Rules(zones=(replace(DOOR, classes=only),), lines=(replace(GATE, classes=only),)))
    log.note(*walk(300, 400, 470, 540, 620, 700))
    assert [cause for _, cause, *_ in log.told()] == ["appeared"]


# Ids


def test_an_object_has_the_id_of_its_track_once_that_is_confirmed() -> None:
    log = Log()
    assert ids(log.note(at(1, box(200)))) == [UNTRACKED]
    assert ids(log.note(at(1.1, box(800), box(200)))) == [UNTRACKED, 1]
    assert ids(log.note(at(1.2, box(200), box(800)))) == [1, 2]


def test_of_a_tracked_camera_every_object_has_a_number_so_that_arrays_of_them_can_be_made() -> None:
    log = Log(Rules(classes=frozenset({"person"})))
    log.note(at(1, box(200), box(600, name="dog")))
    assert ids(log.note(at(1.1, box(600, name="dog"), box(200), box(900)))) == [UNTRACKED, 1, UNTRACKED]
    assert [event["class"] for event in log.events] == ["person"]


def test_an_object_keeps_its_outline_and_keypoints_when_it_gets_its_id() -> None:
    outline = ((60.0, 400.0), (140.0, 400.0), (100.0, 600.0))
    whole = replace(box(100.0), points=outline, keypoints=(Keypoint(100.0, 420.0, 0.9, "nose", 0),))
    log = Log()
    for at_s in (1.0, 1.5, 2.0):
        report = log.note(at(at_s, whole))
    assert report.result.answer is not None
    assert report.result.answer.predictions == (replace(whole, tracker_id=1),)


def test_a_result_is_else_as_it_was() -> None:
    result = at(1, box(200))
    assert result.answer is not None
    after = Log().note(result).result
    assert after.answer is not None
    stripped = tuple(replace(found, tracker_id=None) for found in after.answer.predictions)
    assert replace(after, answer=replace(after.answer, predictions=stripped)) == result


def test_a_correction_has_the_ids_of_the_first_answer_and_moves_nothing() -> None:
    log = Log()
    log.note(at(1, box(200), box(800)))
    first = at(1.1, box(200), box(800))
    log.note(first, at(1.2, box(210), box(800)))
    before = list(log.events)
    late = log.note(correction(first, box(805, name="dog"), box(205), box(500)))
    assert ids(late) == [2, 1, UNTRACKED]
    assert (late.states, late.events, log.events) == ((), (), before)
    assert ids(log.note(at(1.3, box(220)))) == [1]


def test_no_two_objects_of_a_correction_have_one_id() -> None:
    log = Log()
    first = at(1.1, box(200))
    log.note(at(1, box(200)), first)
    assert sorted(ids(log.note(correction(first, box(200), box(204), box(196)))), key=str) == [UNTRACKED, UNTRACKED, 1]


def test_an_object_that_barely_overlaps_is_another_one() -> None:
    log = Log()
    first = at(1.1, box(200))
    log.note(at(1, box(200)), first)
    assert ids(log.note(correction(first, box(260)))) == [UNTRACKED]
    assert ids(log.note(correction(first, box(240)))) == [1]


def test_a_correction_of_a_frame_that_is_not_remembered_has_no_tracks() -> None:
    log = Log()
    frames = [at(1 + n / 10, box(200)) for n in range(700)]
    log.note(*frames)
    assert ids(log.note(correction(frames[1], box(200)))) == [UNTRACKED]
    assert ids(log.note(correction(frames[-2], box(200)))) == [1]
    assert ids(log.note(correction(at(99), box(200)))) == [UNTRACKED]


# A camera that was away


def test_who_stands_there_after_hours_without_the_camera_is_somebody_else() -> None:
    log = Log()
    log.note(*(at(1 + n / 10, box(700)) for n in range(10)), *(at(30_000 + n / 10, box(700)) for n in range(10)))
    assert [(event["cause"], event["tracker_id"]) for event in log.events] == [
        ("appeared", 1),
        ("entered", 1),
        ("left", 1),
        ("gone", 1),
        ("appeared", 2),
        ("entered", 2),
    ]
    assert max(event["duration_s"] for event in log.events) < 1
    assert log.counts["door", "person"] == 1


def test_a_camera_that_was_opened_again_or_sends_a_frame_a_minute_loses_nobody() -> None:
    for gap_s in (5.0, 60.0):
        log = Log()
        log.note(*(at(1 + n * gap_s, box(700)) for n in range(20)))
        assert {event["tracker_id"] for event in log.events} == {1}


def test_behind_a_motion_gate_who_does_not_move_is_still_there() -> None:
    log = Log(replace(RULES, still_s=120.0))
    log.note(*(at(1 + n / 10, box(700)) for n in range(10)), *(at(122 + n / 10, box(700)) for n in range(10)))
    assert {event["tracker_id"] for event in log.events} == {1}


# Counts


def test_the_first_result_tells_the_counts_of_all_zones_and_lines_for_what_an_earlier_run_left() -> None:
    cars = replace(DOOR, name="drive", classes=frozenset({"car"}))
    log = Log(Rules(zones=(DOOR, cars), lines=(GATE,)), known=("person", "dog"))
    log.note(at(1))
    assert log.counts == {
        (None, "person"): 0,
        (None, "dog"): 0,
        ("door", "person"): 0,
        ("door", "dog"): 0,
        ("drive", "car"): 0,
        ("gate", Direction.IN): 0,
        ("gate", Direction.OUT): 0,
    }
    log.note(at(2))  # which asserts that nothing is told again


def test_classes_that_are_not_tracked_are_not_counted_in_zones() -> None:
    log = Log(Rules(classes=frozenset({"person"}), zones=(DOOR,)), known=("dog",))
    log.note(at(1, box(700, name="dog")), at(1.1, box(700, name="dog")))
    assert log.counts == {(None, "dog"): 1, ("door", "person"): 0}


def test_states_say_what_they_are_about() -> None:
    states = Log(known=("person",)).note(at(1)).states
    assert {(state.subject, state.camera, state.class_name, state.place) for state in states} == {
        (Subject.COUNT, "door", "person", None),
        (Subject.ZONE, "door", "person", "door"),
        (Subject.LINE, "door", None, "gate"),
    }


# Whatever comes, in whatever order

PLACES = st.lists(
    st.builds(box, st.sampled_from(range(400, 640, 40)), st.sampled_from([300, 700]), st.sampled_from(["a", "b"])),
    max_size=4,
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.2, 0.05, 0.0, 0.7, 5.0]), st.sampled_from(["seen", "seen", "seen", "failed", "late"]), PLACES
    ),
    min_size=10,
    max_size=40,
)
"""Along the line and the zone's edge, near enough that one is often the next step of another."""


def results_of(steps: Iterable[tuple[float, str, list[Prediction]]]) -> list[Result]:
    at_s, results = 1.0, [at(1.0)]
    for number, (step_s, kind, found) in enumerate(steps, start=2):
        at_s += step_s
        result = failed(at_s) if kind == "failed" else at(at_s, *found)
        earlier = results[len(results) // 2]
        late = kind == "late" and earlier.answer is not None
        results.append(correction(earlier, *found) if late else replace(result, seq=number))
    return results


@given(STEPS)
def test_objects_begin_and_end_once_and_zones_hold_who_entered_and_did_not_leave(
    steps: list[tuple[float, str, list[Prediction]]],
) -> None:
    log, done = Log(Rules(Settings(hold_s=0.5), zones=(DOOR,), lines=(GATE,))), 0
    for result in [*results_of(steps), at(900), at(901)]:
        log.note(result)
        by_cause = Counter(event["cause"] for event in log.events)
        inside = sum(count for (place, _), count in log.counts.items() if place == "door")
        assert inside == by_cause["entered"] - by_cause["left"] >= 0
        assert min(log.counts.values(), default=0) >= 0
        assert sum(log.counts["gate", way] for way in Direction) == by_cause["crossed"]
        for event in log.events[done:]:
            assert event["zones"] == (["door"] if event["tracker_id"] in occupants(log.events, event) else [])
        done = len(log.events)
    assert len({event["id"] for event in log.events}) == len(log.events)
    for number in {event["tracker_id"] for event in log.events}:
        own = [event for event in log.events if event["tracker_id"] == number]
        assert [event["type"] for event in own] == ["new", *["update"] * (len(own) - 2), "end"]
        moves = [event["cause"] for event in own if event["cause"] in ("entered", "left")]
        assert moves == ["entered", "left"] * (len(moves) // 2)


def occupants(events: list[dict[str, Any]], until: dict[str, Any]) -> set[int]:
    """Who is in the zone after that event, as the events tell it."""
    inside: set[int] = set()
    for event in events[: events.index(until) + 1]:
        if event["cause"] == "entered":
            inside.add(event["tracker_id"])
        elif event["cause"] == "left":
            inside.remove(event["tracker_id"])
    return inside


@given(STEPS)
def test_failed_frames_and_corrections_change_no_event_and_no_count(
    steps: list[tuple[float, str, list[Prediction]]],
) -> None:
    results = results_of(steps)
    whole, bare = Log(), Log()
    whole.note(*results)
    bare.note(*(result for result in results if result.answer is not None and not result.revision))
    assert (whole.events, whole.counts) == (bare.events, bare.counts)
