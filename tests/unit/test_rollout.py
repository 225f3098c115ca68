"""A new version from the shelf into use: what it goes through, what ends its trial, and what a crash leaves."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from fakes import FakeClock, a_frame
from unit.test_references import CAR, EVERY_S, collecting, shown

from agent import app, config, document, rollouts
from agent.clock import SystemClock
from agent.errors import AgentError, ConfigError, EngineBroken, EngineUnwanted
from agent.flow import Answer, Frame, Prediction, Route, Timings
from agent.lanes import Job, Lane
from agent.loop import Pulse
from agent.ports import Context
from agent.rollout import choice, mark
from agent.rollout.book import Book, Stopping
from agent.rollout.comparison import Comparison
from agent.rollout.gate import Against, Terms
from agent.rollout.opening import Progress
from agent.rollout.probation import LEAST_RUNS
from agent.rollout.references import References
from agent.rollout.rollout import Plan, Rollout
from agent.rollout.switch import Switch, Version
from agent.shelf import Shelf, Standing
from agent.stamp import boot_id

PERSON = Prediction(10.0, 10.0, 8.0, 16.0, 0.8, "person", 0)
NAME, PROBATION_S, FRAMES = "shapes", 100.0, 4


@dataclass
class Acting:
    """An engine as the test wants it."""

    clock: FakeClock
    found: tuple[Prediction, ...] = (CAR,)
    took_s: float = 0.02
    error: Exception | None = None
    cannot_open: Exception | None = None
    loaded: bool = False
    progress: Progress = lambda _: None
    runs: int = 0
    stalls_every: int = 0
    width: int = 1

    def open(self) -> None:
        self.loaded = True
        if self.cannot_open is not None:
            raise self.cannot_open
        self.progress("loading")

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        assert self.loaded, "a frame came before the engine was open, or after it was closed"
        self.runs += 1
        is_stalled = self.stalls_every and not self.runs % self.stalls_every
        self.clock.advance(0.5 if is_stalled else self.took_s)
        if self.error is not None:
            raise self.error
        return Answer(self.found, "package", "acting", Timings())

    def close(self) -> None:
        self.loaded = False


class PromptLane(Lane):
    """Does each job at once."""

    def start(self, work: Callable[[], bool], *, start_s: float, deadline_s: float) -> Job:
        work()
        return Job(start_s, 0, deadline_s, work)


@dataclass
class Device:
    """One run of an agent that follows `shapes`, on a folder that outlasts it."""

    folder: Path
    engines: dict[str, Acting] = field(default_factory=dict)
    boot_id: str = "boot"
    against: Against = Against.EITHER
    hosted: bool = False
    agent: str = "yard"

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.shelf = Shelf(self.folder / "models", self.clock)
        if not self.shelf.names():
            self.install("1")
        self.book = Book(self.shelf, NAME, self.folder / f"trial-{self.agent}.json", self.boot_id)
        self.book.recover()
        self.begun_with = self.shelf.current(NAME) or ""
        first = self.engine(self.begun_with)
        self.switch = Switch(Version(NAME, self.begun_with, first), self.clock)
        self.references = References(FRAMES, EVERY_S)
        lane = PromptLane("local", self.switch, self.clock, on_room=lambda: None)
        lane.opened.set()
        self.switch.open()
        self.pulse, self.seq = Pulse(self.clock), 0
        self.rollout = Rollout(
            self.switch,
            self.book,
            Comparison(self.references, lane, self.clock),
            build=self._build,
            plan=Plan(Terms(0.8, self.against, 1.5, FRAMES), PROBATION_S, self.hosted),
            clock=self.clock,
        )

    def _build(self, version: str, progress: Progress) -> Acting:
        engine = self.engine(version)
        engine.progress = progress
        return engine

    def engine(self, version: str) -> Acting:
        engine = self.engines.setdefault(version, Acting(self.clock))
        engine.clock = self.clock
        return engine

    def install(self, version: str, **acts: object) -> None:
        with self.shelf.stage() as staged:
            (staged / "model.yaml").write_text("name: shapes\nfile: m\n", encoding="utf-8")
            self.shelf.install(staged, NAME, version)
        self.engines[version] = Acting(self.clock, **acts)  # type: ignore[arg-type]

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.rollout.step(self.pulse)
            self.clock.advance(1.0)

    def answer(self, count: int = 1) -> list[str]:
        """So many frames; who answered them."""
        return [self.switch.infer(a_frame(), 0.0).model for _ in range(count)]

    def show(self, count: int, *found: Prediction, route: Route = Route.LOCAL) -> None:
        """So many answered frames, spaced in time."""
        for _ in range(count):
            self.seq += 1
            self.clock.advance(EVERY_S)
            self.references.see(*shown(self.seq, *found, at_s=self.clock.now(), route=route))

    def to_trial(self, version: str) -> None:
        """Bring the version on the shelf as far as its trial."""
        self.answer(40)
        self.step()
        self.show(FRAMES, CAR)
        self.step()
        assert self.switch.model == f"{NAME}@{version}", self.told(version)

    def told(self, version: str) -> tuple[Standing | None, str]:
        event = self.shelf.standing(NAME, version)
        return (None, "") if event is None else (event.standing, event.reason)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


# The way into use


def test_with_one_version_nothing_happens_and_no_frame_is_held(device: Device) -> None:
    device.step()
    device.show(20, CAR)
    device.step()
    assert device.references.taken() == []
    assert device.told("1") == (Standing.INSTALLED, "")
    assert device.answer() == ["shapes@1"]


def test_a_newer_version_waits_for_frames_with_objects_and_says_so(device: Device) -> None:
    device.install("2")
    device.step(3)
    device.show(20)
    device.step()
    assert device.told("2") == (Standing.INSTALLED, "waits for reference frames: 4 with objects in them")
    assert [event.version for event in device.shelf.history(NAME)] == ["1", "2", "2"], "said once"
    assert not device.engines["2"].loaded


def test_a_version_that_agrees_is_switched_to_and_confirmed_after_its_trial(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    assert device.told("2") == (Standing.ON_TRIAL, "answers from now on, on trial for 100 s")
    assert device.shelf.current(NAME) == "1"
    assert device.engines["1"].loaded, "the version before it stays loaded"
    assert device.answer(LEAST_RUNS) == ["shapes@2"] * LEAST_RUNS
    device.clock.advance(PROBATION_S - 5)
    device.step()
    assert device.told("2")[0] is Standing.ON_TRIAL
    device.clock.advance(5)
    device.step()
    event = device.shelf.standing(NAME, "2")
    assert event is not None
    assert event.standing is Standing.CONFIRMED
    assert event.measurements["median_ms"] == pytest.approx(20.0)
    assert device.shelf.current(NAME) == "2"
    assert not device.engines["1"].loaded
    assert device.references.taken() == []
    assert not (device.folder / "trial-yard.json").exists()
    assert device.answer() == ["shapes@2"]
    assert Device(device.folder).begun_with == "2"


def test_a_trial_without_frames_goes_on_until_there_were_enough(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    device.clock.advance(10 * PROBATION_S)
    device.step()
    assert device.told("2")[0] is Standing.ON_TRIAL
    device.answer(LEAST_RUNS)
    device.step()
    assert device.told("2")[0] is Standing.CONFIRMED


def test_the_newest_version_is_tried_and_a_rejected_one_never_again_until_there_is_a_newer_one(device: Device) -> None:
    device.install("2")
    device.install("10", found=(PERSON,))
    device.step()
    device.show(FRAMES, CAR)
    device.step()
    assert device.told("10") == (Standing.REJECTED, "agreement 0.00 with the running version, 0.8 is needed")
    assert not device.engines["10"].loaded
    device.to_trial("2")
    device.answer(LEAST_RUNS)
    device.clock.advance(PROBATION_S)
    device.step(3)
    runs = device.engines["10"].runs
    device.show(FRAMES, CAR)
    device.step(3)
    assert device.engines["10"].runs == runs
    device.install("11")
    device.to_trial("11")


@pytest.mark.parametrize(
    ("acts", "reason"),
    [
        ({"took_s": 0.05}, "its runs take 50.0 ms (median), those of the version before it 20.0 ms"),
        ({"cannot_open": EngineBroken("weights: no such operator")}, "cannot be opened: weights: no such operator"),
        ({"cannot_open": MemoryError()}, "cannot be opened: MemoryError"),
        ({"error": EngineBroken("NaN")}, "fails on a reference frame: EngineBroken: NaN"),
        ({"error": ZeroDivisionError("oh")}, "fails on a reference frame: ZeroDivisionError: oh"),
        ({"found": ()}, "agreement 0.00 with the running version, 0.8 is needed"),
    ],
)
def test_what_is_no_good_is_rejected_with_the_reason_and_costs_no_frame(
    device: Device, acts: dict[str, object], reason: str
) -> None:
    device.install("2", **acts)
    device.step()
    device.show(FRAMES, CAR)
    device.step()
    assert device.told("2") == (Standing.REJECTED, reason)
    assert device.answer(3) == ["shapes@1"] * 3
    assert not device.engines["2"].loaded
    assert not (device.folder / "trial-yard.json").exists()


def test_both_versions_are_measured_on_the_same_frames_and_mostly_the_lane_is_left_alone(device: Device) -> None:
    device.install("2")
    device.step()
    device.show(3)
    device.show(FRAMES, CAR)
    begun_s, before = device.clock.now(), device.engines["1"].runs
    device.step()
    assert device.engines["2"].runs == device.engines["1"].runs - before == FRAMES + 1
    assert device.clock.now() - begun_s - 1.0 == pytest.approx(2 * (FRAMES + 1) * 0.02 * 5)


def test_where_the_running_version_is_the_worse_one_the_hosted_api_is_waited_for_and_decides(tmp_path: Path) -> None:
    device = Device(tmp_path, hosted=True)
    device.engines["1"].found = (PERSON,)
    device.install("2")
    device.step()
    device.show(FRAMES, CAR)
    device.step()
    assert device.told("2") == (Standing.INSTALLED, "waits for frames that the hosted API has answered")
    assert not device.engines["2"].loaded
    device.step()
    runs = device.engines["2"].runs
    device.show(FRAMES - 1, CAR, route=Route.CLOUD)
    device.step()
    assert device.engines["2"].runs == runs
    device.show(1, CAR, route=Route.CLOUD)
    device.step()
    assert device.switch.model == "shapes@2"


def test_frames_in_which_neither_finds_anything_are_replaced_by_others(device: Device) -> None:
    device.install("2", found=())
    device.engines["1"].found = ()
    device.step()
    device.show(FRAMES, CAR)
    device.step()
    assert device.told("2") == (Standing.INSTALLED, "waits for frames in which the running version finds something")
    assert device.references.taken() == []
    device.engines["1"].found = device.engines["2"].found = (CAR,)
    device.to_trial("2")


# The trial


def test_a_version_that_fails_on_trial_costs_no_frame_and_is_taken_back(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    device.answer(10)
    device.engines["2"].error = ValueError("shape")
    assert device.answer(3) == ["shapes@1"] * 3
    device.step()
    assert device.told("2") == (Standing.REJECTED, "3 of its last 13 runs failed; shapes@1 answers again")
    assert device.answer(2) == ["shapes@1"] * 2
    assert not device.engines["2"].loaded
    assert device.shelf.current(NAME) == "1"
    device.step(5)
    assert device.switch.model == "shapes@1"


def test_a_failure_now_and_then_as_before_is_no_reason(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    for _ in range(3):
        device.engines["2"].error = ValueError("shape")
        device.answer(1)
        device.engines["2"].error = None
        device.answer(15)
    device.step()
    assert device.switch.model == "shapes@2"


def test_a_version_that_becomes_slow_is_taken_back(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    device.engines["2"].took_s = 0.05
    device.answer(30)
    device.step()
    assert device.told("2")[0] is Standing.REJECTED
    assert device.told("2")[1].startswith("its runs take 50.0 ms (median), those of the version before it 20.0 ms")
    event = device.shelf.standing(NAME, "2")
    assert event is not None
    assert event.measurements["median_ms"] == pytest.approx(50.0)
    assert device.answer() == ["shapes@1"]


def test_on_a_device_that_has_become_slow_both_are_slow_and_the_new_one_stays(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    device.install("2")
    device.to_trial("2")
    device.engines["1"].took_s = device.engines["2"].took_s = 0.05
    device.answer(64)
    device.step(3)
    assert device.switch.model == "shapes@2"
    assert caplog.text.count("both do by now") == 1
    device.engines["2"].took_s = 0.1
    device.answer(64)
    device.step()
    assert device.told("2")[0] is Standing.REJECTED


def test_runs_that_stall_now_and_then_are_seen_as_well(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    device.engines["2"].stalls_every = 5
    device.answer(60)
    assert device.switch.tally().median_s == pytest.approx(0.02)
    device.step()
    reason = "its runs take 500.0 ms (p95), those of the version before it 20.0 ms; shapes@1 answers again"
    assert device.told("2") == (Standing.REJECTED, reason)


# What people say


def test_a_person_s_choice_is_followed_without_a_trial(device: Device) -> None:
    device.install("2", found=(PERSON,))
    choice.use(device.shelf, NAME, "2")
    device.step()
    assert device.answer() == ["shapes@2"]
    assert not device.engines["1"].loaded
    assert device.told("2") == (Standing.CONFIRMED, "chosen by hand")
    choice.use(device.shelf, NAME, "1")
    device.step(3)
    assert device.answer() == ["shapes@1"]
    assert device.told("2")[0] is Standing.CONFIRMED
    device.show(FRAMES, CAR)
    device.step(3)
    assert device.answer() == ["shapes@1"], "what was left by hand does not come back by itself"


def test_a_choice_that_cannot_be_used_is_put_back(device: Device) -> None:
    device.install("2", cannot_open=EngineBroken("cut short"))
    choice.use(device.shelf, NAME, "2")
    device.step(2)
    assert device.answer() == ["shapes@1"]
    assert device.shelf.current(NAME) == "1"
    assert device.told("2") == (Standing.REJECTED, "cannot be opened: cut short")


def test_a_choice_ends_a_trial(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    choice.use(device.shelf, NAME, "1")
    device.step()
    assert device.told("2") == (Standing.REJECTED, "1 was chosen by hand")
    assert device.answer() == ["shapes@1"]
    assert not device.engines["2"].loaded
    device.install("3")
    device.to_trial("3")
    choice.use(device.shelf, NAME, "3")
    device.step()
    assert device.told("3")[0] is Standing.CONFIRMED
    assert not device.engines["1"].loaded


def test_a_choice_among_versions_that_are_not_there_is_refused(device: Device) -> None:
    with pytest.raises(AgentError, match="shapes has no version 7; it has 1, of which 1 is in use"):
        choice.use(device.shelf, NAME, "7")
    with pytest.raises(AgentError, match="no package other is installed"):
        choice.use(device.shelf, "other", "1")


def test_a_version_that_is_taken_off_the_shelf_during_its_trial_goes(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    device.shelf.remove(NAME, "2")
    device.step()
    assert device.answer() == ["shapes@1"]
    assert not (device.folder / "trial-yard.json").exists()
    device.shelf.remove(NAME)
    device.step(2)
    assert device.answer() == ["shapes@1"], "what is loaded goes on"


def test_a_second_agent_on_the_same_shelf_follows_what_the_first_has_found_out(device: Device) -> None:
    other = Device(device.folder, agent="barn")
    device.install("2")
    device.to_trial("2")
    other.step()
    device.answer(LEAST_RUNS)
    device.clock.advance(PROBATION_S)
    device.step()
    other.step()
    assert other.answer() == ["shapes@2"]
    device.install("3", found=(PERSON,))
    other.to_trial("3")
    device.step()
    device.show(FRAMES, CAR)
    device.step()
    assert device.told("3")[0] is Standing.REJECTED
    other.step()
    assert other.answer() == ["shapes@2"]


# Stops and crashes


def test_an_orderly_stop_is_no_failure_and_the_trial_begins_anew(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    device.rollout.stop()
    assert device.told("2") == (Standing.INSTALLED, "the agent was stopped during its trial; it is tried again")
    again = Device(device.folder)
    assert again.begun_with == "1"
    again.to_trial("2")


def test_nothing_is_begun_nor_judged_after_the_stop(device: Device) -> None:
    device.install("2", cannot_open=EngineBroken("no"))
    device.step()
    device.show(FRAMES, CAR)
    device.rollout.stop()
    device.step()
    assert device.told("2")[0] is Standing.INSTALLED
    assert not (device.folder / "trial-yard.json").exists()


def test_a_stop_during_the_opening_is_no_failure_of_the_version(device: Device) -> None:
    device.install("2")
    device.step()
    device.show(FRAMES, CAR)
    device.pulse.stopping.set()
    device.step()
    assert device.told("2")[0] is Standing.ON_TRIAL
    device.rollout.stop()
    assert device.told("2")[0] is Standing.INSTALLED
    assert not device.engines["2"].loaded


def test_a_version_on_whose_trial_the_agent_died_is_rejected_at_the_next_start(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    again = Device(device.folder)
    assert again.begun_with == "1"
    assert again.told("2") == (
        Standing.REJECTED,
        "the agent ended during its trial: killed, out of memory, or by a fault in the model's runtime",
    )
    again.step()
    again.show(FRAMES, CAR)
    again.step()
    assert again.answer() == ["shapes@1"]


def test_the_mark_is_on_the_medium_before_the_version_is_opened(device: Device) -> None:
    seen: list[mark.Trial | None] = []

    class Looking(Acting):
        def open(self) -> None:
            seen.append(mark.read(device.folder / "trial-yard.json"))
            super().open()

    device.install("2")
    device.engines["2"] = Looking(device.clock)
    device.to_trial("2")
    assert seen == [mark.Trial("shapes", "2", "1", "boot")]


def test_a_power_cut_is_the_version_s_fault_only_when_it_comes_twice(device: Device) -> None:
    device.install("2")
    device.to_trial("2")
    second = Device(device.folder, boot_id="second boot")
    assert second.told("2") == (Standing.INSTALLED, "the device restarted during its trial")
    second.to_trial("2")
    third = Device(device.folder, boot_id="third boot")
    assert third.told("2") == (
        Standing.REJECTED,
        "the device restarted during its trial, for the second time",
    )


def test_a_choice_on_which_the_agent_died_is_put_back(device: Device) -> None:
    class Deadly(Acting):
        def open(self) -> None:
            raise SystemExit  # stands in for the process's end: nothing of the rollout catches it

    device.install("2")
    device.engines["2"] = Deadly(device.clock)
    choice.use(device.shelf, NAME, "2")
    with pytest.raises(SystemExit):
        device.step()
    again = Device(device.folder)
    assert again.begun_with == "1"
    assert again.shelf.current(NAME) == "1"
    assert again.told("2")[0] is Standing.REJECTED


def test_a_disk_that_fails_tries_nothing_and_ends_nothing(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    device.install("2")
    (device.folder / "trial-yard.json.new").mkdir()
    device.step()
    device.show(FRAMES, CAR)
    device.step(3)
    assert "trial-yard.json cannot be written: Is a directory; no new version is tried" in caplog.text
    assert device.answer() == ["shapes@1"]
    assert device.engines["2"].runs == 0
    (device.folder / "trial-yard.json.new").rmdir()
    device.step(3)
    assert device.engines["2"].runs == 0, "the disk is given time"
    device.clock.advance(60)
    device.step()
    assert device.switch.model == "shapes@2"


def test_a_version_whose_trial_cannot_be_noted_is_closed_and_does_not_answer(device: Device) -> None:
    device.install("2")
    device.step()
    device.show(FRAMES, CAR)

    class Filling(Acting):
        def infer(self, frame: Frame, give_up_s: float) -> Answer:
            (device.folder / "models" / NAME / ".history.json.part").mkdir(exist_ok=True)
            return super().infer(frame, give_up_s)

    device.engines["2"] = Filling(device.clock)
    device.step(3)
    assert device.answer() == ["shapes@1"]
    assert not device.engines["2"].loaded


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "vedette.trial/1"}', '{"package": "x"}', '"a"', "\xff"])
def test_a_damaged_mark_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "trial-yard.json").write_text(text, encoding="latin-1")
    assert mark.read(tmp_path / "trial-yard.json") is None
    assert Device(tmp_path).begun_with == "1"


# The lane


def test_a_run_of_a_new_version_waits_for_frames_that_are_due_and_has_the_device_to_itself() -> None:
    clock, order = SystemClock(), list[str]()

    def note(what: str) -> bool:
        order.append(what)
        return True

    engine = Acting(FakeClock())
    lane = Lane("local", engine, clock, on_room=lambda: None)
    lane.opened.set()
    comparison = Comparison(collecting(), lane, clock)
    for number in ("first", "second", "third"):
        lane.start(partial(note, number), start_s=0.0, deadline_s=clock.now() + 1)
    pulse, got = Pulse(clock), list[bool]()
    thread = threading.Thread(target=lambda: got.append(comparison.in_turn(partial(note, "new"), pulse)))
    thread.start()
    while lane.in_flight < 4:
        clock.wait(threading.Event(), 0.001)
    while lane.step():
        pass
    thread.join(10)
    assert order == ["first", "second", "third", "new"]
    assert got == [True]


def test_what_a_run_in_the_lane_raises_is_raised_to_the_rollout_and_ends_no_lane() -> None:
    lane = PromptLane("local", Acting(FakeClock()), FakeClock(), on_room=lambda: None)
    comparison = Comparison(collecting(), lane, FakeClock())

    def fail() -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError):
        comparison.in_turn(fail, Pulse(FakeClock()))


def test_a_run_that_has_not_begun_at_the_stop_never_does() -> None:
    lane, clock = Lane("local", Acting(FakeClock()), FakeClock(), on_room=lambda: None), FakeClock()
    comparison, pulse = Comparison(collecting(), lane, clock), Pulse(clock)
    pulse.stopping.set()
    ran: list[int] = []
    with pytest.raises(Stopping):
        comparison.in_turn(lambda: ran.append(1), pulse)
    assert not lane.step()
    assert ran == []


def test_nor_does_it_when_the_lane_takes_it_up_at_that_very_moment() -> None:
    class Late(Lane):
        def cancel(self, job: Job) -> None:
            job.work()

    lane, clock = Late("local", Acting(FakeClock()), FakeClock(), on_room=lambda: None), FakeClock()
    comparison, pulse = Comparison(collecting(), lane, clock), Pulse(clock)
    pulse.stopping.set()
    ran: list[int] = []
    with pytest.raises(Stopping):
        comparison.in_turn(lambda: ran.append(1), pulse)
    assert ran == []


def test_a_version_that_opens_for_long_is_alive_and_gives_up_at_the_stop(device: Device) -> None:
    device.install("2")
    device.step()
    device.show(FRAMES, CAR)
    device.step()
    device.engines["2"].progress("building")
    device.pulse.stopping.set()
    with pytest.raises(EngineUnwanted):
        device.engines["2"].progress("building")


# From the configuration

CONFIG = """
agent: yard
cameras: [{{name: gate, source: {{type: synthetic}}}}]
engines:
  local: {{type: tflite, model: {model}}}
  rollout: {{against: {against}}}
