"""What a witness of results is shown, and when."""

from fakes import FakeClock, InstantEngine, ListOutbox, ScriptedSource

from agent.flow import Decision, Frame, Reason, Result, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.pipeline import Pipeline, Shared
from agent.record import Identity


class Onlooker:
    def __init__(self, outbox: ListOutbox) -> None:
        self.seen: list[tuple[Frame, Result, int]] = []
        self._outbox = outbox

    def see(self, frame: Frame, result: Result) -> None:
        self.seen.append((frame, result, len(self._outbox.deliveries)))


def a_path() -> tuple[Pipeline, Lane, Onlooker, FakeClock]:
    clock, bell, outbox = FakeClock(), Bell(), ListOutbox()
    lane = Lane("local", engine := InstantEngine(), clock, on_room=bell.ring)
    lane.opened.set()
    onlooker = Onlooker(outbox)
    lanes = {Route.LOCAL: lane}
    shared = Shared(clock, bell, lanes, [outbox], Identity("a", "b"), 0.5, local=engine, witnesses=[onlooker])
    return Pipeline("cam", ScriptedSource(), shared), lane, onlooker, clock


def admit(pipeline: Pipeline, clock: FakeClock, route: Route = Route.LOCAL) -> Frame:
    pipeline.capture_one()
    frame = pipeline.latest.peek()
    assert frame is not None
    start_s = clock.now() if route is Route.LOCAL else None
    assert pipeline.admit(frame, Decision(route, Reason.LOCAL_ONLY, clock.now() + 0.5, start_s))
    return frame


def test_a_witness_sees_each_answered_frame_once_with_its_pixels_after_its_result_has_left() -> None:
    pipeline, lane, onlooker, clock = a_path()
    frames = [admit(pipeline, clock)]
    lane.step()
    pipeline.emit_ready()
    pipeline.emit_ready()
    frames.append(admit(pipeline, clock))
    lane.step()
    pipeline.emit_ready()
    assert [(frame, result.seq) for frame, result, _ in onlooker.seen] == [(f, f.seq) for f in frames]
    assert [delivered for _, _, delivered in onlooker.seen] == [1, 2]


def test_a_frame_without_an_answer_is_shown_to_nobody() -> None:
    pipeline, _, onlooker, clock = a_path()
    admit(pipeline, clock, Route.CLOUD)
    clock.advance(0.6)
    pipeline.emit_ready()
    assert onlooker.seen == []


def test_a_correction_is_shown_to_nobody_for_its_pixels_are_gone() -> None:
    pipeline, lane, onlooker, clock = a_path()
    admit(pipeline, clock)
    lane.step()
    pipeline.emit_ready()
    _, result, _ = onlooker.seen[0]
    pipeline.ordered.correct(result)
    pipeline.emit_ready()
    assert len(onlooker.seen) == 1
