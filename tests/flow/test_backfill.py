"""The second look: live frames first, one picture at a time, a correction for each, and every frame its one fate."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fakes import (
    PICTURE,
    FakeClock,
    Gate,
    GatedCloud,
    InstantCloud,
    InstantEngine,
    ListOutbox,
    ScriptedSource,
    a_ladder,
    an_answer,
    an_encoding,
    an_uplink,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent import backfilling
from agent.admission import Admission
from agent.backfill import sender as module
from agent.backfill.doubt import Doubt
from agent.backfill.inquiry import Inquiry
from agent.backfill.keep import Keep, Limits, Loss, Step
from agent.backfill.quota import Caps as QuotaCaps
from agent.backfill.quota import Quota
from agent.backfill.sender import Backfill, Way
from agent.backfill.sieve import Sieve
from agent.backfill.training import Training
from agent.budget import Caps
from agent.case import shut
from agent.errors import Cause, EngineError, EngineRefused, EngineUnavailable
from agent.evidence import Evidence
from agent.flow import Answer, Decision, Fate, Picture, Reading, Reason, Route
from agent.handoff import Bell
from agent.lanes import Lane
from agent.pipeline import Pipeline, Shared
from agent.ports import CloudEngine, Watch
from agent.record import Identity
from agent.router import Mode, Prefer, Router

DEADLINE_S = 0.5


class InstantProject:
    """Takes every picture at once, or raises what it is given."""

    def __init__(self, clock: FakeClock) -> None:
        self.error: EngineError | None = None
        self.names: list[str] = []
        self._clock = clock

    def open(self) -> None: ...

    def contribute(self, picture: Picture, name: str, *, give_up_s: float, watch: Watch) -> bool:  # noqa: ARG002
        if self.error is not None:
            raise self.error
        self.names.append(name)
        return True

    def close(self) -> None: ...


class Site:
    """One camera or two, both lanes and the back-fill, no threads: the test takes each step."""

    def __init__(
        self,
        folder: Path,
        cloud: CloudEngine,
        clock: FakeClock,
        *,
        cameras: tuple[str, ...] = ("cam",),
        boot: str = "boot",
        per_hour: int = 0,
        caps: Caps | None = None,
        project: InstantProject | None = None,
    ) -> None:
        self.clock, self.outbox = clock, ListOutbox()
        self.local = InstantEngine()
        bell = Bell()
        self.lanes = {
            Route.LOCAL: Lane("local", self.local, clock, on_room=bell.ring),
            Route.CLOUD: Lane("cloud", cloud, clock, on_room=bell.ring),
        }
        for lane in self.lanes.values():
            lane.opened.set()
        self.uplink = an_uplink(cloud, clock, caps=caps, store=folder / "budget")
        self.sieve = Sieve(Doubt(below=0.95), every_s=0.1)
        self.shared = Shared(
            clock,
            bell,
            self.lanes,
            [self.outbox],
            Identity("a", boot),
            DEADLINE_S,
            local=self.local,
            uplink=self.uplink,
            witnesses=[self.sieve],
        )
        self.pipelines = [Pipeline(name, ScriptedSource(), self.shared, ladder=a_ladder()) for name in cameras]
        self.pipeline = self.pipelines[0]
        self.keep = Keep(folder / "kept", Limits(10_000_000, 86_400.0), clock=clock, boot_id=boot)
        publish = backfilling._publisher(self.shared, self.pipelines)
        inquiry = Inquiry(self.uplink, publish, deadline_s=DEADLINE_S, boot_id=boot)
        self.project = project or InstantProject(clock)
        quota = Quota(QuotaCaps(per_hour or 1, 100), folder / "quota", clock=clock, boot_id=boot)
        training = Training(self.uplink, self.project, quota, agent="a")
        self.backfill = Backfill(
            self.sieve,
            self.keep,
            lambda pixels: an_encoding(pixels, 64, 75),
            purposes=[inquiry, training] if per_hour else [inquiry],
            way=backfilling._way(self.shared, self.uplink, self.pipelines),
        )
        self.backfill.open()

    def answer_here(self, reason: Reason = Reason.DEAD, pipeline: Pipeline | None = None) -> int:
        """A frame that the device answers; its sequence number."""
        pipeline = pipeline or self.pipeline
        pipeline.capture_one()
        frame = pipeline.latest.peek()
        assert frame is not None
        now_s = self.clock.now()
        assert pipeline.admit(frame, Decision(Route.LOCAL, reason, now_s + DEADLINE_S, now_s, 0.1, 0.5))
        assert self.lanes[Route.LOCAL].step()
        pipeline.emit_ready()
        return frame.seq

    def keep_frames(self, count: int) -> list[int]:
        seqs = []
        for _ in range(count):
            seqs.append(self.answer_here())
            self.backfill.step()
            self.clock.advance(0.2)
        return seqs

    def link_is_good(self) -> None:
        """An upload was answered in time just now."""
        key, now_s = ("cam", -1), self.clock.now()
        self.uplink.link.note_sent(key, size_bytes=1000, now_s=now_s, due_s=now_s + 1)
        self.uplink.link.note_answer(key, now_s=now_s, on_time=True)

    def turn(self) -> bool:
        """The back-fill comes round, and a request that it begins is carried; whether there was one."""
        self.backfill.step()
        carried = self.lanes[Route.CLOUD].step()
        self.backfill.step()
        return carried

    def turns(self, count: int = 20) -> int:
        carried = 0
        for _ in range(count):
            self.link_is_good()
            carried += self.turn()
            self.clock.advance(1.0)
        return carried

    @property
    def corrections(self) -> list[dict[str, Any]]:
        records = [json.loads(delivery.body) for delivery in self.outbox.deliveries]
        return [record for record in records if record["revision"]]


def a_reading(clock: FakeClock, acked_bytes: int, size_bytes: int) -> Reading:
    return Reading(clock.now(), acked_bytes, size_bytes - acked_bytes, 0.04, metered_bytes=acked_bytes)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_doubtful_frame_of_an_outage_is_corrected_once_the_link_is_good(tmp_path: Path, clock: FakeClock) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock)
    seqs = it.keep_frames(3)
    assert it.corrections == []
    it.turns()
    assert [record["seq"] for record in it.corrections] == seqs
    for record in it.corrections:
        assert record["id"] == f"a/cam/boot/{record['seq']}/1"
        assert record["supersedes"] == f"a/cam/boot/{record['seq']}/0"
        assert (record["route"]["published"], record["route"]["late"]) == ("cloud", True)
        assert (record["route"]["decided"], record["route"]["reason"]) == ("local", "dead")
    status = it.backfill.status()
    assert (status.kept, status.waiting, status.sent, status.done[Step.ASK], status.dropped) == (3, 0, 3, 3, {})
    assert it.pipeline.telemetry.status().corrections == 3
    assert it.pipeline.telemetry.status().fates == {Fate.DONE: 3}


@pytest.mark.parametrize("reason", [Reason.LOCAL_ONLY, Reason.BUDGET_DATA, Reason.UPLINK_BUSY])
def test_a_frame_that_stayed_here_for_another_reason_is_not_kept(
    tmp_path: Path, clock: FakeClock, reason: Reason
) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock)
    it.answer_here(reason)
    it.turns()
    assert it.backfill.status().kept == 0


def test_a_picture_lives_no_longer_in_memory_than_until_the_back_fill_comes_round(
    tmp_path: Path, clock: FakeClock
) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock)
    it.answer_here()
    it.backfill.step()
    assert it.sieve.take() is None
    assert it.backfill.status().waiting == 1


# Live frames first


def hindered(site: Site) -> "list[tuple[str, Callable[[], object]]]":
    link, clock = site.uplink.link, site.clock
    now_s = clock.now()

    def an_upload() -> None:
        link.note_sent(("cam", 1), size_bytes=1000, now_s=now_s, due_s=now_s + 1)

    def a_frame_that_waits() -> None:
        site.pipeline.capture_one()

    return [
        ("a live upload is under way", an_upload),
        ("a live frame waits", a_frame_that_waits),
        ("the link is dead", lambda: link.note_unwelcome(EngineUnavailable("no name", Cause.DNS), now_s)),
        ("the cloud refuses", lambda: link.note_failure(("c", 1), EngineRefused("no", Cause.AUTH), now_s=now_s)),
        ("the cloud was silent for long", lambda: clock.advance(40)),
        ("the link is slow", lambda: link._evidence.extend([Evidence(now_s, 0.1, 0.1, 1e-3)] * 9)),
        ("the lane is not open", site.lanes[Route.CLOUD].opened.clear),
    ]


@pytest.mark.parametrize("number", range(7))
def test_nothing_is_sent_while_a_live_frame_needs_the_wire_or_the_link_is_bad(
    tmp_path: Path, clock: FakeClock, number: int
) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock)
    it.keep_frames(1)
    clock.advance(5)
    it.link_is_good()
    name, hinder = hindered(it)[number]
    hinder()
    assert not it.turn(), name
    assert it.corrections == []


def test_nothing_is_sent_while_data_is_dear_or_frames_are_to_stay_here(tmp_path: Path, clock: FakeClock) -> None:
    site = Site(tmp_path, InstantCloud(clock, width=6), clock)
    site.keep_frames(1)
    for by, mode, prefer in (("data", None, Prefer.COST), ("remote", Mode.LOCAL_ONLY, None)):
        site.shared.controls.steer(mode, prefer, by=by)
        site.link_is_good()
        site.backfill.step()
        assert site.uplink.link.view(clock.now()).in_flight == 0
        site.shared.controls.release(by=by)
    site.backfill.step()
    assert site.uplink.link.view(clock.now()).in_flight == 1


def test_one_picture_is_under_way_at_a_time(tmp_path: Path, clock: FakeClock) -> None:
    cloud = GatedCloud(width=3, clock=clock)
    it = Site(tmp_path, cloud, clock)
    it.keep_frames(2)
    it.link_is_good()
    it.backfill.step()
    thread = threading.Thread(target=it.lanes[Route.CLOUD].step)
    thread.start()
    gate = cloud.entered.get(timeout=5)
    for _ in range(5):
        it.link_is_good()
        it.backfill.step()
        clock.advance(0.5)
    assert it.lanes[Route.CLOUD].in_flight == 1
    gate.outcome.put(an_answer())
    thread.join(5)
    it.backfill.step()
    assert len(it.corrections) == 1


def test_after_an_upload_the_wire_rests_for_four_times_as_long(tmp_path: Path, clock: FakeClock) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock)
    it.keep_frames(2)
    size_bytes = len(an_encoding(PICTURE, 64, 75).data)
    it.link_is_good()
    it.uplink.link._evidence.clear()
    it.uplink.link._evidence.extend([Evidence(clock.now(), 0.04, 0.1, 0.1 / size_bytes)] * 9)
    assert it.turn()
    clock.advance(0.39)
    assert not it.turn()
    clock.advance(0.02)
    assert it.turn()


def test_a_request_of_the_back_fill_is_known_to_the_link_and_paid_for(tmp_path: Path, clock: FakeClock) -> None:
    cloud = GatedCloud(width=3, clock=clock)
    it = Site(tmp_path, cloud, clock, caps=Caps(data_mb_per_day=1000.0, credits_per_day=10.0))
    it.keep_frames(1)
    it.link_is_good()
    before = it.uplink.prices()
    it.backfill.step()
    view, now = it.uplink.view(), it.uplink.prices()
    assert (view.in_flight, view.unacked_bytes > 0) == (1, True)
    assert before is not None
    assert now is not None
    assert now.data_left_bytes < before.data_left_bytes
    assert now.credits_left < before.credits_left


def test_an_empty_budget_is_left_to_live_frames(tmp_path: Path, clock: FakeClock) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock, caps=Caps(data_mb_per_day=1000.0))
    it.keep_frames(1)
    it.uplink.budget.note_overhead(35_000_000)
    assert it.turns(5) == 0
    clock.advance(3600)
    assert it.turns(5) == 1


def give_way(site: Site, picture: Picture, watch: Watch) -> list[bool]:
    """An upload during which a live frame comes, and that takes longer than was expected; what its watch said."""
    size_bytes, wanted = len(picture.data), []
    wanted.append(watch(a_reading(site.clock, 0, size_bytes)))
    site.pipeline.capture_one()
    wanted.append(watch(a_reading(site.clock, 100, size_bytes)))
    site.clock.advance(0.2)
    wanted.append(watch(a_reading(site.clock, 200, size_bytes)))
    frame = site.pipeline.latest.peek()
    assert frame is not None
    site.pipeline.latest.take(frame)
    watch(a_reading(site.clock, 200, size_bytes))  # the last one, as the connection is closed
    return wanted


def test_an_upload_that_takes_longer_than_expected_gives_way_to_a_live_frame_and_is_sent_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    said: list[list[bool]] = []

    class Slow(InstantCloud):
        def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
            if len(said) == module.MOST_FAILURES + 1:
                return super().infer(picture, give_up_s, watch)
            said.append(give_way(it, picture, watch))
            raise EngineUnavailable("the upload made no progress and was given up", Cause.TIMEOUT)

    it = Site(tmp_path, Slow(clock), clock)
    it.keep_frames(1)
    it.link_is_good()
    evidence = len(it.uplink.view().evidence)
    assert it.turn()
    assert len(it.uplink.view().evidence) == evidence, "it says nothing about the link"
    assert it.uplink.view().in_flight == 0
    assert it.corrections == []
    it.turns(10)
    assert said == [[True, True, False]] * (module.MOST_FAILURES + 1)
    assert len(it.corrections) == 1
    assert it.backfill.status().dropped == {}


def test_the_time_that_a_connection_takes_to_open_is_not_held_against_an_upload(
    tmp_path: Path, clock: FakeClock
) -> None:
    class Away(InstantCloud):
        def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
            clock.advance(3.0)  # TCP and TLS
            it.pipeline.capture_one()
            return super().infer(picture, give_up_s, watch)

    it = Site(tmp_path, Away(clock), clock)
    it.keep_frames(1)
    it.link_is_good()
    assert it.turn()
    assert len(it.corrections) == 1


# Failures


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.SERVER, Cause.NETWORK, Cause.BAD_ANSWER])
def test_a_picture_that_fails_three_times_is_dropped(tmp_path: Path, clock: FakeClock, cause: Cause) -> None:
    cloud = InstantCloud(clock, error=EngineUnavailable("it failed", cause))
    it = Site(tmp_path, cloud, clock)
    it.keep_frames(1)
    it.turns(60)
    assert len(cloud.pictures) == module.MOST_FAILURES
    assert it.backfill.status().dropped == {Loss.FAILED: 1}
    assert it.backfill.status().waiting == 0


@pytest.mark.parametrize("cause", [Cause.RATE_LIMITED, Cause.CAPTIVE_PORTAL, Cause.DNS])
def test_a_failure_that_is_not_the_pictures_costs_no_picture(tmp_path: Path, clock: FakeClock, cause: Cause) -> None:
    cloud = InstantCloud(clock, error=EngineUnavailable("it failed", cause))
    it = Site(tmp_path, cloud, clock)
    it.keep_frames(1)
    for _ in range(6):
        clock.advance(700)
        it.uplink.link.note_welcome(clock.now())
        it.link_is_good()
        it.turn()
    assert len(cloud.pictures) == 6
    cloud.error = None
    clock.advance(700)
    it.uplink.link.note_welcome(clock.now())
    it.turns(3)
    assert len(it.corrections) == 1


def test_a_picture_that_the_api_cannot_read_is_dropped_at_once(tmp_path: Path, clock: FakeClock) -> None:
    cloud = InstantCloud(clock, error=EngineUnavailable("no picture", Cause.BAD_REQUEST))
    it = Site(tmp_path, cloud, clock)
    it.keep_frames(1)
    it.turns(30)
    assert (len(cloud.pictures), it.backfill.status().dropped) == (1, {Loss.UNREADABLE: 1})


def test_a_refused_key_closes_the_cloud_as_for_live_frames_and_costs_no_picture(
    tmp_path: Path, clock: FakeClock
) -> None:
    cloud = InstantCloud(clock, error=EngineRefused("no key", Cause.AUTH))
    it = Site(tmp_path, cloud, clock)
    it.keep_frames(2)
    it.link_is_good()
    assert it.turn()
    assert it.uplink.view().closed
    for _ in range(170):
        it.turn()
        clock.advance(1.0)
    assert (len(cloud.pictures), it.backfill.status().waiting) == (1, 2)


def test_a_fault_in_an_engine_costs_the_picture_and_nothing_else(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(InstantCloud):
        def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:  # noqa: ARG002 - as CloudEngine
            raise ZeroDivisionError("a fault")

    it = Site(tmp_path, Faulty(clock), clock)
    it.keep_frames(1)
    it.turns(60)
    assert it.backfill.status().dropped == {Loss.FAILED: 1}
    assert it.uplink.view().in_flight == 0
    assert "ZeroDivisionError" in caplog.text


# Over a restart


def test_a_picture_kept_before_a_restart_is_corrected_after_it_under_its_own_boot(
    tmp_path: Path, clock: FakeClock
) -> None:
    first = Site(tmp_path, InstantCloud(clock), clock, boot="before")
    (seq,) = first.keep_frames(1)
    clock.wall_s += 7200
    later = FakeClock(50.0)
    later.wall_s = clock.wall_s
    it = Site(tmp_path, InstantCloud(later), later, boot="after")
    it.turns(3)
    (record,) = it.corrections
    assert (record["id"], record["supersedes"]) == (f"a/cam/before/{seq}/1", f"a/cam/before/{seq}/0")
    assert record["boot_id"] == "before"
    assert record["latency_ms"]["total"] == pytest.approx(7_200_000, abs=3000)


def test_a_picture_of_a_camera_that_is_gone_is_corrected_all_the_same(tmp_path: Path, clock: FakeClock) -> None:
    Site(tmp_path, InstantCloud(clock), clock).keep_frames(1)
    it = Site(tmp_path, InstantCloud(clock), clock, cameras=("other",))
    it.turns(3)
    assert [record["camera"] for record in it.corrections] == ["cam"]


def test_a_correction_is_not_repeated_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock, per_hour=1)
    it.keep_frames(3)
    it.turns()
    assert len(it.corrections) == 3
    again = Site(tmp_path, InstantCloud(clock), clock, per_hour=1)
    again.turns()
    assert again.corrections == []
    assert again.backfill.status().waiting == 2, "they wait to become training images"
    assert Site(tmp_path, InstantCloud(clock), clock).backfill.status().waiting == 0, "given no more"


# Training images


def test_pictures_are_given_once_they_are_corrected_and_within_the_hour(tmp_path: Path, clock: FakeClock) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock, per_hour=2)
    seqs = it.keep_frames(5)
    it.turns(30)
    assert len(it.corrections) == 5
    assert it.project.names == [f"a-cam-boot-{seq}.jpg" for seq in seqs[:2]]
    clock.advance(3700)
    it.turns(10)
    assert len(it.project.names) == 4
    assert it.backfill.status().done == {Step.ASK: 5, Step.GIVE: 4}


def test_a_project_that_refuses_is_left_alone_for_longer_and_longer_and_costs_no_correction(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock, per_hour=3)
    it.project.error = EngineRefused("there is no project yard; check it", Cause.NOT_FOUND)
    it.keep_frames(3)
    it.turns(60)
    status = it.backfill.status()
    assert len(it.corrections) == 3
    assert status.sent - 3 in range(3, 6)
    assert (status.waiting, status.done[Step.GIVE]) == (3, 0)
    assert "a training image was not taken: there is no project yard" in caplog.text
    assert not it.uplink.view().closed, "the hosted model is another matter"
    it.project.error = None
    clock.advance(700)
    it.turns(10)
    assert len(it.project.names) == 3


def test_a_training_image_that_gave_way_to_a_live_frame_uses_nothing_of_the_hour(
    tmp_path: Path, clock: FakeClock
) -> None:
    class Slow(InstantProject):
        said: list[list[bool]] = []  # noqa: RUF012 - one project in this test

        def contribute(self, picture: Picture, name: str, *, give_up_s: float, watch: Watch) -> bool:
            if len(self.said) < 4:
                self.said.append(give_way(it, picture, watch))
                raise EngineUnavailable("the upload made no progress and was given up", Cause.TIMEOUT)
            return super().contribute(picture, name, give_up_s=give_up_s, watch=watch)

    it = Site(tmp_path, InstantCloud(clock), clock, per_hour=1, project=Slow(clock))
    it.keep_frames(1)
    it.turns(20)
    assert Slow.said == [[True, True, False]] * 4
    assert len(it.project.names) == 1
    assert it.uplink.view().in_flight == 0


@pytest.mark.parametrize(("cause", "given"), [(Cause.RATE_LIMITED, 1), (Cause.CONNECT, 1), (Cause.TIMEOUT, 0)])
def test_an_upload_that_may_have_arrived_counts_and_one_that_certainly_has_not_does_not(
    tmp_path: Path, clock: FakeClock, cause: Cause, given: int
) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock, per_hour=1)
    it.keep_frames(1)
    it.project.error = EngineUnavailable("it failed", cause)
    it.turns(4)
    assert it.backfill.status().sent == 2
    it.project.error = None
    it.turns(30)
    assert len(it.project.names) == given


# Every frame its one fate, whatever the order of events


OUTCOMES: list[Answer | EngineError] = [
    an_answer(),
    an_answer(),
    an_answer(cold=True),
    EngineUnavailable("slow", Cause.TIMEOUT),
    EngineUnavailable("no way", Cause.CONNECT),
    EngineUnavailable("too many", Cause.RATE_LIMITED, retry_after_s=0.7),
    EngineUnavailable("what is this", Cause.BAD_REQUEST),
    EngineRefused("no key", Cause.AUTH),
]


class SecondLook(RuleBasedStateMachine):
    """Two cameras, both lanes and the back-fill; each request ends when and how hypothesis says."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.folder = TemporaryDirectory()
        self.cloud = GatedCloud(width=4, clock=self.clock)
        self.site = Site(Path(self.folder.name), self.cloud, self.clock, cameras=("east", "west"), per_hour=3)
        self.admission = Admission(self.site.pipelines, Router(Mode.AUTO), self.site.shared)
        self.running: list[tuple[Gate, threading.Thread]] = []

    @rule(camera=st.integers(0, 1))
    def capture(self, camera: int) -> None:
        self.site.pipelines[camera].capture_one()

    @rule()
    def admit(self) -> None:
        self.admission.step()

    @rule()
    def answer_on_the_device(self) -> None:
        self.site.lanes[Route.LOCAL].step()

    @rule(camera=st.integers(0, 1))
    def answer_a_frame_of_an_outage(self, camera: int) -> None:
        self.site.answer_here(pipeline=self.site.pipelines[camera])

    @rule()
    def look_back(self) -> None:
        before = self.site.uplink.view()
        sent = self.site.backfill.status().sent
        wanted = any(pipeline.wants_wire for pipeline in self.site.pipelines)
        self.site.backfill.step()
        if self.site.backfill.status().sent > sent:
            assert (shut(before), before.unacked_bytes, wanted) == (None, 0, False)

    @rule()
    def look_back_at_a_good_moment(self) -> None:
        while self.admission.step():
            self.begin_a_request()
        self.begin_a_request()
        self.clock.advance(1.0)
        self.site.link_is_good()
        self.look_back()
        self.begin_a_request()

    @rule()
    def begin_a_request(self) -> None:
        if len(self.running) >= self.cloud.width:
            return
        thread = threading.Thread(target=self.site.lanes[Route.CLOUD].step)
        thread.start()
        while thread.is_alive() and self.cloud.entered.empty():
            thread.join(0.0005)
        if not self.cloud.entered.empty():
            self.running.append((self.cloud.entered.get(), thread))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end_a_request(self, data: st.DataObject) -> None:
        gate, thread = self.running.pop(data.draw(st.integers(-1, len(self.running) - 1)))
        gate.outcome.put(data.draw(st.sampled_from(OUTCOMES)))
        thread.join(10)
        assert not thread.is_alive()

    @rule()
    def the_cloud_answers_all_and_another_picture_is_sent(self) -> None:
        while self.running:
            gate, thread = self.running.pop()
            gate.outcome.put(an_answer())
            thread.join(10)
        self.look_back()
        self.look_back_at_a_good_moment()

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.1, 0.3, 0.6, 5.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def emit(self) -> None:
        for pipeline in self.site.pipelines:
            pipeline.emit_ready()

    @invariant()
    def captured_is_the_sum_of_the_fates_and_what_is_under_way(self) -> None:
        for pipeline in self.site.pipelines:
            status = pipeline.telemetry.status()
            waiting = pipeline.latest.peek() is not None
            assert status.captured == sum(status.fates.values()) + waiting + pipeline.ordered.in_flight, pipeline

    @invariant()
    def every_id_leaves_once_and_a_correction_follows_what_it_supersedes(self) -> None:
        seen: set[str] = set()
        for record in (json.loads(delivery.body) for delivery in self.site.outbox.deliveries):
            assert record["id"] not in seen
            assert record["supersedes"] is None or record["supersedes"] in seen
            seen.add(record["id"])

    @invariant()
    def every_kept_picture_waits_is_done_or_was_dropped(self) -> None:
        status = self.site.backfill.status()
        assert status.kept == status.waiting + status.done[Step.GIVE] + sum(status.dropped.values()), status

    def teardown(self) -> None:
        for pipeline in self.site.pipelines:
            pipeline.close()
            pipeline.emit_ready()
            status = pipeline.telemetry.status()
            assert status.captured == sum(status.fates.values()), pipeline
        for gate, thread in self.running:
            gate.outcome.put(an_answer())
            thread.join(10)
            assert not thread.is_alive()
        self.folder.cleanup()


SecondLook.TestCase.settings = settings(max_examples=60, stateful_step_count=80, deadline=None)
TestSecondLook = SecondLook.TestCase


def test_the_machine_above_does_look_back_and_correct(tmp_path: Path, clock: FakeClock) -> None:
    it = Site(tmp_path, InstantCloud(clock), clock, cameras=("east", "west"), per_hour=3)
    assert isinstance(it.backfill._way, Way)
    it.keep_frames(1)
    it.turns(5)
    assert it.backfill.status().done == {Step.ASK: 1, Step.GIVE: 1}