sinks: [{{type: stdout}}]
"""


def configured(model: str, *, against: str = "either") -> config.Config:
    return config.validate(document.parse(CONFIG.format(model=model, against=against), name="vedette.yaml"))


def following_context(folder: Path) -> Context:
    return Context("yard", FakeClock(), folder, folder)


@pytest.mark.parametrize(
    ("model", "follows"), [("shapes", True), ("shapes@1", False), ("./shapes", False), ("other", False)]
)
def test_only_an_installed_package_by_its_bare_name_is_followed(tmp_path: Path, model: str, follows: bool) -> None:
    Device(tmp_path)
    following = rollouts.prepare(configured(model), following_context(tmp_path))
    assert (following is not None) is follows
    if following is not None:
        assert following.switch.model == "shapes@1"


def test_a_folder_of_that_name_beside_the_configuration_goes_first(tmp_path: Path) -> None:
    Device(tmp_path)
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "model.yaml").touch()
    assert rollouts.prepare(configured("shapes"), following_context(tmp_path)) is None


def test_what_a_dead_agent_left_is_settled_before_a_version_is_chosen(device: Device) -> None:
    device.install("2")
    choice.use(device.shelf, NAME, "2")
    mark.write(device.folder / "trial-yard.json", mark.Trial(NAME, "2", "1", boot_id()))
    following = rollouts.prepare(configured("shapes"), following_context(device.folder))
    assert following is not None
    assert following.switch.model == "shapes@1"


def test_an_agent_that_follows_shows_its_frames_and_has_a_loop_that_stops_before_the_lanes(tmp_path: Path) -> None:
    Device(tmp_path)
    agent = app.build(configured("shapes"), base_dir=tmp_path, state_dir=tmp_path, durable=False)
    stages = [stage.name for stage in agent.supervisor._stages]
    assert stages.index("rollout") > stages.index("lanes")
    assert isinstance(agent.lanes[Route.LOCAL].engine, Switch)
    plain = app.build(configured("other"), base_dir=tmp_path, state_dir=tmp_path, durable=False)
    assert "rollout" not in [stage.name for stage in plain.supervisor._stages]


def test_answers_of_a_hosted_api_that_is_not_there_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"rollout\.against is hosted, but there is no cloud"):
        configured("shapes", against="hosted")
