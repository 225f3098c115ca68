import threading

import pytest
from fakes import FakeClock, InstantEngine
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.lanes import Lane, nearly_always
from agent.loop import Pulse


def lane(clock: FakeClock, *, width: int = 1) -> Lane:
    made = Lane("local", InstantEngine(width=width), clock, on_room=lambda: None)
    made.opened.set()
    return made


def test_jobs_run_when_they_are_due_and_the_one_with_the_earliest_deadline_first() -> None:
    clock = FakeClock(0.0)
    it, ran = lane(clock), list[str]()
    it.start(lambda: ran.append("newer") is None, start_s=1.0, deadline_s=4.0)
    it.start(lambda: ran.append("older") is None, start_s=2.0, deadline_s=3.0)
    it.start(lambda: ran.append("not due") is None, start_s=9.0, deadline_s=2.5)
    assert not it.step()
    clock.advance(2.0)
    assert it.step()
    assert it.step()
    assert not it.step()
    assert ran == ["older", "newer"]


def test_all_promised_runs_can_be_hurried_at_once() -> None:
    clock = FakeClock(0.0)
    it, ran = lane(clock), list[int]()
    for n in range(3):
        it.start(lambda n=n: ran.append(n) is None, start_s=5.0 + n, deadline_s=6.0 + n)  # type: ignore[misc]
    it.hurry_all(0.0)
    while it.step():
        pass
    assert ran == [0, 1, 2]


def test_a_run_that_begins_at_once_fits_before_promises_that_are_not_due_yet() -> None:
    clock = FakeClock(0.0)
    it = lane(clock)
    it.start(lambda: clock.advance(0.1) is None, start_s=0.0, deadline_s=1.0)
    it.step()
    for _ in range(6):
        it.start(lambda: True, start_s=0.5, deadline_s=1.0)
    assert it.fits(1.0, clock.now())
    assert not it.fits(1.0, clock.now(), last=True)


@pytest.mark.parametrize(
    ("runs_s", "expected_s"),
    [([], 0.0), ([0.6], 0.6), ([0.6, 0.08], 0.6), ([0.6, 0.08, 0.07], 0.08), ([0.08] * 63 + [0.6], 0.08)],
)
def test_one_slow_run_says_nothing_of_the_others(runs_s: list[float], expected_s: float) -> None:
    assert nearly_always(runs_s) == expected_s


def test_a_hurried_job_runs_at_once() -> None:
    clock = FakeClock(0.0)
    it, ran = lane(clock), list[str]()
    job = it.start(lambda: ran.append("hedge") is None, start_s=5.0, deadline_s=6.0)
    it.hurry(job, 0.0)
    assert it.step()
    assert ran == ["hedge"]


def test_hurrying_a_job_that_has_run_does_not_run_it_again() -> None:
    clock = FakeClock(0.0)
    it, ran = lane(clock), list[str]()
    job = it.start(lambda: ran.append("once") is None, start_s=0.0, deadline_s=1.0)
    it.step()
    it.hurry(job, 0.0)
    assert not it.step()
    assert ran == ["once"]


def test_a_cancelled_job_never_runs_and_gives_its_room_back() -> None:
    clock = FakeClock(0.0)
    it = lane(clock)
    it.start(lambda: clock.advance(0.1) is None, start_s=0.0, deadline_s=1.0)
    it.step()
    jobs = [it.start(lambda: True, start_s=0.5, deadline_s=1.0) for _ in range(6)]
    assert not it.fits(1.0, clock.now(), last=True)
    for job in jobs:
        it.cancel(job)
    assert it.fits(1.0, clock.now(), last=True)
    clock.advance(1.0)
    assert not it.step()


def test_a_lane_is_free_until_a_job_is_due() -> None:
    clock = FakeClock(0.0)
    it = lane(clock)
    assert it.free
    it.start(lambda: True, start_s=1.0, deadline_s=2.0)
    assert it.free
    clock.advance(1.0)
    assert not it.free


def test_a_lane_whose_engine_is_not_open_is_not_free() -> None:
    assert not Lane("local", InstantEngine(), FakeClock(), on_room=lambda: None).free


def test_the_time_of_a_run_is_learnt_from_those_that_were_wanted() -> None:
    clock = FakeClock(0.0)
    it = lane(clock)

    def work() -> bool:
        clock.advance(0.08)
        return True

    it.start(work, start_s=0.0, deadline_s=1.0)
    it.start(lambda: False, start_s=0.0, deadline_s=1.0)
    it.step()
    it.step()
    assert it.run_s == pytest.approx(0.08)


@given(starts_s=st.lists(st.floats(0.0, 1.0), max_size=8), deadline_s=st.floats(0.0, 2.0), last=st.booleans())
def test_more_promises_never_make_more_room(starts_s: list[float], deadline_s: float, last: bool) -> None:
    clock = FakeClock(0.0)
    it = lane(clock)
    it.start(lambda: clock.advance(0.1) is None, start_s=0.0, deadline_s=1.0)
    it.step()
    fits = [it.fits(deadline_s, clock.now(), last=last)]
    for start_s in starts_s:
        it.start(lambda: True, start_s=start_s, deadline_s=start_s + 0.5)
        fits.append(it.fits(deadline_s, clock.now(), last=last))
    assert fits == sorted(fits, reverse=True)


def test_threads_of_a_lane_open_its_engine_once_and_end_when_it_stops() -> None:
    opened = threading.Semaphore(0)

    class Engine(InstantEngine):
        def open(self) -> None:
            opened.release()

    clock = SystemClock()
    it = Lane("cloud", Engine(width=3), clock, on_room=lambda: None)
    done = threading.Semaphore(0)
    threads = [threading.Thread(target=it.run, args=(Pulse(clock),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        it.start(lambda: done.release() is None, start_s=clock.now(), deadline_s=clock.now() + 1)
    for _ in range(3):
        assert done.acquire(timeout=5)
    it.stop()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert opened.acquire(blocking=False)
    assert not opened.acquire(blocking=False)


# An engine that takes long to open


class SlowEngine(InstantEngine):
    """Tells of each of its steps."""

    lane: Lane

    def __init__(self, clock: FakeClock, steps: int, every_s: float) -> None:
        super().__init__()
        self.pulse = Pulse(clock)
        self.ages_s: list[float] = []
        self._clock, self._steps, self._every_s = clock, steps, every_s

    def open(self) -> None:
        for step in range(self._steps):
            self._clock.advance(self._every_s)
            self.lane.progress(f"step {step}")
            self.ages_s.append(self.pulse.age_s())


def a_slow_engine(steps: int, every_s: float = 20.0) -> SlowEngine:
    clock = FakeClock(0.0)
    engine = SlowEngine(clock, steps, every_s)
    engine.lane = Lane("local", engine, clock, on_room=lambda: None)
    return engine


def test_an_engine_that_tells_of_its_progress_is_alive_however_long_it_opens() -> None:
    engine = a_slow_engine(steps=50)
    engine.lane.start(lambda: engine.lane.stop() is None, start_s=0.0, deadline_s=1.0)
    engine.lane.run(engine.pulse)
    assert engine.ages_s == [0.0] * 50
    assert engine.lane.opened.is_set()
    assert (engine.lane.opening, engine.lane.signs) == ("step 49", 50)


def test_what_an_engine_does_while_it_opens_is_logged_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    engine = a_slow_engine(steps=1000, every_s=0.1)
    with caplog.at_level("INFO", logger="agent.lanes"):
        engine.lane._open(engine.pulse)
    told = [int(record.message.split()[1]) for record in caplog.records]
    assert told == pytest.approx([0, 100, 300, 700], abs=3)


def test_a_stop_ends_the_opening_of_an_engine_without_a_fault() -> None:
    engine = a_slow_engine(steps=50)
    engine.lane.stop()
    engine.lane.run(engine.pulse)
    assert engine.ages_s == []
    assert not engine.lane.opened.is_set()
